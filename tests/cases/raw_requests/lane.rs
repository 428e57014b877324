//! One origin behind an entry point of its own, and the cases that go there one after the other.

use std::{net::SocketAddr, time::Duration};

use lb_tests::{
    corpus::{Case, Delivery, Step, Verdict},
    eventually::eventually,
    sighting::{Extent, Origin, Sighting},
    wire::{Answer, End, Wire, is_answer_to_probe, probe},
};

use super::{KNOWN_DEVIATIONS, verdict};

/// How long anything may take that must happen.
const LIMIT: Duration = Duration::from_secs(10);
/// How long something may take of which it is known that it does not happen.
const SHORT: Duration = Duration::from_millis(1500);

/// What went wrong with a case.
#[derive(Debug)]
pub(super) struct Fault {
    /// Requests or answers were taken for others: the one thing that must never be.
    pub(super) is_out_of_step: bool,
    pub(super) what: String,
}

/// A case that failed, whether out of step, and how.
pub(super) type Failure = (String, bool, String);

/// An origin behind an entry point of its own, and the cases that go there one after the other.
pub(super) struct Lane<'a> {
    origin: &'a Origin,
    address: SocketAddr,
    /// Requests that were sent without being whole, which the origin may tell of at any time.
    partial: Vec<(String, String)>,
    /// Sightings that belong to earlier cases.
    seen: usize,
    markers: u32,
    limit: Duration,
}

/// What the client saw of a case.
#[derive(Debug, Default)]
pub(super) struct Talk {
    pub(super) answers: Vec<Answer>,
    /// How it ended; nothing if the connection is open.
    pub(super) end: Option<End>,
    pub(super) faults: Vec<Fault>,
}

impl<'a> Lane<'a> {
    /// The lane of an origin, which is reached at `address`.
    pub(super) fn new(origin: &'a Origin, address: SocketAddr) -> Self {
        let seen = origin.sightings().len();
        Self { origin, address, partial: Vec::new(), seen, markers: 0, limit: LIMIT }
    }

    /// Runs all cases but those that this origin has rules of its own against.
    pub(super) async fn run(mut self, cases: &[Case]) -> Vec<Failure> {
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
        verdict::check_step(&mut talk, &sightings);
        if let Some(what) = verdict::differs(case, &talk, &sightings) {
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

    pub(super) fn out_of_step(&mut self, what: String) {
        self.faults.push(Fault { is_out_of_step: true, what });
    }

    /// Whether lb refused something after what the case has it answer.
    fn has_refusal(&self, case: &Case) -> bool {
        let is_refusal =
            |answer: &Answer| answer.seen().is_none() && case.statuses.contains(&answer.status);
        case.verdict != Verdict::Accept && self.answers.last().is_some_and(is_refusal)
    }

    pub(super) fn brief(&self) -> String {
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
