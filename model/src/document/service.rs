//! Servers, pools of them and how they are used, as written.

use std::num::{NonZeroU16, NonZeroU32};

use super::{Grpc, HeaderValue, Named, OneOrMany, Spanned, TrafficManagement, record, words};
use crate::{
    rule::{HeaderName, MethodName},
    value::{
        BackendName, BackendUrl, ByteSize, Duration, Factor, FilePath, HashSource, Label,
        MiddlewareName, Pattern, PositiveDuration, ServiceName, StatusRange, Weight,
    },
};

record! {
    /// One server.
    pub struct Backend {
        /// `SCHEME://HOST:PORT`; the scheme is http, https, h2c, grpc, grpcs, tcp or udp.
        url: Spanned<BackendUrl>,
        /// Its share among the others.
        weight: Spanned<Weight> = "1",
        /// Where it stands; proxies of the same zone prefer it.
        zone: Spanned<Label>,
        /// Its level: requests go to the lowest level, and what that cannot take to the next.
        priority: Spanned<u8> = "0",
        /// Whether the path of the URL precedes those of requests.
        preserve_path: Spanned<bool> = "false",
    }
    required: url = "url: \"http://HOST:PORT\""
}

record! {
    /// A pool of backends with its policy, or other services to choose from.
    pub struct Service {
        /// Ids of backends.
        backends: Vec<Spanned<BackendName>>,
        /// Other services and their shares, in place of backends.
        weighted: Vec<WeightedService>,
        /// Another service that answers while this one has no backend to choose.
        failover: Spanned<ServiceName>,
        /// The codes of this service's answers in place of which it answers, too.
        failover_status: OneOrMany<StatusRange>,
        /// Who takes the next request.
        strategy: Spanned<Strategy> = "round_robin",
        /// What strategy `hash` looks at: client_ip, path, header:NAME or cookie:NAME.
        hash_on: Spanned<HashSource>,
        /// For how long the share of a backend that came up grows; 0 gives it all at once.
        slow_start: Spanned<Duration> = "0",
        /// The percentage of backends that are well below which all are used, well or not.
        panic_threshold: Spanned<crate::value::Percentage> = "0",
        /// How to find out whether a backend is well.
        health_check: Box<HealthCheck>,
        /// How to tell from its answers that a backend is not well.
        passive_health_check: Box<PassiveHealthCheck>,
        /// When a request is tried again.
        retry: Box<Retry>,
        /// How long backends may take.
        timeouts: Box<ServiceTimeouts>,
        /// Connections kept for reuse.
        pool: Box<Pool>,
        /// Whether backends see the client's `Host`.
        pass_host_header: Spanned<bool> = "true",
        /// After how long a part of a response is passed on; 0 passes on every part at once.
        flush_interval: Spanned<Duration> = "100ms",
        /// Middlewares of every route to it, after the route's own.
        middlewares: Vec<Spanned<MiddlewareName>>,
        /// Stickiness, deployments, mirroring and circuit breaking of this service.
        traffic_management: Box<TrafficManagement>,
        /// gRPC to this service.
        grpc: Box<Grpc>,
    }
}

record! {
    /// Another service and its share.
    pub struct WeightedService {
        /// Which.
        service: Spanned<ServiceName>,
        /// Its share among the others.
        weight: Spanned<Weight> = "1",
    }
    required: service = "service: NAME"
}

record! {
    /// An active health check.
    pub struct HealthCheck {
        /// What is spoken: `http`, `tcp` (a connection is enough) or `grpc` (grpc.health.v1).
        r#type: Spanned<CheckType> = "http",
        /// The path asked for.
        path: Spanned<String> = "/",
        /// The port asked, if it is not the backend's own.
        port: Spanned<NonZeroU16>,
        /// The `Host` asked for, and the name that TLS asks for; the backend's own by default.
        host: Spanned<HeaderValue>,
        /// The method asked with.
        method: Spanned<MethodName> = "GET",
        /// Header fields sent along.
        headers: Named<HeaderName, Spanned<HeaderValue>>,
        /// The codes that pass.
        status: OneOrMany<StatusRange> = "200-399",
        /// What the first 64 KiB of the body of a passing answer hold.
        body: Spanned<Pattern>,
        /// Which part of the server `grpc` asks about; the whole by default.
        service: Spanned<String>,
        /// Whether the check speaks TLS; as the backend does by default.
        tls: Spanned<bool>,
        /// PEM file of the authorities trusted then; by default those of the proxy's system.
        ca_file: Spanned<FilePath>,
        /// From one check to the next.
        interval: Spanned<PositiveDuration> = "5s",
        /// The same, while the backend is ill; as `interval` by default.
        unhealthy_interval: Spanned<PositiveDuration>,
        /// For the whole check; shorter than the interval.
        timeout: Spanned<PositiveDuration> = "1s",
        /// Passes in a row that make a backend well.
        healthy_threshold: Spanned<u16> = "2",
        /// Failures in a row that make a backend ill.
        unhealthy_threshold: Spanned<u16> = "3",
    }
}

