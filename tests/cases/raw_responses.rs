//! Every case of `corpus/responses`: a backend that lies, stops in the middle or says too much, and
//! what the client gets to see of it.
//!
//! Whatever the backend does, the clients after that get their own answers. Only ours can behave
//! like this, so there is one origin, which follows the script of each case in turn.

use std::{collections::BTreeSet, time::Duration};

use lb_tests::{
    cluster::Cluster,
    corpus::{self, Case, Delivery, Deviations, Step, Subject, Verdict},
    eventually::within,
    recorder::{Recorder, Script},
    sighting::Sighting,
    wire::{Answer, End, Wire, is_answer_to_probe, probe},
};

/// What lb does not yet do as it should. That a client gets what is another's cannot be excused
/// here.
const KNOWN_DEVIATIONS: Deviations = Deviations(&[]);

/// How long anything may take that must happen.
const LIMIT: Duration = Duration::from_secs(10);
/// How long something may take of which it is known that it does not happen.
const SHORT: Duration = Duration::from_millis(1500);

/// What a client asks when the case does not say.
const PLAIN: &[u8] = b"GET /case HTTP/1.1\r\nHost: a\r\n\r\n";

/// A proxy before a backend with a script.
struct Stage {
    origin: Recorder,
    address: std::net::SocketAddr,
    markers: u32,
}

/// What the client of a case saw.
#[derive(Debug)]
struct Talk {
    answer: Result<Answer, End>,
    /// The probe on the same connection was answered.
    goes_on: bool,
}

/// What went wrong with a case; true where a client got what is another's.
type Faults = Vec<(bool, String)>;

