use std::{
    collections::HashMap,
    sync::{Barrier, Mutex},
    thread,
};

use proptest::prelude::*;

use super::*;

const SETTINGS: Settings = Settings {
    failure_threshold: 5,
    success_threshold: 3,
    recovery_timeout: Duration::from_secs(30),
    max_recovery_timeout: None,
    request_volume_threshold: 20,
    window: Duration::from_secs(10),
};

/// A breaker and the time.
struct Bench {
    breaker: Breaker,
    now: Instant,
}

impl Bench {
    fn new(settings: Settings) -> Self {
        let now = Instant::now();
        Self { breaker: Breaker::new(settings, 2, now), now }
    }

    /// Lets requests end one after the other: `+`, `-`, or `?` for those nobody knows of.
    fn run(&self, outcomes: &str) -> Vec<Transition> {
        let mut transitions = vec![];
        for outcome in outcomes.chars() {
            let permit = self.breaker.try_begin(self.now).unwrap();
            transitions.extend(permit.transition());
            let outcome = match outcome {
                '+' => Outcome::Success,
                '-' => Outcome::Failure,
                _ => Outcome::Undecided,
            };
            transitions.extend(self.breaker.record(0, permit, outcome, self.now));
        }
        transitions
    }

    fn open(&self) {
        assert_eq!(self.run("+++++++++++++++-----"), [Transition::Opened]);
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    fn state(&self) -> State {
        self.breaker.state(self.now)
    }
}

#[test]
fn enough_failures_among_enough_requests_open_it() {
    let bench = Bench::new(SETTINGS);
    assert_eq!(bench.run("----"), []);
    assert_eq!(bench.run("++++++++++++++-"), [], "19 requests are too few");
    assert_eq!(bench.run("????"), []);
    assert!(bench.breaker.allows(bench.now));
    assert_eq!(bench.run("-"), [Transition::Opened]);
    assert!(!bench.breaker.allows(bench.now));
    assert_eq!(bench.breaker.try_begin(bench.now), None);
}

#[test]
fn failures_that_left_the_window_do_not_count() {
    let mut bench = Bench::new(SETTINGS);
    bench.run("+++++++++++++++++++----");
    bench.pass(10);
    assert_eq!(bench.run("++++++++++++++++++++----"), []);
    assert_eq!(bench.run("-"), [Transition::Opened]);
}

#[test]
fn failures_of_all_workers_count_together() {
    let bench = Bench::new(Settings { request_volume_threshold: 0, ..SETTINGS });
    let mut transitions = vec![];
    for worker in [0, 1, 1, 0, 1] {
        let permit = bench.breaker.try_begin(bench.now).unwrap();
        transitions.push(bench.breaker.record(worker, permit, Outcome::Failure, bench.now));
    }
    assert_eq!(transitions, [None, None, None, None, Some(Transition::Opened)]);
}

#[test]
fn probes_that_succeed_close_it_and_clear_the_window() {
    let mut bench = Bench::new(SETTINGS);
    bench.open();
    bench.pass(29);
    assert_eq!((bench.state(), bench.breaker.allows(bench.now)), (State::Open, false));
    bench.pass(1);
    assert_eq!((bench.state(), bench.breaker.allows(bench.now)), (State::HalfOpen, true));
    assert_eq!(bench.run("++"), [Transition::HalfOpened]);
    assert_eq!(bench.run("?+"), [Transition::Closed]);
    assert_eq!(bench.state(), State::Closed);
    let summary = bench.breaker.summary(bench.now);
    assert_eq!((summary.requests, summary.failures, summary.opened), (0, 0, 1));
}

#[test]
fn closing_forgets_failures_that_are_still_within_the_window() {
    let mut bench = Bench::new(Settings { recovery_timeout: Duration::from_secs(1), ..SETTINGS });
    bench.open();
    bench.pass(1);
    assert_eq!(bench.run("+++"), [Transition::HalfOpened, Transition::Closed]);
    assert_eq!(bench.run("++++++++++++++++++++----"), []);
}

#[test]
fn one_probe_that_fails_opens_it_again() {
    let mut bench = Bench::new(SETTINGS);
    bench.open();
    bench.pass(30);
    assert_eq!(bench.run("++-"), [Transition::HalfOpened, Transition::Opened]);
    bench.pass(29);
    assert_eq!(bench.state(), State::Open);
    bench.pass(1);
    assert_eq!(bench.run("-"), [Transition::HalfOpened, Transition::Opened]);
}

#[test]
fn the_time_it_stays_open_doubles_up_to_a_limit_and_begins_again() {
    let limit = Some(Duration::from_secs(100));
    let mut bench = Bench::new(Settings { max_recovery_timeout: limit, ..SETTINGS });
    bench.open();
    let wait = |bench: &Bench| {
        bench.breaker.summary(bench.now).next_attempt.unwrap().duration_since(bench.now).as_secs()
    };
    for expected in [30, 60, 100, 100] {
        assert_eq!(wait(&bench), expected);
        bench.pass(expected);
        bench.run("-");
    }
    bench.pass(100);
    assert_eq!(bench.run("+++"), [Transition::HalfOpened, Transition::Closed]);
    bench.open();
    assert_eq!(wait(&bench), 30);
}

#[test]
fn a_half_open_breaker_lets_three_probes_through_at_a_time() {
    let mut bench = Bench::new(SETTINGS);
    bench.open();
    bench.pass(30);
    let mut permits: Vec<_> = (0..3).map(|_| bench.breaker.try_begin(bench.now).unwrap()).collect();
    assert!(permits.iter().all(Permit::is_probe));
    assert!(!bench.breaker.allows(bench.now));
    assert_eq!(bench.breaker.try_begin(bench.now), None);
    let undecided = permits.pop().unwrap();
    assert_eq!(bench.breaker.record(0, undecided, Outcome::Undecided, bench.now), None);
    permits.push(bench.breaker.try_begin(bench.now).unwrap());
    assert_eq!(bench.breaker.try_begin(bench.now), None);
}

#[test]
fn what_began_before_a_transition_says_nothing_after_it() {
    let mut bench = Bench::new(SETTINGS);
    let early: Vec<_> = (0..3).map(|_| bench.breaker.try_begin(bench.now).unwrap()).collect();
    bench.open();
    bench.pass(30);
    assert_eq!(bench.run("+"), [Transition::HalfOpened]);
    for permit in early {
        assert_eq!(bench.breaker.record(0, permit, Outcome::Failure, bench.now), None);
    }
    assert_eq!(bench.state(), State::HalfOpen);
}

#[test]
fn an_operator_closes_it() {
    let mut bench = Bench::new(SETTINGS);
    assert_eq!(bench.breaker.reset(bench.now), None);
    bench.open();
    let summary = bench.breaker.summary(bench.now);
    let next_attempt = Some(bench.now + Duration::from_secs(30));
    assert_eq!(
        summary,
        Summary {
            state: State::Open,
            requests: 0,
            failures: 0,
            opened_at: Some(bench.now),
            next_attempt,
            opened: 1,
        }
    );
    bench.pass(2);
    assert_eq!(bench.breaker.reset(bench.now), Some(Transition::Closed));
    assert_eq!(bench.breaker.reset(bench.now), None);
    assert_eq!(bench.run("++++"), []);
    let summary = bench.breaker.summary(bench.now);
    assert_eq!((summary.state, summary.requests, summary.opened), (State::Closed, 4, 1));
    assert_eq!((summary.opened_at, summary.next_attempt), (None, None));
}

#[test]
fn extreme_settings_neither_overflow_nor_lock_up() {
    let mut bench = Bench::new(Settings {
        failure_threshold: 0,
        success_threshold: u32::MAX,
        recovery_timeout: Duration::MAX,
        max_recovery_timeout: Some(Duration::MAX),
        request_volume_threshold: 0,
        window: Duration::ZERO,
    });
    assert_eq!(bench.run("-"), [Transition::Opened]);
    bench.pass(1_000_000);
    assert_eq!(bench.state(), State::Open);
    assert!(bench.breaker.summary(bench.now).next_attempt.is_some());
    bench.breaker.reset(bench.now);
    assert_eq!(bench.run("++"), []);
}

#[test]
fn many_threads_make_each_transition_once() {
    const THREADS: usize = 4;
    let settings = Settings { recovery_timeout: Duration::from_secs(1), ..SETTINGS };
    let start = Instant::now();
    let breaker = Breaker::new(settings, THREADS, start);
    let barrier = Barrier::new(THREADS);
    let told = Mutex::new(Vec::new());
    let all = |now: Instant, worker: usize, outcome: Outcome, held: &mut Vec<Permit>| {
        // Everybody at once, twice: first all begin, then all end.
        barrier.wait();
        held.extend((0..20).map_while(|_| breaker.try_begin(now)));
        let mut seen: Vec<_> = held.iter().filter_map(Permit::transition).collect();
        let given = held.len();
        barrier.wait();
        seen.extend(
            held.drain(..).filter_map(|permit| breaker.record(worker, permit, outcome, now)),
        );
        told.lock().unwrap().extend(seen);
        given
    };
    let given = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|worker| {
                let all = &all;
                scope.spawn(move || {
                    let mut held = Vec::new();
                    let mut given = HashMap::new();
                    for round in 0..200_u64 {
                        let now = start + Duration::from_secs(round * 10);
                        let probe = now + Duration::from_secs(2);
                        let last = now + Duration::from_secs(4);
                        all(now, worker, Outcome::Failure, &mut held);
                        given.insert((round, 0), all(probe, worker, Outcome::Failure, &mut held));
                        given.insert((round, 1), all(last, worker, Outcome::Success, &mut held));
                    }
                    given
                })
            })
            .collect();
        let mut sums = HashMap::new();
        for thread in threads {
            for (phase, count) in thread.join().unwrap() {
                *sums.entry(phase).or_insert(0) += count;
            }
        }
        sums
    });
    assert!(given.values().all(|probes| *probes == 3), "three probes at a time: {given:?}");
    let told = told.into_inner().unwrap();
    let count = |wanted| told.iter().filter(|transition| **transition == wanted).count();
    // Opened by failures and once more by a probe; half-opened twice; closed once.
    assert_eq!(
        (count(Transition::Opened), count(Transition::HalfOpened), count(Transition::Closed)),
        (400, 400, 200)
    );
    assert_eq!(breaker.summary(start).opened, 400);
}

