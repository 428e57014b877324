use std::{sync::Barrier, thread};

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const NOBODY: [usize; 0] = [];

fn settings(max_ejection_percent: u8) -> Settings {
    Settings { max_ejection_percent, ..Settings::default() }
}

/// A sample of one that is in, with so many of a hundred requests that succeeded.
fn rate(successes: u64) -> Sample {
    Sample { successes, failures: 100 - successes, ..Sample::default() }
}

fn ejected(decisions: &[Decision]) -> Vec<usize> {
    let is_ejection = |decision: &&Decision| matches!(decision, Decision::Eject { .. });
    decisions.iter().filter(is_ejection).map(Decision::member).collect()
}

/// Lets requests of a backend end, `+` or `-`, one each `pause`; tells after how many failures
/// it was suspected.
fn suspected(ejection: &Ejection, start: Instant, pause: Duration, ends: &str) -> Vec<usize> {
    let mut told = vec![];
    for (n, end) in ends.chars().enumerate() {
        if end == '+' {
            ejection.success(n % 2);
        } else if ejection.failure(n % 2, &Settings::default(), start + pause * n as u32) {
            told.push(n + 1);
        }
    }
    told
}

#[test]
fn five_failures_in_a_row_are_told_once() {
    let start = Instant::now();
    let ejection = Ejection::new(2, start);
    assert_eq!(suspected(&ejection, start, SECOND, "----+----+-----"), [15]);
    assert_eq!(ejection.summary(start).consecutive_failures, 0);
    assert_eq!(suspected(&ejection, start, SECOND, "------------"), [5, 10]);
    assert_eq!(ejection.summary(start).consecutive_failures, 2);
}

#[test]
fn failures_that_are_far_apart_are_no_run() {
    let start = Instant::now();
    assert_eq!(suspected(&Ejection::new(2, start), start, SECOND * 3, "---------"), NOBODY);
    assert_eq!(suspected(&Ejection::new(2, start), start, SECOND * 2, "-----"), [5]);
}

#[test]
fn a_run_of_nothing_ejects_nobody() {
    let (now, off) = (Instant::now(), Settings { consecutive_failures: 0, ..settings(100) });
    let ejection = Ejection::new(1, now);
    assert!((0..100).all(|_| !ejection.failure(0, &off, now)));
}

#[test]
fn an_ejection_ends_by_itself_and_each_in_a_row_lasts_longer() {
    let start = Instant::now();
    let (outliers, ejection) = (Outliers::new(settings(50)), Ejection::new(1, start));
    let all = || [&ejection].into_iter();
    let mut now = start;
    for (times, seconds) in [(1, 30), (2, 60), (3, 90), (4, 120)] {
        let until = now + SECOND * seconds;
        let expected =
            Decision::Eject { member: 0, cause: Cause::ConsecutiveFailures, until, times };
        assert_eq!(outliers.eject(all(), 0, now), Some(expected));
        assert_eq!(outliers.eject(all(), 0, now), None, "it is out already");
        assert!(ejection.is_ejected(until - SECOND));
        assert_eq!(ejection.summary(now).until, Some(until));
        assert!(!ejection.is_ejected(until));
        now = until;
        assert_eq!(outliers.sweep(all(), now), [Decision::Return { member: 0 }]);
        assert_eq!(ejection.summary(now), Summary { until: None, times, consecutive_failures: 0 });
    }
    for times in [3, 2, 1, 0] {
        now += SECOND * 10;
        assert_eq!(outliers.sweep(all(), now), [Decision::Forgive { member: 0, times }]);
    }
    assert_eq!(outliers.sweep(all(), now), []);
}

#[test]
fn no_ejection_is_longer_than_the_longest() {
    let now = Instant::now();
    let often = [Sample { times: 500, ..Sample::default() }];
    let until = |settings: &Settings| match judge::eject(settings, &often, 0, now) {
        Some(Decision::Eject { until, .. }) => until,
        other => panic!("{other:?}"),
    };
    assert_eq!(until(&settings(10)), now + SECOND * 300);
    let longer = Settings { base_ejection_time: SECOND * 1_000, ..settings(10) };
    assert_eq!(until(&longer), now + SECOND * 1_000);
    let endless = Settings { base_ejection_time: Duration::MAX, ..settings(10) };
    assert!(until(&endless) > now);
}

#[test]
fn a_success_rate_far_below_the_others_ejects() {
    let now = Instant::now();
    let mut samples = vec![rate(99); 10];
    assert_eq!(judge::sweep(&settings(50), &samples, now), [], "all alike are no outliers");
    samples[3] = rate(50);
    assert_eq!(ejected(&judge::sweep(&settings(50), &samples, now)), [3]);
    assert_eq!(ejected(&judge::sweep(&settings(0), &samples, now)), NOBODY);
    let unwatched = Settings { success_rate: None, ..settings(50) };
    assert_eq!(ejected(&judge::sweep(&unwatched, &samples, now)), NOBODY);
}

