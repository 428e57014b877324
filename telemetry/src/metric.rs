//! The names of metrics. A name, once here, keeps its meaning.

/// Requests answered, by route and status class.
pub const REQUESTS_TOTAL: &str = "lb_requests_total";
/// Answers the proxy made itself, by reason.
pub const LOCAL_RESPONSES_TOTAL: &str = "lb_local_responses_total";
/// Requests sent to a backend, by service and backend.
pub const UPSTREAM_REQUESTS_TOTAL: &str = "lb_upstream_requests_total";
/// Requests that ended without a response of the backend, by service and backend.
pub const UPSTREAM_FAILURES_TOTAL: &str = "lb_upstream_failures_total";
/// Requests on their way to a backend, by service and backend.
pub const UPSTREAM_IN_FLIGHT: &str = "lb_upstream_in_flight_requests";
/// 1 when a backend is up or has no check, 0 when it is down, by service and backend.
pub const BACKEND_UP: &str = "lb_backend_up";
/// 1 for what an operator decided about a backend (`enabled`, `draining`, `disabled`), by service,
/// backend and state.
pub const BACKEND_ADMIN_STATE: &str = "lb_backend_admin_state";
/// 0 while a backend's circuit breaker is closed, 1 when half-open, 2 when open, by service and
/// backend.
pub const CIRCUIT_BREAKER_STATE: &str = "lb_circuit_breaker_state";
/// Times that a circuit breaker changed its state, by service and backend.
pub const CIRCUIT_BREAKER_TRANSITIONS_TOTAL: &str = "lb_circuit_breaker_transitions_total";
/// 1 while a backend is out because it answers worse than others, by service and backend.
pub const BACKEND_EJECTED: &str = "lb_backend_ejected";
/// Requests that wait for a place at a backend, by service and backend.
pub const UPSTREAM_WAITING: &str = "lb_upstream_waiting_requests";
/// Requests where there is a canary, by service, route (where it has a canary of its own) and arm:
/// `stable`, `canary`.
pub const CANARY_REQUESTS_TOTAL: &str = "lb_canary_requests_total";
/// What schedules of canaries did, by service, route (where the canary is of one) and outcome:
/// `started`, `advanced`, `finished`, `aborted`.
pub const CANARY_STEPS_TOTAL: &str = "lb_canary_steps_total";
/// Requests where there are slots, by service, route (where it has slots of its own) and slot.
pub const BLUE_GREEN_REQUESTS_TOTAL: &str = "lb_blue_green_requests_total";
/// Sessions that are remembered by header, by service.
pub const STICKY_SESSIONS_ACTIVE: &str = "lb_sticky_sessions_active";
/// Requests by what became of their session, by service and outcome: `begun`, `kept`, `moved`.
pub const STICKY_SESSIONS_TOTAL: &str = "lb_sticky_sessions_total";
/// Tries beyond the first, by service and outcome: `sent`, or `denied` by the budget.
pub const RETRIES_TOTAL: &str = "lb_retries_total";
/// Requests that went elsewhere than meant, by service and reason: `canary_down`, `slot_down`,
/// `failover`, `panic`, `header_ignored`.
pub const FALLBACKS_TOTAL: &str = "lb_fallbacks_total";
/// Requests that found every place at a backend taken, by service and outcome: `waited`,
/// `refused`.
pub const QUEUED_REQUESTS_TOTAL: &str = "lb_queued_requests_total";
/// Copies of requests, by target and outcome: a status class, `timeout`, `connect_error`, `error`,
/// `aborted`, `too_large` or `dropped`.
pub const MIRROR_REQUESTS_TOTAL: &str = "lb_mirror_requests_total";
/// Copies of requests on their way.
pub const MIRROR_IN_FLIGHT: &str = "lb_mirror_in_flight_requests";
/// Open client connections, by entry point.
pub const OPEN_CONNECTIONS: &str = "lb_open_connections";
/// Client connections accepted, by entry point.
pub const CONNECTIONS_TOTAL: &str = "lb_connections_total";
/// Client connections closed before a request, by entry point and reason.
pub const REFUSED_CONNECTIONS_TOTAL: &str = "lb_refused_connections_total";
/// The version that serves.
pub const CONFIG_VERSION: &str = "lb_config_version";
/// Versions that could not be applied, by reason.
pub const CONFIG_APPLY_FAILURES_TOTAL: &str = "lb_config_apply_failures_total";
/// When a version was applied last, in seconds since 1970.
pub const CONFIG_LAST_APPLY: &str = "lb_config_last_apply_success_timestamp_seconds";
/// 1 when the control plane is connected.
pub const CONTROL_PLANE_CONNECTED: &str = "lb_control_plane_connected";
/// When a certificate ends, in seconds since 1970, by name.
pub const CERT_NOT_AFTER: &str = "lb_tls_cert_not_after_timestamp_seconds";
/// 1, with the version of the software.
pub const BUILD_INFO: &str = "lb_build_info";

/// Proxies connected to this control plane.
pub const CONNECTED_PROXIES: &str = "lb_connected_proxies";
/// Of these, running the current version.
pub const PROXIES_IN_SYNC: &str = "lb_proxies_in_sync";
/// Acknowledgements of proxies, by stage.
pub const SNAPSHOT_ACKS_TOTAL: &str = "lb_snapshot_acks_total";
/// Versions pushed to proxies, by kind: full, delta, `up_to_date`.
pub const SNAPSHOT_PUSHES_TOTAL: &str = "lb_snapshot_pushes_total";
/// Bytes of versions pushed to proxies.
pub const SNAPSHOT_PUSH_BYTES_TOTAL: &str = "lb_snapshot_push_bytes_total";
/// From the commit of a version to its activity on a proxy, in seconds.
pub const SNAPSHOT_PROPAGATION: &str = "lb_snapshot_propagation_seconds";
/// Acknowledged roots that are not what the control plane computes; 0 for ever.
pub const ROOT_MISMATCH_TOTAL: &str = "lb_root_mismatch_total";
/// Commits of a configuration, by result.
pub const CONFIG_COMMITS_TOTAL: &str = "lb_config_commits_total";
/// Readings of the file that holds the configuration, by result.
pub const CONFIG_RELOADS_TOTAL: &str = "lb_config_reloads_total";
/// When that file was valid last, in seconds since 1970.
pub const CONFIG_LAST_RELOAD: &str = "lb_config_last_reload_success_timestamp_seconds";
/// 1 while what that file says is not the current version.
pub const CONFIG_RELOAD_FAILING: &str = "lb_config_reload_failing";
/// Requests of operators that were not let in, by reason: `missing`, `invalid`, `throttled`.
pub const OPERATOR_AUTH_FAILURES_TOTAL: &str = "lb_operator_auth_failures_total";
