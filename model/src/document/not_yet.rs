//! What the language has and this version does not run.
//!
//! Everything else in the language runs. `Config::parse` refuses what is listed here wherever it
//! is turned on, `Config::check` warns of it, and both check it in full. Whoever makes a thing run
//! deletes its line.

/// A record and its key, or a kind of word and the word, as declared beside this file.
const LIST: &[(&str, &str)] = &[
    // Traffic.
    ("Service", "flush_interval"),
    ("Backend", "preserve_path"),
    // Requests.
    ("EntryPoint", "middlewares"),
    ("Middleware", "strip_prefix"),
    ("Middleware", "strip_prefix_regex"),
    ("Middleware", "add_prefix"),
    ("Middleware", "replace_path"),
    ("Middleware", "replace_path_regex"),
    ("Middleware", "headers"),
    ("Middleware", "redirect_scheme"),
    ("Middleware", "redirect_regex"),
    ("Middleware", "basic_auth"),
    ("Middleware", "forward_auth"),
    ("Middleware", "ip_allow_list"),
    ("Middleware", "rate_limit"),
    ("Middleware", "buffering"),
    ("Middleware", "compress"),
    ("Middleware", "jwt"),
    ("Middleware", "waf"),
    ("Middleware", "errors"),
    ("Middleware", "plugin"),
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
