//! Blocks that apply to many objects, laid on each of them.
//!
//! A block at the top level is for every service or route that does not set its own; what a
//! service or route says, also that it is off, replaces it. A deployment for all is an exception:
//! it names backends, so it is for the services that have them.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use super::{
    Faults, Names, protocols,
    routes::{service_names, some},
    run::Run,
    traffic_management::{Surroundings, keep_versions, laid, on, said},
    waf,
};
use crate::{
    config::{
        Backend, BlueGreen, EntryPoint, Grpc, Jwt, Objects, OwnDeployments, Policies, RateLimit,
        Route, RoutePolicy, Service, ServicePolicy, TrafficManagement, Waf,
    },
    diagnostic::code,
    document::{self, At, Document},
    value::{BackendName, CookieName, EntryPointName, RouteName, ServiceName},
};

/// What a document says for everything.
struct Shared<'d> {
    traffic: TrafficManagement,
    /// The services that the deployments in it are for.
    blue_green: HashSet<ServiceName>,
    canary: HashSet<ServiceName>,
    middlewares: Names<'d>,
    grpc: Option<Arc<Grpc>>,
    jwt: Option<Arc<Jwt>>,
    waf: Option<Arc<Waf>>,
    rate_limit: Option<Arc<RateLimit>>,
    /// What has been laid already, by which deployments it has.
    laid: HashMap<(bool, bool), Arc<TrafficManagement>>,
}

type Made<'a> = (
    &'a Objects<EntryPointName, EntryPoint>,
    &'a mut Objects<ServiceName, Service>,
    &'a mut Objects<RouteName, Route>,
);

