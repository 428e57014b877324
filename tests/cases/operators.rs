//! Operators: who they are, what they may do, and what is kept of what they did.

use std::process::Stdio;

use lb_model::api::{AuditList, AuditView, Role, TokenCreated};
use lb_tests::{
    backend::Backend,
    cluster::Cluster,
    control_plane::{ControlPlane, arguments, outcome},
    eventually::eventually,
    process::binary,
    scratch::Scratch,
};
use reqwest::{Method, Response};
use serde_json::Value;
use tokio::process::Command;

use crate::lbctl::{lbctl, lbctl_as};

const DOCUMENT: &str =
    "backends: { a: { url: \"http://127.0.0.1:1\" }, b: { url: \"http://127.0.0.1:2\" } }\n";

async fn ask(control_plane: &ControlPlane, method: Method, path: &str) -> Response {
    control_plane.request(method, path).send().await.unwrap()
}

async fn problem(response: Response) -> (u16, String, String) {
    let status = response.status().as_u16();
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let problem: Value = response.json().await.unwrap();
    let text = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
    (status, text("code"), text("detail"))
}

async fn audit(control_plane: &ControlPlane) -> Vec<AuditView> {
    let list = control_plane.get("/api/v1/audit?limit=1000").await;
    serde_json::from_value::<AuditList>(list).unwrap().entries
}

/// What a program said and how it ended.
async fn ended(program: &str, arguments: &[String]) -> (i32, String, String) {
    let mut command = Command::new(binary(program));
    let output = command.args(arguments).stdin(Stdio::null()).output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

#[tokio::test]
async fn nobody_needs_a_token_until_an_admin_has_one_and_then_everybody_does() {
    let scratch = Scratch::new();
    let mut control_plane = ControlPlane::start(scratch.path(), &[]).await;
    let health = control_plane.get("/admin/health").await;
    assert_eq!(health["status"], "healthy");
    let access = health["components"]["access"].as_str().unwrap();
    assert!(access.contains("no operator has a token"), "{access}");
    let status = lbctl(&control_plane.url(), &["status"]).await;
    assert!(status.stdout.contains("no operator has a token"), "{status:?}");

    let body = r#"{"name":"ci","role":"operator"}"#;
    let request = control_plane.request(Method::POST, "/api/v1/tokens").body(body);
    let (status, code, detail) = problem(request.send().await.unwrap()).await;
    assert_eq!((status, code.as_str()), (409, "first_token_is_admin"));
    assert!(detail.contains("--role admin"), "{detail}");
    let admin = control_plane.appoint("ann", "admin").await;
    assert!(admin.token.starts_with("lbo1.") && admin.expires.is_none(), "{admin:?}");

    for (method, path) in [
        (Method::GET, "/admin/health"),
        (Method::GET, "/api/v1/config"),
        (Method::PUT, "/api/v1/config"),
        (Method::POST, "/api/v1/tokens"),
        (Method::GET, "/api/v1/audit"),
        (Method::GET, "/nowhere"),
        (Method::DELETE, "/api/v1/config"),
    ] {
        let response = ask(&control_plane, method.clone(), path).await;
        let challenge = response.headers().get("www-authenticate").cloned();
        assert_eq!(challenge.as_ref().unwrap(), "Bearer realm=\"lb\"", "{method} {path}");
        assert_eq!(problem(response).await.0, 401, "{method} {path}");
    }
    for path in ["/health", "/livez", "/readyz", "/metrics"] {
        assert_eq!(ask(&control_plane, Method::GET, path).await.status(), 200, "{path}");
    }
    control_plane.sign_in(&admin.token);
    assert_eq!(ask(&control_plane, Method::GET, "/nowhere").await.status(), 404);
    let wrong = ask(&control_plane, Method::DELETE, "/api/v1/config").await;
    assert_eq!(wrong.headers()["allow"], "GET, PUT, HEAD");
    assert_eq!(problem(wrong).await.0, 405);
    let health = control_plane.get("/admin/health").await;
    assert_eq!(health["components"]["access"], "ok");

    // It is so after a crash, and the last admin cannot be dismissed.
    control_plane.kill();
    control_plane.restart().await;
    let path = format!("/api/v1/tokens/{}", admin.id);
    let (status, code, _) = problem(ask(&control_plane, Method::DELETE, &path).await).await;
    assert_eq!((status, code.as_str()), (409, "last_admin"));
    let missing = control_plane.metric("lb_operator_auth_failures_total", "missing").await;
    assert_eq!(missing, 0, "a restart begins to count anew");
    let stored = control_plane.data().join("identity/log");
    let secret = admin.token.rsplit('.').next().unwrap().as_bytes().to_vec();
    for file in std::fs::read_dir(stored).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(secret.len()).any(|part| part == secret));
    }
}

