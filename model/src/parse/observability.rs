//! What is told of requests.

use std::collections::HashSet;

use super::{Faults, traffic_management::on};
use crate::{
    diagnostic::code,
    document::{
        Document, Logging, MetricEndpoint, MetricExporterType, Metrics, TraceExporterType, Tracing,
    },
};

impl Faults<'_> {
    /// Tracing, metrics and logs.
    pub(super) fn observability(&mut self, document: &Document) {
        let Some(written) = &document.observability else { return };
        self.path = vec!["observability".to_owned()];
        if let Some(tracing) = on(written.tracing.as_ref()) {
            self.within("tracing", |faults| faults.tracing(tracing));
        }
        if let Some(metrics) = on(written.metrics.as_ref()) {
            self.within("metrics", |faults| faults.metrics(metrics));
        }
        if let Some(logging) = on(written.logging.as_ref()) {
            self.within("logging", |faults| faults.logging(logging));
        }
        self.path.clear();
    }

    fn tracing(&mut self, written: &Tracing) {
        if written.exporters.as_ref().is_none_or(Vec::is_empty)
            && !written.faulty.contains(&"exporters")
        {
            let message = "spans go nowhere";
            let help = "write exporters: [{ type: otlp, endpoint: \"http://collector:4318\" }]";
            self.warn(written.at, code::EMPTY, message, help);
        }
        self.each("exporters", written.exporters.iter().flatten(), |faults, exporter| {
            if let Some(path) = &exporter.ca_file {
                faults.authorities("ca_file", path);
            }
            let Some(kind) = exporter.r#type else { return };
            let is_stdout = kind.value == TraceExporterType::Stdout;
            match &exporter.endpoint {
                None if !is_stdout && !exporter.faulty.contains(&"endpoint") => {
                    let help = "write endpoint: \"http://collector:4318\"";
                    faults.error(exporter.at, code::MISSING, "`endpoint` is missing", help);
                }
                Some(endpoint) if is_stdout => {
                    let message = "stdout has no endpoint";
                    faults.error(endpoint.at, code::CONFLICT, message, "leave it out");
                }
                _ => {}
            }
        });
    }

    fn metrics(&mut self, written: &Metrics) {
        let mut paths = HashSet::new();
        self.each("exporters", written.exporters.iter().flatten(), |faults, exporter| {
            let (Some(kind), Some(endpoint)) = (&exporter.r#type, &exporter.endpoint) else {
                return;
            };
            let is_read = kind.value == MetricExporterType::Prometheus;
            faults.within("endpoint", |faults| match (&endpoint.value, is_read) {
                (MetricEndpoint::Url(_), true) => {
                    let message = "prometheus reads metrics, so this is a path of ours";
                    faults.error(endpoint.at, code::CONFLICT, message, "write endpoint: /metrics");
                }
                (MetricEndpoint::Path(_), false) => {
                    let message = format!("{} sends metrics somewhere", kind.value.as_str());
                    let help = "write endpoint: \"http://collector:4318\"";
                    faults.error(endpoint.at, code::CONFLICT, message, help);
                }
                (MetricEndpoint::Path(path), true) if !paths.insert(path.clone()) => {
                    let message = format!("metrics are under {path} already");
                    faults.error(endpoint.at, code::CONFLICT, message, "remove one of the two");
                }
                _ => {}
            });
        });
        let bounds = written.buckets.as_deref().unwrap_or_default();
        for pair in bounds.windows(2) {
            if let [before, bound] = pair
                && bound.value <= before.value
            {
                self.within("buckets", |faults| {
                    let message = "the bounds of buckets grow from one to the next";
                    faults.error(bound.at, code::CONFLICT, message, "put them in order");
                });
            }
        }
    }

    fn logging(&mut self, written: &Logging) {
        self.within("fields", |faults| {
            for (name, source) in written.fields.iter().flatten() {
                let known = ["header:", "claim:", "cookie:"];
                let asks = source.value.split_once(':').map(|(kind, _)| format!("{kind}:"));
                let is_empty = known.contains(&source.value.as_str());
                if is_empty || (name.value.is_empty() && asks.is_some()) {
                    let message = format!("`{}` names nothing", source.value);
                    let help = "write header:NAME, claim:NAME, cookie:NAME or a text";
                    faults.error(source.at, code::INVALID_VALUE, message, help);
                }
            }
        });
        if let Some(listed) = &written.sensitive_headers
            && !listed.iter().any(|name| name.value.as_str() == "authorization")
        {
            self.within("sensitive_headers", |faults| {
                let at = listed.first().map_or(written.at, |name| name.at);
                let message = "`Authorization` is not among them, so logs would show tokens";
                faults.warn(at, code::OPEN, message, "add Authorization");
            });
        }
    }
}