impl Faults<'_> {
    /// Everything beyond where requests go. What of it a proxy runs is put into services and
    /// routes; backends that canaries bring along are added. Gives which routes have deployments
    /// of their own beside.
    pub(super) fn policies(
        &mut self,
        document: &Document,
        (entry_points, services, routes): Made<'_>,
        backends: &mut Objects<BackendName, Backend>,
    ) -> (Policies, BTreeMap<RouteName, OwnDeployments>) {
        let plugins = self.plugins(document);
        let middlewares = self.middlewares(document, service_names(document, services));
        let written = backends.clone();
        let mut around = Surroundings {
            backends: Names::of("backend", "backends", document.backends.as_ref()),
            entry_points,
            made: Objects::new(),
            written: &written,
        };
        let mut shared = self.shared(document, services, &mut around);
        let mut policies = Policies { middlewares, plugins, ..Policies::default() };
        for (name, written) in document.entry_points.iter().flatten() {
            let Some(listed) = &written.middlewares else { continue };
            self.path = vec!["entry_points".to_owned(), name.value.to_string()];
            let names = self.named_in_order("middlewares", listed, &shared.middlewares);
            policies.entry_points.insert(name.value.clone(), names);
        }
        let by_name: HashMap<&str, _> =
            document.services.iter().flatten().map(|(n, s)| (n.value.as_str(), s)).collect();
        let are_several = services.len() > 1;
        for (name, service) in services.iter_mut() {
            let written = by_name.get(name.as_str()).copied();
            self.path = vec!["services".to_owned(), name.to_string()];
            let mut traffic =
                self.service_traffic((name, service), written, &mut shared, &mut around);
            if are_several {
                own_cookie(&mut traffic, name, written);
            }
            if *traffic != TrafficManagement::default() {
                Arc::make_mut(service).traffic_management = traffic;
            }
            let policy = self.service_policy(written, &shared);
            if policy != ServicePolicy::default() {
                policies.services.insert(name.clone(), policy);
            }
        }
        let mut own_deployments = BTreeMap::new();
        let by_name: HashMap<&str, _> =
            document.routes.iter().flatten().map(|(n, r)| (n.value.as_str(), r)).collect();
        for (name, route) in routes.iter_mut() {
            let written = by_name.get(name.as_str()).copied();
            self.path = vec!["routes".to_owned(), name.to_string()];
            let policy = self.route_policy(written, &shared);
            let own = written.and_then(|written| written.traffic_management.as_ref());
            let traffic = own.zip(services.get(&route.service));
            let traffic = traffic.map(|(own, pool)| self.route_traffic(own, pool, &mut around));
            let own = own.zip(traffic.as_deref()).and_then(|(own, made)| of_its_own(own, made));
            own_deployments.extend(own.map(|own| (name.clone(), own)));
            let of_service = policies.services.get(&route.service);
            let of_service = of_service.into_iter().flat_map(|policy| &policy.middlewares);
            let names = policy.middlewares.iter().chain(of_service);
            let run = Run::of(names, &policies.middlewares);
            if !run.is_empty() || traffic.is_some() {
                run.lay((traffic, services.get(&route.service)), Arc::make_mut(route));
            }
            if policy != RoutePolicy::default() {
                policies.routes.insert(name.clone(), policy);
            }
        }
        self.path.clear();
        backends.extend(around.made);
        (policies, own_deployments)
    }

    /// The blocks at the top level.
    fn shared<'d>(
        &mut self,
        document: &'d Document,
        services: &Objects<ServiceName, Service>,
        around: &mut Surroundings<'_>,
    ) -> Shared<'d> {
        self.path.clear();
        let written = document.traffic_management.as_ref();
        let traffic =
            written.map(|written| self.traffic_management(written, around)).unwrap_or_default();
        let mut shared = Shared {
            blue_green: HashSet::new(),
            canary: HashSet::new(),
            middlewares: Names::of("middleware", "middlewares", document.middlewares.as_ref()),
            grpc: on(document.grpc.as_ref()).map(|written| Arc::new(protocols::grpc(written))),
            jwt: on(document.jwt.as_ref())
                .and_then(|written| self.within("jwt", |faults| faults.jwt(written)))
                .map(Arc::new),
            waf: on(document.waf.as_ref())
                .map(|written| Arc::new(self.within("waf", |faults| faults.waf(written)))),
            rate_limit: on(document.rate_limit.as_ref()).and_then(waf::rate_limit).map(Arc::new),
            laid: HashMap::new(),
            traffic,
        };
        let Some(written) = written else { return shared };
        if let (Some(made), Some(written)) = (&shared.traffic.blue_green, &written.blue_green) {
            let ids: HashSet<_> = made.blue.iter().chain(&made.green).collect();
            shared.blue_green = self.within("traffic_management", |faults| {
                faults.within("blue_green", |faults| faults.scope(written.at, &ids, services))
            });
        }
        if let (Some(made), Some(written)) = (&shared.traffic.canary, &written.canary) {
            let ids: HashSet<_> = made.backends.iter().map(|(name, _)| name).collect();
            let brought = ids.iter().any(|id| around.made.contains_key(*id));
            shared.canary = self.within("traffic_management", |faults| {
                faults.within("canary", |faults| match (brought, services.len()) {
                    (true, 1) => services.keys().cloned().collect(),
                    (true, 2..) => {
                        let message = "a canary given by its URL is for the only service, and \
                                       there are several";
                        faults.out_of_scope(written.at, message, services);
                        HashSet::new()
                    }
                    _ => faults.scope(written.at, &ids, services),
                })
            });
        }
        shared
    }

    /// The services whose pool holds all of some backends.
    fn scope(
        &mut self,
        at: At,
        ids: &HashSet<&BackendName>,
        services: &Objects<ServiceName, Service>,
    ) -> HashSet<ServiceName> {
        let holds = |service: &Service| {
            service.backends.iter().filter(|backend| ids.contains(backend)).count() == ids.len()
        };
        let found = services.iter().filter(|(_, service)| holds(service));
        let found: HashSet<_> = found.map(|(name, _)| name.clone()).collect();
        if found.is_empty() && !services.is_empty() {
            let mut listed: Vec<_> = ids.iter().map(|id| id.as_str()).collect();
            listed.sort_unstable();
            let message = format!("no service has all of these backends: {}", some(&listed));
            self.out_of_scope(at, message, services);
        }
        found
    }

    fn out_of_scope(
        &mut self,
        at: At,
        message: impl Into<String>,
        services: &Objects<ServiceName, Service>,
    ) {
        let names: Vec<_> = services.keys().map(ServiceName::as_str).collect();
        let help =
            format!("write it as services.NAME.traffic_management of one of {}", some(&names));
        self.error(at, code::WRONG_SCOPE, message, help);
    }

    fn service_traffic(
        &mut self,
        (name, service): (&ServiceName, &Service),
        written: Option<&document::Service>,
        shared: &mut Shared<'_>,
        around: &mut Surroundings<'_>,
    ) -> Arc<TrafficManagement> {
        let deployments = (shared.blue_green.contains(name), shared.canary.contains(name));
        let base = Arc::clone(shared.laid.entry(deployments).or_insert_with(|| {
            let mut base = shared.traffic.clone();
            base.blue_green = base.blue_green.filter(|_| deployments.0);
            base.canary = base.canary.filter(|_| deployments.1);
            keep_versions(&mut base);
            Arc::new(base)
        }));
        let own = written.and_then(|written| written.traffic_management.as_ref());
        let traffic_management = match own {
            Some(own) => {
                let made = self.traffic_management(own, around);
                self.within_pool(own, &made, service);
                let mut whole = laid((own, made), &base);
                keep_versions(&mut whole);
                Arc::new(whole)
            }
            None => base,
        };
        if let Some(made) = &traffic_management.blue_green {
            self.in_no_slot(made, written, &traffic_management);
        }
        traffic_management
    }

    fn service_policy(
        &mut self,
        written: Option<&document::Service>,
        shared: &Shared<'_>,
    ) -> ServicePolicy {
        let Some(written) = written else { return ServicePolicy::default() };
        ServicePolicy {
            middlewares: match &written.middlewares {
                Some(listed) => self.named_in_order("middlewares", listed, &shared.middlewares),
                None => Vec::new(),
            },
            grpc: match &written.grpc {
                Some(own) => on(Some(own)).map(|own| Arc::new(protocols::grpc(own))),
                None => None,
            },
        }
    }

    fn route_policy(
        &mut self,
        written: Option<&document::Route>,
        shared: &Shared<'_>,
    ) -> RoutePolicy {
        let Some(written) = written else {
            return RoutePolicy {
                jwt: shared.jwt.clone(),
                waf: shared.waf.clone(),
                rate_limit: shared.rate_limit.clone(),
                grpc: shared.grpc.clone(),
                ..RoutePolicy::default()
            };
        };
        RoutePolicy {
            middlewares: match &written.middlewares {
                Some(listed) => self.named_in_order("middlewares", listed, &shared.middlewares),
                None => Vec::new(),
            },
            jwt: match said(written.jwt.as_deref()) {
                Some(own) => on(Some(own))
                    .and_then(|own| self.within("jwt", |faults| faults.jwt(own)))
                    .map(Arc::new),
                None => shared.jwt.clone(),
            },
            waf: match said(written.waf.as_deref()) {
                Some(own) => {
                    on(Some(own)).map(|own| Arc::new(self.within("waf", |faults| faults.waf(own))))
                }
                None => shared.waf.clone(),
            },
            rate_limit: match said(written.rate_limit.as_deref()) {
                Some(own) => on(Some(own)).and_then(waf::rate_limit).map(Arc::new),
                None => shared.rate_limit.clone(),
            },
            grpc: match said(written.grpc.as_deref()) {
                Some(own) => on(Some(own)).map(|own| Arc::new(protocols::grpc(own))),
                None => shared.grpc.clone(),
            },
        }
    }

    /// How backends share the requests of a route that says so itself.
    fn route_traffic(
        &mut self,
        own: &document::TrafficManagement,
        pool: &Service,
        around: &mut Surroundings<'_>,
    ) -> Arc<TrafficManagement> {
        let made = self.traffic_management(own, around);
        self.within_pool(own, &made, pool);
        let mut whole = laid((own, made), &pool.traffic_management);
        keep_versions(&mut whole);
        Arc::new(whole)
    }

    /// A deployment of a service or route names backends of its pool.
    fn within_pool(
        &mut self,
        written: &document::TrafficManagement,
        made: &TrafficManagement,
        service: &Service,
    ) {
        if made.blue_green.is_none() {
            return;
        }
        let pool: HashSet<_> = service.backends.iter().collect();
        let Some(written) = &written.blue_green else { return };
        self.within("traffic_management", |faults| {
            for (key, listed) in [
                ("blue_backends", &written.blue_backends),
                ("green_backends", &written.green_backends),
            ] {
                for backend in listed.iter().flatten().filter(|b| !pool.contains(&b.value)) {
                    faults.within("blue_green", |faults| {
                        faults.within(key, |faults| {
                            let message =
                                format!("`{}` is not in the pool of this service", backend.value);
                            let help = "add it to the `backends` of the service";
                            faults.error(backend.at, code::WRONG_SCOPE, message, help);
                        });
                    });
                }
            }
        });
    }

    /// Warns of backends in a pool that neither slot nor canary has.
    fn in_no_slot(
        &mut self,
        blue_green: &BlueGreen,
        written: Option<&document::Service>,
        traffic: &TrafficManagement,
    ) {
        let mut used: HashSet<_> = blue_green.blue.iter().chain(&blue_green.green).collect();
        used.extend(
            traffic.canary.iter().flat_map(|canary| &canary.backends).map(|(name, _)| name),
        );
        let listed = written.and_then(|written| written.backends.as_ref());
        for backend in listed.into_iter().flatten() {
            if !used.contains(&backend.value) {
                self.within("backends", |faults| {
                    let message =
                        format!("`{}` is in neither slot, so it takes no requests", backend.value);
                    let help = "add it to a slot, or take it out of the pool";
                    faults.warn(backend.at, code::UNUSED, message, help);
                });
            }
        }
    }
}

