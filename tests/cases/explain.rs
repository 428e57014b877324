//! What `explain` says of a request is what the proxies of a fleet do with it.

use std::collections::BTreeSet;

use lb_model::api::{Choice, ExplainRequest, Explanation};
use lb_tests::{
    backend::{Backend, Behaviour},
    client::Connection,
    cluster::Cluster,
    eventually::eventually,
};
use reqwest::Method;

use crate::lbctl::lbctl;

async fn several(count: usize) -> Vec<Backend> {
    let mut backends = Vec::new();
    for index in 0..count {
        backends.push(Backend::start(&format!("web{index}")).await);
    }
    backends
}

fn document(backends: &[Backend], services: &str) -> String {
    let listed = backends.iter().enumerate();
    let listed: Vec<_> = listed
        .map(|(index, backend)| format!("  web{index}: {{ url: \"{}\" }}\n", backend.url()))
        .collect();
    format!(
        "entry_points: {{ web: {{ address: \"127.0.0.1:0\" }} }}\nbackends:\n{}{services}",
        listed.concat()
    )
}

/// Who gets a request with these fields, on all proxies or on some.
async fn explained(cluster: &mut Cluster, path: &str, fields: &[(&str, String)]) -> Vec<Choice> {
    let headers = fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let url = format!("http://a{path}");
    let asked = ExplainRequest { url, headers, ..ExplainRequest::default() };
    let asked = serde_json::to_string(&asked).unwrap();
    let request = cluster.control_plane().request(Method::POST, "/api/v1/explain");
    let answer = request.header("content-type", "application/json").body(asked).send().await;
    let explanation: Explanation = answer.unwrap().json().await.unwrap();
    explanation.entry_points[0].decision.clone().unwrap().choices
}

