//! The backend side of the proxy.
//!
//! A [`Cluster`] is a service as it runs: [`Endpoint`]s shared by every thread, and a policy.
//! Each worker looks at it through a [`LocalCluster`] of its own, which holds what only that
//! worker touches: the balancer's state and the idle connections. So choosing a backend and
//! taking a connection need no lock and no shared write. [`health`] decides on another runtime
//! who may be chosen at all.
//!
//! What of a choice follows from the request alone is in [`lb_routing`], where it can be explained.
//! Which service a request goes to, and what a failure looks like to the client, is decided by
//! the proxy, not here.

pub mod arms;
pub mod attempt;
pub mod balancer;
pub mod breaker;
pub mod choose;
pub mod cluster;
pub mod connect;
pub mod counters;
pub mod endpoint;
mod epoch;
pub mod h1;
pub mod health;
pub mod latency;
pub mod limiter;
pub mod outlier;
pub mod pending;
pub mod policy;
pub mod pool;
pub mod retry_budget;
pub mod slow_start;
pub mod split;
pub mod sticky;

pub use arms::{ArmCounts, ArmsCounts};
pub use attempt::Attempt;
pub use choose::{Acquaintance, Picked};
pub use cluster::{Blueprint, Cluster, LocalCluster, Member, MissingBackend};
pub use counters::{BackendCounts, Counter, Counters, PerWorker, PolicyCounters, PolicyCounts};
pub use endpoint::{Endpoint, EndpointStats};
pub use h1::Connection;
pub use health::{HealthChange, HealthChecker, HealthSummary};
pub use lb_routing::{Ask, ask, hash, levels};
pub use policy::{Policy, Standing, Surroundings};
pub use pool::{LocalEndpoint, Outgoing, SendError, SendLimits};