async fn run(theme: &str) {
    let started = std::time::Instant::now();
    let cases = corpus::read(Subject::Responses, theme);
    let mut cluster = Cluster::start(0).await;
    // One worker has one pool, so what one case leaves behind the next one finds.
    cluster.add_proxy(&["--workers", "1"]).await;
    let origin = Recorder::start().await;
    let url = format!("http://{}", origin.address());
    let document = format!(
        "entry_points: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         backends: {{ one: {{ url: \"{url}\" }} }}\n"
    );
    cluster.apply(&document).await;
    let mut stage = Stage { origin, address: cluster.web(0).await, markers: 0 };
    let (mut wrong, mut failed) = (Vec::new(), BTreeSet::new());
    for case in &cases {
        let is_known = KNOWN_DEVIATIONS.reason(&case.name).is_some();
        for (is_out_of_step, what) in stage.case(case, if is_known { SHORT } else { LIMIT }).await {
            if is_out_of_step {
                wrong.push(format!("OUT OF STEP: {}: {what}", case.name));
            } else if !is_known {
                wrong.push(format!("{}: {what}", case.name));
            }
            failed.insert(case.name.clone());
        }
    }
    wrong.extend(KNOWN_DEVIATIONS.untrue(theme, &cases, &failed));
    println!("{theme}: {} cases in {:?}", cases.len(), started.elapsed());
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

impl Stage {
    async fn case(&mut self, case: &Case, limit: Duration) -> Faults {
        let mut faults = Vec::new();
        let before = self.origin.sightings().len();
        self.origin.follow(Some(Script {
            steps: case.origin.clone(),
            is_early: case.is_early,
            is_slow: case.delivery == Delivery::Bytewise,
        }));
        let mut wire = Wire::open(self.address).await;
        let asked = request(case);
        let answer = self.ask(&mut wire, case, limit).await;
        self.origin.tell_answered();
        // What comes when nobody waits for it must have arrived before somebody asks.
        let is_late = case.origin.contains(&Step::AwaitAnswer);
        if is_late {
            faults.extend(self.is_left(before, limit).await.map(|what| (false, what)));
        }
        let mut talk = Talk { answer, goes_on: false };
        if matches!(&talk.answer, Ok(answer) if answer.is_whole && answer.status != 101) {
            let marker = self.marker();
            wire.send(&probe(&marker)).await;
            let next = wire.answer(limit, false).await;
            talk.goes_on = is_answer_to_probe(&next, &marker);
            if !talk.goes_on && next != Err(End::Closed) {
                let what = format!("on the same connection {marker} got {next:?}");
                faults.push((true, what));
            }
        }
        let mut other = Wire::open(self.address).await;
        for _ in 0..2 {
            let marker = self.marker();
            other.send(&probe(&marker)).await;
            let next = other.answer(LIMIT, false).await;
            if !is_answer_to_probe(&next, &marker) {
                faults
                    .push((true, format!("the next client asked with {marker} and got {next:?}")));
                other = Wire::open(self.address).await;
            }
        }
        self.origin.follow(None);
        // A tunnel stays for as long as its client does.
        drop(wire);
        faults.extend(self.check_origin(&asked, before));
        faults.extend(differs(case, &talk).map(|what| (false, what)));
        if case.no_reuse && !is_late {
            faults.extend(self.is_left(before, limit).await.map(|what| (false, what)));
        }
        faults
    }

    fn marker(&mut self) -> String {
        self.markers += 1;
        format!("m{}", self.markers)
    }

    /// Does what the client of a case does, and reads the final answer.
    async fn ask(&self, wire: &mut Wire, case: &Case, limit: Duration) -> Result<Answer, End> {
        let is_head = request(case).starts_with(b"HEAD ");
        let mut answer = None;
        if case.client.is_empty() {
            wire.send(PLAIN).await;
        }
        for step in &case.client {
            match step {
                Step::Send(bytes) => drop(wire.send(bytes).await),
                Step::AwaitAnswer => {
                    answer = Some(last(wire, limit, is_head).await);
                    self.origin.tell_answered();
                }
                _ => wire.finish().await,
            }
        }
        match answer {
            Some(answer) => answer,
            None => last(wire, limit, is_head).await,
        }
    }

    /// What is wrong with what the origin saw.
    fn check_origin(&self, asked: &[u8], before: usize) -> Faults {
        let line = String::from_utf8_lossy(asked).into_owned();
        let line = line.split(" HTTP/").next().unwrap_or_default().to_owned();
        let may_repeat = line.starts_with("GET ") || line.starts_with("HEAD ");
        let sightings = self.origin.sightings().split_off(before);
        let of_case = |sighting: &&Sighting| sighting.marker == "-";
        let seen: Vec<_> = sightings.iter().filter(of_case).collect();
        let is_other =
            |sighting: &&&Sighting| format!("{} {}", sighting.method, sighting.target) != line;
        let mut faults: Faults = seen
            .iter()
            .filter(is_other)
            .map(|other| (true, format!("nobody sent {other:?}")))
            .collect();
        if seen.is_empty() || (seen.len() > 1 && !may_repeat) {
            faults.push((false, format!("the request was seen {} times", seen.len())));
        }
        faults
    }

    /// Whether the connection of the case takes no further request, and ends; if not, how so.
    async fn is_left(&self, before: usize, limit: Duration) -> Option<String> {
        let connections = self.origin.connections(before);
        let used = *connections.first()?;
        if connections.iter().skip(1).any(|other| *other == used) {
            return Some("another request was sent to a connection that is spoilt".to_owned());
        }
        let ended = within(LIMIT, "the connection to the origin ends", async || {
            if self.origin.has_ended(used) { Ok(()) } else { Err("it is open".to_owned()) }
        });
        match tokio::time::timeout(limit.min(LIMIT / 2), ended).await {
            Ok(()) => None,
            Err(_) => Some("a connection that is spoilt is kept open".to_owned()),
        }
    }
}

/// The bytes the client begins with.
fn request(case: &Case) -> Vec<u8> {
    match case.client.first() {
        Some(Step::Send(bytes)) => bytes.clone(),
        _ => PLAIN.to_vec(),
    }
}

/// The final answer, or the one that ends HTTP.
async fn last(wire: &mut Wire, limit: Duration, is_head: bool) -> Result<Answer, End> {
    loop {
        let answer = wire.answer(limit, is_head).await;
        if !matches!(&answer, Ok(answer) if answer.status < 200 && answer.status != 101) {
            return answer;
        }
    }
}

/// How what the client got differs from what the case says; nothing if it does not.
fn differs(case: &Case, talk: &Talk) -> Option<String> {
    let passed = differs_from_answer(case, talk);
    let refused = match &talk.answer {
        Ok(answer) if is_refusal(case, answer) => None,
        _ => Some(format!("wanted a refusal: {:?}", talk.answer)),
    };
    let cut = match &talk.answer {
        Ok(answer) if !answer.is_whole => None,
        Err(End::Closed) => None,
        _ => refused.clone(),
    };
    match case.verdict {
        Verdict::Accept => passed,
        Verdict::Refuse if case.may_say_nothing => cut,
        Verdict::Refuse => refused,
        Verdict::Cut => cut,
        Verdict::Either => passed.and(cut),
    }
}

fn is_refusal(case: &Case, answer: &Answer) -> bool {
    let statuses = case.statuses.iter().filter(|status| **status >= 400);
    let statuses: Vec<_> = statuses.copied().collect();
    let is_local = answer.field("content-type") == Some("application/problem+json");
    let is_status =
        statuses.contains(&answer.status) || (statuses.is_empty() && answer.status == 502);
    answer.is_whole && is_local && is_status
}

fn differs_from_answer(case: &Case, talk: &Talk) -> Option<String> {
    let answer = match &talk.answer {
        Ok(answer) => answer,
        Err(end) => return Some(format!("no answer: {end:?}")),
    };
    let is_as_said = case.statuses.first() == Some(&answer.status)
        && answer.is_whole
        && answer.body == case.answer.body;
    if !is_as_said {
        return Some(format!("wanted {:?} {:?}: {answer:?}", case.statuses, case.answer.body));
    }
    if answer.status != 101 && !talk.goes_on && !case.closes && !case.may_close {
        return Some("the connection of the client ended".to_owned());
    }
    let all = |name: &str| -> Vec<&str> {
        let of_name = answer.fields.iter().filter(|(each, _)| each == name);
        of_name.map(|(_, value)| value.as_str()).collect()
    };
    for (name, value) in &case.answer.with {
        if all(name) != [value] {
            return Some(format!("wanted `{name}: {value}` once: {:?}", all(name)));
        }
    }
    let there = case.answer.without.iter().find(|name| !all(name).is_empty());
    there.map(|name| format!("`{name}` should not be there: {:?}", all(name)))
}

macro_rules! themes {
    ($($name:ident = $theme:literal;)*) => {
        $(#[tokio::test]
        async fn $name() {
            run($theme).await;
        })*

        #[test]
        fn every_file_of_responses_is_run() {
            let themes = [$($theme),*];
            assert_eq!(corpus::files(Subject::Responses), themes);
        }
    };
}

themes! {
    plain_responses = "basics";
    framings_of_responses = "framing";
    heads_of_responses = "head";
    interim_and_early_responses = "interim";
    ends_of_responses = "truncated";
}
