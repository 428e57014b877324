//! What is told of requests, as written.

use super::{Named, OneOrMany, Spanned, record, words};
use crate::{
    rule::HeaderName,
    value::{
        Duration, FilePath, Fraction, HashSource, InvalidValue, PositiveDuration, Secret,
        StatusRange, Url,
    },
};

record! {
    /// What is told of requests.
    pub struct Observability {
        /// The way of single requests.
        tracing: Tracing,
        /// Numbers over all requests.
        metrics: Metrics,
        /// A line for each request.
        logging: Logging,
    }
}

record! {
    /// Distributed tracing (W3C Trace Context).
    pub struct Tracing {
        /// Whether it is on.
        enabled: Spanned<bool> = "false",
        /// `service.name` of every span.
        service_name: Spanned<String> = "load-balancer",
        /// The share of requests that begin a trace, from 0 to 1. What the client decided wins.
        sample_rate: Spanned<Fraction> = "1",
        /// Where spans go.
        exporters: Vec<TraceExporter>,
        /// How trace contexts are read and written, in this order.
        propagation: Vec<Spanned<Propagation>> = "[\"tracecontext\", \"baggage\"]",
        /// How much spans say.
        verbosity: Spanned<Verbosity> = "minimal",
        /// Header fields of requests that spans show.
        captured_request_headers: Vec<Spanned<HeaderName>>,
        /// Header fields of responses that spans show.
        captured_response_headers: Vec<Spanned<HeaderName>>,
    }
}

record! {
    /// Where spans go.
    pub struct TraceExporter {
        /// What is spoken there.
        r#type: Spanned<TraceExporterType>,
        /// Where it is; none for stdout.
        endpoint: Spanned<Url>,
        /// The transport of otlp.
        protocol: Spanned<OtlpProtocol> = "http",
        /// Header fields sent along.
        headers: Named<HeaderName, Spanned<Secret<String>>>,
        /// A file with the PEM certificates to trust there.
        ca_file: Spanned<FilePath>,
        /// For one sending.
        timeout: Spanned<PositiveDuration> = "10s",
    }
    required: r#type = "type: otlp"
}

record! {
    /// Metrics.
    pub struct Metrics {
        /// Whether they are on.
        enabled: Spanned<bool> = "false",
        /// What every name begins with.
        prefix: Spanned<MetricPrefix> = "lb",
        /// Where they can be had, or go.
        exporters: Vec<MetricExporter>,
        /// Whether there are numbers for each backend.
        backend_labels: Spanned<bool> = "true",
        /// The bounds of the buckets of durations, in seconds.
        buckets: Vec<Spanned<Bound>>,
    }
}

record! {
    /// Where metrics can be had, or go.
    pub struct MetricExporter {
        /// What is spoken.
        r#type: Spanned<MetricExporterType>,
        /// The path under which they are read, or the URL that they are sent to.
        endpoint: Spanned<MetricEndpoint>,
        /// From one sending to the next.
        interval: Spanned<PositiveDuration> = "10s",
    }
    required: r#type = "type: prometheus"
}

record! {
    /// A line for each request.
    pub struct Logging {
        /// Whether it is on.
        enabled: Spanned<bool> = "false",
        /// Whether lines are JSON.
        structured_format: Spanned<bool> = "true",
        /// Whether lines name the trace.
        include_trace: Spanned<bool> = "false",
        /// Header fields whose values are never shown, in any letter case.
        sensitive_headers: Vec<Spanned<HeaderName>> = "[\"Authorization\", \"Cookie\"]",
        /// Parameters of the query whose values are never shown.
        sensitive_query_params: Vec<Spanned<String>> = "[\"token\", \"password\"]",
        /// Fields that every line has: a text, or header:NAME, claim:NAME or cookie:NAME.
        fields: Named<String, Spanned<String>>,
        /// Whether lines have times of each step.
        performance_metrics: Spanned<bool> = "true",
        /// The least that is worth a line.
        level: Spanned<LogLevel> = "info",
        /// Which requests get a line; all by default.
        filters: LogFilters,
    }
}

record! {
    /// Which requests get a line.
    pub struct LogFilters {
        /// Those with these codes.
        status_codes: OneOrMany<StatusRange>,
        /// Those that took at least this long.
        min_duration: Spanned<Duration>,
        /// Those that were tried again.
        retry_attempts: Spanned<bool> = "false",
        /// Of all these, this share.
        sample_rate: Spanned<Fraction> = "1",
        /// By what it is drawn, so that all lines of a client are there or none.
        sample_by: Spanned<HashSource>,
    }
}

