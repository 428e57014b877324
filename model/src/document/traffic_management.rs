//! How requests are divided among the backends of a service, as written.

use std::num::NonZeroU32;

use ipnet::IpNet;

use super::{Spanned, record, words};
use crate::{
    rule::HeaderName,
    value::{
        BackendName, BackendUrl, ByteSize, CookieName, Domain, Duration, Fraction, Percentage,
        PositiveDuration, StatusRange, Url, Weight,
    },
};

record! {
    /// Stickiness, deployments, mirroring and circuit breaking. At the top level it is that of
    /// every service that does not set its own.
    pub struct TrafficManagement {
        /// The same backend for the same client.
        session_stickiness: SessionStickiness,
        /// Two sets of backends, of which one serves.
        blue_green: BlueGreen,
        /// A share of the requests for a new version.
        canary: Canary,
        /// Copies of requests for others to look at.
        traffic_mirroring: TrafficMirroring,
        /// No requests for a backend that fails.
        circuit_breaker: CircuitBreaker,
    }
}

record! {
    /// The same backend for the same client. A cookie wins over a header.
    pub struct SessionStickiness {
        /// Whether it is on.
        enabled: Spanned<bool> = "false",
        /// The cookie that remembers the backend. Without it and a header: `lb_session`.
        cookie_name: Spanned<CookieName>,
        /// The header whose value stands for a client.
        header_name: Spanned<HeaderName>,
        /// For how long a backend is remembered after the last request.
        ttl: Spanned<PositiveDuration> = "3600s",
        /// Whether the cookie is sent over TLS only; by default if it came over TLS.
        secure: Spanned<bool>,
        /// Whether scripts cannot read the cookie.
        http_only: Spanned<bool> = "true",
        /// Whether other sites make browsers send the cookie.
        same_site: Spanned<SameSite> = "lax",
        /// The paths for which the cookie is sent.
        path: Spanned<String> = "/",
        /// The domain for which the cookie is sent; the host that set it by default.
        domain: Spanned<Domain>,
    }
}

record! {
    /// Two sets of backends, of which one serves.
    pub struct BlueGreen {
        /// Whether it is on.
        enabled: Spanned<bool> = "false",
        /// Ids of backends.
        blue_backends: Vec<Spanned<BackendName>>,
        /// Ids of backends.
        green_backends: Vec<Spanned<BackendName>>,
        /// The set that serves.
        active_slot: Spanned<Slot> = "blue",
        /// A header whose value, `blue` or `green`, chooses for one request.
        switch_header: Spanned<HeaderName>,
        /// Who may choose by header; everybody by default.
        switch_header_trusted_ips: Vec<Spanned<IpNet>>,
        /// Whether the other set serves while the active one has no backend that is well.
        fallback: Spanned<bool> = "false",
    }
}

record! {
    /// A share of the requests for a new version.
    pub struct Canary {
        /// Whether it is on.
        enabled: Spanned<bool> = "false",
        /// The backends of the new version.
        canary_backends: Vec<CanaryBackend>,
        /// The percentage of requests that they get together.
        traffic_split: Spanned<Percentage>,
        /// A header that chooses for one request: true, false, or the id of a canary.
        split_header: Spanned<HeaderName>,
        /// Who stays with the version they saw; `cookie` when session stickiness is on.
        sticky: Spanned<CanarySticky>,
        /// How the share grows by itself, from `traffic_split` on.
        steps: Vec<CanaryStep>,
    }
    required: canary_backends = "canary_backends: [{ backend_id: ID, weight: 1 }]"
}

record! {
    /// A backend of the new version.
    pub struct CanaryBackend {
        /// Its id; a backend is made of it and the URL where there is none.
        backend_id: Spanned<BackendName>,
        /// Where it is.
        url: Spanned<BackendUrl>,
        /// Its share among the canaries, not of all requests.
        weight: Spanned<Weight> = "1",
    }
    required: backend_id = "backend_id: canary1"
}

record! {
    /// A share and for how long.
    pub struct CanaryStep {
        /// The percentage of requests.
        split: Spanned<Percentage>,
        /// Until the next step.
        r#for: Spanned<PositiveDuration>,
    }
    required: split = "split: 25", r#for = "for: 30m"
}

record! {
    /// Copies of requests for others to look at.
    pub struct TrafficMirroring {
        /// Whether it is on.
        enabled: Spanned<bool> = "false",
        /// Who gets copies.
        targets: Vec<MirrorTarget>,
        /// Whether clients wait for no copy; no answer ever depends on one.
        r#async: Spanned<bool> = "true",
        /// The share of requests that are copied, from 0 to 1.
        sample_rate: Spanned<Fraction> = "1",
        /// The largest body that is copied.
        max_body_bytes: Spanned<ByteSize> = "1MiB",
        /// What happens to a larger one.
        on_large_body: Spanned<LargeBody> = "skip",
        /// Header fields that copies do not carry, such as Authorization.
        strip_headers: Vec<Spanned<HeaderName>>,
    }
    required: targets = "targets: [{ url: \"http://analytics:8080\" }]"
}

record! {
    /// Who gets copies.
    pub struct MirrorTarget {
        /// Where it is; its path and query precede those of the request.
        url: Spanned<Url>,
        /// What it is called in metrics; its host by default.
        name: Spanned<String>,
        /// How long a copy may take, the way of its body included.
        timeout: Spanned<PositiveDuration> = "5s",
        /// Whether copies for it have no body.
        ignore_body: Spanned<bool> = "false",
    }
    required: url = "url: \"http://analytics:8080\""
}

record! {
    /// No requests for a backend that fails.
    pub struct CircuitBreaker {
        /// Whether it is on.
        enabled: Spanned<bool> = "false",
        /// Failures within the window that open it.
        failure_threshold: Spanned<NonZeroU32> = "5",
        /// Successes in a row that close it again.
        success_threshold: Spanned<NonZeroU32> = "3",
        /// For how long it stays open before a few requests try again.
        recovery_timeout: Spanned<PositiveDuration> = "30s",
        /// Requests within the window below which it never opens.
        request_volume_threshold: Spanned<u32> = "20",
        /// The time over which both are counted.
        window: Spanned<PositiveDuration> = "10s",
        /// The codes that count as failures, beside connections that fail.
        failure_status: Vec<Spanned<StatusRange>> = "[500, 502, 503, 504]",
        /// The longest time that it stays open after it opened again and again.
        max_recovery_timeout: Spanned<Duration>,
    }
}

words! {
    /// When browsers send a cookie with requests from other sites.
    pub enum SameSite: "a value of SameSite" {
        /// When a person follows a link.
        Lax = "lax",
        /// Never.
        Strict = "strict",
        /// Always; needs `secure`.
        None = "none",
    }
}

words! {
    /// One of two sets of backends.
    pub enum Slot: "a slot" {
        /// The first.
        Blue = "blue",
        /// The second.
        Green = "green",
    }
}

words! {
    /// By what a client is known.
    pub enum CanarySticky: "a way to know a client" {
        /// A cookie.
        Cookie = "cookie",
        /// The header of session stickiness.
        Header = "header",
        /// Its address.
        Ip = "ip",
    }
}

words! {
    /// What happens to a body that is too large to copy.
    pub enum LargeBody: "a way to treat large bodies" {
        /// The request is not copied.
        Skip = "skip",
        /// The copy ends where the limit is.
        Truncate = "truncate",
    }
}
