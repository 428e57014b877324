//! Who may follow a control plane: tokens, certificates, renewal, revocation, rotation.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use lb_data_plane::identity::{
    connect,
    material::{Keys, Material, Pending, authority_of},
};
use lb_model::{
    Version,
    api::{ProxyView, SyncState, TokenList},
};
use lb_proto::v1::{
    EnrollRequest, FromProxy, Hello, RenewRequest, ReportBatch,
    config_sync_client::ConfigSyncClient, enrollment_client::EnrollmentClient, from_proxy::Message,
    identity_client::IdentityClient, telemetry_client::TelemetryClient, to_proxy,
};
use lb_tests::{
    backend::Backend,
    client,
    cluster::Cluster,
    control_plane::{ControlPlane, arguments},
    eventually::{eventually, within},
    load::Load,
    process::{Process, binary},
    proxy::Proxy,
    scratch::Scratch,
};
use reqwest::Method;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::{Code, transport::Channel};

/// How long a proxy may take to look for its control plane again: the longest pause and some.
const BACK: Duration = Duration::from_secs(45);

/// A document that answers every path; each `path` makes another version of it.
fn document(backend: &Backend, path: &str) -> String {
    format!(
        "entry_points: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         backends: {{ one: {{ url: \"{}\" }} }}\n\
         routes: {{ all: {{ rule: PathPrefix(`/`) }}, more: {{ rule: PathPrefix(`{path}`) }} }}\n",
        backend.url()
    )
}

/// Starts a proxy outside the fleet with what is in a token file.
async fn proxy_with(cluster: &mut Cluster, name: &str, token: &str) -> Proxy {
    let directory = cluster.directory().to_owned();
    let file = directory.join(format!("{name}.token"));
    fs::write(&file, token).unwrap();
    let url = cluster.control_plane().sync_url();
    let file = file.display().to_string();
    Proxy::start(&directory, name, &url, &["--join-token-file", &file]).await
}

async fn says(proxy: &mut Proxy, what: &str) {
    eventually(&format!("{} says `{what}`", proxy.name()), async || {
        let said = proxy.process().said();
        if said.contains(what) { Ok(()) } else { Err(said) }
    })
    .await;
}

async fn ids(cluster: &mut Cluster) -> Vec<String> {
    let list = cluster.control_plane().proxies().await;
    list.proxies.into_iter().map(|proxy| proxy.id).collect()
}

async fn view(cluster: &mut Cluster, id: &str) -> ProxyView {
    let list = cluster.control_plane().proxies().await;
    let found = list.proxies.iter().find(|proxy| proxy.id == id).cloned();
    found.unwrap_or_else(|| panic!("no {id} in {list:?}"))
}

fn material(data: &Path) -> Material {
    Keys::in_directory(data).load().unwrap().expect("an identity")
}

/// A connection without a certificate, to the control plane that a token names.
async fn stranger(cluster: &mut Cluster) -> Channel {
    let token = cluster.control_plane().token("stranger").await;
    let config = connect::stranger(authority_of(&token).unwrap()).unwrap();
    connect::channel(&cluster.control_plane().sync_url(), config).await.unwrap()
}

