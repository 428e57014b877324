//! Objects of a configuration as messages.

use lb_proto::v1;

use crate::config::{Backend, Certificate, EntryPoint, Route, Service};

pub(super) fn entry_point(object: &EntryPoint) -> v1::EntryPoint {
    let EntryPoint { address, tls, timeouts, limits, keep_alive, trusted_ips } = object;
    v1::EntryPoint {
        address: address.to_string(),
        tls: tls.is_some(),
        header_timeout_ms: timeouts.header.as_millis(),
        idle_timeout_ms: timeouts.idle.as_millis(),
        body_timeout_ms: timeouts.body.as_millis(),
        max_connections: limits.connections,
        max_request_line: limits.request_line.0,
        max_header_bytes: limits.header_bytes.0,
        max_header_count: limits.header_count.into(),
        max_body: limits.body.0,
        max_requests: keep_alive.max_requests,
        max_connection_time_ms: keep_alive.max_time.as_millis(),
        trusted_ips: trusted_ips.iter().map(ToString::to_string).collect(),
        certificates: tls
            .iter()
            .flat_map(|tls| tls.certificates.iter().flatten())
            .map(ToString::to_string)
            .collect(),
    }
}

pub(super) fn backend(object: &Backend) -> v1::Backend {
    let Backend { url, weight, admin_state } = object;
    v1::Backend {
        url: url.to_string(),
        weight: weight.get().into(),
        admin_state: super::admin_state(*admin_state).into(),
    }
}

pub(super) fn service(object: &Service) -> v1::Service {
    let Service { backends, strategy, health_check, timeouts, pool, pass_host_header } = object;
    v1::Service {
        backends: backends.iter().map(ToString::to_string).collect(),
        strategy: strategy.as_str().to_owned(),
        health_check: health_check.as_ref().map(super::health_check::encode),
        connect_timeout_ms: timeouts.connect.as_millis(),
        response_header_timeout_ms: timeouts.response_header.as_millis(),
        idle_timeout_ms: timeouts.idle.as_millis(),
        total_timeout_ms: timeouts.total.as_millis(),
        pool_max_idle: pool.max_idle,
        pool_idle_timeout_ms: pool.idle_timeout.as_millis(),
        pass_host_header: *pass_host_header,
    }
}

pub(super) fn route(object: &Route) -> v1::Route {
    let Route { rule, entry_points, priority, service, timeouts } = object;
    v1::Route {
        rule: rule.as_str().to_owned(),
        entry_points: entry_points.iter().map(ToString::to_string).collect(),
        priority: *priority,
        service: service.to_string(),
        connect_timeout_ms: timeouts.connect.map(crate::value::Duration::as_millis),
        response_header_timeout_ms: timeouts.response_header.map(crate::value::Duration::as_millis),
        idle_timeout_ms: timeouts.idle.map(crate::value::Duration::as_millis),
        total_timeout_ms: timeouts.total.map(crate::value::Duration::as_millis),
    }
}

pub(super) fn certificate(object: &Certificate) -> v1::Certificate {
    v1::Certificate {
        chain: object.chain().iter().map(|der| der.as_ref().to_vec().into()).collect(),
        key: object.key().expose_secret().clone().into(),
        is_default: object.is_default(),
    }
}
