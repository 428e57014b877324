//! What is done to requests on their way, as written: one kind for each name.

use std::num::{NonZeroU16, NonZeroU32};

use ipnet::IpNet;

use super::{
    Anything, CircuitBreaker, ClientTls, HeaderValue, Jwt, Named, OneOrMany, RedirectScheme, Retry,
    Spanned, Waf, record,
};
use crate::{
    rule::HeaderName,
    value::{
        ByteSize, FilePath, HashSource, MiddlewareName, Pattern, PositiveDuration, Secret,
        ServiceName, StatusRange, Url,
    },
};

record! {
    /// What is done to requests on their way: exactly one of these.
    pub struct Middleware {
        /// Takes a prefix off the path.
        strip_prefix: StripPrefix,
        /// Takes off what an expression finds at the beginning of the path.
        strip_prefix_regex: StripPrefixRegex,
        /// Puts a prefix before the path.
        add_prefix: AddPrefix,
        /// Replaces the path.
        replace_path: ReplacePath,
        /// Replaces what an expression finds in the path.
        replace_path_regex: ReplacePathRegex,
        /// Sets and removes header fields.
        headers: Headers,
        /// Sends clients to another scheme or port.
        redirect_scheme: RedirectToScheme,
        /// Sends clients to another address.
        redirect_regex: RedirectRegex,
        /// Asks for a name and a password (RFC 7617).
        basic_auth: BasicAuth,
        /// Asks another service.
        forward_auth: ForwardAuth,
        /// Takes requests from some addresses only.
        ip_allow_list: IpAllowList,
        /// Limits how often something is asked.
        rate_limit: RateLimitMiddleware,
        /// Limits how much is asked at once.
        in_flight: InFlight,
        /// Takes in bodies before passing them on.
        buffering: Buffering,
        /// Compresses responses.
        compress: Compress,
        /// Tries again.
        retry: Retry,
        /// Sends no requests to what fails.
        circuit_breaker: CircuitBreaker,
        /// Asks for a token.
        jwt: Jwt,
        /// Searches for attacks.
        waf: Waf,
        /// Has another service answer in place of an error.
        errors: Errors,
        /// Several middlewares in a row.
        chain: Chain,
        /// A plugin by its name.
        plugin: PluginUse,
    }
}

record! {
    /// Takes a prefix off the path. Backends see it in `X-Forwarded-Prefix`.
    pub struct StripPrefix {
        /// The first of these that the path begins with, by whole segments.
        prefixes: Vec<Spanned<String>>,
    }
    required: prefixes = "prefixes: [/cart]"
}

record! {
    /// Takes off what an expression finds at the beginning of the path.
    pub struct StripPrefixRegex {
        /// The first of these that is found.
        regex: Vec<Spanned<Pattern>>,
    }
    required: regex = "regex: [\"/v[0-9]+/\"]"
}

record! {
    /// Puts a prefix before the path.
    pub struct AddPrefix {
        /// The prefix.
        prefix: Spanned<String>,
    }
    required: prefix = "prefix: /cart"
}

record! {
    /// Replaces the path. Backends see the old one in `X-Replaced-Path`.
    pub struct ReplacePath {
        /// The new path.
        path: Spanned<String>,
    }
    required: path = "path: /cart"
}

record! {
    /// Replaces what an expression finds in the path.
    pub struct ReplacePathRegex {
        /// The expression.
        regex: Spanned<Pattern>,
        /// What stands there instead; `$1` is the first group.
        replacement: Spanned<String>,
    }
    required: regex = "regex: \"^/v1/(.*)\"", replacement = "replacement: /$1"
}

record! {
    /// Sets and removes header fields.
    pub struct Headers {
        /// Fields that requests get; an empty value removes one.
        custom_request_headers: Named<HeaderName, Spanned<HeaderValue>>,
        /// Fields that responses get; an empty value removes one.
        custom_response_headers: Named<HeaderName, Spanned<HeaderValue>>,
        /// Origins that scripts may ask from (CORS); `*` is any.
        access_control_allow_origin_list: Vec<Spanned<String>>,
        /// Methods that scripts of other origins may use.
        access_control_allow_methods: Vec<Spanned<crate::rule::MethodName>>,
        /// Fields that scripts of other origins may send.
        access_control_allow_headers: Vec<Spanned<String>>,
        /// Fields that scripts of other origins may read.
        access_control_expose_headers: Vec<Spanned<String>>,
        /// Whether scripts of other origins may send cookies.
        access_control_allow_credentials: Spanned<bool> = "false",
        /// For how many seconds browsers remember all this.
        access_control_max_age: Spanned<u32> = "0",
    }
}

record! {
    /// Sends clients to another scheme or port.
    pub struct RedirectToScheme {
        /// The scheme.
        scheme: Spanned<RedirectScheme>,
        /// The port, if it is not that of the scheme.
        port: Spanned<NonZeroU16>,
        /// Whether clients may remember it.
        permanent: Spanned<bool> = "false",
    }
    required: scheme = "scheme: https"
}

