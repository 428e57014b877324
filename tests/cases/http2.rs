//! HTTP/2 with clients that others wrote.

use lb_tests::{
    backend::Backend,
    certificate::Pair,
    cluster::Cluster,
    curl::{curl, h2load},
    scratch::Scratch,
};

const HOST: &str = "shop.example.com";

/// A proxy with and without TLS; the addresses of both as URLs.
async fn proxy(backend: &Backend) -> (Cluster, [String; 2]) {
    let pair = Pair::new(HOST);
    let document = format!(
        "entry_points:\n  plain: {{ address: \"127.0.0.1:0\" }}\n  \
         secure: {{ address: \"127.0.0.1:0\", tls: {{}} }}\n\
         backends: {{ one: {{ url: \"{}\" }} }}\ncertificates:\n{}",
        backend.url(),
        pair.entry("shop")
    );
    let mut cluster = Cluster::serving(1, &document).await;
    let plain = cluster.proxy(0).entry_point("plain").await;
    let secure = cluster.proxy(0).entry_point("secure").await;
    (cluster, [format!("http://{plain}"), format!("https://{secure}")])
}

#[tokio::test]
async fn curl_sends_and_gets_large_bodies() {
    let (backend, scratch) = (Backend::start("one").await, Scratch::new());
    let (_cluster, urls) = proxy(&backend).await;
    let body = "0123456789".repeat(200_000);
    let data = format!("@{}", scratch.write("body", &body).display());
    for url in urls {
        let url = format!("{url}/x");
        let mode = if url.starts_with("https") { "--http2" } else { "--http2-prior-knowledge" };
        let arguments = [mode, "-k", "--data-binary", &data, "-H", "expect: 100-continue", &url];
        let answer = curl(&arguments).await;
        assert_eq!((answer.status, answer.http_version.as_str()), (200, "2"));
        assert!(answer.body.contains(&body), "{} bytes came back", answer.body.len());
        let answer = curl(&[mode, "-k", "--head", &url]).await;
        assert_eq!((answer.status, answer.http_version.as_str()), (200, "2"));
    }
}

#[tokio::test]
async fn h2load_gets_every_answer_on_few_and_many_streams() {
    let backend = Backend::start("one").await;
    let (_cluster, urls) = proxy(&backend).await;
    for url in &urls {
        for (requests, clients, streams) in [(200, 1, 1), (1000, 2, 100), (1000, 20, 10)] {
            assert_eq!(h2load(url, requests, clients, streams).await, requests, "{url}");
        }
    }
    assert_eq!(backend.requests(), 2 * 2200);
}