/// The same, written down naively.
struct Model {
    settings: Settings,
    state: State,
    generation: u32,
    until: u64,
    probes: u32,
    successes: u32,
    failed_probes: u32,
    ends: Vec<(u64, bool)>,
    opened: u64,
}

impl Model {
    fn allows(&self, now: u64) -> bool {
        match self.state {
            State::Closed => true,
            State::Open => now >= self.until,
            State::HalfOpen => self.probes < self.settings.success_threshold,
        }
    }

    fn begin(&mut self, now: u64) -> Option<(u32, Option<Transition>)> {
        if !self.allows(now) {
            return None;
        }
        let mut transition = None;
        if self.state == State::Open {
            (self.state, self.probes, self.successes) = (State::HalfOpen, 0, 0);
            self.generation += 1;
            transition = Some(Transition::HalfOpened);
        }
        self.probes += u32::from(self.state == State::HalfOpen);
        Some((self.generation, transition))
    }

    fn tally(&self, now: u64) -> (u64, u64) {
        let step = self.settings.window.as_millis() as u64 / 10;
        let within = |at: &u64| at / step + 10 > now / step;
        let requests = self.ends.iter().filter(|(at, _)| within(at)).count() as u64;
        let failures = self.ends.iter().filter(|(at, failed)| *failed && within(at)).count();
        (requests, failures as u64)
    }