/// Who answers it.
async fn answers(cluster: &Cluster, proxy: usize, path: &str, fields: &[(&str, String)]) -> String {
    let mut connection = Connection::open(cluster.web(proxy).await).await.unwrap();
    let lines: Vec<_> = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    connection
        .send(format!("GET {path} HTTP/1.1\r\nhost: a\r\n{}\r\n", lines.concat()))
        .await
        .unwrap();
    connection.response().await.unwrap().backend()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_backend_that_is_explained_is_the_one_that_answers_through_every_proxy() {
    let backends = several(5).await;
    let services = "services:
  header: { backends: [web0, web1, web2, web3, web4], strategy: hash, hash_on: \"header:X-User\" }
  cookie: { backends: [web0, web1, web2, web3, web4], strategy: hash, hash_on: \"cookie:user\" }
  path: { backends: [web0, web1, web2, web3, web4], strategy: hash, hash_on: path }
  session:
    backends: [web0, web1, web2]
    traffic_management:
      session_stickiness: { enabled: true, header_name: X-Session }
      blue_green: { enabled: true, blue_backends: [web0, web1], green_backends: [web2], active_slot: blue, switch_header: X-Slot }
      canary:
        enabled: true
        traffic_split: 30
        sticky: header
        split_header: X-Canary
        canary_backends: [{ backend_id: web3 }, { backend_id: web4, weight: 3 }]
routes:
  header: { rule: \"PathPrefix(`/header`)\", service: header }
  cookie: { rule: \"PathPrefix(`/cookie`)\", service: cookie }
  path: { rule: \"PathPrefix(`/path`)\", service: path }
  session: { rule: \"PathPrefix(`/session`)\", service: session }
";
    let mut cluster = Cluster::serving(2, &document(&backends, services)).await;
    for (route, by) in [
        ("/header", "hash"),
        ("/cookie", "hash"),
        ("/path", "hash"),
        ("/session", "session_header"),
    ] {
        let mut used = BTreeSet::new();
        for key in 0..20 {
            let path = if route == "/path" { format!("/path/{key}") } else { route.to_owned() };
            let fields = match route {
                "/header" => vec![("x-user", format!("user-{key}"))],
                "/cookie" => vec![("cookie", format!("a=b; user=\"{key}\""))],
                "/session" => vec![("x-session", format!("session-{key}"))],
                _ => vec![],
            };
            let [choice] = explained(&mut cluster, &path, &fields).await.try_into().unwrap();
            assert_eq!(choice.by, by, "{choice:?}");
            let backend = choice.backend.clone().expect("it follows from the request");
            for proxy in 0..2 {
                assert_eq!(answers(&cluster, proxy, &path, &fields).await, backend, "{choice:?}");
            }
            used.insert(backend);
        }
        assert!(used.len() > 3, "{route} is spread: {used:?}");
    }
    // The slot and the version that headers ask for.
    let session = |more: &[(&'static str, &str)]| {
        let more = more.iter().map(|(name, value)| (*name, (*value).to_owned()));
        [("x-session", "asked".to_owned())].into_iter().chain(more).collect::<Vec<_>>()
    };
    for (more, by) in [
        (&[("x-canary", "web4")][..], "split_header"),
        (&[("x-canary", "always")], "session_header"),
        (&[("x-canary", "never"), ("x-slot", "green")], "only"),
        (&[("x-canary", "never")], "session_header"),
    ] {
        let fields = session(more);
        let [choice] = explained(&mut cluster, "/session", &fields).await.try_into().unwrap();
        assert_eq!(choice.by, by, "{choice:?}");
        let answered = answers(&cluster, 0, "/session", &fields).await;
        assert_eq!(choice.backend, Some(answered), "{more:?}");
    }
    // Without the part that counts, what stands in for it does.
    let [choice] = explained(&mut cluster, "/header", &[]).await.try_into().unwrap();
    assert!(choice.detail.contains("no field x-user"), "{choice:?}");
    assert_eq!(choice.backend, Some(answers(&cluster, 1, "/header", &[]).await));
    let never = [("x-canary", "never".to_owned())];
    let [choice] = explained(&mut cluster, "/session", &never).await.try_into().unwrap();
    assert_eq!((choice.by.as_str(), choice.backend), ("round_robin", None));
    assert!(choice.detail.contains("no field x-session"), "{}", choice.detail);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proxies_that_see_backends_differently_are_named_with_what_each_chooses() {
    let backends = several(3).await;
    let services = "services: { s: { backends: [web0, web1, web2], strategy: hash, hash_on: \
                    \"header:X-User\", traffic_management: { circuit_breaker: { enabled: true, \
                    failure_threshold: 2, request_volume_threshold: 2, recovery_timeout: 1h } } } \
                    }\nroutes: { all: { rule: \"PathPrefix(`/`)\", service: s } }\n";
    let mut cluster = Cluster::serving(2, &document(&backends, services)).await;
    let ann = [("x-user", "ann".to_owned())];
    let home = answers(&cluster, 0, "/", &ann).await;
    let [same] = explained(&mut cluster, "/", &ann).await.try_into().unwrap();
    assert_eq!((same.backend.as_ref(), same.proxies.len()), (Some(&home), 0));
    // It fails for one of the proxies only, whose breaker opens.
    let index: usize = home.strip_prefix("web").unwrap().parse().unwrap();
    backends[index].behave(Behaviour::Status(500));
    let mut connection = Connection::open(cluster.web(0).await).await.unwrap();
    let request = "GET / HTTP/1.1\r\nhost: a\r\nx-user: ann\r\n\r\n";
    eventually("the breaker opens on one proxy", async || {
        connection.send(request).await.unwrap();
        match connection.response().await.unwrap().status {
            200 => Ok(()),
            status => Err(status.to_string()),
        }
    })
    .await;
    backends[index].behave(Behaviour::Echo);
    let choices = eventually("that proxy reports it", async || {
        let choices = explained(&mut cluster, "/", &ann).await;
        if choices.len() == 2 { Ok(choices) } else { Err(format!("{choices:?}")) }
    })
    .await;
    for choice in &choices {
        let [proxy] = choice.proxies.as_slice() else { panic!("{choice:?}") };
        let proxy = usize::from(proxy != "proxy-0");
        assert_eq!(choice.backend, Some(answers(&cluster, proxy, "/", &ann).await), "{choices:?}");
    }
    let server = cluster.control_plane().url();
    let text = lbctl(&server, &["explain", "http://a/", "-H", "X-User: ann"]).await;
    let line = format!("→ {home} on proxy-1: the hash of the field x-user");
    assert!(text.code == 0 && text.stdout.contains(&line), "{line}: {text:?}");
}