#[test]
fn few_backends_and_few_requests_say_nothing() {
    let now = Instant::now();
    let four = [rate(100), rate(100), rate(100), rate(0)];
    assert_eq!(judge::sweep(&settings(100), &four, now), []);
    let mut five = vec![rate(100); 4];
    five.push(Sample { successes: 0, failures: 99, ..Sample::default() });
    assert_eq!(judge::sweep(&settings(100), &five, now), []);
    five[4].failures = 100;
    assert_eq!(ejected(&judge::sweep(&settings(100), &five, now)), [4]);
}

#[test]
fn the_worst_go_first_where_not_all_may() {
    let now = Instant::now();
    let mut samples = vec![rate(100); 20];
    (samples[4], samples[7]) = (rate(20), rate(10));
    assert_eq!(ejected(&judge::sweep(&settings(10), &samples, now)), [7, 4]);
    assert_eq!(ejected(&judge::sweep(&settings(9), &samples, now)), [7]);
    assert_eq!(ejected(&judge::sweep(&settings(1), &samples, now)), [7], "one always may");
}

#[test]
fn a_sweep_sees_the_requests_since_the_last_one() {
    let start = Instant::now();
    let outliers = Outliers::new(settings(50));
    let ejections: Vec<_> = (0..5).map(|_| Ejection::new(2, start)).collect();
    let fill = |bad: usize| {
        for (n, ejection) in ejections.iter().enumerate() {
            for request in 0..100 {
                if n == bad && request % 2 == 0 {
                    let _ = ejection.failure(request % 2, outliers.settings(), start);
                } else {
                    ejection.success(request % 2);
                }
            }
        }
    };
    fill(2);
    assert_eq!(ejected(&outliers.sweep(ejections.iter(), start)), [2]);
    assert!(ejections[2].is_ejected(start));
    assert_eq!(outliers.sweep(ejections.iter(), start), [], "these were judged already");
}

#[test]
fn threads_that_eject_at_once_keep_to_the_percentage() {
    let now = Instant::now();
    for _ in 0..50 {
        let outliers = Outliers::new(settings(30));
        let ejections: Vec<_> = (0..10).map(|_| Ejection::new(4, now)).collect();
        let barrier = Barrier::new(4);
        thread::scope(|scope| {
            for worker in 0..4 {
                let (ejections, outliers, barrier) = (&ejections, &outliers, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    for round in 0..200 {
                        let member = (round + worker) % 10;
                        if ejections[member].failure(worker, outliers.settings(), now) {
                            outliers.eject(ejections.iter(), member, now);
                        }
                    }
                });
            }
        });
        assert_eq!(ejections.iter().filter(|ejection| ejection.is_ejected(now)).count(), 3);
    }
}

proptest! {
    #[test]
    fn never_more_than_the_percentage_are_out(
        members in 1_usize..30,
        percent in 0_u8..=100,
        steps in prop::collection::vec((any::<bool>(), any::<usize>(), 0_u64..40, 0_u64..=100), 1..60),
    ) {
        let outliers = Outliers::new(settings(percent));
        let start = Instant::now();
        let ejections: Vec<_> = (0..members).map(|_| Ejection::new(1, start)).collect();
        let mut now = start;
        let most = match percent {
            0 => 0,
            percent => (members * usize::from(percent) / 100).max(1),
        };
        for (is_sweep, member, pause, successes) in steps {
            now += SECOND * pause as u32;
            let member = member % members;
            if is_sweep {
                for (n, ejection) in ejections.iter().enumerate() {
                    for request in 0..100 {
                        if n % 5 == member % 5 && request >= successes {
                            let _ = ejection.failure(0, outliers.settings(), now);
                        } else {
                            ejection.success(0);
                        }
                    }
                }
                outliers.sweep(ejections.iter(), now);
            } else {
                outliers.eject(ejections.iter(), member, now);
            }
            let out = ejections.iter().filter(|ejection| ejection.is_ejected(now)).count();
            prop_assert!(out <= most, "{} of {} at {} %", out, members, percent);
        }
    }

    #[test]
    fn a_run_is_told_at_its_fifth_failure_within_the_window(
        ends in prop::collection::vec((any::<bool>(), 0_u64..4_000), 1..80),
    ) {
        let start = Instant::now();
        let ejection = Ejection::new(1, start);
        let (mut at, mut run) = (0, Vec::new());
        for (is_success, pause) in ends {
            at += pause;
            if is_success {
                ejection.success(0);
                run.clear();
                continue;
            }
            if run.first().is_some_and(|first| at - first > 10_000) {
                run.clear();
            }
            run.push(at);
            let told = ejection.failure(0, &Settings::default(), start + Duration::from_millis(at));
            prop_assert_eq!(told, run.len() == 5);
            if told {
                run.clear();
            }
        }
    }
}
