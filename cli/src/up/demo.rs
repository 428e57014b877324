//! The demo: two backends inside this process, and the document that uses them.
//!
//! The document is ours as long as it has our name and begins with our line; then it is written
//! anew whenever ports change. Changed by somebody else it stays as it is, and the demo's
//! backends come back on the ports that it names.

use std::{convert::Infallible, net::Ipv4Addr};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, header, service::service_fn};
use hyper_util::rt::TokioIo;
use lb_model::{Bundle, Document, api::ConfigView};
use tokio::{net::TcpListener, task::JoinSet};

use crate::exit::Failure;

/// The name of the document.
pub(crate) const NAME: &str = "demo.yaml";
/// The first line of the document.
const MARK: &str = "# Written by `lbctl up`, and written anew for as long as this line stays.";
/// The backends and the ports they like best.
const BACKENDS: [(&str, u16); 2] = [("demo-1", 9001), ("demo-2", 9002)];

/// Backends that run until this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Demo {
    servers: JoinSet<()>,
}

impl Demo {
    /// Whether none runs.
    pub(crate) fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }

    /// Starts both backends, on the ports that the stored document names if it is ours and they
    /// are free, and gives the document that uses them.
    pub(crate) async fn serve(
        &mut self,
        stored: &ConfigView,
        entry_port: u16,
    ) -> Result<String, Failure> {
        let before = backends_of(stored);
        let mut ports = Vec::new();
        for (name, preferred) in BACKENDS {
            let preferred = before
                .iter()
                .find(|(known, _)| *known == name)
                .map_or(preferred, |(_, port)| *port);
            let listener = match listen(preferred).await {
                Ok(listener) => listener,
                Err(_) => listen(0).await.map_err(failed)?,
            };
            ports.push((name, listener.local_addr().map_err(failed)?.port()));
            self.spawn(name, listener);
        }
        Ok(document(entry_port, &ports))
    }

    /// Starts those backends that a document, no longer ours, still names. Gives what to say of
    /// those that could not be started.
    pub(crate) async fn serve_again(&mut self, stored: &ConfigView) -> Vec<String> {
        let mut notes = Vec::new();
        for (name, port) in backends_of(stored) {
            match listen(port).await {
                Ok(listener) => self.spawn(name, listener),
                Err(error) => notes.push(format!(
                    "could not start the backend {name} of the demo again on port {port}: {}; \
                     if another program serves it there, all is well",
                    crate::source::reason(&error)
                )),
            }
        }
        notes
    }

    fn spawn(&mut self, name: &'static str, listener: TcpListener) {
        self.servers.spawn(accept(name, listener));
    }
}

/// Whether a stored configuration is our document.
pub(crate) fn is_ours(stored: &ConfigView) -> bool {
    matches!(stored.documents.as_slice(), [only] if only.name == NAME && only.text.starts_with(MARK))
}

/// The backends of the demo that a configuration names, with their ports.
fn backends_of(stored: &ConfigView) -> Vec<(&'static str, u16)> {
    let bundle = Bundle { documents: stored.documents.clone(), ..Bundle::default() };
    let (document, _) = Document::read(&bundle);
    let mut found = Vec::new();
    for (name, backend) in document.backends.iter().flatten() {
        let ours = BACKENDS.iter().find(|(ours, _)| *ours == name.value.as_str());
        let Some(((ours, _), url)) = ours.zip(backend.url.as_ref()) else { continue };
        if url.value.host() == "127.0.0.1" {
            found.push((*ours, url.value.port()));
        }
    }
    found
}

