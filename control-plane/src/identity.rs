//! Who belongs to the fleet.
//!
//! A proxy is known by its certificate and by nothing it says. It gets the first one for a
//! single-use token, renews it at half its life on the connection it has, and may renew one that
//! ended not long ago with the key that belongs to it, so that a long outage of the control plane
//! does not lock the fleet out. Revoking a proxy takes effect at once, without lists in
//! certificates: the control plane refuses its name.
//!
//! An operator is known by a token with a role, [`operator`].
//!
//! [`authority`] makes and reads certificates, [`token`] and [`throttle`] decide about tokens,
//! [`ledger`] keeps what is decided, [`service`] answers proxies, [`rotation`] replaces the
//! authority while the fleet runs.

pub mod authority;
pub mod ledger;
pub mod operator;
pub mod rotation;
pub mod service;
pub mod throttle;
pub mod token;