record! {
    /// What a backend's answers say of it; Envoy's outlier detection.
    pub struct PassiveHealthCheck {
        /// Failures in a row after which a backend takes no requests for a while.
        max_failed_attempts: Spanned<NonZeroU32> = "5",
        /// Within which time they are counted.
        failure_window: Spanned<PositiveDuration> = "10s",
        /// For how long it takes none; longer each time.
        ejection_time: Spanned<PositiveDuration> = "30s",
        /// The longest that this becomes.
        max_ejection_time: Spanned<PositiveDuration> = "300s",
        /// The largest share of a pool, in percent, that may be out at once.
        max_ejection_percent: Spanned<crate::value::Percentage> = "50",
        /// Compares the backends of a pool with each other.
        success_rate: SuccessRate,
    }
}

record! {
    /// Takes out backends that succeed much less often than the others of their pool.
    pub struct SuccessRate {
        /// From one comparison to the next.
        interval: Spanned<PositiveDuration> = "10s",
        /// Backends with enough requests below which nothing is compared.
        minimum_hosts: Spanned<NonZeroU32> = "5",
        /// Requests within an interval below which a backend is not compared.
        request_volume: Spanned<NonZeroU32> = "100",
        /// How many standard deviations below the mean are too many.
        stdev_factor: Spanned<Factor> = "1.9",
    }
}

record! {
    /// When a request is tried again.
    pub struct Retry {
        /// Tries in all, the first included.
        attempts: Spanned<NonZeroU32>,
        /// The pause before the second try; doubled for each one after.
        initial_interval: Spanned<Duration> = "100ms",
        /// How long one try may take.
        per_try_timeout: Spanned<PositiveDuration>,
        /// What is tried again.
        on: Vec<Spanned<RetryOn>> = "[\"connect_failure\", \"refused_stream\"]",
        /// Codes of answers that are tried again as well.
        status: OneOrMany<StatusRange>,
        /// Whether POST and other methods that may do something twice are tried again even when
        /// the backend may have begun with them.
        non_idempotent: Spanned<bool> = "false",
        /// The largest request body that is kept to be sent again.
        max_body_bytes: Spanned<ByteSize> = "64KiB",
        /// The largest share of requests, in percent, that may be tries beyond the first.
        budget: Spanned<crate::value::Percentage> = "20",
    }
    required: attempts = "attempts: 3"
}

record! {
    /// How long backends may take.
    pub struct ServiceTimeouts {
        /// Until a connection stands.
        connect: Spanned<PositiveDuration> = "5s",
        /// Until the response head arrives; 0 means no limit.
        response_header: Spanned<Duration> = "30s",
        /// The longest pause in a response body; 0 means no limit.
        idle: Spanned<Duration> = "60s",
        /// The whole exchange; 0 means no limit.
        total: Spanned<Duration> = "0",
    }
}

record! {
    /// Connections to backends.
    pub struct Pool {
        /// How many idle ones are kept, for each backend and worker.
        max_idle: Spanned<u32> = "256",
        /// How long they are kept.
        idle_timeout: Spanned<PositiveDuration> = "60s",
        /// How many there are at most from one proxy to one backend, busy ones included; 0 means
        /// no limit.
        max_connections: Spanned<u32> = "0",
        /// How many requests may wait for one of them.
        max_pending_requests: Spanned<u32> = "1024",
        /// How long a request may wait.
        queue_timeout: Spanned<PositiveDuration> = "1s",
        /// How old they get; 0 means no limit.
        max_lifetime: Spanned<Duration> = "0",
    }
}

words! {
    /// Who takes the next request.
    pub enum Strategy: "a strategy" {
        /// In turn, by weight, smoothly interleaved.
        RoundRobin = "round_robin",
        /// The less busy of two drawn by weight.
        P2c = "p2c",
        /// The one of two drawn by weight that answers sooner, going by its slowest answers.
        PeakEwma = "peak_ewma",
        /// The least busy.
        LeastRequests = "least_requests",
        /// The same for the same part of the request.
        Hash = "hash",
    }
}

words! {
    /// What a health check speaks.
    pub enum CheckType: "a kind of check" {
        /// A request and its status.
        Http = "http",
        /// A connection.
        Tcp = "tcp",
        /// The health protocol of gRPC.
        Grpc = "grpc",
    }
}

words! {
    /// What is tried again; Envoy's words in snake_case.
    pub enum RetryOn: "a reason to try again" {
        /// No connection stood.
        ConnectFailure = "connect_failure",
        /// The backend did not begin with the stream.
        RefusedStream = "refused_stream",
        /// The connection ended before the answer.
        Reset = "reset",
        /// The answer was 502, 503 or 504.
        GatewayError = "gateway_error",
        /// The answer was 5xx.
        ServerError = "5xx",
    }
}
