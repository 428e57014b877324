//! What may be asked and how often, as written.

use std::num::NonZeroU32;

use super::{HeaderValue, Named, Spanned, record, words};
use crate::{
    rule::{HeaderName, MethodName},
    value::{ByteSize, HashSource, PathPattern, Pattern, PositiveDuration},
};

record! {
    /// Requests are searched for attacks. At the top level it is for every route that does not
    /// set its own.
    pub struct Waf {
        /// Whether it is on.
        enabled: Spanned<bool> = "false",
        /// Whether what is found is refused, only noted, or not looked for.
        mode: Spanned<WafMode> = "block",
        /// The largest request; 0 means no limit.
        max_request_size: Spanned<ByteSize> = "10MiB",
        /// How much of a body is searched.
        body_inspect_limit: Spanned<ByteSize> = "128KiB",
        /// What is searched for without any rule.
        detectors: Detectors,
        /// What else is searched for.
        rules: Vec<WafRule>,
        /// How often one client may ask.
        rate_limit: RateLimit,
        /// Programs that pose as people.
        bot_detection: BotDetection,
        /// Header fields that make browsers careful.
        security_headers: SecurityHeaders,
    }
}

record! {
    /// What is searched for without any rule, and what happens then.
    pub struct Detectors {
        /// Injected SQL.
        sql_injection: Spanned<Detection> = "block",
        /// Injected scripts.
        xss: Spanned<Detection> = "block",
        /// Paths that leave their root.
        path_traversal: Spanned<Detection> = "block",
        /// Injected commands.
        command_injection: Spanned<Detection> = "block",
    }
}

record! {
    /// Something to search for.
    pub struct WafRule {
        /// What it is called in logs and metrics.
        name: Spanned<String>,
        /// A stable number or word for it.
        id: Spanned<String>,
        /// The regular expression; it is found anywhere in a target.
        pattern: Spanned<Pattern>,
        /// What happens then.
        action: Spanned<WafAction> = "block",
        /// Where it is searched for.
        targets: Vec<Spanned<WafTarget>> = "[\"path\", \"query\", \"headers\", \"body\"]",
        /// The paths that it is about; all by default.
        paths: Vec<Spanned<PathPattern>>,
        /// The methods that it is about; all by default.
        methods: Vec<Spanned<MethodName>>,
        /// How grave it is.
        severity: Spanned<WafSeverity> = "critical",
    }
    required: name = "name: \"what it finds\"", pattern = "pattern: \"(?i)<script\""
}

record! {
    /// How often something may be asked.
    pub struct RateLimit {
        /// Whether it is on.
        enabled: Spanned<bool> = "false",
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
    /// Programs that pose as people.
    pub struct BotDetection {
        /// Whether it is on.
        enabled: Spanned<bool> = "false",
        /// What happens to them.
        action: Spanned<WafAction> = "block",
        /// Whether a request without `User-Agent` is one of theirs.
        block_empty_user_agent: Spanned<bool> = "true",
        /// What the `User-Agent` of welcome ones holds.
        allow: Vec<Spanned<Pattern>>,
        /// What the `User-Agent` of others holds, beside what is known.
        deny: Vec<Spanned<Pattern>>,
    }
}

record! {
    /// Header fields that make browsers careful.
    pub struct SecurityHeaders {
        /// Whether they are added.
        enabled: Spanned<bool> = "false",
        /// `Content-Security-Policy`.
        content_security_policy: Spanned<HeaderValue>,
        /// `Strict-Transport-Security`, on TLS only; `off` leaves it out.
        strict_transport_security: Spanned<HeaderValue> = "max-age=31536000",
        /// `X-Content-Type-Options`; `off` leaves it out.
        content_type_options: Spanned<HeaderValue> = "nosniff",
        /// `X-Frame-Options`; `off` leaves it out.
        frame_options: Spanned<HeaderValue> = "SAMEORIGIN",
        /// `Referrer-Policy`; `off` leaves it out.
        referrer_policy: Spanned<HeaderValue> = "strict-origin-when-cross-origin",
        /// `Permissions-Policy`.
        permissions_policy: Spanned<HeaderValue>,
        /// Any others.
        custom: Named<HeaderName, Spanned<HeaderValue>>,
        /// Whether they replace what backends say.
        r#override: Spanned<bool> = "false",
    }
}

words! {
    /// Whether what is found is refused.
    pub enum WafMode: "a mode" {
        /// It is.
        Block = "block",
        /// It passes and is noted.
        Monitor = "monitor",
        /// Nothing is looked for.
        Off = "off",
    }
}

words! {
    /// What happens when a rule finds something.
    pub enum WafAction: "an action" {
        /// The request is refused.
        Block = "block",
        /// The request passes and is noted.
        Monitor = "monitor",
        /// The request passes, and no other rule is asked.
        Allow = "allow",
    }
}

words! {
    /// What happens when a detector finds something.
    pub enum Detection: "a way to treat what is found" {
        /// The request is refused.
        Block = "block",
        /// The request passes and is noted.
        Monitor = "monitor",
        /// Nothing is looked for.
        Off = "off",
    }
}

words! {
    /// A part of a request.
    pub enum WafTarget: "a part of a request" {
        /// The decoded path.
        Path = "path",
        /// The decoded query.
        Query = "query",
        /// The values of header fields.
        Headers = "headers",
        /// The values of cookies.
        Cookies = "cookies",
        /// The body: form, JSON, multipart or text.
        Body = "body",
    }
}

words! {
    /// How grave a finding is.
    pub enum WafSeverity: "a severity" {
        /// An attack.
        Critical = "critical",
        /// Most likely one.
        Error = "error",
        /// Perhaps one.
        Warning = "warning",
        /// Worth a note.
        Notice = "notice",
    }
}
