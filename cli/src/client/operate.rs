//! The calls that operate what runs.

use std::time::Duration;

use lb_model::api::{
    AuditList, BackendChanged, BackendList, BlueGreenList, BreakerList, BreakersClosed, CanaryList,
    DeploymentChanged, LogLevelRequest, LogLevelView, ObjectList, OverrideList, ReasonRequest,
    SplitRequest, SwitchBackRequest, SwitchRequest,
};
use reqwest::Method;

use super::{Answer, Client, Signature};
use crate::args::Filter;

/// What may be asked of a backend, besides who asks and why.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    /// Let it drain before it is disabled.
    pub(crate) drain: Option<Duration>,
    /// Enable it again after this time.
    pub(crate) lasts: Option<Duration>,
    /// Even if a service is left without a backend.
    pub(crate) force: bool,
    /// Answer when the proxies have it, or after this time.
    pub(crate) wait: Option<Duration>,
}

/// What has slots or a canary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scope {
    /// A service, with its routes that have none of their own.
    Service(String),
    /// A route with its own.
    Route(String),
}

impl Scope {
    /// As it is told to people.
    pub(crate) fn said(&self) -> String {
        match self {
            Self::Service(name) => name.clone(),
            Self::Route(name) => format!("route {name}"),
        }
    }

    /// As it is named on a command line.
    pub(crate) fn typed(&self) -> String {
        match self {
            Self::Service(name) => name.clone(),
            Self::Route(name) => format!("--route {name}"),
        }
    }

    /// The path to a verb of it.
    fn path<'s>(&'s self, kind: &'s str, verb: &'s str) -> Vec<&'s str> {
        match self {
            Self::Service(name) => vec!["api", "v1", kind, name, verb],
            Self::Route(name) => vec!["api", "v1", kind, "routes", name, verb],
        }
    }
}

/// What slot is to serve.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Switch<'s> {
    /// The slot; the other one when absent.
    pub(crate) to: Option<&'s str>,
    /// Even if no backend of it is well.
    pub(crate) force: bool,
}

/// What a canary is to get.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Share {
    /// So many percent.
    Set(f64),
    /// All requests.
    Promote,
    /// No request.
    Abort,
}

/// What an answer may take beyond the time that the control plane waits for proxies.
const MARGIN: Duration = Duration::from_secs(10);

/// What a filter asks for.
fn query(filter: &Filter) -> Vec<(&'static str, String)> {
    let Filter { pool, state, search } = filter;
    let mut query = Vec::new();
    for (name, value) in [("pool", pool), ("state", state), ("q", search)] {
        query.extend(value.clone().map(|value| (name, value)));
    }
    query
}

impl Client {
    /// Every backend that fits, and how it is.
    pub(crate) async fn backends(&self, filter: &Filter) -> Answer<BackendList> {
        self.get(&["admin", "backends"], &query(filter)).await
    }

    /// Every circuit breaker that fits.
    pub(crate) async fn breakers(&self, filter: &Filter) -> Answer<BreakerList> {
        self.get(&["admin", "circuit-breakers"], &query(filter)).await
    }

    /// Closes the circuit breakers of a backend.
    pub(crate) async fn reset_breakers(&self, id: &str) -> Answer<BreakersClosed> {
        let path = ["admin", "circuit-breakers", id, "reset"];
        self.send(self.request(Method::POST, &path)).await
    }

    /// Lets a backend take requests, or takes it out.
    pub(crate) async fn decide(
        &self,
        id: &str,
        verb: &str,
        asked: &Asked,
        signature: &Signature,
    ) -> Answer<BackendChanged> {
        let mut request = self.request(Method::POST, &["admin", "backends", id, verb]);
        let text = |time: &Duration| format!("{}ms", time.as_millis());
        let mut query = vec![("author", signature.author.clone())];
        query.push(("reason", signature.reason.clone()));
        query.extend(asked.drain.as_ref().map(|time| ("drain", text(time))));
        query.extend(asked.lasts.as_ref().map(|time| ("for", text(time))));
        query.extend(asked.force.then(|| ("force", "true".to_owned())));
        if let Some(time) = &asked.wait {
            query.extend([("wait", "true".to_owned()), ("timeout", text(time))]);
            request = request.timeout(*time + MARGIN);
        }
        self.send(request.query(&query)).await
    }

    /// Every service and route with slots.
    pub(crate) async fn blue_green(&self) -> Answer<BlueGreenList> {
        self.get(&["api", "v1", "blue-green"], &[]).await
    }

    /// Makes another slot the one that serves.
    pub(crate) async fn switch(
        &self,
        scope: &Scope,
        switch: &Switch<'_>,
        Signature { author, reason }: &Signature,
    ) -> Answer<DeploymentChanged> {
        let Switch { to, force } = *switch;
        let reason = reason.clone();
        let request = |verb| self.request(Method::POST, &scope.path("blue-green", verb));
        let request = if let Some(slot) = to {
            request("switch").json(&SwitchRequest { slot: slot.to_owned(), reason, force })
        } else {
            request("rollback").json(&SwitchBackRequest { reason, force })
        };
        self.send(request.query(&[("author", author)])).await
    }

    /// Every service and route with a canary.
    pub(crate) async fn canaries(&self) -> Answer<CanaryList> {
        self.get(&["api", "v1", "canary"], &[]).await
    }

    /// Gives a canary another share.
    pub(crate) async fn share(
        &self,
        scope: &Scope,
        share: Share,
        Signature { author, reason }: &Signature,
    ) -> Answer<DeploymentChanged> {
        let reason = reason.clone();
        let request = |verb| self.request(Method::POST, &scope.path("canary", verb));
        let request = match share {
            Share::Set(split) => request("set").json(&SplitRequest { split, reason }),
            Share::Promote => request("promote").json(&ReasonRequest { reason }),
            Share::Abort => request("abort").json(&ReasonRequest { reason }),
        };
        self.send(request.query(&[("author", author)])).await
    }

    /// What a proxy logs, or the control plane; changes it first if that is asked for.
    pub(crate) async fn log_level(
        &self,
        proxy: Option<&str>,
        wanted: Option<&LogLevelRequest>,
    ) -> Answer<LogLevelView> {
        let path = match proxy {
            Some(proxy) => vec!["api", "v1", "proxies", proxy, "log-level"],
            None => vec!["api", "v1", "log-level"],
        };
        let request = match wanted {
            Some(wanted) => self.request(Method::PUT, &path).json(wanted),
            None => self.request(Method::GET, &path),
        };
        self.send(request).await
    }

    /// What operators did, newest first.
    pub(crate) async fn audit(&self, limit: u32, before: Option<u64>) -> Answer<AuditList> {
        let mut query = vec![("limit", limit.to_string())];
        query.extend(before.map(|before| ("before", before.to_string())));
        self.get(&["api", "v1", "audit"], &query).await
    }

    /// Every object of a kind.
    pub(crate) async fn objects(&self, kind: &str) -> Answer<ObjectList> {
        self.get(&["api", "v1", "objects", kind], &[]).await
    }

    /// What operators decided about backends.
    pub(crate) async fn overrides(&self) -> Answer<OverrideList> {
        self.get(&["api", "v1", "overrides"], &[]).await
    }
}
