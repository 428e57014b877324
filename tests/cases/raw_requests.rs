//! Every case of `corpus/requests`, against real origins: what lb takes, what it refuses, and that
//! no request is ever taken for a part of another.
//!
//! After each case further requests are sent, each with a marker of its own, on the same
//! connection if it is still open and on new ones. All must get their own answers, and the origin
//! must have seen what the case says and nothing else. Where that fails lb is out of step, which
//! no list excuses.

use std::{collections::BTreeSet, time::Duration};

use lb_tests::{
    cluster::Cluster,
    corpus::{self, Case, Delivery, Deviations, Item, Step, Subject, Verdict},
    eventually::eventually,
    sighting::{Extent, Origin, Sighting},
    wire::{Answer, End, Wire, is_answer_to_probe, probe},
};

/// What lb does not yet do as it should. It is about what is taken and refused only: being out of
/// step with an origin cannot be excused here.
const KNOWN_DEVIATIONS: Deviations = Deviations(&[
    (
        "hyper takes a bare LF for the end of a line",
        &[
            "fields: all lines end with a bare LF",
            "fields: the request line ends with a bare LF",
            "fields: a field ends with a bare LF",
            "fields: the empty line is a bare LF",
            "fields: two bare LF end the head",
            "fields: an empty line before a request is a bare LF",
            "fields: a length behind a bare LF",
            "coding: hidden behind another field by a bare LF",
        ],
    ),
    (
        "hyper looks at the last coding only, and passes over empty ones",
        &[
            "coding: chunked twice in one field",
            "coding: chunked in two fields",
            "coding: identity, then chunked",
            "coding: gzip, then chunked",
            "coding: two fields, chunked in the second",
            "coding: two fields, one of them empty",
            "coding: two fields with other fields between",
            "coding: a comma before",
        ],
    ),
    (
        "hyper takes white space behind the size of a chunk",
        &["chunks: a size before a space", "chunks: a size before a tab"],
    ),
    (
        "hyper does not look into extensions of chunks",
        &["chunks: an extension with NUL", "chunks: an extension with a control character"],
    ),
    ("hyper answers 431 to a length that it cannot hold", &["length: 2^64 - 1"]),
    (
        "hyper sends no body with GET and HEAD unless its length is known",
        &[
            "framing: a chunked body on a GET that somebody might not read",
            "framing: a chunked body on a HEAD that somebody might not read",
        ],
    ),
    (
        "http::Uri cuts fragments off",
        &[
            "target: a fragment",
            "target: a fragment before a query",
            "target: a fragment in an absolute target",
        ],
    ),
    (
        "http::Uri takes a name for the authority, which leaves no path: without a route it is a 404",
        &["target: a path without a slash", "target: a name and a port", "target: a name"],
    ),
    (
        "the same with a route: the request line that is sent on has no target",
        &[
            "target: a name and a port that a route takes by its name",
            "target: a name that a route takes by the method",
            "target: an asterisk and more",
        ],
    ),
    (
        "an asterisk is taken for a path, whatever the method",
        &["target: an asterisk on a GET that a route takes by its name"],
    ),
    (
        "what follows a percent in a Host is not looked at",
        &["host: a percent that encodes nothing"],
    ),
    (
        "HTTP/1.0 without a Host is sent on as HTTP/1.1 without a Host",
        &["basics: HTTP 1.0 without a Host"],
    ),
    (
        "only an Upgrade of exactly `h2c` is kept from the backend, not a list with it",
        &[
            "connection: an upgrade to HTTP 2 behind another",
            "connection: an upgrade to HTTP 2 before another",
            "connection: an upgrade to HTTP 2 before a comma",
        ],
    ),
]);

/// How long anything may take that must happen.
const LIMIT: Duration = Duration::from_secs(10);
/// How long something may take of which it is known that it does not happen.
const SHORT: Duration = Duration::from_millis(1500);

/// What went wrong with a case.
#[derive(Debug)]
struct Fault {
    /// Requests or answers were taken for others: the one thing that must never be.
    is_out_of_step: bool,
    what: String,
}

/// A case that failed, whether out of step, and how.
type Failure = (String, bool, String);

