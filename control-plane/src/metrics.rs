//! What the control plane counts, and how it is read.

use jiff::Timestamp;
use lb_telemetry::{SOFTWARE_VERSION, metric};
use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use crate::{
    config_file::Outcome,
    sync::session::{News, PushKind},
};

/// The control plane's metrics, in a registry of their own.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    acks: IntCounterVec,
    pushes: IntCounterVec,
    push_bytes: IntCounter,
    propagation: Histogram,
    root_mismatch: IntCounter,
    /// Commits by result.
    pub commits: IntCounterVec,
    reloads: IntCounterVec,
    last_reload: IntGauge,
    reload_failing: IntGauge,
    /// Operators that were not let in, by reason.
    pub auth_failures: IntCounterVec,
    /// What schedules of canaries did, by service, route and outcome.
    pub canary_steps: IntCounterVec,
    /// The current version.
    pub version: IntGauge,
    /// Connected proxies.
    pub connected: IntGauge,
    /// Proxies that run the current version.
    pub in_sync: IntGauge,
}

impl Metrics {
    /// All metrics at zero.
    ///
    /// # Errors
    ///
    /// When two metrics have one name, which a test rules out.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let buckets = vec![0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
        let metrics = Self {
            acks: IntCounterVec::new(
                Opts::new(metric::SNAPSHOT_ACKS_TOTAL, "Acknowledgements of proxies by stage"),
                &["stage"],
            )?,
            pushes: IntCounterVec::new(
                Opts::new(metric::SNAPSHOT_PUSHES_TOTAL, "Versions pushed to proxies by kind"),
                &["kind"],
            )?,
            push_bytes: IntCounter::new(
                metric::SNAPSHOT_PUSH_BYTES_TOTAL,
                "Bytes of resources pushed to proxies",
            )?,
            propagation: Histogram::with_opts(
                HistogramOpts::new(
                    metric::SNAPSHOT_PROPAGATION,
                    "From the commit of a version to its activity on a proxy",
                )
                .buckets(buckets),
            )?,
            root_mismatch: IntCounter::new(
                metric::ROOT_MISMATCH_TOTAL,
                "Acknowledged roots that the control plane computes otherwise",
            )?,
            commits: IntCounterVec::new(
                Opts::new(metric::CONFIG_COMMITS_TOTAL, "Commits of a configuration by result"),
                &["result"],
            )?,
            reloads: IntCounterVec::new(
                Opts::new(metric::CONFIG_RELOADS_TOTAL, "Readings of the configuration file"),
                &["result"],
            )?,
            last_reload: IntGauge::new(
                metric::CONFIG_LAST_RELOAD,
                "When the configuration file was valid last",
            )?,
            reload_failing: IntGauge::new(
                metric::CONFIG_RELOAD_FAILING,
                "Whether the configuration file says something else than the current version",
            )?,
            auth_failures: IntCounterVec::new(
                Opts::new(
                    metric::OPERATOR_AUTH_FAILURES_TOTAL,
                    "Requests of operators that were not let in by reason",
                ),
                &["reason"],
            )?,
            canary_steps: IntCounterVec::new(
                Opts::new(
                    metric::CANARY_STEPS_TOTAL,
                    "What schedules of canaries did by service, route and outcome",
                ),
                &["service", "route", "outcome"],
            )?,
            version: IntGauge::new(metric::CONFIG_VERSION, "The current version")?,
            connected: IntGauge::new(metric::CONNECTED_PROXIES, "Connected proxies")?,
            in_sync: IntGauge::new(metric::PROXIES_IN_SYNC, "Proxies on the current version")?,
            registry,
        };
        let build = IntGaugeVec::new(Opts::new(metric::BUILD_INFO, "The software"), &["version"])?;
        build.with_label_values(&[SOFTWARE_VERSION]).set(1);
        let registry = &metrics.registry;
        registry.register(Box::new(build))?;
        registry.register(Box::new(metrics.acks.clone()))?;
        registry.register(Box::new(metrics.pushes.clone()))?;
        registry.register(Box::new(metrics.push_bytes.clone()))?;
        registry.register(Box::new(metrics.propagation.clone()))?;
        registry.register(Box::new(metrics.root_mismatch.clone()))?;
        registry.register(Box::new(metrics.commits.clone()))?;
        registry.register(Box::new(metrics.reloads.clone()))?;
        registry.register(Box::new(metrics.last_reload.clone()))?;
        registry.register(Box::new(metrics.reload_failing.clone()))?;
        registry.register(Box::new(metrics.auth_failures.clone()))?;
        registry.register(Box::new(metrics.canary_steps.clone()))?;
        registry.register(Box::new(metrics.version.clone()))?;
        registry.register(Box::new(metrics.connected.clone()))?;
        registry.register(Box::new(metrics.in_sync.clone()))?;
        Ok(metrics)
    }

    /// Counts news from a sync stream; `age` is the age of the newest commit in seconds.
    pub fn sync(&self, news: &News, age: f64) {
        match news {
            News::Pushed { bytes, kind, .. } => {
                let kind = match kind {
                    PushKind::Full => "full",
                    PushKind::Delta => "delta",
                    PushKind::UpToDate => "up_to_date",
                };
                self.pushes.with_label_values(&[kind]).inc();
                self.push_bytes.inc_by(*bytes as u64);
            }
            News::Validated(_) => self.acks.with_label_values(&["validated"]).inc(),
            News::Active { .. } => {
                self.acks.with_label_values(&["active"]).inc();
                self.propagation.observe(age);
            }
            News::Rejected { .. } => self.acks.with_label_values(&["rejected"]).inc(),
            News::RootMismatch => self.root_mismatch.inc(),
            News::Hello(_) | News::Declined(_) => {}
        }
    }

    /// Counts a reading of the configuration file.
    pub fn reloaded(&self, outcome: Outcome) {
        self.reloads.with_label_values(&[outcome.as_str()]).inc();
        let failed = outcome == Outcome::Failed;
        self.reload_failing.set(i64::from(failed));
        if !failed {
            self.last_reload.set(Timestamp::now().as_second());
        }
    }

    /// All metrics in the text format of Prometheus.
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        let families = self.registry.gather();
        if let Err(error) = TextEncoder::new().encode(&families, &mut text) {
            tracing::error!(%error, "could not write metrics");
        }
        String::from_utf8(text).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_a_name_of_its_own_and_is_shown() {
        let metrics = Metrics::new().unwrap();
        metrics.sync(&News::RootMismatch, 0.0);
        let text = metrics.render();
        assert!(text.contains("lb_root_mismatch_total 1"), "{text}");
        assert!(text.contains("lb_build_info{version="), "{text}");
    }
}
