//! What each contender is told: ten backends, and what its documentation recommends for when one
//! of them turns bad.
//!
//! All are equally patient: [`PATIENCE`] for a connection and for one try, three tries, a check
//! of health every two seconds, of which three that fail take a backend out and two that pass
//! take it back. Beside that each has what it has: lb and Envoy watch success rates and bound
//! retries, HAProxy marks a server down after ten errors, lb goes by response times, the others
//! by requests in flight.

use std::{fmt::Write, net::SocketAddr};

use serde_json::{Value, json};

/// How long a connection and one try may take, in seconds.
const PATIENCE: &str = "1s";

/// The path that is checked.
const HEALTH: &str = "/health";

/// The document of lb.
pub(super) fn lb(backends: &[SocketAddr]) -> String {
    let mut text = "entry_points:\n  web: { address: \"127.0.0.1:0\" }\nbackends:\n".to_owned();
    for (index, backend) in backends.iter().enumerate() {
        let _ = writeln!(text, "  b{index}: {{ url: \"http://{backend}\" }}");
    }
    let names: Vec<_> = (0..backends.len()).map(|index| format!("b{index}")).collect();
    let _ = write!(
        text,
        "services:\n\
         \x20 all:\n\
         \x20   backends: [{names}]\n\
         \x20   strategy: peak_ewma\n\
         \x20   health_check:\n\
         \x20     {{ path: {HEALTH}, interval: 2s, timeout: {PATIENCE}, healthy_threshold: 2, unhealthy_threshold: 3 }}\n\
         \x20   passive_health_check: {{ success_rate: {{}} }}\n\
         \x20   timeouts: {{ connect: {PATIENCE} }}\n\
         \x20   retry:\n\
         \x20     attempts: 3\n\
         \x20     on: [connect_failure, reset, gateway_error, 5xx]\n\
         \x20     per_try_timeout: {PATIENCE}\n\
         routes:\n\
         \x20 all: {{ rule: \"PathPrefix(`/`)\", service: all }}\n",
        names = names.join(", "),
    );
    text
}

/// The configuration of HAProxy.
pub(super) fn haproxy(listen: SocketAddr, backends: &[SocketAddr], threads: usize) -> String {
    let mut text = format!(
        "global\n\
         \x20 nbthread {threads}\n\
         defaults\n\
         \x20 mode http\n\
         \x20 timeout connect {PATIENCE}\n\
         \x20 timeout server {PATIENCE}\n\
         \x20 timeout check {PATIENCE}\n\
         \x20 timeout queue 5s\n\
         \x20 timeout client 1m\n\
         \x20 http-reuse always\n\
         frontend all\n\
         \x20 bind {listen}\n\
         \x20 default_backend all\n\
         backend all\n\
         \x20 balance leastconn\n\
         \x20 option httpchk GET {HEALTH}\n\
         \x20 option redispatch 1\n\
         \x20 retries 2\n\
         \x20 retry-on all-retryable-errors\n\
         \x20 default-server check inter 2s fall 3 rise 2 observe layer7 error-limit 10 on-error mark-down\n"
    );
    for (index, backend) in backends.iter().enumerate() {
        let _ = writeln!(text, "  server b{index} {backend}");
    }
    text
}

/// The configuration of Envoy.
pub(super) fn envoy(listen: SocketAddr, backends: &[SocketAddr]) -> String {
    const API: &str = "type.googleapis.com/envoy.extensions";
    let address = |address: &SocketAddr| {
        let (host, port) = (address.ip().to_string(), address.port());
        json!({ "socket_address": { "address": host, "port_value": port } })
    };
    let endpoints: Vec<Value> = backends
        .iter()
        .map(|backend| json!({ "endpoint": { "address": address(backend) } }))
        .collect();
    let retry = json!({
        "retry_on": "5xx,reset,connect-failure",
        "num_retries": 2,
        "per_try_timeout": PATIENCE,
        "retry_host_predicate": [{
            "name": "envoy.retry_host_predicates.previous_hosts",
            "typed_config": {
                "@type": format!("{API}.retry.host.previous_hosts.v3.PreviousHostsPredicate"),
            },
        }],
        "host_selection_retry_max_attempts": 5,
    });
    let manager = json!({
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": format!("{API}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
            "stat_prefix": "all",
            "codec_type": "HTTP1",
            "route_config": { "virtual_hosts": [{
                "name": "all",
                "domains": ["*"],
                "routes": [{
                    "match": { "prefix": "/" },
                    "route": { "cluster": "all", "retry_policy": retry },
                }],
            }] },
            "http_filters": [{
                "name": "envoy.filters.http.router",
                "typed_config": { "@type": format!("{API}.filters.http.router.v3.Router") },
            }],
        },
    });
    let configuration = json!({ "static_resources": {
        "listeners": [{
            "name": "plain",
            "address": address(&listen),
            "filter_chains": [{ "filters": [manager] }],
        }],
        "clusters": [{
            "name": "all",
            "type": "STATIC",
            "connect_timeout": PATIENCE,
            "lb_policy": "LEAST_REQUEST",
            "circuit_breakers": { "thresholds": [{
                "retry_budget": { "budget_percent": { "value": 20 }, "min_retry_concurrency": 3 },
            }] },
            "health_checks": [{
                "timeout": PATIENCE,
                "interval": "2s",
                "no_traffic_interval": "2s",
                "unhealthy_threshold": 3,
                "healthy_threshold": 2,
                "http_health_check": { "path": HEALTH },
            }],
            "outlier_detection": {
                "consecutive_5xx": 5,
                "interval": "10s",
                "base_ejection_time": "30s",
                "max_ejection_percent": 10,
            },
            "load_assignment": {
                "cluster_name": "all",
                "endpoints": [{ "lb_endpoints": endpoints }],
            },
        }],
    } });
    format!("{configuration:#}\n")
}

#[cfg(test)]
mod tests {
    use lb_model::{Bundle, Config};

    use super::*;

    #[test]
    fn every_backend_is_in_every_configuration() {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let backends: Vec<_> = (7_001..=7_010).map(address).collect();
        let document = lb(&backends);
        let parsed = Config::parse(&Bundle::of_text("lb.yaml", &document), 0);
        assert!(parsed.is_ok(), "{document}: {:?}", parsed.err());
        let listen = address(7_000);
        for text in [document, haproxy(listen, &backends, 2), envoy(listen, &backends)] {
            for backend in &backends {
                assert!(text.contains(&backend.port().to_string()), "{backend}: {text}");
            }
        }
    }
}
