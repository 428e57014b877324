//! `GET /api/v1/objects/{kind}`: the objects of the current version, as the fleet runs them.
//!
//! Documents do not say what is left to defaults, and their secrets are not shown to everybody;
//! whoever wants to know which routes there are would have to guess both.

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
    http::StatusCode,
};
use jiff::Timestamp;
use lb_model::{
    Config, Version,
    api::{CertificateView, EntryPointView, ObjectList, RouteView, ServiceView},
};

use super::{Shared, error::ApiError};

/// The objects of a kind in the current version, with every default filled in.
#[utoipa::path(
    get,
    path = "/api/v1/objects/{kind}",
    operation_id = "listObjects",
    params(("kind" = String, Path, description = "`routes`, `services`, `entry_points` or `certificates`")),
    responses(
        (status = 200, description = "Every object of the kind", body = ObjectList),
        (status = 404, description = "`unknown_kind`"),
    ),
)]
pub(super) async fn list(
    State(admin): State<Shared>,
    kind: Result<Path<String>, PathRejection>,
) -> Result<Json<ObjectList>, ApiError> {
    let Path(kind) = kind.map_err(|rejection| {
        ApiError::new(rejection.status(), "invalid_request", rejection.body_text())
    })?;
    let newest = admin.cache.newest();
    let nothing = Config::default();
    let (version, config) = match &newest {
        Some(release) => (release.version, &*release.config),
        None => (Version::NONE, &nothing),
    };
    objects(&kind, version, config).map(Json).ok_or_else(|| {
        let detail = format!(
            "there are no objects of kind `{kind}`; take routes, services, entry_points or \
             certificates"
        );
        ApiError::new(StatusCode::NOT_FOUND, "unknown_kind", detail)
    })
}

fn objects(kind: &str, version: Version, config: &Config) -> Option<ObjectList> {
    Some(match kind {
        "routes" => ObjectList::Routes { version, objects: routes(config) },
        "services" => ObjectList::Services { version, objects: services(config) },
        "entry_points" => ObjectList::EntryPoints { version, objects: entry_points(config) },
        "certificates" => ObjectList::Certificates { version, objects: certificates(config) },
        _ => return None,
    })
}

fn texts(each: impl IntoIterator<Item = impl ToString>) -> Vec<String> {
    each.into_iter().map(|one| one.to_string()).collect()
}

fn routes(config: &Config) -> Vec<RouteView> {
    let view = |(name, route): (&lb_model::value::RouteName, &std::sync::Arc<_>)| {
        let route: &lb_model::config::Route = route;
        RouteView {
            name: name.to_string(),
            rule: route.rule.as_str().to_owned(),
            priority: route.priority,
            service: route.service.to_string(),
            entry_points: texts(&route.entry_points),
        }
    };
    let mut routes: Vec<_> = config.routes.iter().map(view).collect();
    // Equal priorities are tried by name, which is the order they are in.
    routes.sort_by_key(|route| std::cmp::Reverse(route.priority));
    routes
}

fn services(config: &Config) -> Vec<ServiceView> {
    let each = config.services.iter();
    let view = each.map(|(name, service)| ServiceView {
        name: name.to_string(),
        strategy: service.strategy.as_str().to_owned(),
        backends: texts(&service.backends),
        health_check: service.health_check.as_ref().map(|check| check.probe.to_string()),
        routes: texts(
            config.routes.iter().filter(|(_, route)| route.service == *name).map(|(name, _)| name),
        ),
    });
    view.collect()
}

fn entry_points(config: &Config) -> Vec<EntryPointView> {
    let each = config.entry_points.iter();
    let view = each.map(|(name, entry_point)| EntryPointView {
        name: name.to_string(),
        address: entry_point.address.to_string(),
        tls: entry_point.tls.is_some(),
        labels: config.placement.get(name).map(|labels| texts(labels.iter())).unwrap_or_default(),
        routes: config.routes.values().filter(|route| route.entry_points.contains(name)).count(),
    });
    view.collect()
}

fn certificates(config: &Config) -> Vec<CertificateView> {
    let time = |seconds: i64| {
        Timestamp::from_second(seconds).map(|time| time.to_string()).unwrap_or_default()
    };
    let each = config.certificates.iter();
    let view = each.map(|(name, certificate)| CertificateView {
        name: name.to_string(),
        names: certificate.names().to_vec(),
        not_before: time(certificate.not_before()),
        not_after: time(certificate.not_after()),
        default: certificate.is_default(),
        entry_points: texts(
            config
                .entry_points
                .iter()
                .filter(|(_, point)| point.tls.as_ref().is_some_and(|tls| tls.shows(name)))
                .map(|(name, _)| name),
        ),
    });
    view.collect()
}

#[cfg(test)]
mod tests {
    use lb_model::Bundle;

    use super::*;

    #[test]
    fn what_defaults_say_is_shown_as_well() {
        let text = "backends: { a: { url: \"http://a\" }, b: { url: \"http://b\" } }\n";
        let config = Config::parse(&Bundle::of_text("lb.yaml", text), 0).unwrap().config;
        let Some(ObjectList::Services { version, objects }) =
            objects("services", Version(3), &config)
        else {
            panic!("services")
        };
        assert_eq!((version, objects.len()), (Version(3), 1));
        assert_eq!(objects[0].backends, ["a", "b"]);
        assert_eq!(objects[0].strategy, "round_robin");
        let routes = routes(&config);
        assert_eq!(routes[0].service, objects[0].name);
        assert_eq!(objects[0].routes, [routes[0].name.clone()]);
        let entry_points = entry_points(&config);
        assert_eq!((entry_points[0].routes, entry_points[0].tls), (1, false));
        assert!(super::objects("secrets", Version(3), &config).is_none());
    }

    #[test]
    fn routes_are_in_the_order_in_which_they_are_tried() {
        let text = "backends: { a: { url: \"http://a\" } }\nroutes:\n  \
                    a: { rule: \"PathPrefix(`/`)\" }\n  \
                    b: { rule: \"PathPrefix(`/shop`)\" }\n  \
                    c: { rule: \"PathPrefix(`/`) \", priority: 100 }\n";
        let config = Config::parse(&Bundle::of_text("lb.yaml", text), 0).unwrap().config;
        let names: Vec<_> = routes(&config).into_iter().map(|route| route.name).collect();
        assert_eq!(names, ["c", "b", "a"]);
    }
}
