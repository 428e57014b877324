use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use lb_model::{Resource, resource::HashKey};

use super::*;
use crate::snapshot::Differences;

const KEY: HashKey = HashKey([3; 32]);

fn target(version: u64, routes: &[(&str, &str)]) -> Arc<Target> {
    let resources: BTreeMap<_, _> = routes
        .iter()
        .map(|(name, body)| {
            let key = ResourceKey { kind: ResourceKind::Route, name: (*name).into() };
            let resource = Resource::new(&key, Bytes::from((*body).to_owned()), &KEY);
            (key, resource)
        })
        .collect();
    let snapshot = Snapshot {
        lineage: "L".into(),
        version: Version(version),
        resources: Arc::new(ResourceSet::new(KEY, resources)),
    };
    Arc::new(Target {
        snapshot: Arc::new(snapshot),
        committed_at: Timestamp::UNIX_EPOCH,
        attempt: 0,
        differences: Differences::default(),
    })
}

fn session() -> Session {
    let identity = Identity { lineage: "L".into(), parent: None, hash_key: KEY };
    Session::new(identity, "s".into(), Labels::default())
}

fn hello(running: Option<(u64, Digest)>) -> Input {
    message(from_proxy::Message::Hello(Box::new(v1::Hello {
        proxy: "p".into(),
        schema_min: 1,
        schema_max: 1,
        running: running.map(|(number, _)| v1::Version { lineage: "L".into(), number }),
        running_root: running.map_or(Bytes::new(), |(_, root)| root.0.to_vec().into()),
        ..v1::Hello::default()
    })))
}

fn message(message: from_proxy::Message) -> Input {
    Input::Message(v1::FromProxy { message: Some(message) })
}

fn active(nonce: &str, root: Digest) -> Input {
    message(from_proxy::Message::Ack(v1::Ack {
        nonce: nonce.into(),
        stage: v1::Stage::Active.into(),
        running_root: root.0.to_vec().into(),
        ..v1::Ack::default()
    }))
}

fn rejected(nonce: &str, code: v1::ErrorCode) -> Input {
    message(from_proxy::Message::Ack(v1::Ack {
        nonce: nonce.into(),
        stage: v1::Stage::Rejected.into(),
        errors: vec![v1::ResourceError { code: code.into(), ..v1::ResourceError::default() }],
        ..v1::Ack::default()
    }))
}

fn nothing(_: Digest) -> Option<Arc<ResourceSet>> {
    None
}

fn pushes(outputs: &[Output]) -> Vec<v1::Push> {
    let push = |output: &Output| match output {
        Output::Send(v1::ToProxy { message: Some(to_proxy::Message::Push(push)) }) => {
            Some(push.clone())
        }
        _ => None,
    };
    outputs.iter().filter_map(push).collect()
}

/// A session whose proxy runs version 1 and acknowledged it.
fn settled(first: &Arc<Target>) -> Session {
    let mut session = session();
    session.handle(Input::Target(Arc::clone(first)), &nothing);
    session.handle(hello(None), &nothing);
    session.handle(active("s:1", first.snapshot.resources.root()), &nothing);
    session
}

#[test]
fn a_fresh_proxy_gets_everything() {
    let mut session = session();
    assert_eq!(session.handle(Input::Target(target(1, &[("a", "1")])), &nothing), []);
    let out = session.handle(hello(None), &nothing);
    let push = &pushes(&out)[0];
    assert!(push.base_root.is_empty() && push.last);
    assert_eq!((push.nonce.as_str(), push.upsert.len()), ("s:1", 1));
}

#[test]
fn a_proxy_that_runs_the_content_gets_only_the_number() {
    let newest = target(5, &[("a", "1")]);
    let mut session = session();
    session.handle(Input::Target(Arc::clone(&newest)), &nothing);
    let out = session.handle(hello(Some((3, newest.snapshot.resources.root()))), &nothing);
    assert!(pushes(&out).is_empty());
    assert!(out.iter().any(|output| matches!(
        output,
        Output::News(News::Pushed { bytes: 0, kind: PushKind::UpToDate, .. })
    )));
    let mut same = self::session();
    same.handle(Input::Target(Arc::clone(&newest)), &nothing);
    let out = same.handle(hello(Some((5, newest.snapshot.resources.root()))), &nothing);
    assert_eq!(out.len(), 2, "a hello and a welcome: {out:?}");
}