/// An origin behind an entry point of its own, and the cases that go there one after the other.
struct Lane<'a> {
    origin: &'a Origin,
    address: std::net::SocketAddr,
    /// Requests that were sent without being whole, which the origin may tell of at any time.
    partial: Vec<(String, String)>,
    /// Sightings that belong to earlier cases.
    seen: usize,
    markers: u32,
    limit: Duration,
}

/// What the client saw of a case.
#[derive(Debug, Default)]
struct Talk {
    answers: Vec<Answer>,
    /// How it ended; nothing if the connection is open.
    end: Option<End>,
    faults: Vec<Fault>,
}

fn document(origins: &[Origin]) -> String {
    let mut document = String::new();
    let mut section = |title: &str, line: &dyn Fn(&Origin) -> String| {
        document += &format!("{title}:\n");
        for origin in origins {
            document += &format!("  {}: {{ {} }}\n", origin.name(), line(origin));
        }
    };
    section("entry_points", &|_| "address: \"127.0.0.1:0\"".to_owned());
    section("backends", &|origin| format!("url: \"http://{}\"", origin.address()));
    section("services", &|origin| format!("backends: [{}]", origin.name()));
    section("routes", &|origin| {
        let name = origin.name();
        format!(
            "entry_points: [{name}], service: {name}, rule: \"Method(`OPTIONS`) || \
             Host(`by-name`) || (PathPrefix(`/`) && !PathPrefix(`/no-route`))\""
        )
    });
    document
}

