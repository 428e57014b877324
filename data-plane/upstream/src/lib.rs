//! The backend side of the proxy.
//!
//! A [`Cluster`] is a service as it runs: [`Endpoint`]s shared by every thread, and a policy.
//! Each worker looks at it through a [`LocalCluster`] of its own, which holds what only that
//! worker touches: the balancer's state and the idle connections. So choosing a backend and
//! taking a connection need no lock and no shared write. [`health`] decides on another runtime
//! who may be chosen at all.
//!
//! Which service a request goes to, and what a failure looks like to the client, is decided by
//! the proxy, not here.

pub mod balancer;
pub mod breaker;
pub mod cluster;
pub mod connect;
pub mod counters;
pub mod endpoint;
mod epoch;
pub mod h1;
pub mod hash;
pub mod health;
pub mod levels;
pub mod outlier;
pub mod pool;
pub mod retry_budget;
pub mod slow_start;
pub mod split;
pub mod sticky;

pub use cluster::{Cluster, LocalCluster, Member, MissingBackend};
pub use counters::{BackendCounts, Counter, Counters, PerWorker};
pub use endpoint::{Endpoint, EndpointStats};
pub use h1::Connection;
pub use health::{HealthChange, HealthChecker, HealthSummary};
pub use pool::{InFlight, LocalEndpoint, Outgoing, SendError, SendLimits};
