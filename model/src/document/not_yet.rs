//! What the language has and this version does not run.
//!
//! Everything else in the language runs. `Config::parse` refuses what is listed here wherever it
//! is turned on, `Config::check` warns of it, and both check it in full. Whoever makes a thing run
//! deletes its line.

/// A record and its key, or a kind of word and the word, as declared beside this file.
const LIST: &[(&str, &str)] = &[
    // Traffic.
    ("TrafficManagement", "session_stickiness"),
    ("TrafficManagement", "blue_green"),
    ("TrafficManagement", "canary"),
    ("TrafficManagement", "circuit_breaker"),
    ("Service", "hash_on"),
    ("Service", "flush_interval"),
    ("Service", "middlewares"),
    ("Service", "passive_health_check"),
    ("Service", "retry"),
    ("Service", "weighted"),
    ("Service", "failover"),
    ("Service", "failover_status"),
    ("Service", "slow_start"),
    ("Service", "panic_threshold"),
    ("Document", "overload"),
    ("Backend", "priority"),
    ("Pool", "max_pending_requests"),
    ("Pool", "queue_timeout"),
    ("Strategy", "peak_ewma"),
    ("Pool", "max_connections"),
    ("Pool", "max_lifetime"),
    ("Backend", "zone"),
    ("Backend", "preserve_path"),
    ("Strategy", "least_requests"),
    ("Strategy", "hash"),
    // Requests.
    ("Document", "middlewares"),
    ("Route", "middlewares"),
    ("EntryPoint", "middlewares"),
    ("EntryPoint", "redirect_to"),
    ("EntryPoint", "proxy_protocol"),
    ("Limits", "connections_per_client"),
    // Security.
    ("Document", "jwt"),
    ("Document", "waf"),
    ("Document", "rate_limit"),
    ("Document", "tls_options"),
    ("Route", "jwt"),
    ("Route", "waf"),
    ("Route", "rate_limit"),
    ("Route", "tls"),
    ("Tls", "options"),
    ("Tls", "min_version"),
    ("Tls", "max_version"),
    ("Tls", "cipher_suites"),
    ("Tls", "client_auth"),
    ("Document", "lets_encrypt"),
    // Protocols.
    ("Document", "http3"),
    ("Document", "grpc"),
    ("Service", "grpc"),
    ("Route", "grpc"),
    ("Protocol", "tcp"),
    ("Protocol", "udp"),
    ("Scheme", "https"),
    ("Scheme", "h2c"),
    ("Scheme", "grpc"),
    ("Scheme", "grpcs"),
    ("Scheme", "tcp"),
    ("Scheme", "udp"),
    // Around it.
    ("Observability", "tracing"),
    ("Observability", "metrics"),
    ("Observability", "logging"),
    ("Document", "service_discovery"),
    ("Document", "plugins"),
];

/// Whether a key or a word is on the list.
pub(crate) fn is_listed(kind: &str, name: &str) -> bool {
    !kind.is_empty() && LIST.contains(&(kind, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_listed_is_part_of_the_language() {
        let schema = crate::schema::schema();
        for (kind, name) in LIST {
            let definition = &schema["$defs"][kind]["properties"];
            let is_key = definition.get(name).is_some()
                || (*kind == "Document" && schema["properties"].get(name).is_some());
            let is_word = match *kind {
                "Strategy" => super::super::Strategy::WORDS.contains(name),
                "Protocol" => super::super::Protocol::WORDS.contains(name),
                "Scheme" => crate::value::Scheme::ALL.iter().any(|s| s.as_str() == *name),
                _ => false,
            };
            assert!(is_key || is_word, "{kind}.{name} is not in the language");
        }
    }
}
