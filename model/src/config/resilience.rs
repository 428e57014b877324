//! What a service does about backends that fail, and a proxy about too much work.

use super::RetryOn;
use crate::value::{ByteSize, Duration, Factor, HashSource, Percentage, ServiceName, StatusRange};

/// When a request is tried again.
#[derive(Debug, Clone, PartialEq)]
pub struct Retry {
    /// Tries in all, the first included.
    pub attempts: u32,
    /// The pause before the second try; doubled for each one after.
    pub initial_interval: Duration,
    /// How long one try may take.
    pub per_try_timeout: Option<Duration>,
    /// What is tried again; empty where codes are enough.
    pub on: Vec<RetryOn>,
    /// Codes of answers that are tried again as well.
    pub status: Vec<StatusRange>,
    /// Whether methods that may do something twice are tried again although the backend may have
    /// begun.
    pub non_idempotent: bool,
    /// The largest request body that is kept to be sent again.
    pub max_body_bytes: ByteSize,
    /// The largest share of requests that may be tries beyond the first.
    pub budget: Percentage,
}

/// What a backend's answers say of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutlierDetection {
    /// Failures in a row after which a backend takes no requests for a while.
    pub max_failed_attempts: u32,
    /// Within which time they are counted.
    pub failure_window: Duration,
    /// For how long it takes none the first time.
    pub ejection_time: Duration,
    /// The longest that this becomes.
    pub max_ejection_time: Duration,
    /// The largest share of a pool that may be out at once.
    pub max_ejection_percent: Percentage,
    /// How backends are compared with each other, if they are.
    pub success_rate: Option<SuccessRate>,
}

/// Takes out backends that succeed much less often than the others of their pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SuccessRate {
    /// From one comparison to the next.
    pub interval: Duration,
    /// Backends with enough requests below which nothing is compared.
    pub minimum_hosts: u32,
    /// Requests within an interval below which a backend is not compared.
    pub request_volume: u32,
    /// How many standard deviations below the mean are too many.
    pub stdev_factor: Factor,
}

/// Another service that answers in place of one.
#[derive(Debug, Clone, PartialEq)]
pub struct Failover {
    /// Which.
    pub service: ServiceName,
    /// The codes in place of which it answers, beside having no backend to choose.
    pub status: Vec<StatusRange>,
}

/// How many requests may be on their way at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InFlightLimit {
    /// So many.
    pub amount: u32,
    /// By what clients are told apart; all together when absent.
    pub source: Option<HashSource>,
}

/// When a proxy refuses requests to protect itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overload {
    /// The memory of the process, in bytes, from which on it refuses.
    pub max_memory: Option<ByteSize>,
    /// How late its workers may be.
    pub max_delay: Duration,
}
