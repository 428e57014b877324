//! Networks that fail while versions are committed: nobody goes back, and everybody arrives.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use lb_model::api::YAML_TYPE;
use lb_tests::{
    control_plane::{ControlPlane, http_client, outcome},
    eventually::{eventually, within},
    namespace::Namespace,
    proxy::Proxy,
    scratch::Scratch,
};
use serde_json::Value;
use tokio::{task::JoinHandle, time::interval};

/// How long a proxy may take to the newest version once the network works: five seconds, and the
/// longest pause between two attempts to connect.
const HEALED: Duration = Duration::from_secs(5 + 30);
/// How long a proxy that no fault concerns may take.
const SPARED: Duration = Duration::from_secs(5);
/// How many versions are committed while a fault lasts.
const VERSIONS: u64 = 40;
/// Between two commits.
const PACE: Duration = Duration::from_millis(60);
/// What the cable is called at the end of a proxy.
const CABLE: &str = "cable";

/// What happens to the cable of a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// It is pulled out.
    Pulled,
    /// Nothing of the control plane arrives; the other way works.
    Deaf,
    /// Nothing arrives at the control plane; the other way works.
    Mute,
    /// Of a hundred packets thirty are lost, either way.
    Lossy,
}

impl Fault {
    fn begin(self, machine: &Namespace) {
        match self {
            Self::Pulled => machine.plug(CABLE, false),
            Self::Deaf => machine.lose(CABLE, 100, 0),
            Self::Mute => machine.lose(CABLE, 0, 100),
            Self::Lossy => machine.lose(CABLE, 30, 30),
        }
    }

    fn end(self, machine: &Namespace) {
        match self {
            Self::Pulled => machine.plug(CABLE, true),
            _ => machine.lose_nothing(),
        }
    }
}

/// A task that ends with the test.
struct Background(JoinHandle<()>);

impl Drop for Background {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Background {
    /// Ends the test if the task has failed.
    fn assert_well(&self) {
        assert!(!self.0.is_finished(), "a task beside the test failed; see above");
    }
}

fn document(number: u64) -> String {
    format!(
        "routes: {{ only: {{ rule: Path(`/{number}`) }} }}\n\
             backends: {{ one: {{ url: \"http://127.0.0.1:1\" }} }}\n"
    )
}

/// Commits a version after the other, and says how far it came.
fn commit(control_plane: &ControlPlane) -> (Background, Arc<AtomicU64>) {
    let head = Arc::new(AtomicU64::new(0));
    let (url, committed) = (control_plane.url(), Arc::clone(&head));
    let task = tokio::spawn(async move {
        let (http, mut pace) = (http_client(), interval(PACE));
        for number in 1.. {
            pace.tick().await;
            let request = http
                .put(format!("{url}/api/v1/config"))
                .header("if-match", "*")
                .header("content-type", YAML_TYPE)
                .body(document(number));
            let answer = outcome(request.send().await.unwrap()).await.unwrap();
            assert!(answer.version.0 > committed.swap(answer.version.0, SeqCst));
        }
    });
    (Background(task), head)
}

/// Watches that the version of a proxy never goes back.
fn watch(proxy: &Proxy) -> (Background, Arc<AtomicU64>) {
    let newest = Arc::new(AtomicU64::new(0));
    let (url, seen, name) =
        (format!("{}/admin", proxy.url()), Arc::clone(&newest), proxy.name().to_owned());
    let task = tokio::spawn(async move {
        let (http, mut pace) = (http_client(), interval(Duration::from_millis(10)));
        loop {
            pace.tick().await;
            let answer = http.get(&url).send().await.unwrap();
            let answer: Value = answer.json().await.unwrap();
            let version = answer["version"].as_u64().unwrap_or(0);
            let before = seen.swap(version, SeqCst);
            assert!(version >= before, "{name} went back from version {before} to {version}");
        }
    });
    (Background(task), newest)
}

async fn reaches(what: &str, limit: Duration, number: &AtomicU64, goal: u64) -> Duration {
    let started = Instant::now();
    within(limit, &format!("{what} reaches version {goal}"), async || {
        let now = number.load(SeqCst);
        if now >= goal { Ok(()) } else { Err(format!("version {now}")) }
    })
    .await;
    started.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_proxy_goes_back_and_every_proxy_arrives_whatever_the_network_does() {
    let scratch = Scratch::new();
    let machines = [(); 3].map(|()| Namespace::new());
    let control_plane = ControlPlane::start_inside(scratch.path(), &machines[0]).await;
    let mut proxies = Vec::new();
    for (number, machine) in machines.iter().enumerate().skip(1) {
        let (here, there) = (format!("10.77.{number}.1"), format!("10.77.{number}.2/30"));
        let end = format!("proxy-{number}");
        machines[0].connect(&end, &format!("{here}/30"), machine, CABLE, &there);
        let token = scratch.write(&format!("{end}.token"), control_plane.token(&end).await);
        let flags = ["--join-token-file", &token.display().to_string()];
        let url = control_plane.sync_url_at(&here);
        proxies.push(Proxy::start_inside(scratch.path(), &end, &url, &flags, machine).await);
    }
    let (writer, head) = commit(&control_plane);
    let watchers: Vec<_> = proxies.iter().map(watch).collect();
    for (_, seen) in &watchers {
        reaches("a new proxy", SPARED, seen, 1).await;
    }

    for fault in [Fault::Pulled, Fault::Deaf, Fault::Mute, Fault::Lossy] {
        let (cut_off, (_, spared)) = (&watchers[0].1, &watchers[1]);
        fault.begin(&machines[1]);
        if matches!(fault, Fault::Pulled | Fault::Deaf) {
            // What was under way has arrived; from here on it stays where it is.
            let stuck = eventually("the proxy is cut off", async || {
                let (now, newest) = (cut_off.load(SeqCst), head.load(SeqCst));
                if newest >= now + 3 { Ok(now) } else { Err(format!("{now} of {newest}")) }
            })
            .await;
            let goal = head.load(SeqCst) + VERSIONS;
            reaches("the control plane", SPARED, &head, goal).await;
            assert_eq!(cut_off.load(SeqCst), stuck, "{fault:?}");
        } else {
            let goal = head.load(SeqCst) + VERSIONS;
            reaches("the control plane", SPARED, &head, goal).await;
        }
        reaches("the proxy without a fault", SPARED, spared, head.load(SeqCst)).await;
        fault.end(&machines[1]);
        let took = reaches("the proxy", HEALED, cut_off, head.load(SeqCst)).await;
        println!("{fault:?}: {took:?} from the end of the fault to the newest version");
        writer.assert_well();
        for (watcher, _) in &watchers {
            watcher.assert_well();
        }
    }

    drop(writer);
    let newest = control_plane.get("/api/v1/config").await["version"].as_u64().unwrap();
    for (_, seen) in &watchers {
        reaches("every proxy", SPARED, seen, newest).await;
    }
    for proxy in &mut proxies {
        let said = proxy.process().said();
        assert!(!said.contains("panicked"), "{said}");
    }
}
