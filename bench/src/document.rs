//! The documents that benchmarks commit.

use std::{fmt::Write, net::SocketAddr};

use anyhow::Result;

/// The host that clients ask for.
pub(crate) const HOST: &str = "bench.test";

/// A certificate and its key, as the lines of a document.
#[derive(Debug, Clone)]
pub(crate) struct Pair(String);

impl Pair {
    /// A new self-signed one.
    pub(crate) fn new() -> Result<Self> {
        let made = rcgen::generate_simple_self_signed(vec![HOST.to_owned()])?;
        Ok(Self::of(&made.cert.pem(), &made.signing_key.serialize_pem()))
    }

    /// One in PEM.
    pub(crate) fn of(certificate: &str, key: &str) -> Self {
        let mut lines = String::new();
        for (key, pem) in [("cert", certificate), ("key", key)] {
            let _ = writeln!(lines, "    {key}: |");
            for line in pem.lines() {
                let _ = writeln!(lines, "      {line}");
            }
        }
        Self(lines)
    }
}

/// What the proxies under load serve. `change` makes each document another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Served<'a> {
    /// Where requests end.
    pub(crate) backends: [SocketAddr; 2],
    /// The number of the change.
    pub(crate) change: usize,
    /// Whether there is another listener.
    pub(crate) extra_listener: bool,
    /// What clients of the TLS entry point see.
    pub(crate) certificate: Option<&'a Pair>,
}

impl Served<'_> {
    /// The path that only this change serves.
    pub(crate) fn probe(change: usize) -> String {
        format!("/change-{change}")
    }

    /// The document.
    pub(crate) fn document(&self) -> String {
        let Self { backends: [one, two], change, extra_listener, certificate } = *self;
        let mut text = "entry_points:\n  web: { address: \"127.0.0.1:0\" }\n".to_owned();
        if extra_listener {
            text.push_str("  extra: { address: \"127.0.0.1:0\" }\n");
        }
        if certificate.is_some() {
            text.push_str("  websecure: { address: \"127.0.0.1:0\", tls: {} }\n");
        }
        let (weight, probe) = (1 + change % 9, Self::probe(change));
        let _ = write!(
            text,
            "backends:\n\
             \x20 one: {{ url: \"http://{one}\" }}\n\
             \x20 two: {{ url: \"http://{two}\", weight: {weight} }}\n\
             services:\n\
             \x20 all: {{ backends: [one, two] }}\n\
             routes:\n\
             \x20 load: {{ rule: \"Path(`{load}`)\", service: all }}\n\
             \x20 probe: {{ rule: \"Path(`{probe}`)\", service: all }}\n\
             \x20 added-{added}: {{ rule: \"PathPrefix(`/added/{change}`)\", service: all }}\n",
            load = crate::load::PATH,
            added = change % 20,
        );
        if let Some(Pair(lines)) = certificate {
            let _ = write!(text, "certificates:\n  default:\n{lines}");
        }
        text
    }
}

/// A document of many routes, of which each change changes one.
pub(crate) fn many_routes(routes: usize, change: usize) -> String {
    let mut text = "entry_points:\n  web: { address: \"127.0.0.1:0\" }\nbackends:\n".to_owned();
    for backend in 0..10 {
        let port = 9_000 + backend;
        let _ = writeln!(text, "  b{backend}: {{ url: \"http://127.0.0.1:{port}\" }}");
    }
    text.push_str("services:\n  all: { backends: [b0, b1, b2, b3, b4, b5, b6, b7, b8, b9] }\n");
    text.push_str("routes:\n");
    for route in 0..routes.max(1) {
        let version = if route == change % routes.max(1) { change } else { 0 };
        let _ = writeln!(
            text,
            "  r{route}: {{ rule: \"Host(`h{route}.example.com`) && PathPrefix(`/v{version}`)\", \
             service: all }}"
        );
    }
    text
}

/// A document as in service: checks of health, time-outs, TLS, and `routes` routes, one of which
/// takes what is asked of [`HOST`].
pub(crate) fn in_service(routes: usize, origin: SocketAddr, Pair(certificate): &Pair) -> String {
    let mut text = format!(
        "entry_points:\n\
         \x20 web: {{ address: \"127.0.0.1:0\", timeouts: {{ idle: 10m }} }}\n\
         \x20 websecure: {{ address: \"127.0.0.1:0\", tls: {{}}, timeouts: {{ idle: 10m }} }}\n\
         health_check: {{ path: /health, interval: 5s, timeout: 1s }}\n\
         backends:\n\
         \x20 origin: {{ url: \"http://{origin}\" }}\n\
         services:\n\
         \x20 all:\n\
         \x20   backends: [origin]\n\
         \x20   timeouts: {{ connect: 5s, response_header: 30s, idle: 60s, total: 120s }}\n\
         \x20   pool: {{ max_idle: 512 }}\n\
         routes:\n\
         \x20 taken: {{ rule: \"Host(`{HOST}`) && PathPrefix(`/`)\", service: all }}\n",
    );
    for route in 1..routes.max(1) {
        let _ = writeln!(
            text,
            "  r{route}: {{ rule: \"Host(`h{route}.example.com`) && PathPrefix(`/v1`)\", \
             service: all }}"
        );
    }
    let _ = write!(text, "certificates:\n  default:\n{certificate}");
    text
}

#[cfg(test)]
mod tests {
    use lb_model::{Bundle, Config};

    use super::*;

    #[test]
    fn documents_are_valid_and_each_change_is_another() {
        let backends = [SocketAddr::from(([127, 0, 0, 1], 1)); 2];
        let pair = Pair::new().unwrap();
        let served = |change| {
            let certificate = Some(&pair);
            Served { backends, change, extra_listener: true, certificate }.document()
        };
        let service = in_service(100, backends[0], &pair);
        assert_eq!(service.matches("Host(").count(), 100);
        let documents = [served(1), served(2), many_routes(100, 1), many_routes(100, 101), service];
        for document in documents {
            let parsed = Config::parse(&Bundle::of_text("lb.yaml", &document), 0);
            assert!(parsed.is_ok(), "{document}: {:?}", parsed.err());
        }
        assert_ne!(served(1), served(2));
        assert_ne!(many_routes(100, 1), many_routes(100, 101));
    }
}
