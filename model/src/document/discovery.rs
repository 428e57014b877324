//! Backends that others know, as written.

use super::{Spanned, record, words};
use crate::value::{ByteSize, Duration, Endpoint, FilePath, Percentage, PositiveDuration, Secret};

record! {
    /// Backends that a registry knows.
    pub struct ServiceDiscovery {
        /// Whether it is on.
        enabled: Spanned<bool> = "false",
        /// Who knows.
        provider: Spanned<Provider>,
        /// Where it is; the first that answers is asked.
        endpoints: Vec<Spanned<Endpoint>>,
        /// Which backends are taken: those that pass all of these.
        filters: Vec<DiscoveryFilter>,
        /// How often a provider that does not tell by itself is asked.
        interval: Spanned<PositiveDuration> = "10s",
        /// For how long changes are gathered.
        debounce: Spanned<Duration> = "200ms",
        /// The largest answer that is read.
        max_body_bytes: Spanned<ByteSize> = "4MiB",
        /// The largest part of a pool, in percent, that may go at once; more is held back.
        max_shrink_percent: Spanned<Percentage> = "100",
        /// The prefix of keys in etcd, or the path of an http endpoint.
        path: Spanned<String>,
        /// The namespaces that are looked at in kubernetes; all by default.
        namespaces: Vec<Spanned<String>>,
        /// The datacenter asked in consul.
        datacenter: Spanned<String>,
        /// What this control plane shows to be let in.
        token: Spanned<Secret<String>>,
        /// A file with it.
        token_file: Spanned<FilePath>,
        /// A name and a password, in place of a token.
        basic_auth: BasicCredentials,
        /// TLS to the provider.
        tls: ClientTls,
    }
    required: provider = "provider: consul"
}

record! {
    /// Which backends are taken.
    pub struct DiscoveryFilter {
        /// What is looked at: service_name, namespace, zone, tag:NAME, meta.NAME or label.NAME.
        key: Spanned<FilterKey>,
        /// Any of these.
        values: Vec<Spanned<String>>,
        /// How both are compared.
        operator: Spanned<Operator> = "equals",
    }
    required: key = "key: service_name"
}

record! {
    /// A name and a password.
    pub struct BasicCredentials {
        /// The name.
        username: Spanned<String>,
        /// The password.
        password: Spanned<Secret<String>>,
        /// A file with it.
        password_file: Spanned<FilePath>,
    }
    required: username = "username: NAME"
}

record! {
    /// TLS to somebody else.
    pub struct ClientTls {
        /// A file with the PEM certificates to trust; those of the system by default.
        ca_file: Spanned<FilePath>,
        /// A file with a PEM chain to show.
        cert_file: Spanned<FilePath>,
        /// A file with its PEM key.
        key_file: Spanned<FilePath>,
        /// The name expected there, if it is not the host.
        server_name: Spanned<String>,
        /// Whether any certificate is good. For tests.
        insecure_skip_verify: Spanned<bool> = "false",
    }
}

words! {
    /// Who knows of backends.
    pub enum Provider: "a provider" {
        /// Consul's health API.
        Consul = "consul",
        /// Keys in etcd.
        Etcd = "etcd",
        /// EndpointSlices of Kubernetes.
        Kubernetes = "kubernetes",
        /// A JSON document.
        Http = "http",
        /// A file.
        File = "file",
        /// Names in the DNS.
        Dns = "dns",
        /// Containers of Docker.
        Docker = "docker",
    }
}

words! {
    /// How a filter compares.
    pub enum Operator: "an operator" {
        /// It is one of them.
        Equals = "equals",
        /// It is none of them.
        NotEquals = "not_equals",
        /// It is one of them.
        In = "in",
        /// It is none of them.
        NotIn = "not_in",
        /// It holds one of them.
        Contains = "contains",
        /// It begins with one of them.
        Prefix = "prefix",
        /// One of them, an expression, is found in it.
        Regex = "regex",
        /// It is there.
        Exists = "exists",
    }
}

/// What a filter looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterKey(pub Box<str>);

impl super::Leaf for FilterKey {
    fn leaf(text: &str) -> Result<Self, crate::value::InvalidValue> {
        const WORDS: [&str; 3] = ["service_name", "namespace", "zone"];
        let named = ["tag:", "meta.", "label."];
        let is_named = named
            .iter()
            .any(|prefix| text.strip_prefix(prefix).is_some_and(|name| !name.is_empty()));
        if is_named || WORDS.contains(&text) || text == "tag:*" {
            return Ok(Self(text.into()));
        }
        Err(crate::value::InvalidValue::new(
            format!("`{text}` is not known of backends"),
            "write service_name, namespace, zone, tag:NAME, meta.NAME or label.NAME",
        ))
    }

    fn schema() -> serde_json::Value {
        let pattern = "^(service_name|namespace|zone|tag:.+|meta\\..+|label\\..+)$";
        serde_json::json!({ "type": "string", "pattern": pattern })
    }
}