/// Runs all cases of a file against all origins.
async fn run(theme: &str) {
    let started = std::time::Instant::now();
    let cases = corpus::read(Subject::Requests, theme);
    let mut cluster = Cluster::start(0).await;
    // One worker has one pool, so what one case leaves behind the next one finds.
    cluster.add_proxy(&["--workers", "1"]).await;
    let scratch = lb_tests::scratch::Scratch::new();
    let origins = Origin::start_all(&scratch).await;
    cluster.apply(&document(&origins)).await;
    let mut lanes = Vec::new();
    for origin in &origins {
        let address = cluster.proxy(0).entry_point(origin.name()).await;
        let seen = origin.sightings().len();
        let lane = Lane { origin, address, partial: Vec::new(), seen, markers: 0, limit: LIMIT };
        lanes.push(lane.run(&cases));
    }
    let (mut wrong, mut failed) = (Vec::new(), BTreeSet::new());
    let [first, second, third] = lanes.try_into().ok().expect("three origins");
    let results = tokio::join!(first, second, third);
    for (name, is_out_of_step, what) in [results.0, results.1, results.2].into_iter().flatten() {
        if is_out_of_step {
            wrong.push(format!("OUT OF STEP: {name}: {what}"));
        } else if KNOWN_DEVIATIONS.reason(&name).is_none() {
            wrong.push(format!("{name}: {what}"));
        }
        failed.insert(name);
    }
    wrong.extend(KNOWN_DEVIATIONS.untrue(theme, &cases, &failed));
    let took = started.elapsed();
    println!("{theme}: {} cases against {} origins in {took:?}", cases.len(), origins.len());
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

impl Lane<'_> {
    async fn run(mut self, cases: &[Case]) -> Vec<Failure> {
        let mut found = Vec::new();
        for case in cases {
            if case.skip.iter().any(|origin| origin == self.origin.name()) {
                continue;
            }
            let is_known = KNOWN_DEVIATIONS.reason(&case.name).is_some();
            self.limit = if is_known { SHORT } else { LIMIT };
            for cut in cuts(case, self.origin) {
                let faults = self.case(case, cut).await;
                let at = cut.map(|at| format!(", cut at {at}")).unwrap_or_default();
                found.extend(faults.into_iter().map(|fault| {
                    let what = format!("before {}{at}: {}", self.origin.name(), fault.what);
                    (case.name.clone(), fault.is_out_of_step, what)
                }));
            }
        }
        found
    }

    async fn case(&mut self, case: &Case, cut: Option<usize>) -> Vec<Fault> {
        self.partial.extend(case.partial.iter().cloned());
        let mut talk = self.talk(case, cut).await;
        let mut after = Wire::open(self.address).await;
        let mut last = String::new();
        for _ in 0..2 {
            let marker = self.marker();
            let send = after.send(&probe(&marker)).await;
            let answer = after.answer(LIMIT, false).await;
            if !send || !is_answer_to_probe(&answer, &marker) {
                talk.out_of_step(format!("the next client asked with {marker} and got {answer:?}"));
                after = Wire::open(self.address).await;
            }
            last = marker;
        }
        let sightings = self.sightings(&last).await;
        check_step(&mut talk, &sightings);
        if let Some(what) = differs(case, &talk, &sightings) {
            talk.faults.push(Fault { is_out_of_step: false, what });
        }
        talk.faults
    }

    fn marker(&mut self) -> String {
        self.markers += 1;
        format!("m{}", self.markers)
    }

    /// Does what the client of a case does, and reads what it is told.
    async fn talk(&mut self, case: &Case, cut: Option<usize>) -> Talk {
        let mut talk = Talk::default();
        let mut wire = Wire::open(self.address).await;
        for step in &case.client {
            match step {
                Step::Send(bytes) => self.deliver(&mut wire, bytes, case.delivery, cut).await,
                Step::Close => wire.finish().await,
                Step::Reset => {
                    wire.reset();
                    talk.end = Some(End::Closed);
                    return talk;
                }
                Step::AwaitInterim => match wire.answer(self.limit, false).await {
                    Ok(answer) if answer.status == 100 => {}
                    Ok(answer) => talk.answers.push(answer),
                    Err(end) => talk.end = Some(end),
                },
                Step::AwaitAnswer => talk.read(&mut wire, self.limit).await,
            }
        }
        let is_refused = matches!(case.verdict, Verdict::Refuse | Verdict::Cut);
        let expected = case.items.len() + usize::from(is_refused);
        while talk.end.is_none() && talk.answers.len() < expected && !talk.has_refusal(case) {
            talk.read(&mut wire, self.limit).await;
        }
        let ends = case.closes || talk.has_refusal(case);
        if ends && talk.end.is_none() {
            talk.read(&mut wire, self.limit).await;
        }
        if talk.end.is_none() && !case.client.contains(&Step::Close) {
            self.ask_again(&mut wire, &mut talk).await;
        }
        talk
    }

    /// Sends another request on the connection of the case.
    async fn ask_again(&mut self, wire: &mut Wire, talk: &mut Talk) {
        let marker = self.marker();
        wire.send(&probe(&marker)).await;
        loop {
            match wire.answer(self.limit, false).await {
                answer if is_answer_to_probe(&answer, &marker) => return,
                Ok(answer) if answer.status < 200 => {}
                Ok(answer) => talk.answers.push(answer),
                Err(end) => {
                    talk.end = Some(end);
                    return;
                }
            }
        }
    }

    async fn deliver(
        &mut self,
        wire: &mut Wire,
        bytes: &[u8],
        delivery: Delivery,
        cut: Option<usize>,
    ) {
        let pieces: Vec<&[u8]> = match (delivery, cut) {
            (Delivery::Bytewise, _) => bytes.chunks(1).collect(),
            (Delivery::Split, Some(at)) if at < bytes.len() => {
                let (first, second) = bytes.split_at(at);
                vec![first, second]
            }
            _ => vec![bytes],
        };
        let is_one = pieces.len() == 1;
        for piece in pieces {
            // Refused in the middle: the rest is not wanted.
            if !wire.send(piece).await {
                return;
            }
            if !is_one {
                self.until_read().await;
            }
        }
    }

    /// Waits until the worker, which there is one of, has read what was sent before: it has when
    /// it answers somebody else.
    async fn until_read(&self) {
        let mut other = Wire::open(self.address).await;
        other.send(b"GET /no-route HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n").await;
        drop(other.answer(LIMIT, false).await);
    }

    /// What the origin has seen since the last case, up to the request with this marker, without
    /// the requests that have markers.
    async fn sightings(&mut self, last: &str) -> Vec<Sighting> {
        let origin = self.origin;
        let all = eventually("the origin tells of the last request", async || {
            let all = origin.sightings();
            if all.iter().rev().any(|sighting| sighting.marker == last) {
                Ok(all)
            } else {
                Err(format!("{:?}", all.last()))
            }
        })
        .await;
        let new = all[self.seen..].to_vec();
        self.seen = all.len();
        let is_marked = |sighting: &Sighting| sighting.marker.starts_with('m');
        new.into_iter()
            .filter(|sighting| !is_marked(sighting) && !self.is_partial(sighting))
            .collect()
    }

    /// Whether it is the beginning of a request of which the end was never sent.
    fn is_partial(&self, sighting: &Sighting) -> bool {
        sighting.extent != Extent::Whole
            && self.partial.iter().any(|(method, target)| {
                (sighting.method.as_str(), sighting.target.as_str()) == (method, target)
            })
    }
}

