//! Secrets are at home in one file each, and appear nowhere else.

use std::{
    fmt::Write,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use lb_control_plane::secrets::{self, SealedStore};
use lb_data_plane::identity::material::Keys;
use lb_store::{EmbeddedStore, Key, Store, embedded};
use lb_tests::{
    backend::Backend, certificate::Pair, client, cluster::Cluster, eventually::eventually,
};
use reqwest::Method;

/// One secret in every form in which it might be written down.
struct Canary {
    name: String,
    forms: Vec<Vec<u8>>,
}

impl Canary {
    fn new(name: impl Into<String>, secret: &[u8]) -> Self {
        assert!(secret.len() >= 24, "too short to be told from chance");
        let mut forms = vec![secret.to_vec()];
        let hex = secret.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        forms.extend([hex.to_uppercase().into_bytes(), hex.into_bytes()]);
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            // In the middle of something else it begins at any of three places of a group.
            for skipped in 0..3 {
                let whole = &secret[skipped..];
                let whole = &whole[..whole.len() / 3 * 3];
                forms.push(engine.encode(whole).into_bytes());
            }
        }
        // As serde writes bytes, and as Rust prints them.
        let numbers = |separator: &str| {
            let numbers: Vec<_> = secret.iter().map(ToString::to_string).collect();
            numbers.join(separator).into_bytes()
        };
        forms.extend([numbers(","), numbers(", ")]);
        Self { name: name.into(), forms }
    }

    fn is_in(&self, text: &[u8]) -> bool {
        self.forms.iter().any(|form| {
            let mut rest = text;
            while let Some(at) = rest.iter().position(|byte| *byte == form[0]) {
                rest = &rest[at..];
                if rest.starts_with(form) {
                    return true;
                }
                rest = &rest[1..];
            }
            false
        })
    }
}

fn document(backend: &Backend, pair: &Pair, path: &str) -> String {
    format!(
        "entry_points:\n  web: {{ address: \"127.0.0.1:0\" }}\n  tls: {{ address: \"127.0.0.1:0\", tls: {{}} }}\n\
         backends: {{ one: {{ url: \"{}\" }} }}\n\
         routes: {{ only: {{ rule: PathPrefix(`{path}`) }} }}\n\
         certificates:\n{}",
        backend.url(),
        pair.entry("default")
    )
}

/// A line of the body of a PEM key that no other key shares, and the bytes it stands for.
fn key_canaries(pair: &Pair) -> [Canary; 2] {
    let lines: Vec<_> = pair.key.lines().collect();
    let der = STANDARD.decode(lines[1..lines.len() - 1].concat()).unwrap();
    // A PKCS#8 P-256 key: the 32 bytes of the private key begin at the 37th.
    [Canary::new("the key as text", lines[2].as_bytes()), private("the key", &der)]
}

/// What is private of a PKCS#8 P-256 key.
fn private(name: impl Into<String>, der: &[u8]) -> Canary {
    Canary::new(name, &der[36..68])
}

fn token_canaries(name: &str, token: &str) -> [Canary; 2] {
    let secret = token.split('.').nth(2).unwrap();
    let bytes = URL_SAFE_NO_PAD.decode(secret).unwrap();
    [Canary::new(format!("{name} as text"), secret.as_bytes()), Canary::new(name, &bytes)]
}

fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

fn assert_clean(canaries: &[Canary], place: &str, text: &[u8]) {
    for canary in canaries {
        assert!(!canary.is_in(text), "{} is in {place}", canary.name);
    }
}

#[test]
fn a_canary_is_found_in_every_form() {
    let secret: Vec<u8> = (100..140).collect();
    let canary = Canary::new("it", &secret);
    let around = [b"ab", &secret[..], b"yz"].concat();
    for before in 0..2 {
        let text = &around[before..];
        assert!(canary.is_in(text));
        for engine in [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            assert!(canary.is_in(engine.encode(text).as_bytes()), "{before}");
        }
        assert!(canary.is_in(format!("{text:?}").as_bytes()));
        assert!(canary.is_in(&serde_json::to_vec(text).unwrap()));
        assert!(canary.is_in(format!("{text:02x?}").replace(", ", "").as_bytes()));
    }
    assert!(!canary.is_in(&secret[..39]));
}

/// Everything that can be read from the outside.
async fn answers(cluster: &mut Cluster) -> Vec<(String, Vec<u8>)> {
    let mut answers = Vec::new();
    for path in [
        "/api/v1/config",
        "/api/v1/versions",
        "/api/v1/proxies",
        "/api/v1/tokens",
        "/api/v1/authority",
        "/admin/health",
        "/admin/backends",
        "/metrics",
        "/health",
        "/livez",
        "/readyz",
    ] {
        let response = cluster.control_plane().request(Method::GET, path).send().await.unwrap();
        assert_ne!(response.status(), 404, "{path}");
        answers.push((path.to_owned(), response.bytes().await.unwrap().to_vec()));
    }
    for proxy in 0..2 {
        for path in ["/admin", "/admin/backends", "/metrics", "/health", "/livez", "/readyz"] {
            let (status, text) = cluster.proxy(proxy).ask(path).await.unwrap();
            assert_ne!(status, 404, "{path}");
            answers.push((format!("{path} of a proxy"), text.into_bytes()));
        }
    }
    answers
}

