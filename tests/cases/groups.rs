//! What is sent to whom: groups of proxies, told apart by the labels in their certificates.

pub(crate) mod document;

use std::{collections::BTreeMap, fs, path::Path, process::Stdio, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use lb_control_plane::identity::authority::read_proxy;
use lb_data_plane::{
    identity::material::{Keys, Material},
    sync::{last_good::LastGood, seal, session::Running},
};
use lb_model::{
    ResourceKind, Version,
    api::{ProxyView, SyncState},
    resource::Digest,
};
use lb_proto::v1::{self, Ack, Hello, Inventory, Key, Stage, from_proxy::Message, to_proxy};
use lb_tests::{
    backend::Backend,
    certificate::Pair,
    client,
    cluster::Cluster,
    curl::curl,
    eventually::{eventually, within},
    member::{Member, Stream},
    process::binary,
};
use prost::Message as _;
use reqwest::Method;
use tokio::process::Command;

/// How long a proxy may take to look for its control plane again: the longest pause and some.
const BACK: Duration = Duration::from_secs(45);

/// A shop for the edge, tools for the inner network, and something for both.
struct Shop {
    shop: Backend,
    tools: Backend,
    shop_pair: Pair,
    tools_pair: Pair,
}

impl Shop {
    async fn open() -> Self {
        Self {
            shop: Backend::start("shop").await,
            tools: Backend::start("tools").await,
            shop_pair: Pair::new("shop.example"),
            tools_pair: Pair::new("tools.example"),
        }
    }

    /// The document; `moving` says which proxies run the entry point of that name.
    fn document(&self, moving: &str) -> String {
        format!(
            "entry_points:\n\
             \x20 web: {{ address: \"127.0.0.1:0\" }}\n\
             \x20 edge: {{ address: \"127.0.0.1:0\", proxies: [edge], tls: {{ certificates: [shop] }} }}\n\
             \x20 inner: {{ address: \"127.0.0.1:0\", proxies: [inner], tls: {{ certificates: [tools] }} }}\n\
             \x20 moving: {{ address: \"127.0.0.1:0\", proxies: [{moving}] }}\n\
             backends:\n\
             \x20 shop1: {{ url: \"{}\" }}\n\
             \x20 tools1: {{ url: \"{}\" }}\n\
             services: {{ shop: {{ backends: [shop1] }}, tools: {{ backends: [tools1] }} }}\n\
             routes:\n\
             \x20 shop: {{ rule: PathPrefix(`/`), service: shop, entry_points: [web, edge, moving] }}\n\
             \x20 tools: {{ rule: PathPrefix(`/`), service: tools, entry_points: [inner] }}\n\
             certificates:\n{}{}",
            self.shop.url(),
            self.tools.url(),
            self.shop_pair.entry("shop"),
            self.tools_pair.entry("tools"),
        )
    }
}

/// An edge proxy, an inner one and one without labels.
async fn fleet(more: &[&str]) -> Cluster {
    let mut cluster = Cluster::start_with(0, more).await;
    for labels in [&["edge", "eu"][..], &["inner"], &[]] {
        cluster.add_labelled(labels, &[]).await;
    }
    cluster.live_on_all(Version::NONE).await;
    cluster
}

/// What is private of a pair: the 32 bytes in a PKCS#8 P-256 key.
fn private(pair: &Pair) -> Vec<u8> {
    let lines: Vec<_> = pair.key.lines().collect();
    STANDARD.decode(lines[1..lines.len() - 1].concat()).unwrap()[36..68].to_vec()
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// What a proxy keeps of the version that it runs.
fn held(data: &Path) -> Running {
    let key = seal::key(data).unwrap();
    let last_good = LastGood::open(data.join("last-good"), key).unwrap();
    last_good.load(|_| true).unwrap().expect("a version")
}

fn names(running: &Running) -> BTreeMap<&'static str, Vec<String>> {
    let mut names: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (key, _) in running.resources.iter() {
        names.entry(key.kind.as_str()).or_default().push(key.name.to_string());
    }
    names
}

async fn view(cluster: &mut Cluster, id: &str) -> ProxyView {
    let list = cluster.control_plane().proxies().await;
    let found = list.proxies.iter().find(|proxy| proxy.id == id).cloned();
    found.unwrap_or_else(|| panic!("no {id} in {list:?}"))
}

async fn listeners(cluster: &mut Cluster, id: &str) -> Vec<String> {
    let mut names: Vec<_> =
        view(cluster, id).await.listeners.into_iter().map(|each| each.entry_point).collect();
    names.sort();
    names
}

fn material(data: &Path) -> Material {
    Keys::in_directory(data).load().unwrap().expect("an identity")
}

fn labels_of(data: &Path) -> Vec<String> {
    read_proxy(material(data).leaf()).expect("a proxy's certificate").labels.to_strings()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_proxy_holds_what_its_entry_points_need_and_nothing_else() {
    let shop = Shop::open().await;
    let mut cluster = fleet(&[]).await;
    cluster.apply(&shop.document("edge, inner")).await;

    assert_eq!(view(&mut cluster, "proxy-0").await.labels, ["edge", "eu"]);
    assert_eq!(listeners(&mut cluster, "proxy-0").await, ["edge", "moving", "web"]);
    assert_eq!(listeners(&mut cluster, "proxy-1").await, ["inner", "moving", "web"]);
    assert_eq!(listeners(&mut cluster, "proxy-2").await, ["web"]);

    let data = [0, 1, 2].map(|index| cluster.proxy(index).data().to_owned());
    let [edge, inner, plain] = data.each_ref().map(|data| held(data));
    let wanted = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    for (held, certificates, services) in
        [(&edge, "shop", "shop"), (&inner, "tools", "shop tools"), (&plain, "", "shop")]
    {
        let names = names(held);
        let of = |kind: ResourceKind| names.get(kind.as_str()).cloned().unwrap_or_default();
        assert_eq!(of(ResourceKind::Certificate), wanted(certificates), "{names:?}");
        assert_eq!(of(ResourceKind::Service), wanted(services), "{names:?}");
        assert_eq!(of(ResourceKind::Route), wanted(services), "{names:?}");
    }
    for (held, own, other) in [
        (&edge, Some(&shop.shop_pair), &shop.tools_pair),
        (&inner, Some(&shop.tools_pair), &shop.shop_pair),
        (&plain, None, &shop.tools_pair),
    ] {
        let has =
            |pair| held.resources.iter().any(|(_, each)| contains(each.body(), &private(pair)));
        assert!(own.is_none_or(has) && !has(other), "{:?}", names(held));
    }

    // Each serves what it has, with its own certificate.
    for (proxy, entry_point, host, pair, backend) in [
        (0, "edge", "shop.example", &shop.shop_pair, "shop"),
        (1, "inner", "tools.example", &shop.tools_pair, "tools"),
    ] {
        let address = cluster.proxy(proxy).entry_point(entry_point).await;
        let authority = cluster.directory().join(format!("{host}.crt"));
        fs::write(&authority, &pair.certificate).unwrap();
        let resolve = format!("{host}:{}:127.0.0.1", address.port());
        let url = format!("https://{host}:{}/", address.port());
        let authority = authority.display().to_string();
        let answer = curl(&["--cacert", &authority, "--resolve", &resolve, &url]).await;
        assert_eq!(answer.status, 200);
        assert!(answer.body.contains(backend), "{answer:?}");
    }
    let mismatches = cluster.control_plane().metric("lb_root_mismatch_total", "").await;
    assert_eq!(mismatches, 0);
}

/// Everything that a member is sent in answer to what it says, acknowledged as a proxy would.
async fn everything(stream: &mut Stream, inventory: &[Key]) -> Vec<to_proxy::Message> {
    let mut heard = Vec::new();
    loop {
        let message = tokio::time::timeout(Duration::from_secs(1), stream.next()).await;
        let Ok(Some(message)) = message else { return heard };
        match &message {
            to_proxy::Message::Ask(_) => {
                let inventory = Inventory { keys: inventory.to_vec(), last: true };
                stream.say(Message::Inventory(inventory)).await;
            }
            to_proxy::Message::Push(push) if push.last => {
                let mut ack = Ack {
                    nonce: push.nonce.clone(),
                    running: push.version.clone(),
                    running_root: push.target_root.clone(),
                    ..Ack::default()
                };
                ack.set_stage(Stage::Active);
                stream.say(Message::Ack(ack)).await;
            }
            _ => {}
        }
        heard.push(message);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_forges_what_it_runs_is_sent_nothing_of_the_others() {
    let shop = Shop::open().await;
    let mut cluster = fleet(&[]).await;
    cluster.apply(&shop.document("edge")).await;
    let inner = held(cluster.proxy(1).data());
    let Digest(root) = inner.resources.root();
    let key = |kind: &str, name: &str, hash: [u8; 32]| Key {
        kind: kind.to_owned(),
        name: name.to_owned(),
        hash: hash.to_vec().into(),
    };
    let theirs: Vec<_> = inner
        .resources
        .iter()
        .map(|(each, resource)| key(each.kind.as_str(), &each.name, resource.hash().0))
        .collect();
    let stale: Vec<_> = theirs.iter().map(|each| key(&each.kind, &each.name, [7; 32])).collect();
    let member = Member::join_labelled(cluster.control_plane(), "mallory", &["edge"]).await;
    let running = |number, root: &[u8]| Hello {
        running: Some(v1::Version { lineage: inner.lineage.to_string(), number }),
        running_root: root.to_vec().into(),
        ..member.hello()
    };
    let mut pushes = 0;
    for (hello, inventory) in [
        (member.hello(), &[][..]),
        // The root of the others, as if it were its own: with their inventory, with one that
        // needs everything again, and with none.
        (running(1, &root), &theirs),
        (running(1, &root), &stale),
        (running(1, &root), &[]),
        (running(0, &[9; 32]), &stale),
        // Names and labels that are not its own.
        (Hello { proxy: "proxy-1".to_owned(), ..running(0, &[9; 32]) }, &stale),
    ] {
        let mut stream = member.open(Message::Hello(Box::new(hello))).await;
        let heard = everything(&mut stream, inventory).await;
        let known = |kind: &str, name: &str| {
            inventory.iter().any(|each| each.kind == kind && each.name == name)
        };
        for message in &heard {
            let bytes = match message {
                to_proxy::Message::Welcome(welcome) => {
                    assert_eq!(welcome.labels, ["edge"]);
                    welcome.encode_to_vec()
                }
                to_proxy::Message::Push(push) => {
                    pushes += 1;
                    for sent in &push.upsert {
                        let is_foreign = ["inner", "tools", "tools1"].contains(&&*sent.name);
                        assert!(!is_foreign, "{} {}", sent.kind, sent.name);
                    }
                    for gone in &push.remove {
                        assert!(known(&gone.kind, &gone.name), "it did not say {gone:?}");
                    }
                    push.encode_to_vec()
                }
                to_proxy::Message::Ask(_) => continue,
                other => panic!("{other:?}"),
            };
            assert!(!contains(&bytes, &private(&shop.tools_pair)), "the key of the others");
        }
    }
    assert_eq!(pushes, 6, "each got its own share");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_point_moves_from_one_group_to_another_while_they_serve() {
    let shop = Shop::open().await;
    let mut cluster = fleet(&[]).await;
    let first = cluster.apply(&shop.document("edge")).await;
    let before = [0, 1, 2].map(|index| held(cluster.proxy(index).data()).resources.root());
    let old = cluster.proxy(0).entry_point("moving").await;
    assert_eq!(client::get(old, "a", "/").await.backend(), "shop");
    let numbered = "lb_snapshot_pushes_total";
    assert_eq!(cluster.control_plane().metric(numbered, "kind=\"up_to_date\"").await, 0);

    // `apply` waits until all three acknowledged the version by its number.
    let second = cluster.apply(&shop.document("inner")).await;
    assert!(second > first);
    assert_eq!(listeners(&mut cluster, "proxy-0").await, ["edge", "web"]);
    assert_eq!(listeners(&mut cluster, "proxy-1").await, ["inner", "moving", "web"]);
    let new = cluster.proxy(1).entry_point("moving").await;
    assert_eq!(client::get(new, "a", "/").await.backend(), "shop");
    eventually("the old listener is gone", async || match client::try_get(old, "a", "/").await {
        Err(_) => Ok(()),
        Ok(response) => Err(format!("{response:?}")),
    })
    .await;
    let after = [0, 1, 2].map(|index| held(cluster.proxy(index).data()));
    assert!(after.iter().all(|held| held.version == second), "on every disk");
    assert!(before[0] != after[0].resources.root() && before[1] != after[1].resources.root());
    // The third was told the number and nothing else.
    assert_eq!(before[2], after[2].resources.root());
    assert_eq!(cluster.control_plane().metric(numbered, "kind=\"up_to_date\"").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn labels_outlive_renewals_restarts_and_a_certificate_that_ended() {
    let shop = Shop::open().await;
    let mut cluster = fleet(&["--proxy-certificate-life", "4s"]).await;
    let version = cluster.apply(&shop.document("edge")).await;
    let data = cluster.proxy(0).data().to_owned();
    assert_eq!(labels_of(&data), ["edge", "eu"]);
    let first = material(&data).chain;
    eventually("the certificate is renewed", async || {
        if material(&data).chain == first { Err("the same".to_owned()) } else { Ok(()) }
    })
    .await;
    assert_eq!(labels_of(&data), ["edge", "eu"]);

    cluster.control_plane().kill();
    eventually("the certificate has ended", async || {
        let (now, end) = (jiff::Timestamp::now().as_second(), material(&data).not_after);
        if now > end + 1 { Ok(()) } else { Err(format!("{end}")) }
    })
    .await;
    cluster.control_plane().restart().await;
    within(BACK, "the proxies are back", async || {
        let list = cluster.control_plane().proxies().await;
        let synced = list.proxies.iter().filter(|proxy| proxy.state == SyncState::Synced);
        if synced.count() == 3 { Ok(()) } else { Err(format!("{list:?}")) }
    })
    .await;
    let edge = view(&mut cluster, "proxy-0").await;
    assert_eq!((edge.version, &edge.labels[..]), (version, &["edge".into(), "eu".into()][..]));
    assert_eq!(labels_of(&data), ["edge", "eu"]);
    // They have what they need, each its own.
    let pushed = cluster.control_plane().metric("lb_snapshot_push_bytes_total", "").await;
    assert_eq!(pushed, 0);
    cluster.apply(&shop.document("inner")).await;
    assert_eq!(listeners(&mut cluster, "proxy-0").await, ["edge", "web"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_joins_anew_with_other_labels_gets_another_share_at_once() {
    let shop = Shop::open().await;
    let mut cluster = fleet(&[]).await;
    let version = cluster.apply(&shop.document("edge")).await;
    let token = cluster.control_plane().labelled_token("proxy-0", &["inner"]).await;
    let data = cluster.proxy(0).data().to_owned();
    cluster.proxy(0).terminate();
    cluster.proxy(0).process().ended().await;
    fs::remove_file(data.join("identity.json")).unwrap();
    fs::write(cluster.directory().join("proxy-0.token"), token).unwrap();
    cluster.proxy(0).restart().await;
    eventually("it serves what the others of its group serve", async || {
        let names = listeners(&mut cluster, "proxy-0").await;
        if names == ["inner", "web"] { Ok(()) } else { Err(format!("{names:?}")) }
    })
    .await;
    // Of the same version, which is another to it now.
    cluster.live_on_all(version).await;
    assert_eq!(view(&mut cluster, "proxy-0").await.labels, ["inner"]);
    assert_eq!(cluster.proxy(0).version().await, Some(version.0));
    let held = held(&data);
    let has = |pair| held.resources.iter().any(|(_, each)| contains(each.body(), &private(pair)));
    assert!(has(&shop.tools_pair) && !has(&shop.shop_pair), "{:?}", names(&held));
}

#[tokio::test]
async fn a_proxy_with_labels_of_both_refuses_one_address_for_two() {
    let shop = Shop::open().await;
    let mut cluster = fleet(&[]).await;
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let document = format!(
        "entry_points:\n\
         \x20 a: {{ address: \"127.0.0.1:{port}\", proxies: [eu] }}\n\
         \x20 b: {{ address: \"127.0.0.1:{port}\", proxies: [edge] }}\n\
         backends: {{ one: {{ url: \"{}\" }} }}\n",
        shop.shop.url()
    );
    let committed = cluster.put(&document).await;
    let refused = eventually("the proxy with both refuses", async || {
        let view = view(&mut cluster, "proxy-0").await;
        if view.rejected_version == Some(committed.version) {
            Ok(view)
        } else {
            Err(format!("{view:?}"))
        }
    })
    .await;
    assert_eq!(refused.errors[0].code, "bind_failed", "{refused:?}");
    for id in ["proxy-1", "proxy-2"] {
        eventually("the others have nothing to refuse", async || {
            let view = view(&mut cluster, id).await;
            if view.version == committed.version { Ok(()) } else { Err(format!("{view:?}")) }
        })
        .await;
    }
}

#[tokio::test]
async fn labels_that_are_none_are_refused_where_they_are_given() {
    let mut cluster = Cluster::start(0).await;
    let many: Vec<_> = (0..17).map(|n| n.to_string()).collect();
    for (labels, why) in [
        (vec!["Edge".to_owned()], "`Edge` is not a label: it contains 'E'; use small letters"),
        (vec!["edge".to_owned(), "edge".to_owned()], "`edge` is given twice"),
        (many, "at most 16 labels"),
    ] {
        let body = serde_json::json!({ "labels": labels }).to_string();
        let request = cluster.control_plane().request(Method::POST, "/api/v1/tokens").body(body);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 400);
        let problem: lb_model::api::Problem = response.json().await.unwrap();
        assert_eq!(problem.code, "invalid_request");
        assert!(problem.detail.contains(why), "{}", problem.detail);
    }

    let server = cluster.control_plane().url();
    let lbctl = async |arguments: &[&str]| {
        let mut command = Command::new(binary("lbctl"));
        command.args(["--server", &server]).args(arguments).stdin(Stdio::null());
        let output = command.kill_on_drop(true).output().await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let create = ["tokens", "create", "--proxy", "--name", "p", "--label", "eu", "--label", "edge"];
    let (code, token, said) = lbctl(&create).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(token.starts_with("lbt1."), "{token}");
    let (_, listed, _) = lbctl(&["tokens"]).await;
    assert!(listed.contains("edge eu"), "{listed}");
    let (code, _, said) = lbctl(&["tokens", "create", "--proxy", "--label", "a b"]).await;
    assert_eq!(code, Some(64), "{said}");
    assert!(said.contains("`a b` is not a label: it contains ' '"), "{said}");

    cluster.add_labelled(&["edge"], &[]).await;
    cluster.live_on_all(Version::NONE).await;
    let (_, listed, _) = lbctl(&["proxies"]).await;
    assert!(listed.contains("LABELS") && listed.contains(" edge "), "{listed}");
}
