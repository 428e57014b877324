//! Stand-in until the matcher lands: every table gives its entry of highest priority.

use std::{net::IpAddr, sync::Arc};

use lb_model::rule::Rule;

/// What a rule may look at.
#[derive(Debug)]
pub struct RequestHead<'a> {
    /// The method.
    pub method: &'a http::Method,
    /// The host, without a port.
    pub host: &'a str,
    /// The path.
    pub path: &'a str,
    /// What stands behind the `?`.
    pub query: Option<&'a str>,
    /// The header fields.
    pub headers: &'a http::HeaderMap,
    /// The client's address.
    pub client: IpAddr,
}

/// One route of a table.
#[derive(Debug)]
pub struct RouteEntry<T> {
    /// Its name.
    pub name: Arc<str>,
    /// Which requests it takes.
    pub rule: Arc<Rule>,
    /// Higher is tried first.
    pub priority: i64,
    /// What is found.
    pub target: T,
}

/// Routes in the order in which they are tried.
#[derive(Debug)]
pub struct RouteTable<T>(Vec<RouteEntry<T>>);

impl<T> RouteTable<T> {
    /// Puts a table together.
    pub fn build(entries: impl IntoIterator<Item = RouteEntry<T>>) -> Self {
        let mut entries: Vec<_> = entries.into_iter().collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.priority));
        Self(entries)
    }

    /// The target of the first route that takes the request.
    pub fn find(&self, _head: &RequestHead<'_>) -> Option<&T> {
        self.0.first().map(|entry| &entry.target)
    }
}