impl Talk {
    async fn read(&mut self, wire: &mut Wire, limit: Duration) {
        match wire.answer(limit, false).await {
            Ok(answer) if answer.status < 200 => {}
            Ok(answer) => self.answers.push(answer),
            Err(end) => self.end = Some(end),
        }
    }

    fn out_of_step(&mut self, what: String) {
        self.faults.push(Fault { is_out_of_step: true, what });
    }

    /// Whether lb refused something after what the case has it answer.
    fn has_refusal(&self, case: &Case) -> bool {
        let is_refusal =
            |answer: &Answer| answer.seen().is_none() && case.statuses.contains(&answer.status);
        case.verdict != Verdict::Accept && self.answers.last().is_some_and(is_refusal)
    }

    fn brief(&self) -> String {
        let answers: Vec<_> = self.answers.iter().map(Answer::brief).collect();
        let end = self.end.as_ref().map_or("open".to_owned(), |end| format!("{end:?}"));
        format!("answers {answers:?}, then {end}")
    }
}

/// Where to cut the bytes of a case. The origin makes no difference to how they are read, so each
/// place is tried before the recorder, and some before the others.
fn cuts(case: &Case, origin: &Origin) -> Vec<Option<usize>> {
    let every = if matches!(origin, Origin::Recorder(_)) { 1 } else { 11 };
    match (case.delivery, case.client.first()) {
        (Delivery::Split, Some(Step::Send(bytes))) => {
            (1..bytes.len()).step_by(every).map(Some).collect()
        }
        _ => vec![None],
    }
}

/// Every request the origin saw has its answer and the other way round, whatever the case is.
fn check_step(talk: &mut Talk, sightings: &[Sighting]) {
    for sighting in sightings.iter().filter(|sighting| sighting.extent != Extent::Whole) {
        let what = format!("the origin could not read {sighting:?}");
        talk.faults.push(Fault { is_out_of_step: false, what });
    }
    let whole = sightings.iter().filter(|sighting| sighting.extent == Extent::Whole);
    let seen: Vec<_> = whole.map(Sighting::seen).collect();
    let answered: Vec<_> =
        talk.answers.iter().filter_map(|answer| answer.seen().map(str::to_owned)).collect();
    if seen != answered {
        talk.out_of_step(format!(
            "the origin saw {seen:?}, the client has answers to {answered:?}"
        ));
    }
    let garbled: Vec<_> = talk
        .answers
        .iter()
        .filter(|answer| {
            let is_bodyless = matches!(answer.status, 204 | 304);
            answer.seen().is_some_and(|seen| {
                !is_bodyless
                    && !seen.starts_with("HEAD ")
                    && answer.body != format!("{seen}\n").as_bytes()
            })
        })
        .map(|answer| format!("an answer with the body of another: {answer:?}"))
        .collect();
    garbled.into_iter().for_each(|what| talk.out_of_step(what));
    if let Some(End::Garbled(bytes)) = &talk.end {
        let what = format!("the client cannot read {bytes:?}");
        talk.out_of_step(what);
    }
}

/// How what happened differs from what the case says; nothing if it does not.
fn differs(case: &Case, talk: &Talk, sightings: &[Sighting]) -> Option<String> {
    let accepted = match case.verdict {
        Verdict::Accept => return differs_from_accept(case, talk, sightings),
        Verdict::Either => differs_from_accept(case, talk, sightings),
        Verdict::Refuse | Verdict::Cut => Some(String::new()),
    };
    let refused = differs_from_refusal(case, talk, sightings);
    match (accepted, refused) {
        (Some(accepted), Some(refused)) => Some(format!("{accepted}{refused}")),
        _ => None,
    }
}