#[test]
fn a_change_travels_as_a_difference_and_changes_meanwhile_merge() {
    let first = target(1, &[("a", "1"), ("b", "1")]);
    let mut session = settled(&first);
    let known = |root| {
        (root == first.snapshot.resources.root()).then(|| Arc::clone(&first.snapshot.resources))
    };
    let out = session.handle(Input::Target(target(2, &[("a", "2"), ("b", "1")])), &known);
    let push = &pushes(&out)[0];
    assert_eq!((push.upsert.len(), push.remove.len()), (1, 0));
    let second = target(2, &[("a", "2"), ("b", "1")]);
    for version in 3..6 {
        let out = session.handle(Input::Target(target(version, &[("c", "1")])), &known);
        assert_eq!(out, [], "one push is on its way");
    }
    let sets = [Arc::clone(&first), second];
    let known =
        |root| sets.iter().map(|t| &t.snapshot.resources).find(|set| set.root() == root).cloned();
    let out = session.handle(active(&push.nonce, sets[1].snapshot.resources.root()), &known);
    let push = &pushes(&out)[0];
    assert_eq!(push.version.as_ref().unwrap().number, 5, "versions in between are skipped");
    assert_eq!((push.upsert.len(), push.remove.len()), (1, 2));
}

#[test]
fn a_proxy_on_an_unknown_set_is_asked_for_its_inventory() {
    let old = target(1, &[("a", "1"), ("gone", "1")]);
    let mut session = session();
    session.handle(Input::Target(target(9, &[("a", "1"), ("b", "1")])), &nothing);
    let out = session.handle(hello(Some((1, old.snapshot.resources.root()))), &nothing);
    assert!(matches!(
        out.last(),
        Some(Output::Send(v1::ToProxy { message: Some(to_proxy::Message::Ask(_)) }))
    ));
    let keys = old.snapshot.resources.inventory().into_iter().map(|(key, hash)| v1::Key {
        kind: key.kind.as_str().into(),
        name: key.name.to_string(),
        hash: hash.0.to_vec().into(),
    });
    let inventory = v1::Inventory { keys: keys.collect(), last: true };
    let out = session.handle(message(from_proxy::Message::Inventory(inventory)), &nothing);
    let push = &pushes(&out)[0];
    assert_eq!((push.upsert.len(), push.remove.len()), (1, 1));
    assert_eq!(push.base_root[..], old.snapshot.resources.root().0);
}

#[test]
fn an_inventory_that_takes_too_much_memory_is_answered_with_everything() {
    let mut session = session();
    session.handle(Input::Target(target(9, &[("a", "1")])), &nothing);
    session.handle(hello(Some((1, Digest([7; 32])))), &nothing);
    let part = |number: usize, last| {
        let key = |key| v1::Key {
            kind: "route".into(),
            name: format!("{number}-{key}-{}", "x".repeat(100_000)),
            hash: vec![1; 32].into(),
        };
        let keys = (0..100).map(key).collect();
        message(from_proxy::Message::Inventory(v1::Inventory { keys, last }))
    };
    for number in 0..4 {
        assert_eq!(session.handle(part(number, false), &nothing), []);
    }
    let Phase::Asked(asked) = &session.phase else { panic!("{:?}", session.phase) };
    assert!(asked.inventory.is_none() && asked.keys == 400, "it is not kept");
    let out = session.handle(part(4, true), &nothing);
    let push = &pushes(&out)[0];
    assert!(push.base_root.is_empty() && push.upsert.len() == 1);
}

#[test]
fn late_and_foreign_acknowledgements_change_nothing() {
    let first = target(1, &[("a", "1")]);
    let mut session = settled(&first);
    let root = first.snapshot.resources.root();
    assert_eq!(session.handle(active("s:1", root), &nothing), []);
    assert_eq!(session.handle(active("other:2", root), &nothing), []);
}

