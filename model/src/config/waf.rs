//! What may be asked and how often.

pub use crate::document::{Detection, WafAction, WafMode, WafSeverity, WafTarget};
use crate::{
    document::HeaderValue,
    rule::{HeaderName, MethodName},
    value::{ByteSize, Duration, HashSource, PathPattern, Pattern},
};

/// Requests are searched for attacks.
#[derive(Debug, Clone, PartialEq)]
pub struct Waf {
    /// Whether what is found is refused, only noted, or not looked for.
    pub mode: WafMode,
    /// The largest request; 0 is no limit.
    pub max_request_size: ByteSize,
    /// How much of a body is searched.
    pub body_inspect_limit: ByteSize,
    /// What is searched for without any rule.
    pub detectors: Detectors,
    /// What else is searched for, in this order.
    pub rules: Vec<WafRule>,
    /// How often one client may ask.
    pub rate_limit: Option<RateLimit>,
    /// Programs that pose as people.
    pub bot_detection: Option<BotDetection>,
    /// Header fields that responses get, and whether they replace what backends say.
    pub security_headers: Option<SecurityHeaders>,
}

/// What happens when something is found without any rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Detectors {
    /// Injected SQL.
    pub sql_injection: Detection,
    /// Injected scripts.
    pub xss: Detection,
    /// Paths that leave their root.
    pub path_traversal: Detection,
    /// Injected commands.
    pub command_injection: Detection,
}

/// Something to search for.
#[derive(Debug, Clone, PartialEq)]
pub struct WafRule {
    /// What it is called in logs and metrics; no two rules share one.
    pub name: String,
    /// A stable number or word for it.
    pub id: Option<String>,
    /// What is searched for.
    pub pattern: Pattern,
    /// What happens then.
    pub action: WafAction,
    /// Where it is searched for; never empty.
    pub targets: Vec<WafTarget>,
    /// The paths that it is about; all when empty.
    pub paths: Vec<PathPattern>,
    /// The methods that it is about; all when empty.
    pub methods: Vec<MethodName>,
    /// How grave it is.
    pub severity: WafSeverity,
}

/// Programs that pose as people.
#[derive(Debug, Clone, PartialEq)]
pub struct BotDetection {
    /// What happens to them.
    pub action: WafAction,
    /// Whether a request without `User-Agent` is one of theirs.
    pub block_empty_user_agent: bool,
    /// What the `User-Agent` of welcome ones holds.
    pub allow: Vec<Pattern>,
    /// What the `User-Agent` of others holds, beside what is known.
    pub deny: Vec<Pattern>,
}

/// Header fields that make browsers careful.
#[derive(Debug, Clone, PartialEq)]
pub struct SecurityHeaders {
    /// The fields, in the order in which they are added.
    pub fields: Vec<(HeaderName, HeaderValue)>,
    /// Fields among them that are added on TLS only.
    pub on_tls: Vec<HeaderName>,
    /// Whether they replace what backends say.
    pub replaces: bool,
}

/// How often something may be asked.
#[derive(Debug, Clone, PartialEq)]
pub struct RateLimit {
    /// Requests that may come within `per`.
    pub requests: u32,
    /// The time for them.
    pub per: Duration,
    /// Requests that may come at once.
    pub burst: u32,
    /// By what clients are told apart.
    pub source: HashSource,
}

impl WafRule {
    /// Whether it is about a request at all; what it searches is not looked at.
    pub fn is_about(&self, method: &str, path: &str) -> bool {
        (self.methods.is_empty() || self.methods.iter().any(|named| named.as_str() == method))
            && (self.paths.is_empty() || self.paths.iter().any(|pattern| pattern.matches(path)))
    }
}