fn differs_from_accept(case: &Case, talk: &Talk, sightings: &[Sighting]) -> Option<String> {
    let all = items(case, case.items.len(), talk, sightings);
    if all.is_none() {
        let is_closed = talk.end == Some(End::Closed);
        let should_close = case.closes || case.client.contains(&Step::Close);
        return match (should_close || case.may_close, is_closed) {
            (true, true) | (false, false) if talk.end.is_none() || is_closed => None,
            (true, false) if case.may_close && talk.end.is_none() => None,
            (true, false) if !case.closes && talk.end.is_none() => None,
            _ => Some(format!("the connection should be otherwise: {}", talk.brief())),
        };
    }
    if case.may_close && talk.end == Some(End::Closed) {
        let answered = talk.answers.len();
        if (1..case.items.len()).contains(&answered) {
            return items(case, answered, talk, sightings);
        }
    }
    all
}

fn differs_from_refusal(case: &Case, talk: &Talk, sightings: &[Sighting]) -> Option<String> {
    // What a case of either kind lists is for the way in which it is accepted.
    let before = if case.verdict == Verdict::Either { 0 } else { case.items.len() };
    let refusal = talk.answers.get(before);
    let is_refused = match refusal {
        Some(answer) => case.statuses.contains(&answer.status) && answer.seen().is_none(),
        None => case.may_say_nothing,
    };
    let is_closed = talk.end == Some(End::Closed) && talk.answers.len() <= before + 1;
    if is_refused && is_closed {
        let mut rest = Talk { answers: talk.answers.clone(), ..Talk::default() };
        rest.answers.truncate(before);
        return items(case, before, &rest, sightings);
    }
    let wanted = if case.may_say_nothing { " or nothing" } else { "" };
    Some(format!("wanted {:?}{wanted}, then the end: {}", case.statuses, talk.brief()))
}

/// How the first `count` items of a case differ from what happened, and nothing else did.
fn items(case: &Case, count: usize, talk: &Talk, sightings: &[Sighting]) -> Option<String> {
    let mut sightings = sightings.iter().filter(|sighting| sighting.extent == Extent::Whole);
    if talk.answers.len() != count {
        return Some(format!("wanted {count} answers: {}", talk.brief()));
    }
    for (item, answer) in case.items.iter().zip(&talk.answers).take(count) {
        let wanted = match item {
            Item::Local(status) if answer.status == *status && answer.seen().is_none() => continue,
            Item::Local(status) => return Some(format!("wanted {status}: {}", answer.brief())),
            Item::Request(wanted) => wanted,
        };
        let Some(sighting) = sightings.next() else {
            return Some(format!("{wanted:?} is not seen"));
        };
        let body = String::from_utf8_lossy(&wanted.body);
        if (&sighting.method, &sighting.target, sighting.body.as_str())
            != (&wanted.method, &wanted.target, &*body)
        {
            return Some(format!("wanted {wanted:?}, seen was {sighting:?}"));
        }
        if answer.seen() != Some(&sighting.seen()) || !answer.is_whole {
            return Some(format!("{wanted:?} was answered {answer:?}"));
        }
        let Some(fields) = &sighting.fields else { continue };
        let all = |name: &str| -> Vec<&str> {
            let of_name = fields.iter().filter(|(each, _)| each == name);
            of_name.map(|(_, value)| value.as_str()).collect()
        };
        for (name, value) in &wanted.with {
            if all(name) != [value] {
                return Some(format!("wanted `{name}: {value}` once, seen was {:?}", all(name)));
            }
        }
        if let Some(name) = wanted.without.iter().find(|name| !all(name).is_empty()) {
            return Some(format!("`{name}` should not be there: {:?}", all(name)));
        }
    }
    sightings.next().map(|extra| format!("nobody should have seen {extra:?}"))
}

macro_rules! themes {
    ($($name:ident = $theme:literal;)*) => {
        $(#[tokio::test]
        async fn $name() {
            run($theme).await;
        })*

        #[test]
        fn every_file_of_requests_is_run() {
            let mut themes = [$($theme),*];
            themes.sort_unstable();
            assert_eq!(corpus::files(Subject::Requests), themes);
        }
    };
}

themes! {
    plain_requests = "basics";
    two_framings = "framing";
    lengths = "length";
    codings = "coding";
    chunked_bodies = "chunks";
    fields = "fields";
    hosts = "host";
    request_lines = "line";
    targets = "target";
    connections_that_go_on = "connection";
    limits = "limits";
    slow_deliveries = "slow";
}