fn document(entry_port: u16, ports: &[(&str, u16)]) -> String {
    let backends = ports.iter().fold(String::new(), |text, (name, port)| {
        text + &format!("  {name}: {{ url: \"http://127.0.0.1:{port}\" }}\n")
    });
    let names = ports.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    format!(
        "{MARK}
# Its backends run inside `lbctl up` and answer with what they were asked.
entry_points:
  web: {{ address: \"0.0.0.0:{entry_port}\" }}

backends:
{backends}
services:
  demo:
    backends: [{names}]
    health_check: {{ path: /healthz, interval: 2s }}

routes:
  demo: {{ rule: \"PathPrefix(`/`)\", service: demo }}
"
    )
}

async fn listen(port: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await
}

fn failed(error: std::io::Error) -> Failure {
    Failure::new(format!(
        "could not start a backend for the demo: {}",
        crate::source::reason(&error)
    ))
}

async fn accept(name: &'static str, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
                   accepted = listener.accept() => {
                       let Ok((stream, _)) = accepted else {
                           // Out of files: some connection must end first.
                           tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                           continue;
                       };
                       let service = service_fn(move |request| {
        let response = answer(name, &request);
        async move { Ok::<_, Infallible>(response) } });
                       let server = hyper::server::conn::http1::Builder::new();
                       connections.spawn(async move {
                           // A connection that breaks is the business of whoever opened it.
                           let _ = server.serve_connection(TokioIo::new(stream), service).await;
                       });
                   }
                   Some(_) = connections.join_next() => {}
               }
    }
}

/// The name of the backend, and the request as it arrived.
fn answer(name: &str, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let text =
        if request.uri().path() == "/healthz" { "ok\n".to_owned() } else { echo(name, request) };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    let plain = header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

fn echo(name: &str, request: &Request<Incoming>) -> String {
    let (method, uri, version) = (request.method(), request.uri(), request.version());
    let mut text = format!("{name}\n\n{method} {uri} {version:?}\n");
    for (field, value) in request.headers() {
        text += &format!("{field}: {}\n", String::from_utf8_lossy(value.as_bytes()));
    }
    text
}

#[cfg(test)]
mod tests {
    use lb_model::{Config, Version, bundle::Source};

    use super::*;

    fn view(name: &str, text: &str) -> ConfigView {
        ConfigView {
            version: Version(1),
            held_by: None,
            commit: None,
            content_hash: String::new(),
            settings: Vec::new(),
            reload: None,
            documents: vec![Source::new(name, text)],
            files: vec![],
        }
    }

    #[test]
    fn the_document_of_the_demo_is_valid_without_a_warning() {
        let text = document(8000, &BACKENDS);
        let parsed = Config::parse(&Bundle::of_text(NAME, &text), 1_700_000_000).unwrap();
        assert!(parsed.warnings.is_empty(), "{}", parsed.warnings);
        assert_eq!(parsed.config.backends.len(), 2);
    }

    #[test]
    fn a_document_is_ours_by_its_name_and_first_line() {
        let text = document(8000, &BACKENDS);
        assert!(is_ours(&view(NAME, &text)));
        assert!(!is_ours(&view("lb.yaml", &text)));
        assert!(!is_ours(&view(NAME, text.split_once('\n').unwrap().1)));
    }

    #[test]
    fn ports_of_the_demo_are_found_in_a_changed_document() {
        let text = document(8000, &[("demo-1", 4001), ("demo-2", 4002)])
            .replace("demo-2:", "web-9: { url: \"http://10.0.0.1\" }\n  demo-2:");
        assert_eq!(backends_of(&view("lb.yaml", &text)), [("demo-1", 4001), ("demo-2", 4002)]);
        let elsewhere = text.replace("127.0.0.1", "10.0.0.2");
        assert_eq!(backends_of(&view("lb.yaml", &elsewhere)), []);
    }

    #[tokio::test]
    async fn a_backend_answers_with_its_name_and_the_request() {
        let mut demo = Demo::default();
        let taken = listen(0).await.unwrap();
        let port = taken.local_addr().unwrap().port();
        let stored = view(NAME, &document(8000, &[("demo-1", port), ("demo-2", port)]));
        let text = demo.serve(&stored, 8000).await.unwrap();
        assert!(!text.contains(&port.to_string()), "a taken port is replaced: {text}");
        let ports = backends_of(&view(NAME, &text));
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        let ask = |path: &str| http.get(format!("http://127.0.0.1:{}{path}", ports[1].1)).send();
        let body = ask("/a?b=c").await.unwrap().text().await.unwrap();
        assert!(body.starts_with("demo-2\n\nGET /a?b=c HTTP/1.1\n"), "{body}");
        assert!(body.contains("\nhost: 127.0.0.1:"), "{body}");
        assert_eq!(ask("/healthz").await.unwrap().text().await.unwrap(), "ok\n");
    }
}