#[test]
fn what_was_refused_is_not_sent_again_until_it_changes_or_is_asked_for() {
    let mut session = session();
    let bad = target(1, &[("bad", "1")]);
    session.handle(Input::Target(Arc::clone(&bad)), &nothing);
    session.handle(hello(None), &nothing);
    let out = session.handle(rejected("s:1", v1::ErrorCode::BindFailed), &nothing);
    assert!(pushes(&out).is_empty());
    assert!(matches!(&out[0], Output::News(News::Rejected { .. })));
    let same_content = Arc::new(Target {
        snapshot: Arc::new(Snapshot { version: Version(2), ..Snapshot::clone(&bad.snapshot) }),
        ..Target::clone(&bad)
    });
    assert!(pushes(&session.handle(Input::Target(same_content), &nothing)).is_empty());
    let again = Arc::new(Target { attempt: 1, ..Target::clone(&bad) });
    assert_eq!(pushes(&session.handle(Input::Target(again), &nothing)).len(), 1);
}

#[test]
fn a_base_that_does_not_fit_is_answered_with_everything_once() {
    let first = target(1, &[("a", "1")]);
    let mut session = settled(&first);
    let known = |root| {
        (root == first.snapshot.resources.root()).then(|| Arc::clone(&first.snapshot.resources))
    };
    session.handle(Input::Target(target(2, &[("a", "2")])), &known);
    let out = session.handle(rejected("s:2", v1::ErrorCode::BaseMismatch), &known);
    let push = &pushes(&out)[0];
    assert!(push.base_root.is_empty(), "a full push");
    let out = session.handle(active("s:3", Digest([0; 32])), &known);
    assert!(out.contains(&Output::News(News::RootMismatch)));
    assert_eq!(out.last(), Some(&Output::Close), "a full push that does not settle it ends it");
}

#[test]
fn a_proxy_ahead_of_an_old_control_plane_is_left_alone() {
    let mut session = session();
    session.handle(Input::Target(target(3, &[("a", "1")])), &nothing);
    let out = session.handle(hello(Some((7, Digest([9; 32])))), &nothing);
    assert!(pushes(&out).is_empty());
    assert_eq!(out.last(), Some(&Output::Close));
}

#[test]
fn a_large_version_travels_in_chunks_and_only_the_last_is_marked() {
    let body = "x".repeat(10 << 10);
    let names: Vec<String> = (0..10).map(|n| format!("r{n}")).collect();
    let routes: Vec<_> = names.iter().map(|name| (name.as_str(), body.as_str())).collect();
    let mut session = session();
    session.handle(Input::Target(target(1, &routes)), &nothing);
    let chunks = pushes(&session.handle(hello(None), &nothing));
    assert_eq!(chunks.len(), 4);
    assert!(chunks.iter().enumerate().all(|(n, chunk)| chunk.chunk == n as u32));
    assert_eq!(chunks.iter().filter(|chunk| chunk.last).count(), 1);
    assert_eq!(chunks.iter().map(|chunk| chunk.upsert.len()).sum::<usize>(), 10);
}

#[test]
fn talk_out_of_turn_ends_the_stream() {
    for input in [
        message(from_proxy::Message::Inventory(v1::Inventory::default())),
        Input::Message(v1::FromProxy { message: None }),
    ] {
        assert_eq!(session().handle(input, &nothing).last(), Some(&Output::Close));
    }
}

#[test]
fn poison_is_not_sent_again_until_an_operator_asks() {
    let bad = target(2, &[("bad", "1")]);
    let good = target(1, &[("a", "1")]);
    let root = bad.snapshot.resources.root();
    let mut session = session();
    session.handle(Input::Target(Arc::clone(&bad)), &nothing);
    let Input::Message(v1::FromProxy { message: Some(from_proxy::Message::Hello(hello)) }) =
        hello(Some((1, good.snapshot.resources.root())))
    else {
        panic!()
    };
    let poisoned = v1::Hello {
        poisoned: Some(v1::Version { lineage: "L".into(), number: 2 }),
        poisoned_root: root.0.to_vec().into(),
        poison_reason: "crashed".into(),
        ..*hello
    };
    let out = session.handle(message(from_proxy::Message::Hello(Box::new(poisoned))), &nothing);
    assert!(pushes(&out).is_empty(), "{out:?}");
    assert!(out.iter().any(|output| matches!(
        output,
        Output::News(News::Rejected { version: Version(2), errors, .. })
            if errors[0].code == "poisoned"
    )));
    let again = Arc::new(Target { attempt: 1, ..Target::clone(&bad) });
    let out = session.handle(Input::Target(again), &nothing);
    assert!(matches!(
        out.last(),
        Some(Output::Send(v1::ToProxy { message: Some(to_proxy::Message::Ask(_)) }))
    ));
}