/// Services behind one host would overwrite each other's cookie, so where its name is that of the
/// block for all, each gets its own.
fn own_cookie(
    traffic: &mut Arc<TrafficManagement>,
    name: &ServiceName,
    written: Option<&document::Service>,
) {
    let own = written.and_then(|written| written.traffic_management.as_ref());
    if said(own.and_then(|own| own.session_stickiness.as_ref())).is_some() {
        return;
    }
    let Some(cookie) = traffic.session_stickiness.as_ref().and_then(|s| s.cookie_name.as_ref())
    else {
        return;
    };
    let suffix = name.as_str().replace('@', "_");
    // Names have lengths that together a cookie's may not have.
    let own = CookieName::parse(&format!("{cookie}_{suffix}"));
    let own = own.or_else(|_| {
        let hash = blake3::hash(name.as_str().as_bytes()).to_hex();
        CookieName::parse(&format!("lb_session_{}", &hash[..16]))
    });
    if let (Ok(own), Some(sessions)) = (own, Arc::make_mut(traffic).session_stickiness.as_mut()) {
        sessions.cookie_name = Some(own);
    }
}

/// Which deployments of a route are its own, by what it says and what that means; none if none is.
fn of_its_own(
    written: &document::TrafficManagement,
    made: &TrafficManagement,
) -> Option<OwnDeployments> {
    let own = OwnDeployments {
        blue_green: said(written.blue_green.as_ref()).is_some() && made.blue_green.is_some(),
        canary: said(written.canary.as_ref()).is_some() && made.canary.is_some(),
    };
    (own != OwnDeployments::default()).then_some(own)
}