words! {
    /// What is spoken to a collector of traces.
    pub enum TraceExporterType: "a kind of exporter" {
        /// OpenTelemetry.
        Otlp = "otlp",
        /// Jaeger's Thrift over HTTP.
        Jaeger = "jaeger",
        /// Zipkin's JSON.
        Zipkin = "zipkin",
        /// JSON by POST.
        Http = "http",
        /// Standard output.
        Stdout = "stdout",
    }
}

words! {
    /// The transport of OpenTelemetry.
    pub enum OtlpProtocol: "a transport" {
        /// Protobuf over HTTP.
        Http = "http",
        /// gRPC.
        Grpc = "grpc",
    }
}

words! {
    /// A form of trace contexts.
    pub enum Propagation: "a form of trace contexts" {
        /// W3C Trace Context.
        TraceContext = "tracecontext",
        /// W3C Baggage.
        Baggage = "baggage",
        /// Zipkin's.
        B3 = "b3",
        /// Jaeger's `uber-trace-id`.
        Jaeger = "jaeger",
    }
}

words! {
    /// How much spans say.
    pub enum Verbosity: "a verbosity" {
        /// One span for a request and one for each try.
        Minimal = "minimal",
        /// One for each step too.
        Detailed = "detailed",
    }
}

words! {
    /// How metrics can be had.
    pub enum MetricExporterType: "a kind of exporter" {
        /// They are read under a path.
        Prometheus = "prometheus",
        /// They are sent with OpenTelemetry.
        Otlp = "otlp",
        /// They are sent with StatsD.
        Statsd = "statsd",
    }
}

words! {
    /// The least that is worth a line.
    pub enum LogLevel: "a level" {
        /// What a person must look at.
        Error = "error",
        /// What went wrong and was coped with.
        Warn = "warn",
        /// Every request.
        Info = "info",
        /// Every connection too.
        Debug = "debug",
        /// Every frame too.
        Trace = "trace",
    }
}

/// What names of metrics begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricPrefix(pub Box<str>);

impl super::Leaf for MetricPrefix {
    fn leaf(text: &str) -> Result<Self, InvalidValue> {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !text.starts_with(|c: char| c.is_ascii_alphabetic())
            || !text.chars().all(fits)
            || text.len() > 64
        {
            return Err(InvalidValue::new(
                format!("`{text}` cannot begin the name of a metric"),
                "use letters, digits and `_`, starting with a letter",
            ));
        }
        Ok(Self(text.into()))
    }

    fn schema() -> serde_json::Value {
        serde_json::json!({ "type": "string", "pattern": "^[A-Za-z][A-Za-z0-9_]{0,63}$" })
    }
}

/// A path under which metrics are read, or an address that they are sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetricEndpoint {
    /// The path.
    Path(Box<str>),
    /// The address.
    Url(Box<str>),
}

impl super::Leaf for MetricEndpoint {
    fn leaf(text: &str) -> Result<Self, InvalidValue> {
        if text.starts_with('/') && text.bytes().all(|b| b.is_ascii_graphic() && b != b'?') {
            return Ok(Self::Path(text.into()));
        }
        if Url::parse(text).is_ok() || crate::value::Endpoint::parse(text).is_ok() {
            return Ok(Self::Url(text.into()));
        }
        Err(InvalidValue::new(
            format!("`{text}` is neither a path nor an address"),
            "write /metrics, or a URL such as http://collector:4318",
        ))
    }

    fn schema() -> serde_json::Value {
        serde_json::json!({ "type": "string", "minLength": 1 })
    }
}

/// The upper end of a bucket, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bound(pub u64);

impl super::Leaf for Bound {
    fn leaf(text: &str) -> Result<Self, InvalidValue> {
        let seconds = text.parse::<f64>().ok().filter(|s| s.is_finite() && *s > 0.0 && *s < 1e6);
        seconds.map(|seconds| Self((seconds * 1e6) as u64)).ok_or_else(|| {
            InvalidValue::new(
                format!("`{text}` is not the bound of a bucket"),
                "write seconds, such as 0.005",
            )
        })
    }

    fn schema() -> serde_json::Value {
        serde_json::json!({ "type": "number", "exclusiveMinimum": 0 })
    }
}
