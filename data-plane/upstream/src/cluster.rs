//! A service as it runs, and how one worker looks at it.
//!
//! [`Cluster`] is immutable and shared; a new configuration builds a new one around the
//! endpoints that did not change. [`LocalCluster`] is one worker's: balancer state and idle
//! connections, carried over to the next configuration in the same way.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use lb_model::{
    config::{AdminState, Backend, Objects, Service},
    value::BackendName,
};

use crate::{balancer::Balancer, endpoint::Endpoint, pool::LocalEndpoint};

/// A service as it runs.
#[derive(Debug)]
pub struct Cluster {
    name: Arc<str>,
    service: Arc<Service>,
    members: Vec<Member>,
}

/// One backend in its place in a cluster.
#[derive(Debug, Clone)]
pub struct Member {
    /// The backend.
    pub endpoint: Arc<Endpoint>,
    /// Its share of new requests; 0 takes none.
    pub weight: u16,
    /// What an operator decided about it. Like the weight it is policy: the endpoint, with its
    /// health and what is in flight, stays the same whatever is decided.
    pub admin_state: AdminState,
}

impl Member {
    /// Its share of new requests as of now: none while it is ill, or was taken out.
    fn share(&self) -> u16 {
        let takes = self.admin_state == AdminState::Enabled && self.endpoint.health().is_up();
        if takes { self.weight } else { 0 }
    }
}

/// A service names a backend that is not configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("backend `{0}` is not configured")]
pub struct MissingBackend(pub BackendName);

impl Cluster {
    /// Builds the running form of `service`, with the endpoints of `previous` that did not
    /// change; `previous` itself if nothing did.
    pub fn build(
        name: Arc<str>,
        service: &Arc<Service>,
        backends: &Objects<BackendName, Backend>,
        workers: usize,
        previous: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, MissingBackend> {
        let mut members = Vec::with_capacity(service.backends.len());
        for (index, backend_name) in service.backends.iter().enumerate() {
            let backend =
                backends.get(backend_name).ok_or_else(|| MissingBackend(backend_name.clone()))?;
            let check = service.health_check.as_ref();
            let kept = previous.and_then(|previous| {
                let is_same = |member: &&Member| {
                    **member.endpoint.name() == *backend_name.as_str()
                        && member.endpoint.is_for(&backend.url, check)
                };
                at_first(&previous.members, index, is_same)
            });
            let endpoint = kept.map_or_else(
                || {
                    Arc::new(Endpoint::new(
                        Arc::clone(&name),
                        backend_name.to_arc(),
                        backend.url.clone(),
                        check.cloned(),
                        workers,
                    ))
                },
                |member| Arc::clone(&member.endpoint),
            );
            let (weight, admin_state) = (backend.weight.get(), backend.admin_state);
            members.push(Member { endpoint, weight, admin_state });
        }
        if let Some(previous) = previous
            && previous.service == *service
            && previous.members.len() == members.len()
            && previous.members.iter().zip(&members).all(|(a, b)| {
                a.weight == b.weight
                    && a.admin_state == b.admin_state
                    && Arc::ptr_eq(&a.endpoint, &b.endpoint)
            })
        {
            return Ok(Arc::clone(previous));
        }
        Ok(Arc::new(Self { name, service: Arc::clone(service), members }))
    }

    /// The service's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The service's policy.
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// The backends, in configured order.
    pub fn members(&self) -> &[Member] {
        &self.members
    }
}

/// The object that is looked for, which most changes leave in its place: all others are looked at
/// only when it is not there.
fn at_first<T>(all: &[T], place: usize, is_it: impl Fn(&&T) -> bool) -> Option<&T> {
    all.get(place).filter(&is_it).or_else(|| all.iter().find(is_it))
}

/// How one worker looks at a cluster.
#[derive(Debug)]
pub struct LocalCluster {
    cluster: Arc<Cluster>,
    balancer: RefCell<Balancer>,
    members: Vec<Rc<LocalEndpoint>>,
}

impl LocalCluster {
    /// The view of worker number `worker`, with the idle connections of `previous`.
    pub fn new(cluster: Arc<Cluster>, worker: usize, previous: Option<&Self>) -> Self {
        let members: Vec<_> = cluster
            .members
            .iter()
            .enumerate()
            .map(|(index, member)| {
                let kept = previous.and_then(|previous| {
                    at_first(&previous.members, index, |local| {
                        Arc::ptr_eq(local.endpoint(), &member.endpoint)
                    })
                });
                let local = kept.map_or_else(
                    || Rc::new(LocalEndpoint::new(Arc::clone(&member.endpoint), worker)),
                    Rc::clone,
                );
                local.set_policy(cluster.service.pool);
                local
            })
            .collect();
        let seed = (worker as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let balancer = Balancer::new(&cluster.service.strategy, members.len(), seed);
        Self { cluster, balancer: RefCell::new(balancer), members }
    }

    /// The shared side.
    pub const fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// The backends as this worker sees them.
    pub fn members(&self) -> &[Rc<LocalEndpoint>] {
        &self.members
    }

    /// Chooses who takes the next request among those that are well, enabled, and have a weight.
    pub fn pick(&self) -> Option<&Rc<LocalEndpoint>> {
        let members = &self.cluster.members;
        let weight = |index: usize| members[index].share();
        let index = if members.len() == 1 {
            (weight(0) > 0).then_some(0)?
        } else {
            let load = |index: usize| members[index].endpoint.in_flight();
            self.balancer.borrow_mut().pick(weight, load)?
        };
        self.members.get(index)
    }
}

#[cfg(test)]
mod tests {
    use lb_model::{
        config::{HealthCheck, HttpProbe, Probe},
        rule::MethodName,
        value::{BackendUrl, Duration, StatusRange, Weight},
    };