    fn open(&mut self, now: u64) -> Transition {
        let mut timeout = self.settings.recovery_timeout;
        if let Some(max) = self.settings.max_recovery_timeout {
            timeout = (timeout * 2_u32.pow(self.failed_probes)).min(max);
        }
        self.state = State::Open;
        self.until = now + timeout.as_millis() as u64;
        self.generation += 1;
        self.opened += 1;
        Transition::Opened
    }

    fn close(&mut self) -> Option<Transition> {
        let was_closed = self.state == State::Closed;
        self.state = State::Closed;
        self.ends.clear();
        self.failed_probes = 0;
        self.generation += 1;
        (!was_closed).then_some(Transition::Closed)
    }

    fn end(&mut self, generation: u32, outcome: Outcome, now: u64) -> Option<Transition> {
        if generation != self.generation {
            return None;
        }
        match (self.state, outcome) {
            (State::Closed, Outcome::Undecided) | (State::Open, _) => None,
            (State::Closed, _) => {
                let failed = outcome == Outcome::Failure;
                self.ends.push((now, failed));
                let (requests, failures) = self.tally(now);
                let is_too_much = failures >= u64::from(self.settings.failure_threshold)
                    && requests >= u64::from(self.settings.request_volume_threshold);
                (failed && is_too_much).then(|| self.open(now))
            }
            (State::HalfOpen, Outcome::Failure) => {
                self.failed_probes += 1;
                Some(self.open(now))
            }
            (State::HalfOpen, _) => {
                self.probes -= 1;
                self.successes += u32::from(outcome == Outcome::Success);
                let is_enough = self.successes >= self.settings.success_threshold;
                if is_enough { self.close() } else { None }
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Begin,
    End(usize, usize, Outcome),
    Pass(u64),
    Reset,
}

fn step() -> impl Strategy<Value = Step> {
    let outcome = prop_oneof![
        4 => Just(Outcome::Success),
        4 => Just(Outcome::Failure),
        1 => Just(Outcome::Undecided),
    ];
    prop_oneof![
        12 => Just(Step::Begin),
        12 => (any::<usize>(), 0_usize..3, outcome)
            .prop_map(|(which, worker, outcome)| Step::End(which, worker, outcome)),
        4 => (0_u64..1_500).prop_map(Step::Pass),
        1 => Just(Step::Reset),
    ]
}

proptest! {
    #[test]
    fn it_does_what_the_naive_one_does(
        failure_threshold in 1_u32..4,
        success_threshold in 1_u32..4,
        request_volume_threshold in 0_u32..8,
        max in prop::option::of(1_u64..10),
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let settings = Settings {
            failure_threshold,
            success_threshold,
            recovery_timeout: Duration::from_secs(1),
            max_recovery_timeout: max.map(Duration::from_secs),
            request_volume_threshold,
            window: Duration::from_secs(2),
        };
        let start = Instant::now();
        let breaker = Breaker::new(settings, 2, start);
        let mut model = Model {
            settings,
            state: State::Closed,
            generation: 0,
            until: 0,
            probes: 0,
            successes: 0,
            failed_probes: 0,
            ends: vec![],
            opened: 0,
        };
        let mut held: Vec<(Permit, u32)> = vec![];
        let mut at = 0;
        for step in steps {
            let now = start + Duration::from_millis(at);
            prop_assert_eq!(breaker.allows(now), model.allows(at));
            match step {
                Step::Begin => {
                    let (permit, expected) = (breaker.try_begin(now), model.begin(at));
                    prop_assert_eq!(permit.is_some(), expected.is_some());
                    if let (Some(permit), Some((generation, transition))) = (permit, expected) {
                        prop_assert_eq!(permit.transition(), transition);
                        prop_assert_eq!(permit.is_probe(), model.state == State::HalfOpen);
                        held.push((permit, generation));
                    }
                }
                Step::End(which, worker, outcome) if !held.is_empty() => {
                    let (permit, generation) = held.swap_remove(which % held.len());
                    let transition = breaker.record(worker, permit, outcome, now);
                    prop_assert_eq!(transition, model.end(generation, outcome, at));
                }
                Step::End(..) => {}
                Step::Pass(millis) => at += millis,
                Step::Reset => prop_assert_eq!(breaker.reset(now), model.close()),
            }
            let now = start + Duration::from_millis(at);
            let summary = breaker.summary(now);
            let is_waiting = model.state == State::Open && at >= model.until;
            let state = if is_waiting { State::HalfOpen } else { model.state };
            prop_assert_eq!(summary.state, state);
            prop_assert_eq!(breaker.state(now), state);
            prop_assert_eq!(summary.opened, model.opened);
            if state == State::Closed {
                prop_assert_eq!((summary.requests, summary.failures), model.tally(at));
            }
            if state == State::Open {
                let until = start + Duration::from_millis(model.until);
                prop_assert_eq!(summary.next_attempt, Some(until));
            }
        }
    }
}
