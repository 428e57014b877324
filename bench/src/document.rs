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
pub(crate) fn in_service(routes: usize, origin: SocketAddr, pair: &Pair) -> String {
    InService { routes, backends: 1, features: Features::None }.document(origin, pair)
}

/// What a document in service has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InService {
    /// How many routes there are.
    pub(crate) routes: usize,
    /// How many backends share the requests.
    pub(crate) backends: usize,
    /// What is configured for these.
    pub(crate) features: Features,
}

/// Traffic management of a document in service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Features {
    /// Nothing.
    None,
    /// All that can be at once, none of which has anything to do as long as backends are well.
    All,
}

/// What the service has then.
const ALL_FEATURES: &str = "    strategy: peak_ewma
    slow_start: 500ms
    passive_health_check: { success_rate: {} }
    retry:
      attempts: 3
      on: [connect_failure, reset, gateway_error, 5xx]
      per_try_timeout: 10s
    traffic_management:
      session_stickiness: { enabled: true, cookie_name: lb }
      canary: { enabled: true, traffic_split: 10, canary_backends: [{ backend_id: next }] }
      circuit_breaker: { enabled: true }
";

impl InService {
    /// The document. All backends are at `origin`.
    pub(crate) fn document(self, origin: SocketAddr, Pair(certificate): &Pair) -> String {
        let has_all = self.features == Features::All;
        let mut text = "entry_points:\n\
            \x20 web: { address: \"127.0.0.1:0\", timeouts: { idle: 10m } }\n\
            \x20 websecure: { address: \"127.0.0.1:0\", tls: {}, timeouts: { idle: 10m } }\n\
            health_check: { path: /health, interval: 5s, timeout: 1s }\n\
            backends:\n"
            .to_owned();
        let names: Vec<_> = (0..self.backends).map(|index| format!("origin-{index}")).collect();
        for name in names.iter().map(String::as_str).chain(has_all.then_some("next")) {
            let _ = writeln!(text, "  {name}: {{ url: \"http://{origin}\" }}");
        }
        if has_all {
            text.push_str("middlewares:\n  many: { in_flight: { amount: 10000 } }\n");
        }
        let _ = write!(
            text,
            "services:\n\
             \x20 all:\n\
             \x20   backends: [{names}]\n\
             \x20   timeouts: {{ connect: 5s, response_header: 30s, idle: 60s, total: 120s }}\n\
             \x20   pool: {{ max_idle: 512{places} }}\n\
             {features}\
             routes:\n\
             \x20 taken: {{ rule: \"Host(`{HOST}`) && PathPrefix(`/`)\", service: all{gates} }}\n",
            names = names.join(", "),
            places = if has_all { ", max_connections: 1000" } else { "" },
            features = if has_all { ALL_FEATURES } else { "" },
            gates = if has_all { ", middlewares: [many]" } else { "" },
        );
        for route in 1..self.routes.max(1) {
            let _ = writeln!(
                text,
                "  r{route}: {{ rule: \"Host(`h{route}.example.com`) && PathPrefix(`/v1`)\", \
                 service: all }}"
            );
        }
        let _ = write!(text, "certificates:\n  default:\n{certificate}");
        text
    }
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
        let features = InService { routes: 3, backends: 10, features: Features::All };
        let features = features.document(backends[0], &pair);
        let (one, another) = (many_routes(100, 1), many_routes(100, 101));
        let documents = [served(1), served(2), one, another, service, features];
        for document in documents {
            let parsed = Config::parse(&Bundle::of_text("lb.yaml", &document), 0);
            assert!(parsed.is_ok(), "{document}: {:?}", parsed.err());
        }
        assert_ne!(served(1), served(2));
        assert_ne!(many_routes(100, 1), many_routes(100, 101));
    }
}