/// Waits until every one of `ids` runs `version`, for as long as proxies may stay away.
async fn back(cluster: &mut Cluster, ids: &[&str], version: Version) {
    within(BACK, "the proxies are back", async || {
        let list = cluster.control_plane().proxies().await;
        let is_back = |id: &&str| {
            list.proxies.iter().any(|proxy| {
                proxy.id == *id && proxy.state == SyncState::Synced && proxy.version == version
            })
        };
        if ids.iter().all(is_back) { Ok(()) } else { Err(format!("{list:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_token_admits_one_proxy_and_no_other() {
    let mut cluster = Cluster::start(1).await;
    cluster.live_on_all(Version::NONE).await;
    let token = fs::read_to_string(cluster.directory().join("proxy-0.token")).unwrap();
    let mut second = proxy_with(&mut cluster, "second", &token).await;
    says(&mut second, "the token was used already").await;
    assert_eq!(ids(&mut cluster).await, ["proxy-0"]);
    assert!(!second.data().join("identity.json").exists());
    assert!(second.process().is_running());
}

#[tokio::test]
async fn tokens_that_ended_or_were_revoked_admit_nobody() {
    let mut cluster = Cluster::start(0).await;
    let control_plane = cluster.control_plane();
    let ended = control_plane.make_token("{\"ttl_seconds\":1}").await;
    let revoked = control_plane.make_token("").await;
    let path = format!("/api/v1/tokens/{}", revoked.id);
    let response = control_plane.request(Method::DELETE, &path).send().await.unwrap();
    assert_eq!(response.status(), 200);
    eventually("the token has ended", async || {
        let list: TokenList =
            serde_json::from_value(control_plane.get("/api/v1/tokens").await).unwrap();
        let mut states: Vec<_> = list.tokens.iter().map(|token| token.state.clone()).collect();
        states.sort();
        if states == ["ended", "revoked"] { Ok(()) } else { Err(format!("{states:?}")) }
    })
    .await;
    for (name, token) in [("late", &ended.token), ("unwanted", &revoked.token)] {
        let mut proxy = proxy_with(&mut cluster, name, token).await;
        says(&mut proxy, "the token has ended or was revoked; make another").await;
    }
    assert!(ids(&mut cluster).await.is_empty());
}

#[tokio::test]
async fn a_proxy_without_a_token_says_how_to_get_one_and_keeps_trying() {
    let mut cluster = Cluster::start(0).await;
    let directory = cluster.directory().to_owned();
    let url = cluster.control_plane().sync_url();
    let mut proxy = Proxy::start(&directory, "alone", &url, &["--log-level", "debug"]).await;
    eventually("it tries again and again", async || {
        let said = proxy.process().said();
        let help = "make a token with `lbctl tokens create --proxy` and start it with \
                    --join-token-file FILE";
        if said.matches(help).count() >= 3 { Ok(()) } else { Err(said) }
    })
    .await;
    assert!(proxy.process().is_running());
    assert_eq!(proxy.ask("/readyz").await.unwrap().0, 503);
    assert!(ids(&mut cluster).await.is_empty());
}

#[tokio::test]
async fn without_a_certificate_nothing_but_joining_may_be_asked() {
    let mut cluster = Cluster::start(0).await;
    let channel = stranger(&mut cluster).await;
    let hello = Hello { proxy: "proxy-0".to_owned(), ..Hello::default() };
    let hello = FromProxy { message: Some(Message::Hello(hello.into())) };
    let sync = ConfigSyncClient::new(channel.clone()).sync(tokio_stream::iter([hello])).await;
    let status = sync.map(|_| ()).unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(status.message().contains("join with a token"), "{status}");
    let batch = ReportBatch { proxy: "proxy-0".to_owned(), ..ReportBatch::default() };
    let report = TelemetryClient::new(channel.clone()).report(tokio_stream::iter([batch])).await;
    assert_eq!(report.map(|_| ()).unwrap_err().code(), Code::Unauthenticated);
    let renew = IdentityClient::new(channel).renew(RenewRequest::default()).await;
    assert_eq!(renew.unwrap_err().code(), Code::Unauthenticated);
    assert!(ids(&mut cluster).await.is_empty());
}

#[tokio::test]
async fn plain_text_gets_nowhere() {
    let mut cluster = Cluster::start(0).await;
    let address = cluster.control_plane().sync_url().replace("https://", "");
    for text in ["GET / HTTP/1.1\r\nhost: a\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // A reset is an answer too.
        let _ = stream.read_to_end(&mut answer).await;
        // At most a TLS alert: its type, its version, its length, and two bytes.
        assert!(answer.is_empty() || (answer[0] == 21 && answer.len() == 7), "{answer:?}");
    }
    cluster.add_proxy(&[]).await;
    cluster.live_on_all(Version::NONE).await;
}

#[tokio::test]
async fn what_a_proxy_calls_itself_does_not_matter() {
    let mut cluster = Cluster::start(1).await;
    cluster.live_on_all(Version::NONE).await;
    cluster.proxy(0).kill();
    let config = connect::member(&material(cluster.proxy(0).data())).unwrap();
    let url = cluster.control_plane().sync_url();
    let channel = connect::channel(&url, config).await.unwrap();
    let hello = Hello {
        proxy: "the-boss".to_owned(),
        instance: "me".to_owned(),
        schema_max: u32::MAX,
        software_version: "impostor".to_owned(),
        ..Hello::default()
    };
    let (messages, stream) = tokio::sync::mpsc::channel(1);
    messages.send(FromProxy { message: Some(Message::Hello(hello.into())) }).await.unwrap();
    let stream = tokio_stream::wrappers::ReceiverStream::new(stream);
    let mut answers = ConfigSyncClient::new(channel).sync(stream).await.unwrap().into_inner();
    let first = answers.message().await.unwrap().expect("an answer");
    assert!(matches!(first.message, Some(to_proxy::Message::Trust(_))), "{first:?}");
    eventually("it is known by its certificate", async || {
        let software = view(&mut cluster, "proxy-0").await.software_version;
        if software == "impostor" { Ok(()) } else { Err(software) }
    })
    .await;
    assert_eq!(ids(&mut cluster).await, ["proxy-0"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_renewed_while_traffic_and_stream_go_on() {
    let backend = Backend::start("a").await;
    let mut cluster = Cluster::start_with(1, &["--proxy-certificate-life", "4s"]).await;
    cluster.apply(&document(&backend, "/")).await;
    let load = Load::start(vec![cluster.web(0).await], "a", "/", 100);
    let data = cluster.proxy(0).data().to_owned();
    let since = view(&mut cluster, "proxy-0").await.since;
    let mut chain = material(&data).chain;
    for _ in 0..2 {
        chain = eventually("the certificate is renewed", async || {
            let now = material(&data).chain;
            if now == chain { Err("the same chain".to_owned()) } else { Ok(now) }
        })
        .await;
    }
    // The stream is older than the certificate by now, and still the same one.
    cluster.apply(&document(&backend, "/two")).await;
    assert_eq!(view(&mut cluster, "proxy-0").await.since, since);
    load.good_more(20).await;
    load.stop().await.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proxies_come_back_after_their_certificates_ended() {
    let backend = Backend::start("a").await;
    let mut cluster = Cluster::start_with(2, &["--proxy-certificate-life", "3s"]).await;
    let version = cluster.apply(&document(&backend, "/")).await;
    let load = Load::start(vec![cluster.web(0).await, cluster.web(1).await], "a", "/", 50);
    load.good_more(20).await;
    cluster.control_plane().kill();
    let data = [0, 1].map(|index| cluster.proxy(index).data().to_owned());
    eventually("both certificates have ended", async || {
        let now = Timestamp::now().as_second();
        let ends = data.each_ref().map(|data| material(data).not_after);
        if ends.iter().all(|end| now > *end + 1) { Ok(()) } else { Err(format!("{ends:?}")) }
    })
    .await;
    cluster.control_plane().restart().await;
    back(&mut cluster, &["proxy-0", "proxy-1"], version).await;
    for index in [0, 1] {
        says(cluster.proxy(index), "renewed a certificate that had ended").await;
    }
    // They went on where they were.
    let pushed = cluster.control_plane().metric("lb_snapshot_push_bytes_total", "").await;
    assert_eq!(pushed, 0);
    load.good_more(20).await;
    load.stop().await.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_proxy_is_cut_off_and_serves_what_it_has() {
    let backend = Backend::start("a").await;
    let mut cluster = Cluster::serving(2, &document(&backend, "/")).await;
    let load = Load::start(vec![cluster.web(0).await, cluster.web(1).await], "a", "/", 100);
    load.good_more(20).await;
    cluster.control_plane().post("/api/v1/proxies/proxy-0/revoke").await;
    eventually("its stream ends", async || {
        match cluster.proxy(0).metric("lb_control_plane_connected", "").await {
            0 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
    let next = cluster.put(&document(&backend, "/two")).await.version;
    back(&mut cluster, &["proxy-1"], next).await;
    load.good_more(20).await;
    load.stop().await.assert_clean();
    assert_eq!(cluster.proxy(0).version().await, Some(1));

    // It cannot come back, neither on its own nor after a restart; what it has, it serves.
    let refused = "the proxy was revoked, or never joined";
    says(cluster.proxy(0), refused).await;
    cluster.proxy(0).kill();
    let before = cluster.proxy(0).process().said().matches(refused).count();
    cluster.proxy(0).restart().await;
    eventually("it is refused again", async || {
        let said = cluster.proxy(0).process().said();
        if said.matches(refused).count() > before { Ok(()) } else { Err(said) }
    })
    .await;
    let address = cluster.web(0).await;
    assert_eq!(client::get(address, "a", "/").await.backend(), "a");
    assert_eq!(cluster.proxy(0).version().await, Some(1));
    assert_eq!(view(&mut cluster, "proxy-0").await.state, SyncState::Disconnected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_authority_is_replaced_while_the_fleet_serves() {
    let backend = Backend::start("a").await;
    let mut cluster = Cluster::serving(2, &document(&backend, "/one")).await;
    let load = Load::start(vec![cluster.web(0).await, cluster.web(1).await], "a", "/", 100);
    let before = cluster.control_plane().get("/api/v1/authority").await;
    assert_eq!(before["state"], "steady");
    let begun = cluster.control_plane().post("/api/v1/authority/rotate").await;
    assert_eq!(begun["state"], "announced");
    let after = steady(&mut cluster).await;
    assert_eq!(after["trusted"].as_array().unwrap().len(), 1);
    assert_ne!(after["trusted"], before["trusted"]);
    assert_eq!(after["trusted"][0], after["signing"]);
    cluster.live_on_all(Version(1)).await;
    cluster.apply(&document(&backend, "/two")).await;
    // Those who join later know the new one, and everybody comes back to it.
    cluster.add_proxy(&[]).await;
    cluster.live_on_all(Version(2)).await;
    cluster.control_plane().kill();
    cluster.control_plane().restart().await;
    back(&mut cluster, &["proxy-0", "proxy-1", "proxy-2"], Version(2)).await;
    load.good_more(20).await;
    load.stop().await.assert_clean();
}

#[tokio::test]
async fn a_rotation_waits_for_a_proxy_that_is_away() {
    let backend = Backend::start("a").await;
    let mut cluster = Cluster::serving(2, &document(&backend, "/one")).await;
    cluster.proxy(1).kill();
    eventually("the control plane notices", async || {
        match view(&mut cluster, "proxy-1").await.state {
            SyncState::Disconnected => Ok(()),
            other => Err(other.as_str().to_owned()),
        }
    })
    .await;
    let control_plane = cluster.control_plane();
    control_plane.post("/api/v1/authority/rotate").await;
    eventually("it waits", async || {
        let said = control_plane.process().said();
        if said.contains("authority waits proxies=[\"proxy-1\"]") { Ok(()) } else { Err(said) }
    })
    .await;
    assert_eq!(control_plane.get("/api/v1/authority").await["state"], "announced");
    let again = control_plane.request(Method::POST, "/api/v1/authority/rotate").send().await;
    assert_eq!(again.unwrap().status(), 409, "one at a time");
    cluster.proxy(1).restart().await;
    let after = steady(&mut cluster).await;
    assert_eq!(after["trusted"].as_array().unwrap().len(), 1);
    cluster.apply(&document(&backend, "/two")).await;
}

async fn steady(cluster: &mut Cluster) -> serde_json::Value {
    within(BACK, "the rotation has ended", async || {
        let now = cluster.control_plane().get("/api/v1/authority").await;
        if now["state"] == "steady" { Ok(now) } else { Err(now.to_string()) }
    })
    .await
}

#[tokio::test]
async fn a_proxy_that_missed_the_answer_asks_again_and_gets_it() {
    let mut cluster = Cluster::start(0).await;
    let token = cluster.control_plane().token("edge").await;
    let mut client = EnrollmentClient::new(stranger(&mut cluster).await);
    let (mine, other) = (Pending::new().unwrap(), Pending::new().unwrap());
    let request = |pending: &Pending| EnrollRequest {
        token: token.clone(),
        csr: pending.request().unwrap().into(),
        ..EnrollRequest::default()
    };
    client.enroll(request(&mine)).await.unwrap();
    let again = client.enroll(request(&mine)).await.unwrap().into_inner();
    assert_eq!(mine.complete(again).unwrap().name, "edge");
    let status = client.enroll(request(&other)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated, "the token is good for one key");
    assert!(status.message().contains("used already"), "{status}");
}

#[tokio::test]
async fn those_who_guess_tokens_must_wait() {
    let mut cluster = Cluster::start(0).await;
    let channel = stranger(&mut cluster).await;
    let good = cluster.control_plane().token("proxy").await;
    let parts: Vec<_> = good.split('.').collect();
    let guess = [parts[0], parts[1], &"A".repeat(43), parts[3]].join(".");
    let mut client = EnrollmentClient::new(channel);
    for (attempt, token) in
        [&guess, &guess, &guess, &guess, &guess, &guess, &good].iter().enumerate()
    {
        let request = EnrollRequest { token: (*token).clone(), ..EnrollRequest::default() };
        let status = client.enroll(request).await.unwrap_err();
        let wanted = if attempt < 5 { Code::Unauthenticated } else { Code::ResourceExhausted };
        assert_eq!(status.code(), wanted, "attempt {attempt}: {status}");
        assert!(!status.message().contains(parts[2]), "{status}");
    }
}

/// Starts a control plane that must refuse, and gives what it said.
async fn refusal(data: &Path) -> String {
    let log = data.with_extension("refusal.log");
    let _ = fs::remove_file(&log);
    let program = binary("lb-control-plane");
    let mut process = Process::start("a control plane", program, arguments(data), log);
    let status = process.ended().await;
    assert_eq!(status.code(), Some(1), "{}", process.said());
    process.said()
}

#[tokio::test]
async fn a_control_plane_without_its_key_does_not_start() {
    let scratch = Scratch::new();
    let mut control_plane = ControlPlane::start(scratch.path(), &[]).await;
    let data = control_plane.data().to_owned();
    control_plane.stop().await;
    let key: PathBuf = data.with_extension("key");
    let named = key.display().to_string();
    let good = fs::read(&key).unwrap();
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);

    fs::remove_file(&key).unwrap();
    let said = refusal(&data).await;
    assert!(said.contains(&named) && said.contains("--secrets-key-file"), "{said}");
    assert!(!key.exists(), "no new key is made for old data");

    fs::write(&key, "0123456789abcdef".repeat(4)).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let said = refusal(&data).await;
    assert!(said.contains(&named) && said.contains("--secrets-key-file"), "{said}");

    fs::write(&key, "no key").unwrap();
    let said = refusal(&data).await;
    assert!(said.contains(&named) && said.contains("64 hexadecimal digits"), "{said}");

    fs::write(&key, &good).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    let said = refusal(&data).await;
    assert!(said.contains(&named) && said.contains("chmod 600"), "{said}");

    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    control_plane.restart().await;
}
