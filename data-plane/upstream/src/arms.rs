//! How the stable version and the canary of one cluster answer.
//!
//! An endpoint counts what all clusters around it send there, and two of them may give the same
//! backend different shares: which version is worse can only be told from what one cluster sent.
//! Counted as an endpoint counts, try by try.

use crate::{
    counters::{Counter, PerWorker},
    latency::{Histogram, Latency, Took},
};

/// What one worker counts of one version.
#[derive(Debug, Default)]
pub struct ArmCounters {
    requests: Counter,
    failures: Counter,
    server_errors: Counter,
    latency: Histogram,
}

/// What one worker counts of both versions.
#[derive(Debug, Default)]
pub struct ArmsCounters {
    pub(crate) stable: ArmCounters,
    pub(crate) canary: ArmCounters,
}

/// What all workers together counted of one version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ArmCounts {
    /// Requests sent.
    pub requests: u64,
    /// Requests that ended without a response of the backend, or in the middle of it, and calls of
    /// gRPC that the server failed.
    pub failures: u64,
    /// Responses with a status of 500 or more.
    pub server_errors: u64,
    /// How long requests took.
    pub latency: Latency,
}

/// What all workers together counted of both versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ArmsCounts {
    /// The version that most get.
    pub stable: ArmCounts,
    /// The new version.
    pub canary: ArmCounts,
}

impl ArmCounters {
    pub(crate) fn begin(&self) {
        self.requests.bump();
    }

    pub(crate) fn respond(&self, status: u16) {
        if status >= 500 {
            self.server_errors.bump();
        }
    }

    pub(crate) fn fail(&self) {
        self.failures.bump();
    }

    pub(crate) fn took(&self, took: Took) {
        self.latency.took(took);
    }
}

impl ArmCounts {
    fn sum(
        parts: &PerWorker<ArmsCounters>,
        of: impl Fn(&ArmsCounters) -> &ArmCounters + Copy,
    ) -> Self {
        Self {
            requests: parts.sum(|part| &of(part).requests),
            failures: parts.sum(|part| &of(part).failures),
            server_errors: parts.sum(|part| &of(part).server_errors),
            latency: Latency::sum(parts, |part| &of(part).latency),
        }
    }
}

impl ArmsCounts {
    /// Adds the workers up.
    pub fn sum(parts: &PerWorker<ArmsCounters>) -> Self {
        Self {
            stable: ArmCounts::sum(parts, |part| &part.stable),
            canary: ArmCounts::sum(parts, |part| &part.canary),
        }
    }
}
