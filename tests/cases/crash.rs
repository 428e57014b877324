//! The control plane dies at random moments while it is written to: what it said yes to is there
//! afterwards, exactly, and nothing is there that nobody asked for.

use std::{
    collections::BTreeMap,
    env,
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use lb_model::{
    Version,
    api::{Committed, Problem, VersionList, VersionView, YAML_TYPE},
};
use lb_tests::{
    control_plane::{ControlPlane, http_client},
    scratch::Scratch,
};
use reqwest::{Client, Method, StatusCode};
use tokio::task::JoinSet;

/// How often it dies; `LB_CRASH_CYCLES` says otherwise.
const CYCLES: u64 = 100;
/// The most writers at once.
const WRITERS: u64 = 8;
/// It dies at the latest this long after the writers began.
const LONGEST_LIFE: Duration = Duration::from_millis(80);
/// From the start of the process to `/readyz`.
const RESTART: Duration = Duration::from_secs(2);

/// Numbers that look random and repeat with the seed (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// What the writers of one life did.
#[derive(Default)]
struct Journal {
    /// Every document that was sent, with the version it was made on top of.
    sent: BTreeMap<String, Version>,
    /// The documents that were answered with success, by their version.
    acknowledged: BTreeMap<Version, String>,
}

fn document(marker: &str) -> String {
    format!(
        "backends: {{ one: {{ url: \"http://127.0.0.1:1\" }} }}\n\
         routes: {{ {marker}: {{ rule: Path(`/{marker}`) }} }}\n"
    )
}

/// Commits one document after the other until the control plane is gone.
async fn write(http: Client, url: String, name: String, journal: Arc<Mutex<Journal>>) {
    let mut base = Version::NONE;
    for count in 0_u64.. {
        let text = document(&format!("{name}-{count}"));
        journal.lock().unwrap().sent.insert(text.clone(), base);
        let request = http
            .put(format!("{url}/api/v1/config?author={name}"))
            .header("if-match", format!("\"{base}\""))
            .header("content-type", YAML_TYPE)
            .body(text.clone());
        let Ok(response) = request.send().await else { return };
        let status = response.status();
        // Only an answer that arrived whole says anything.
        let Ok(body) = response.bytes().await else { return };
        if status == StatusCode::OK {
            let committed: Committed = serde_json::from_slice(&body).unwrap();
            assert!(committed.changed, "{name}: every document is new");
            assert_eq!(committed.version.0, base.0 + 1, "{name}: it follows what it names");
            let before = journal.lock().unwrap().acknowledged.insert(committed.version, text);
            assert_eq!(before, None, "version {} was promised twice", committed.version);
            base = committed.version;
        } else {
            let problem: Problem = serde_json::from_slice(&body).unwrap();
            assert_eq!(problem.status, 412, "{name}: {problem:?}");
            base = problem.current.unwrap();
        }
    }
}

/// The history down to `known`, newest first, and that version with it.
async fn history(control_plane: &ControlPlane, known: u64) -> Vec<VersionView> {
    let (mut found, mut before): (Vec<VersionView>, _) = (Vec::new(), String::new());
    loop {
        let path = format!("/api/v1/versions?limit=200{before}");
        let page: VersionList = serde_json::from_value(control_plane.get(&path).await).unwrap();
        let Some(oldest) = page.versions.last().map(|view| view.version) else { break };
        found.extend(page.versions);
        if oldest.0 <= known.max(1) {
            break;
        }
        before = format!("&before={oldest}");
    }
    found.retain(|view| view.version.0 >= known);
    found
}

async fn text_of(control_plane: &ControlPlane, version: Version) -> String {
    let view = control_plane.get(&format!("/api/v1/versions/{version}")).await;
    assert_eq!(view["version"], version.0, "{view}");
    assert_eq!(view["documents"].as_array().map(Vec::len), Some(1), "{view}");
    view["documents"][0]["text"].as_str().unwrap().to_owned()
}

/// Compares what is there from version `known` on with what the writers did.
async fn check(
    control_plane: &ControlPlane,
    journal: &Journal,
    known: &mut BTreeMap<Version, (String, String)>,
) {
    let newest_known = known.keys().next_back().map_or(0, |version| version.0);
    let mut listed = history(control_plane, newest_known).await;
    listed.reverse();
    for (view, expected) in listed.iter().zip(newest_known.max(1)..) {
        assert_eq!(view.version.0, expected, "numbers have neither gaps nor repetitions");
        let text = text_of(control_plane, view.version).await;
        let entry = (view.hash.clone(), text);
        if let Some(before) = known.get(&view.version) {
            assert_eq!(before, &entry, "version {expected} has changed");
            continue;
        }
        let base = journal.sent.get(&entry.1);
        let base = base.unwrap_or_else(|| panic!("nobody wrote version {expected}: {entry:?}"));
        assert_eq!(base.0 + 1, expected, "{entry:?} was made on top of {base}");
        known.insert(view.version, entry);
    }
    // One document is one version.
    let mut texts: Vec<_> = known.values().map(|(_, text)| text).collect();
    texts.sort_unstable();
    texts.dedup();
    assert_eq!(texts.len(), known.len(), "a document was committed twice");
    for (version, text) in &journal.acknowledged {
        let found = known.get(version).map(|(_, text)| text);
        assert_eq!(found, Some(text), "version {version} was acknowledged");
    }
}

#[expect(clippy::disallowed_methods, reason = "a test has no flags of its own")]
fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is `{text}` and not a number")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_death_at_any_moment() {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = number("LB_CRASH_SEED").unwrap_or(since.as_nanos() as u64);
    let cycles = number("LB_CRASH_CYCLES").unwrap_or(CYCLES);
    println!("LB_CRASH_SEED={seed} repeats this run as far as the scheduler lets it");
    let mut random = Random(seed);
    let scratch = Scratch::new();
    let mut control_plane = ControlPlane::start(scratch.path(), &[]).await;
    let mut known = BTreeMap::new();
    let http = http_client();
    let (mut acknowledged, mut slowest) = (0, Duration::ZERO);
    for cycle in 0..cycles {
        let journal = Arc::new(Mutex::new(Journal::default()));
        let mut writers = JoinSet::new();
        for writer in 0..=random.below(WRITERS) {
            let http = http.clone();
            let name = format!("c{cycle}-w{writer}");
            writers.spawn(write(http, control_plane.url(), name, Arc::clone(&journal)));
        }
        let life = random.below(LONGEST_LIFE.as_micros() as u64);
        tokio::time::sleep(Duration::from_micros(life)).await;
        control_plane.kill();
        while let Some(ended) = writers.join_next().await {
            ended.unwrap();
        }
        let started = Instant::now();
        control_plane.restart().await;
        slowest = slowest.max(started.elapsed());
        assert!(slowest <= RESTART, "cycle {cycle}: the restart took {slowest:?}");
        let journal = Arc::into_inner(journal).unwrap().into_inner().unwrap();
        acknowledged += journal.acknowledged.len();
        check(&control_plane, &journal, &mut known).await;
    }

    // The whole history once more, and it goes on.
    let all = history(&control_plane, 0).await;
    assert_eq!(all.len(), known.len());
    for view in &all {
        assert_eq!(known[&view.version].0, view.hash, "version {} has changed", view.version);
    }
    let next = control_plane.put(&document("last")).await.unwrap();
    assert_eq!(next.version.0, known.len() as u64 + 1);
    assert!(acknowledged as u64 >= cycles / 2, "the writers got nowhere: {acknowledged}");
    println!(
        "{cycles} deaths, {acknowledged} of {} versions were acknowledged, the slowest restart \
         took {slowest:?}",
        known.len()
    );
    let said = control_plane.process().said();
    assert!(!said.contains("panicked"), "{said}");
    let answer = control_plane.request(Method::GET, "/readyz").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}
