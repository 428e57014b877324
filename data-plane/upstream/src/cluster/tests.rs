use lb_model::{
    config::{HealthCheck, HttpProbe, Probe},
    rule::MethodName,
    value::{BackendUrl, Duration, StatusRange, Weight},
};

use super::*;

pub(crate) fn backends(list: &[(&str, &str, u64)]) -> Objects<BackendName, Backend> {
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

pub(crate) fn around() -> Surroundings {
    let secret = lb_model::resource::HashKey([7; 32]);
    Surroundings { workers: 2, zone: None, secret, now: Instant::now() }
}

fn build(
    service: &Arc<Service>,
    backends: &Objects<BackendName, Backend>,
    previous: Option<&Arc<Cluster>>,
) -> Result<Arc<Cluster>, MissingBackend> {
    let (name, traffic) = (&"s".into(), &service.traffic_management);
    let around = &around();
    let is_retried = false;
    let blueprint = Blueprint { key: name, name, service, traffic, backends, is_retried, around };
    Cluster::build(blueprint, previous, None)
}

/// A request of which nothing matters.
struct Plain;

impl Ask for Plain {
    fn field<'s>(&'s self, _: &str) -> Option<&'s [u8]> {
        None
    }

    fn cookie<'s>(&'s self, _: &str) -> Option<&'s [u8]> {
        None
    }

    fn path(&self) -> &'static str {
        "/"
    }

    fn client(&self) -> std::net::IpAddr {
        [192, 0, 2, 1].into()
    }

    fn is_secure(&self) -> bool {
        false
    }
}

fn picked(local: &Rc<LocalCluster>) -> Option<String> {
    let picked = local.pick(&Plain, &[], Instant::now()).ok()?;
    Some(picked.attempt.endpoint().endpoint().name().to_string())
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
    let first = build(&spec, &list, None).unwrap();
    let same = build(&spec, &list, Some(&first)).unwrap();
    assert!(Arc::ptr_eq(&first, &same));

    let moved = backends(&[("a", "http://a:2", 1), ("b", "http://b:1", 7)]);
    let next = build(&spec, &moved, Some(&first)).unwrap();
    let kept = |i: usize| Arc::ptr_eq(&first.members[i].endpoint, &next.members[i].endpoint);
    assert!(!kept(0), "another address is another endpoint");
    assert!(kept(1), "another weight is not");
    assert_eq!(next.members[1].weight, 7);

    let checked = service(&["a", "b"], Some("/other"));
    let next = build(&checked, &list, Some(&first)).unwrap();
    assert!(!Arc::ptr_eq(&first.members[0].endpoint, &next.members[0].endpoint));
}

#[test]
fn an_unknown_backend_is_named() {
    let error = build(&service(&["x"], None), &backends(&[]), None);
    assert_eq!(error.unwrap_err().to_string(), "backend `x` is not configured");
}

#[test]
fn the_ill_and_the_weightless_take_nothing() {
    let list = backends(&[("a", "http://a:1", 1), ("b", "http://b:1", 0), ("c", "http://c:1", 2)]);
    let spec = service(&["a", "b", "c"], None);
    let cluster = build(&spec, &list, None).unwrap();
    let local = Rc::new(LocalCluster::new(Arc::clone(&cluster), 0, None));
    let names = |n: usize| -> String { (0..n).map(|_| picked(&local).unwrap()).collect() };
    assert_eq!(names(6), "caccac");
    cluster.members[2].endpoint.health().force(false);
    assert_eq!(names(3), "aaa");
    cluster.members[0].endpoint.health().force(false);
    assert!(picked(&local).is_none());
}

#[test]
fn whoever_was_taken_out_takes_nothing_and_keeps_its_endpoint() {
    let list = backends(&[("a", "http://a:1", 1), ("b", "http://b:1", 1)]);
    let spec = service(&["a", "b"], Some("/ok"));
    let first = build(&spec, &list, None).unwrap();
    for member in &first.members {
        member.endpoint.health().force(true);
    }
    let mut before = first;
    for state in [AdminState::Draining, AdminState::Disabled, AdminState::Enabled] {
        let mut decided = list.clone();
        Arc::make_mut(decided.values_mut().next().unwrap()).admin_state = state;
        let next = build(&spec, &decided, Some(&before)).unwrap();
        assert!(!Arc::ptr_eq(&before, &next), "a decision makes another cluster");
        assert!(Arc::ptr_eq(&before.members[0].endpoint, &next.members[0].endpoint));
        let local = Rc::new(LocalCluster::new(Arc::clone(&next), 0, None));
        let taken: String = (0..4).map(|_| picked(&local).unwrap()).collect();
        assert_eq!(taken, if state == AdminState::Enabled { "abab" } else { "bbbb" });
        before = next;
    }
}