    use super::*;

    fn backends(list: &[(&str, &str, u64)]) -> Objects<BackendName, Backend> {
        list.iter()
            .map(|(name, url, weight)| {
                let backend = Backend {
                    weight: Weight::new(*weight).unwrap(),
                    ..Backend::at(BackendUrl::parse(url).unwrap())
                };
                (BackendName::parse(name).unwrap(), Arc::new(backend))
            })
            .collect()
    }

    fn service(names: &[&str], check: Option<&str>) -> Arc<Service> {
        Arc::new(Service {
            health_check: check.map(|path| HealthCheck {
                probe: Probe::Http(HttpProbe {
                    path: path.into(),
                    method: MethodName::get(),
                    headers: vec![],
                    status: vec![StatusRange::parse("2xx").unwrap()],
                    body: None,
                }),
                port: None,
                host: None,
                tls: None,
                authorities: vec![],
                interval: Duration::from_secs(5),
                unhealthy_interval: Duration::from_secs(5),
                timeout: Duration::from_secs(1),
                healthy_threshold: 2,
                unhealthy_threshold: 3,
            }),
            ..Service::of(names.iter().map(|name| BackendName::parse(name).unwrap()).collect())
        })
    }

    #[test]
    fn what_did_not_change_is_kept() {
        let list = backends(&[("a", "http://a:1", 1), ("b", "http://b:1", 1)]);
        let spec = service(&["a", "b"], Some("/ok"));
        let first = Cluster::build("s".into(), &spec, &list, 2, None).unwrap();
        let same = Cluster::build("s".into(), &spec, &list, 2, Some(&first)).unwrap();
        assert!(Arc::ptr_eq(&first, &same));

        let moved = backends(&[("a", "http://a:2", 1), ("b", "http://b:1", 7)]);
        let next = Cluster::build("s".into(), &spec, &moved, 2, Some(&first)).unwrap();
        let kept = |i: usize| Arc::ptr_eq(&first.members[i].endpoint, &next.members[i].endpoint);
        assert!(!kept(0), "another address is another endpoint");
        assert!(kept(1), "another weight is not");
        assert_eq!(next.members[1].weight, 7);

        let checked = service(&["a", "b"], Some("/other"));
        let next = Cluster::build("s".into(), &checked, &list, 2, Some(&first)).unwrap();
        assert!(!Arc::ptr_eq(&first.members[0].endpoint, &next.members[0].endpoint));
    }

    #[test]
    fn an_unknown_backend_is_named() {
        let error = Cluster::build("s".into(), &service(&["x"], None), &backends(&[]), 1, None);
        assert_eq!(error.unwrap_err().to_string(), "backend `x` is not configured");
    }

    #[test]
    fn the_ill_and_the_weightless_take_nothing() {
        let list =
            backends(&[("a", "http://a:1", 1), ("b", "http://b:1", 0), ("c", "http://c:1", 2)]);
        let spec = service(&["a", "b", "c"], None);
        let cluster = Cluster::build("s".into(), &spec, &list, 1, None).unwrap();
        let local = LocalCluster::new(Arc::clone(&cluster), 0, None);
        let names = |n: usize| -> String {
            (0..n).map(|_| local.pick().unwrap().endpoint().name().to_string()).collect()
        };
        assert_eq!(names(6), "caccac");
        cluster.members[2].endpoint.health().force(false);
        assert_eq!(names(3), "aaa");
        cluster.members[0].endpoint.health().force(false);
        assert!(local.pick().is_none());
    }

    #[test]
    fn whoever_was_taken_out_takes_nothing_and_keeps_its_endpoint() {
        let list = backends(&[("a", "http://a:1", 1), ("b", "http://b:1", 1)]);
        let spec = service(&["a", "b"], Some("/ok"));
        let first = Cluster::build("s".into(), &spec, &list, 1, None).unwrap();
        for member in &first.members {
            member.endpoint.health().force(true);
        }
        let mut before = first;
        for state in [AdminState::Draining, AdminState::Disabled, AdminState::Enabled] {
            let mut decided = list.clone();
            Arc::make_mut(decided.values_mut().next().unwrap()).admin_state = state;
            let next = Cluster::build("s".into(), &spec, &decided, 1, Some(&before)).unwrap();
            assert!(!Arc::ptr_eq(&before, &next), "a decision makes another cluster");
            assert!(Arc::ptr_eq(&before.members[0].endpoint, &next.members[0].endpoint));
            let local = LocalCluster::new(Arc::clone(&next), 0, None);
            let taken: String =
                (0..4).map(|_| local.pick().unwrap().endpoint().name().to_string()).collect();
            assert_eq!(taken, if state == AdminState::Enabled { "abab" } else { "bbbb" });
            before = next;
        }
    }
}