record! {
    /// Sends clients to another address.
    pub struct RedirectRegex {
        /// What is looked for in the whole URL.
        regex: Spanned<Pattern>,
        /// Where to; `$1` is the first group.
        replacement: Spanned<String>,
        /// Whether clients may remember it.
        permanent: Spanned<bool> = "false",
    }
    required: regex = "regex: \"^http://old/(.*)\"", replacement = "replacement: \"http://new/$1\""
}

record! {
    /// Asks for a name and a password.
    pub struct BasicAuth {
        /// `NAME:HASH`, as htpasswd writes it.
        users: Vec<Spanned<Secret<String>>>,
        /// A file of such lines.
        users_file: Spanned<FilePath>,
        /// What browsers show.
        realm: Spanned<String> = "lb",
        /// The field in which backends see the name.
        header_field: Spanned<HeaderName>,
        /// Whether backends do not see the password.
        remove_header: Spanned<bool> = "false",
    }
}

record! {
    /// Asks another service whether a request may pass.
    pub struct ForwardAuth {
        /// Where it is; 2xx lets the request pass, anything else is the answer.
        address: Spanned<Url>,
        /// Fields of its answer that backends get.
        auth_response_headers: Vec<Spanned<HeaderName>>,
        /// Fields that it is sent; all by default.
        auth_request_headers: Vec<Spanned<HeaderName>>,
        /// Whether `X-Forwarded-*` fields of clients are believed.
        trust_forward_header: Spanned<bool> = "false",
        /// How long it may take.
        timeout: Spanned<PositiveDuration> = "5s",
        /// TLS to it.
        tls: ClientTls,
    }
    required: address = "address: \"http://auth:8080/check\""
}

record! {
    /// Takes requests from some addresses only.
    pub struct IpAllowList {
        /// Which.
        source_range: Vec<Spanned<IpNet>>,
        /// The code of the refusal.
        reject_status_code: Spanned<u16> = "403",
    }
    required: source_range = "source_range: [10.0.0.0/8]"
}

record! {
    /// Limits how often something is asked.
    pub struct RateLimitMiddleware {
        /// Requests that may come within `per`.
        requests: Spanned<NonZeroU32>,
        /// The time for them.
        per: Spanned<PositiveDuration> = "1s",
        /// Requests that may come at once; as many as `requests` by default.
        burst: Spanned<NonZeroU32>,
        /// By what clients are told apart: client_ip, path, header:NAME or cookie:NAME.
        source: Spanned<HashSource> = "client_ip",
    }
    required: requests = "requests: 100"
}

record! {
    /// Limits how much is asked at once.
    pub struct InFlight {
        /// Requests at once.
        amount: Spanned<NonZeroU32>,
        /// By what clients are told apart; all together by default.
        source: Spanned<HashSource>,
    }
    required: amount = "amount: 100"
}

record! {
    /// Takes in bodies before passing them on.
    pub struct Buffering {
        /// The largest body of a request; 0 means no limit.
        max_request_body_bytes: Spanned<ByteSize> = "0",
        /// How much of it is held in memory.
        mem_request_body_bytes: Spanned<ByteSize> = "1MiB",
        /// The largest body of a response; 0 means no limit.
        max_response_body_bytes: Spanned<ByteSize> = "0",
        /// How much of it is held in memory.
        mem_response_body_bytes: Spanned<ByteSize> = "1MiB",
    }
}

record! {
    /// Compresses responses.
    pub struct Compress {
        /// The encodings offered, the preferred one first.
        encodings: Vec<Spanned<Encoding>> = "[\"zstd\", \"br\", \"gzip\"]",
        /// The smallest body worth it.
        min_response_body_bytes: Spanned<ByteSize> = "1KiB",
        /// Media types that are left alone.
        excluded_content_types: Vec<Spanned<String>>,
        /// The only media types that are compressed.
        included_content_types: Vec<Spanned<String>>,
    }
}

record! {
    /// Has another service answer in place of an error.
    pub struct Errors {
        /// The codes.
        status: OneOrMany<StatusRange>,
        /// Who answers.
        service: Spanned<ServiceName>,
        /// The path asked for; `{status}` stands for the code.
        query: Spanned<String> = "/",
    }
    required: status = "status: [500-599]", service = "service: NAME"
}

record! {
    /// Several middlewares in a row.
    pub struct Chain {
        /// Which, in this order.
        middlewares: Vec<Spanned<MiddlewareName>>,
    }
    required: middlewares = "middlewares: [NAME, ...]"
}

record! {
    /// A plugin by its name.
    pub struct PluginUse {
        /// A name from `plugins`.
        name: Spanned<String>,
        /// What it is told here, as JSON.
        config: Anything,
    }
    required: name = "name: NAME"
}

super::words! {
    /// A content coding (RFC 9110 section 8.4.1).
    pub enum Encoding: "an encoding" {
        /// RFC 8878.
        Zstd = "zstd",
        /// RFC 7932.
        Br = "br",
        /// RFC 1952.
        Gzip = "gzip",
    }
}
