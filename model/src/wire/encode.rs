//! Objects of a configuration as messages.

use lb_proto::v1;

use super::{resilience, traffic_management};
use crate::config::{
    Backend, Certificate, EntryPoint, Route, Service, Strategy, TrafficManagement,
};

pub(super) fn entry_point(object: &EntryPoint) -> v1::EntryPoint {
    let EntryPoint { address, tls, timeouts, limits, keep_alive, trusted_ips, overload } = object;
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
        overload: overload.map(resilience::encode_overload),
    }
}

pub(super) fn backend(object: &Backend) -> v1::Backend {
    let Backend { url, weight, admin_state, zone, priority } = object;
    v1::Backend {
        url: url.to_string(),
        weight: weight.get().into(),
        admin_state: super::admin_state(*admin_state).into(),
        zone: zone.as_ref().map(ToString::to_string).unwrap_or_default(),
        priority: (*priority).into(),
    }
}

pub(super) fn service(object: &Service) -> v1::Service {
    let Service {
        backends,
        weighted,
        failover,
        strategy,
        slow_start,
        panic_threshold,
        outlier_detection,
        retry,
        traffic_management,
        health_check,
        timeouts,
        pool,
        pass_host_header,
    } = object;
    let hash_on = match strategy {
        Strategy::Hash(source) => source.to_string(),
        _ => String::new(),
    };
    let traffic_management = (**traffic_management != TrafficManagement::default())
        .then(|| traffic_management::encode(traffic_management));
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
        hash_on,
        slow_start_ms: slow_start.as_millis(),
        panic_threshold: panic_threshold.parts_per_million(),
        outlier_detection: outlier_detection.as_ref().map(resilience::encode_outliers),
        retry: retry.as_ref().map(resilience::encode_retry),
        traffic_management,
        weighted: weighted
            .iter()
            .map(|(service, weight)| v1::WeightedService {
                service: service.to_string(),
                weight: weight.get().into(),
            })
            .collect(),
        failover: failover.as_ref().map(resilience::encode_failover),
        pool_max_connections: pool.max_connections,
        pool_max_pending_requests: pool.max_pending_requests,
        pool_queue_timeout_ms: pool.queue_timeout.as_millis(),
        pool_max_lifetime_ms: pool.max_lifetime.as_millis(),
    }
}

pub(super) fn route(object: &Route) -> v1::Route {
    let Route {
        rule,
        entry_points,
        priority,
        service,
        timeouts,
        in_flight,
        retry,
        traffic_management,
    } = object;
    v1::Route {
        rule: rule.as_str().to_owned(),
        entry_points: entry_points.iter().map(ToString::to_string).collect(),
        priority: *priority,
        service: service.to_string(),
        connect_timeout_ms: timeouts.connect.map(crate::value::Duration::as_millis),
        response_header_timeout_ms: timeouts.response_header.map(crate::value::Duration::as_millis),
        idle_timeout_ms: timeouts.idle.map(crate::value::Duration::as_millis),
        total_timeout_ms: timeouts.total.map(crate::value::Duration::as_millis),
        in_flight: in_flight.iter().map(resilience::encode_in_flight).collect(),
        retry: retry.as_ref().map(resilience::encode_retry),
        traffic_management: traffic_management.as_deref().map(traffic_management::encode),
    }
}

pub(super) fn certificate(object: &Certificate) -> v1::Certificate {
    v1::Certificate {
        chain: object.chain().iter().map(|der| der.as_ref().to_vec().into()).collect(),
        key: object.key().expose_secret().clone().into(),
        is_default: object.is_default(),
    }
}