/// The keys of the authorities, as only the holder of the key file reads them.
async fn authority_canaries(data: &Path) -> Vec<Canary> {
    let key = secrets::key(&secrets::default_path(data), data).unwrap();
    let settings = embedded::Settings::new(data.join("identity"));
    let store = SealedStore::new(Arc::new(EmbeddedStore::open(settings).await.unwrap()), key);
    let name = Key::new("identity/authorities").unwrap();
    let stored = store.get(&name).await.unwrap().expect("the authorities");
    let stored: serde_json::Value = serde_json::from_slice(&stored).unwrap();
    let keys = stored["trusted"].as_array().unwrap().iter();
    keys.map(|each| {
        let der = STANDARD.decode(each["key"].as_str().unwrap()).unwrap();
        private("the authority's key", &der)
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_nowhere_but_at_home() {
    let (backend, pair) = (Backend::start("a").await, Pair::new("a.example"));
    let loud = ["--log-level", "trace"];
    let mut cluster = Cluster::start_with(0, &loud).await;
    cluster.add_proxy(&loud).await;
    cluster.add_proxy(&loud).await;
    cluster.apply(&document(&backend, &pair, "/")).await;
    cluster.apply(&document(&backend, &pair, "/two")).await;
    // What is refused is not repeated, and what is dropped is not kept open.
    let wrong = document(&backend, &pair, "/").replace("key: |", "kee: |");
    let refused = cluster.control_plane().put_request(&wrong).send().await.unwrap();
    assert_eq!(refused.status(), 422);
    let refused = refused.bytes().await.unwrap();
    let open = cluster.control_plane().make_token("").await.token;
    cluster.proxy(0).kill();
    cluster.proxy(0).restart().await;
    cluster.control_plane().kill();
    cluster.control_plane().restart().await;
    cluster.apply(&document(&backend, &pair, "/three")).await;

    let mut canaries = Vec::from(key_canaries(&pair));
    canaries.extend(token_canaries("an open token", &open));
    for name in ["proxy-0", "proxy-1"] {
        let used = fs::read_to_string(cluster.directory().join(format!("{name}.token"))).unwrap();
        canaries.extend(token_canaries(&format!("the token of {name}"), &used));
        let home = cluster.directory().join(name);
        let material = Keys::in_directory(&home).load().unwrap().expect("an identity");
        let key = private(format!("the key of {name}"), material.key.expose_secret());
        assert!(key.is_in(&fs::read(home.join("identity.json")).unwrap()), "it is at home");
        canaries.push(key);
    }
    assert_clean(&canaries, "the answer to a wrong document", &refused);
    for (path, answer) in answers(&mut cluster).await {
        assert_clean(&canaries, &path, &answer);
    }

    let data = cluster.control_plane().data().to_owned();
    cluster.control_plane().stop().await;
    canaries.extend(authority_canaries(&data).await);
    let mut homes = vec![data.with_extension("key")];
    for name in ["proxy-0", "proxy-1"] {
        homes
            .extend(["identity.json", "seal.key"].map(|file| data.with_file_name(name).join(file)));
    }
    for home in &homes {
        let mode = fs::metadata(home).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", home.display());
        if home.extension().is_some_and(|extension| extension == "key") {
            let text = fs::read_to_string(home).unwrap();
            canaries.push(Canary::new(home.display().to_string(), text.trim().as_bytes()));
        }
    }
    let mut found = Vec::new();
    files(cluster.directory(), &mut found);
    let logs = found.iter().filter(|path| {
        path.parent() == Some(cluster.directory())
            && path.extension().is_some_and(|extension| extension == "log")
    });
    assert_eq!(logs.count(), 3, "the logs of all processes are among {found:?}");
    // What the test itself gave to the proxies is not theirs.
    found.retain(|path| path.extension().is_none_or(|extension| extension != "token"));
    found.retain(|path| !homes.contains(path));
    assert!(found.iter().any(|path| path.extension().is_some_and(|each| each == "snap")));
    for path in found {
        assert_clean(&canaries, &path.display().to_string(), &fs::read(&path).unwrap());
    }
}

#[tokio::test]
async fn a_proxy_without_its_seal_key_gets_everything_anew() {
    let backend = Backend::start("a").await;
    let text = format!(
        "entry_points: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         backends: {{ one: {{ url: \"{}\" }} }}\n",
        backend.url()
    );
    let mut cluster = Cluster::serving(1, &text).await;
    let key = cluster.proxy(0).data().join("seal.key");
    for damage in [None, Some("not a key")] {
        cluster.control_plane().kill();
        // On purpose: deaths would make the version poison.
        cluster.proxy(0).terminate();
        cluster.proxy(0).process().ended().await;
        match damage {
            None => fs::remove_file(&key).unwrap(),
            Some(text) => fs::write(&key, text).unwrap(),
        }
        cluster.proxy(0).restart().await;
        let said = cluster.proxy(0).process().said();
        assert!(said.contains("ERROR") && said.contains(&key.display().to_string()), "{said}");
        eventually("it waits for its control plane", async || {
            match cluster.proxy(0).ask("/readyz").await?.0 {
                503 => Ok(()),
                status => Err(status.to_string()),
            }
        })
        .await;
        assert_eq!(cluster.proxy(0).version().await, None);
        cluster.control_plane().restart().await;
        cluster.live_on_all(lb_model::Version(1)).await;
        let address = cluster.web(0).await;
        assert_eq!(client::get(address, "a", "/").await.backend(), "a");
    }
    // The new key is as good as the first.
    cluster.control_plane().kill();
    cluster.proxy(0).terminate();
    cluster.proxy(0).process().ended().await;
    cluster.proxy(0).restart().await;
    let address = cluster.web(0).await;
    assert_eq!(client::get(address, "a", "/").await.backend(), "a");
}
