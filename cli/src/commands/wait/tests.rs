//! What a version's way over the fleet is called, state by state.

use super::*;

const WAITED: Duration = Duration::from_mins(1);

/// A proxy by its id, state, version and the version it rejected.
fn proxy(id: &str, state: SyncState, version: u64, rejected: Option<u64>) -> ProxyView {
    let fault = ResourceFault {
        kind: "entry_point".into(),
        name: "web".into(),
        code: "bind_failed".into(),
        message: "could not listen on 0.0.0.0:80: permission denied".into(),
    };
    let errors: Vec<_> = rejected.map(|_| fault).into_iter().collect();
    serde_json::from_value(serde_json::json!({
        "id": id,
        "state": state,
        "version": version,
        "rejected_version": rejected,
        "errors": errors,
        "software_version": "0.1.0",
        "since": "2026-03-01T12:00:00Z",
    }))
    .unwrap()
}

fn decide(current: u64, proxies: Vec<ProxyView>, gone: &[&str]) -> Outcome {
    let list = ProxyList { version: Version(current), proxies };
    let mut awaited: BTreeSet<String> = gone.iter().map(ToString::to_string).collect();
    await_connected(&mut awaited, &list);
    outcome(&list, Version(42), &awaited)
}

#[test]
fn the_outcome_follows_from_states_and_who_was_connected() {
    use SyncState::{Applying, Declined, Disconnected, Rejected, Synced};
    let cases = [
        ("nobody is there", decide(42, vec![], &[]), Verdict::Nobody, 4),
        (
            "only somebody who was gone before",
            decide(42, vec![proxy("a", Disconnected, 41, None)], &[]),
            Verdict::Nobody,
            4,
        ),
        ("it runs", decide(42, vec![proxy("a", Synced, 42, None)], &[]), Verdict::Live, 0),
        ("a newer one runs", decide(43, vec![proxy("a", Synced, 43, None)], &[]), Verdict::Live, 0),
        (
            "it runs while a newer one is on its way",
            decide(43, vec![proxy("a", Applying, 42, None)], &[]),
            Verdict::Live,
            0,
        ),
        (
            "it runs and a newer one was refused",
            decide(43, vec![proxy("a", Rejected, 42, Some(43))], &[]),
            Verdict::Live,
            0,
        ),
        (
            "one is on its way",
            decide(42, vec![proxy("a", Synced, 42, None), proxy("b", Applying, 41, None)], &[]),
            Verdict::Waiting,
            4,
        ),
        (
            "one refused",
            decide(42, vec![proxy("a", Synced, 42, None), proxy("b", Rejected, 41, Some(42))], &[]),
            Verdict::Refused,
            1,
        ),
        (
            "one refused an older one and has not seen this",
            decide(42, vec![proxy("a", Rejected, 40, Some(41))], &[]),
            Verdict::Waiting,
            4,
        ),
        (
            "one refused a newer one, which takes this one's place",
            decide(43, vec![proxy("a", Rejected, 41, Some(43))], &[]),
            Verdict::Refused,
            1,
        ),
        (
            "one refused and does not say which",
            decide(42, vec![proxy("a", Rejected, 41, None)], &[]),
            Verdict::Refused,
            1,
        ),
        (
            "one refused and another has not answered",
            decide(
                42,
                vec![proxy("a", Rejected, 41, Some(42)), proxy("b", Applying, 41, None)],
                &[],
            ),
            Verdict::Waiting,
            1,
        ),
        (
            "one went away while it was waited for",
            decide(
                42,
                vec![proxy("a", Synced, 42, None), proxy("b", Disconnected, 41, None)],
                &["b"],
            ),
            Verdict::Waiting,
            4,
        ),
        (
            "one went away without a trace",
            decide(42, vec![proxy("a", Synced, 42, None)], &["b"]),
            Verdict::Waiting,
            4,
        ),
        (
            "one went away and declined to come back",
            decide(42, vec![proxy("a", Synced, 42, None), proxy("b", Declined, 41, None)], &["b"]),
            Verdict::Refused,
            1,
        ),
        (
            "one that never was connected declined",
            decide(42, vec![proxy("a", Synced, 42, None), proxy("b", Declined, 41, None)], &[]),
            Verdict::Live,
            0,
        ),
    ];
    for (name, outcome, verdict, exit) in cases {
        assert_eq!(outcome.verdict(), verdict, "{name}: {outcome:?}");
        assert_eq!(outcome.exit().code(), exit, "{name}");
    }
}

#[test]
fn the_outcome_reads_as_a_sentence_and_reasons() {
    use SyncState::{Applying, Disconnected, Rejected, Synced};
    let say = |proxies, gone: &[&str]| decide(42, proxies, gone).describe(Version(42), WAITED);
    assert_eq!(
        say(vec![proxy("a", Synced, 42, None), proxy("b", Synced, 42, None)], &[]),
        "version 42: live on 2 of 2 proxies\n"
    );
    assert_eq!(
        say(
            vec![
                proxy("a", Synced, 42, None),
                proxy("b", Rejected, 41, Some(42)),
                proxy("c", Applying, 41, None),
                proxy("d", Disconnected, 0, None),
            ],
            &["d"]
        ),
        "version 42: live on 1 of 4 proxies
b refused it and goes on with version 41:
  entry_point web: could not listen on 0.0.0.0:80: permission denied [bind_failed]
c did not answer within 60s; it last ran version 41
d did not answer within 60s and is not connected; it ran nothing
"
    );
    assert!(say(vec![], &[]).starts_with("version 42: committed, but no proxy is connected; "));
}
