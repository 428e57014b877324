//! What is done to requests on their way.

use ipnet::IpNet;

use super::{CircuitBreaker, Jwt, RateLimit, Retry, Waf};
pub use crate::document::{Encoding, RedirectScheme, RetryOn};
use crate::{
    document::HeaderValue,
    rule::{HeaderName, MethodName},
    value::{
        ByteSize, Duration, HashSource, MiddlewareName, Pattern, Secret, ServiceName, StatusRange,
        Url,
    },
};

/// One thing that is done to requests on their way.
#[derive(Debug, Clone, PartialEq)]
pub enum Middleware {
    /// Takes the first prefix that fits off the path.
    StripPrefix(Vec<String>),
    /// Takes off what the first expression that is found finds at the beginning of the path.
    StripPrefixRegex(Vec<Pattern>),
    /// Puts a prefix before the path.
    AddPrefix(String),
    /// Replaces the path.
    ReplacePath(String),
    /// Replaces what an expression finds in the path.
    ReplacePathRegex {
        /// The expression.
        regex: Pattern,
        /// What stands there instead.
        replacement: String,
    },
    /// Sets and removes header fields.
    Headers(Box<Headers>),
    /// Sends clients to another scheme or port.
    RedirectScheme {
        /// The scheme.
        scheme: RedirectScheme,
        /// The port, if it is not that of the scheme.
        port: Option<u16>,
        /// Whether clients may remember it.
        permanent: bool,
    },
    /// Sends clients to another address.
    RedirectRegex {
        /// What is looked for in the whole URL.
        regex: Pattern,
        /// Where to.
        replacement: String,
        /// Whether clients may remember it.
        permanent: bool,
    },
    /// Asks for a name and a password.
    BasicAuth {
        /// Names with their hashes.
        users: Vec<Secret<String>>,
        /// What browsers show.
        realm: String,
        /// The field in which backends see the name.
        header_field: Option<HeaderName>,
        /// Whether backends do not see the password.
        remove_header: bool,
    },
    /// Asks another service whether a request may pass.
    ForwardAuth {
        /// Where it is.
        address: Url,
        /// Fields of its answer that backends get.
        response_headers: Vec<HeaderName>,
        /// Fields that it is sent; all when empty.
        request_headers: Vec<HeaderName>,
        /// Whether `X-Forwarded-*` fields of clients are believed.
        trust_forward_header: bool,
        /// How long it may take.
        timeout: Duration,
    },
    /// Takes requests from some addresses only.
    IpAllowList {
        /// Which; never empty.
        source_range: Vec<IpNet>,
        /// The code of the refusal.
        reject_status: u16,
    },
    /// Limits how often something is asked.
    RateLimit(RateLimit),
    /// Limits how much is asked at once.
    InFlight {
        /// Requests at once.
        amount: u32,
        /// By what clients are told apart; all together when absent.
        source: Option<HashSource>,
    },
    /// Takes in bodies before passing them on. A size of 0 is no limit.
    Buffering {
        /// The largest body of a request.
        max_request: ByteSize,
        /// How much of it is held in memory.
        memory_request: ByteSize,
        /// The largest body of a response.
        max_response: ByteSize,
        /// How much of it is held in memory.
        memory_response: ByteSize,
    },
    /// Compresses responses.
    Compress {
        /// The encodings offered, the preferred one first; never empty.
        encodings: Vec<Encoding>,
        /// The smallest body worth it.
        min_body: ByteSize,
        /// Media types that are left alone.
        excluded: Vec<String>,
        /// The only media types that are compressed; all when empty.
        included: Vec<String>,
    },
    /// Tries again.
    Retry(Retry),
    /// Sends no requests to what fails.
    CircuitBreaker(CircuitBreaker),
    /// Asks for a token.
    Jwt(Box<Jwt>),
    /// Searches for attacks.
    Waf(Box<Waf>),
    /// Has another service answer in place of an error.
    Errors {
        /// The codes.
        status: Vec<StatusRange>,
        /// Who answers.
        service: ServiceName,
        /// The path asked for.
        query: String,
    },
    /// Several middlewares in a row; none of them is this one again.
    Chain(Vec<MiddlewareName>),
    /// A plugin by its name, and what it is told here.
    Plugin(String, serde_json::Value),
}

/// Header fields that are set or, with an empty value, removed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Headers {
    /// On requests.
    pub request: Vec<(HeaderName, HeaderValue)>,
    /// On responses.
    pub response: Vec<(HeaderName, HeaderValue)>,
    /// What scripts of other origins may do, if any is let in.
    pub cors: Option<Cors>,
}

/// What scripts of other origins may do.
#[derive(Debug, Clone, PartialEq)]
pub struct Cors {
    /// The origins; `*` is any.
    pub origins: Vec<String>,
    /// The methods.
    pub methods: Vec<MethodName>,
    /// The fields that they may send.
    pub headers: Vec<String>,
    /// The fields that they may read.
    pub exposed: Vec<String>,
    /// Whether they may send cookies; never with any origin.
    pub credentials: bool,
    /// For how many seconds browsers remember all this.
    pub max_age: u32,
}

impl Middleware {
    /// Its kind, as in the configuration.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::StripPrefix(_) => "strip_prefix",
            Self::StripPrefixRegex(_) => "strip_prefix_regex",
            Self::AddPrefix(_) => "add_prefix",
            Self::ReplacePath(_) => "replace_path",
            Self::ReplacePathRegex { .. } => "replace_path_regex",
            Self::Headers(_) => "headers",
            Self::RedirectScheme { .. } => "redirect_scheme",
            Self::RedirectRegex { .. } => "redirect_regex",
            Self::BasicAuth { .. } => "basic_auth",
            Self::ForwardAuth { .. } => "forward_auth",
            Self::IpAllowList { .. } => "ip_allow_list",
            Self::RateLimit(_) => "rate_limit",
            Self::InFlight { .. } => "in_flight",
            Self::Buffering { .. } => "buffering",
            Self::Compress { .. } => "compress",
            Self::Retry(_) => "retry",
            Self::CircuitBreaker(_) => "circuit_breaker",
            Self::Jwt(_) => "jwt",
            Self::Waf(_) => "waf",
            Self::Errors { .. } => "errors",
            Self::Chain(_) => "chain",
            Self::Plugin(..) => "plugin",
        }
    }
}