#[tokio::test]
async fn each_role_may_do_what_it_is_for_and_no_more() {
    let scratch = Scratch::new();
    let mut control_plane = ControlPlane::start(scratch.path(), &[]).await;
    let admin = control_plane.appoint("ann", "admin").await;
    control_plane.sign_in(&admin.token);
    let operator = control_plane.appoint("ci", "operator").await;
    let viewer = control_plane.appoint("eve", "viewer").await;
    let of = |role: Role| match role {
        Role::Viewer => &viewer.token,
        Role::Operator => &operator.token,
        Role::Admin => &admin.token,
    };
    control_plane.put(DOCUMENT).await.unwrap();
    for (method, path, needed) in [
        (Method::GET, "/admin/backends", Role::Viewer),
        (Method::GET, "/api/v1/tokens", Role::Viewer),
        (Method::GET, "/api/v1/audit", Role::Viewer),
        (Method::PUT, "/api/v1/config", Role::Operator),
        (Method::POST, "/api/v1/versions/1/restore", Role::Operator),
        (Method::POST, "/admin/backends/a/disable", Role::Operator),
        (Method::POST, "/admin/backends/a/enable", Role::Operator),
        (Method::POST, "/api/v1/tokens", Role::Admin),
        (Method::DELETE, "/api/v1/tokens/nobody", Role::Admin),
        (Method::POST, "/api/v1/proxies/nobody/revoke", Role::Admin),
        (Method::POST, "/api/v1/authority/rotate", Role::Admin),
        (Method::GET, "/api/v1/backup", Role::Admin),
    ] {
        for role in [Role::Viewer, Role::Operator, Role::Admin] {
            control_plane.sign_in(of(role));
            let response = ask(&control_plane, method.clone(), path).await;
            let status = response.status().as_u16();
            if role >= needed {
                assert!(status != 401 && status != 403, "{role}: {method} {path}: {status}");
            } else {
                let (status, code, detail) = problem(response).await;
                assert_eq!((status, code.as_str()), (403, "forbidden"), "{role}: {method} {path}");
                assert!(detail.contains(&needed.to_string()), "{detail}");
            }
        }
    }

    // Who signs a version is not for the client to say.
    control_plane.sign_in(&operator.token);
    let committed =
        outcome(control_plane.put_request(&DOCUMENT.replace("b:", "c:")).send().await.unwrap())
            .await
            .unwrap();
    let history = control_plane.get("/api/v1/versions?limit=1").await;
    assert_eq!(history["versions"][0]["version"], committed.version.0);
    assert_eq!(history["versions"][0]["author"], "ci", "the request said author=e2e");

    // A token that was revoked or has ended opens nothing, at once.
    control_plane.sign_in(&admin.token);
    let revoked =
        ask(&control_plane, Method::DELETE, &format!("/api/v1/tokens/{}", viewer.id)).await;
    assert_eq!(revoked.status(), 200);
    let short = control_plane.make_token(r#"{"name":"x","role":"viewer","ttl_seconds":1}"#).await;
    control_plane.sign_in(&viewer.token);
    let refused = ask(&control_plane, Method::GET, "/admin/health").await;
    let challenge = refused.headers()["www-authenticate"].to_str().unwrap().to_owned();
    assert!(challenge.contains("invalid_token"), "{challenge}");
    control_plane.sign_in(&short.token);
    eventually("the short token has ended", async || {
        let status = ask(&control_plane, Method::GET, "/admin/health").await.status().as_u16();
        if status == 401 { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn whoever_guesses_waits_and_whoever_knows_does_not() {
    let scratch = Scratch::new();
    let mut control_plane = ControlPlane::start(scratch.path(), &[]).await;
    let TokenCreated { token, id, .. } = control_plane.appoint("ann", "admin").await;
    for guess in 0..5 {
        control_plane.sign_in(&format!("lbo1.{id}.AAAA{guess}AAA"));
        assert_eq!(ask(&control_plane, Method::GET, "/admin/health").await.status(), 401);
    }
    let response = ask(&control_plane, Method::GET, "/admin/health").await;
    assert!(response.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap() <= 60);
    assert_eq!(problem(response).await.1, "too_many_attempts");
    control_plane.sign_in(&token);
    assert_eq!(ask(&control_plane, Method::GET, "/admin/health").await.status(), 200);
    let failures =
        async |reason| control_plane.metric("lb_operator_auth_failures_total", reason).await;
    assert_eq!((failures("invalid").await, failures("throttled").await), (5, 1));
}

#[tokio::test]
async fn what_is_done_and_refused_is_kept_and_comes_back_from_a_backup() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let document =
        format!("backends: {{ a: {{ url: \"{}\" }}, b: {{ url: \"{}\" }} }}\n", a.url(), b.url());
    let mut cluster = Cluster::start(0).await;
    let control_plane = cluster.control_plane();
    control_plane.put(&document).await.unwrap();
    let admin = control_plane.appoint("ann", "admin").await;
    control_plane.sign_in(&admin.token);
    let viewer = control_plane.appoint("eve", "viewer").await;
    control_plane.post("/admin/backends/a/disable?reason=SECRET").await;
    assert_eq!(ask(control_plane, Method::POST, "/admin/backends/b/disable").await.status(), 409);
    let dry = control_plane.request(Method::PUT, "/api/v1/config?dry_run=true");
    let dry = dry.header("if-match", "*").header("content-type", "application/yaml");
    assert_eq!(dry.body(DOCUMENT).send().await.unwrap().status(), 200);
    control_plane.sign_in(&viewer.token);
    assert_eq!(ask(control_plane, Method::POST, "/admin/backends/a/enable").await.status(), 403);
    control_plane.kill();
    control_plane.restart().await;

    let entries = audit(control_plane).await;
    let told: Vec<_> = entries
        .iter()
        .map(|AuditView { number, entry: e, .. }| {
            let version = e.version.map(|version| version.0);
            (*number, e.who.as_str(), e.method.as_str(), e.object.as_deref(), e.status, version)
        })
        .collect();
    let expected = [
        (6, "eve", "POST", Some("a"), 403, None),
        (5, "ann", "POST", Some("b"), 409, None),
        (4, "ann", "POST", Some("a"), 200, Some(2)),
        (3, "ann", "POST", Some(viewer.id.as_str()), 201, None),
        (2, "loopback", "POST", Some(admin.id.as_str()), 201, None),
        (1, "loopback", "PUT", None, 200, Some(1)),
    ];
    assert_eq!(told, expected, "newest first, reads and dry runs not among them");
    assert_eq!(entries[1].entry.code.as_deref(), Some("would_empty_pool"));
    assert_eq!(entries[0].entry.token.as_deref(), Some(viewer.id.as_str()));
    assert_eq!(
        (entries[2].entry.role, entries[2].entry.from.as_str()),
        (Some(Role::Admin), "127.0.0.1")
    );
    let text = serde_json::to_string(&entries).unwrap();
    for secret in ["SECRET", &admin.token, &viewer.token] {
        assert!(!text.contains(secret), "{text}");
    }
    let page: AuditList =
        serde_json::from_value(control_plane.get("/api/v1/audit?limit=4").await).unwrap();
    assert_eq!((page.entries.len(), page.next), (4, Some(3)));

    // A backup brings the log along.
    let (server, scratch) = (control_plane.url(), Scratch::new());
    let file = scratch.path().join("fleet.lbk").display().to_string();
    let saved = lbctl_as(&server, Some(&admin.token), &["backup", &file]).await;
    assert_eq!(saved.code, 0, "{saved:?}");
    let data = scratch.path().join("restored");
    let restore = ["restore", &file, "--data-dir", &data.display().to_string()];
    let restored = lbctl(&server, &restore).await;
    assert_eq!(restored.code, 0, "{restored:?}");
    let key = |data: &std::path::Path| data.with_extension("key");
    std::fs::copy(key(control_plane.data()), key(&data)).unwrap();
    let mut copy = ControlPlane::start_in(&data, &[]).await;
    copy.sign_in(&admin.token);
    let kept = audit(&copy).await;
    assert_eq!(kept.len(), 6, "the backup itself was asked for after it was begun: {kept:?}");
}

#[tokio::test]
async fn beyond_loopback_there_is_no_way_in_without_a_token_and_none_without_tls() {
    let scratch = Scratch::new();
    let data = scratch.path().join("control-plane");
    let mut line = arguments(&data);
    let at = line.iter().position(|argument| argument == "--admin-addr").unwrap();
    "0.0.0.0:0".clone_into(&mut line[at + 1]);
    let (code, _, stderr) = ended("lb-control-plane", &line).await;
    assert_eq!(code, 1);
    assert!(
        stderr.contains("no operator has a token") && stderr.contains("recover-token"),
        "{stderr}"
    );

    let recover = ["--data-dir", &data.display().to_string(), "recover-token"].map(str::to_owned);
    let (code, stdout, stderr) = ended("lb-control-plane", &recover).await;
    assert_eq!(code, 0, "{stderr}");
    let token = stdout.trim();
    let mut control_plane = ControlPlane::start_in(&data, &["--admin-name", "lb.example"]).await;
    assert!(control_plane.url().starts_with("https://"), "a name asks for TLS on loopback too");
    control_plane.sign_in(token);
    let server = control_plane.url();
    let entry = audit(&control_plane).await.remove(0).entry;
    assert_eq!((entry.who.as_str(), entry.status), ("recover-token", 201));
    // While it runs, nobody takes its data.
    let (code, _, stderr) = ended("lb-control-plane", &recover).await;
    assert!(code == 1 && stderr.contains("in use by another process"), "{stderr}");

    let ca = control_plane.authority_file().display().to_string();
    let status = lbctl_as(&server, Some(token), &["status", "--ca", &ca]).await;
    assert_eq!(status.code, 0, "{status:?}");
    let pem = lbctl_as(&server, Some(token), &["authority", "--pem", "--ca", &ca]).await;
    assert_eq!(pem.stdout, std::fs::read_to_string(&ca).unwrap());
    let stranger = lbctl_as(&server, Some(token), &["status"]).await;
    assert_eq!(stranger.code, 4, "{stranger:?}");
    assert!(stranger.stderr.contains("--ca"), "{stranger:?}");
    let plain = server.replace("https://", "http://");
    assert_eq!(lbctl_as(&plain, Some(token), &["status"]).await.code, 4);

    // A rotation of the authority gives operators a new certificate; the file follows.
    let rotated = lbctl_as(&server, Some(token), &["authority", "rotate", "--ca", &ca]).await;
    assert_eq!(rotated.code, 0, "{rotated:?}");
    eventually("the new authority is trusted and has signed", async || {
        let view = lbctl_as(&server, Some(token), &["authority", "-o", "json", "--ca", &ca]).await;
        if view.code != 0 {
            return Err(format!("{view:?}"));
        }
        let view = view.json();
        let is_done = view["state"] == "steady" && view["trusted"].as_array().unwrap().len() == 1;
        if is_done { Ok(()) } else { Err(view.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn a_certificate_of_ones_own_is_shown_to_operators() {
    let scratch = Scratch::new();
    let pair = lb_tests::certificate::Pair::new("127.0.0.1");
    let certificate = scratch.write("own.pem", &pair.certificate).display().to_string();
    let key = scratch.write("own.key", &pair.key).display().to_string();
    let data = scratch.path().join("control-plane");
    let mut line = arguments(&data);
    line.extend(["--admin-cert", &certificate, "--admin-key", &certificate].map(str::to_owned));
    let (code, _, stderr) = ended("lb-control-plane", &line).await;
    assert!(code == 1 && stderr.contains("private key") && stderr.contains("own.pem"), "{stderr}");
    let log = scratch.path().join("control-plane.log");
    let at = line.iter().position(|argument| argument == "--admin-key").unwrap();
    line[at + 1] = key;
    let program = binary("lb-control-plane");
    let _running = lb_tests::process::Process::start("the control plane", program, line, log);
    let server = eventually("the control plane listens", async || {
        let text = std::fs::read(data.join("addresses.json")).map_err(|e| e.to_string())?;
        let value: Value = serde_json::from_slice(&text).map_err(|e| e.to_string())?;
        Ok(format!("https://{}", value["admin"].as_str().unwrap_or_default()))
    })
    .await;
    eventually("operators trust the certificate", async || {
        let status = lbctl(&server, &["status", "--ca", &certificate]).await;
        if status.code == 0 { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
}

#[tokio::test]
async fn the_command_line_shows_its_token_and_exits_with_5_without_one() {
    let scratch = Scratch::new();
    let control_plane = ControlPlane::start(scratch.path(), &[]).await;
    let server = control_plane.url();
    let create = ["tokens", "create", "--role", "admin", "--name", "ann"];
    let created = lbctl(&server, &create).await;
    assert_eq!(created.code, 0, "{created:?}");
    let admin = created.stdout.trim().to_owned();
    assert!(created.stderr.contains("LBCTL_TOKEN_FILE") && !created.stderr.contains(&admin));
    let refused = lbctl(&server, &["status"]).await;
    assert_eq!(refused.code, 5, "{refused:?}");
    assert!(refused.stderr.contains("LBCTL_TOKEN"), "{refused:?}");
    let file = scratch.write("token", format!("{admin}\n")).display().to_string();
    assert_eq!(lbctl(&server, &["status", "--token-file", &file]).await.code, 0);
    let viewer = ["tokens", "create", "--role", "viewer", "--name", "eve", "--ttl", "90d"];
    let viewer = lbctl_as(&server, Some(&admin), &viewer).await.stdout;
    let refused = lbctl_as(&server, Some(viewer.trim()), &["tokens", "create", "--proxy"]).await;
    assert_eq!(refused.code, 5, "{refused:?}");
    assert!(refused.stderr.contains("admin"), "{refused:?}");
    let tokens = lbctl_as(&server, Some(viewer.trim()), &["tokens"]).await.stdout;
    assert!(tokens.contains("viewer") && tokens.contains("never") && !tokens.contains("lbo1"));
    let audit = lbctl_as(&server, Some(viewer.trim()), &["audit"]).await.stdout;
    let first = audit.lines().nth(1).unwrap();
    assert!(
        first.contains("eve") && first.contains("403") && first.contains("forbidden"),
        "{audit}"
    );
}
