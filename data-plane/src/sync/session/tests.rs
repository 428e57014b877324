use bytes::Bytes;

use super::*;

const KEY: HashKey = HashKey([3; 32]);

fn resource(name: &str, body: &str) -> (ResourceKey, Resource) {
    let key = ResourceKey { kind: ResourceKind::Route, name: name.into() };
    let resource = Resource::new(&key, Bytes::from(body.to_owned()), &KEY);
    (key, resource)
}

fn set(routes: &[(&str, &str)]) -> ResourceSet {
    ResourceSet::new(KEY, routes.iter().map(|(name, body)| resource(name, body)).collect())
}

fn push(version: u64, routes: &[(&str, &str)]) -> v1::Push {
    let set = set(routes);
    v1::Push {
        nonce: format!("s:{version}"),
        version: Some(v1::Version { lineage: "L".into(), number: version }),
        target_root: set.root().0.to_vec().into(),
        last: true,
        upsert: set
            .iter()
            .map(|(key, resource)| v1::Resource {
                kind: "route".into(),
                name: key.name.to_string(),
                hash: resource.hash().0.to_vec().into(),
                body: resource.body().clone(),
            })
            .collect(),
        ..v1::Push::default()
    }
}

fn message(message: to_proxy::Message) -> Input {
    Input::Message(v1::ToProxy { message: Some(message) })
}

fn welcome(lineage: &str) -> Input {
    message(to_proxy::Message::Welcome(v1::Welcome {
        lineage: lineage.into(),
        hash_key: KEY.0.to_vec().into(),
        ..v1::Welcome::default()
    }))
}

fn identity() -> Identity {
    Identity {
        proxy: "p".into(),
        instance: "i".into(),
        admin_address: String::new(),
        adopt_lineage: false,
    }
}

/// A session that runs `routes` as version 5 and is welcome.
fn running(routes: &[(&str, &str)]) -> Session {
    let resources = Arc::new(set(routes));
    let labels = Labels::default();
    let running = Running { lineage: "L".into(), version: Version(5), labels, resources };
    let mut session = Session::new(identity(), Some(running));
    session.handle(Input::Connected);
    assert_eq!(session.handle(welcome("L")), []);
    session
}

fn rejection(outputs: &[Output]) -> ErrorCode {
    match outputs {
        [Output::Send(v1::FromProxy { message: Some(from_proxy::Message::Ack(ack)) })] => {
            assert_eq!(ack.stage(), Stage::Rejected);
            ack.errors[0].code()
        }
        other => panic!("not a refusal: {other:?}"),
    }
}

#[test]
fn a_full_push_is_applied_and_acknowledged_when_it_serves() {
    let mut session = Session::new(identity(), None);
    session.handle(Input::Connected);
    session.handle(welcome("L"));
    let out = session.handle(message(to_proxy::Message::Push(push(1, &[("a", "1")]))));
    let [Output::Apply(candidate)] = &out[..] else { panic!("{out:?}") };
    assert_eq!(candidate.next.resources.root(), set(&[("a", "1")]).root());
    assert!(session.running().is_none(), "nothing runs before it is active");
    session.handle(Input::Validated);
    let out = session.handle(Input::Active { persisted: true, listeners: vec![] });
    let [Output::Send(v1::FromProxy { message: Some(from_proxy::Message::Ack(ack)) })] = &out[..]
    else {
        panic!("{out:?}")
    };
    assert_eq!((ack.stage(), ack.persisted), (Stage::Active, true));
    assert_eq!(ack.running_root[..], set(&[("a", "1")]).root().0);
}

#[test]
fn a_difference_needs_the_base_it_was_made_for() {
    let delta = v1::Push {
        base_root: set(&[("a", "1")]).root().0.to_vec().into(),
        target_root: set(&[("a", "1"), ("b", "2")]).root().0.to_vec().into(),
        ..push(6, &[("b", "2")])
    };
    let out = running(&[("a", "1")]).handle(message(to_proxy::Message::Push(delta.clone())));
    assert!(matches!(&out[..], [Output::Apply(_)]), "{out:?}");
    let out = running(&[("a", "2")]).handle(message(to_proxy::Message::Push(delta)));
    assert_eq!(rejection(&out), ErrorCode::BaseMismatch);
}

#[test]
fn nothing_is_applied_before_the_last_chunk() {
    let whole = push(6, &[("a", "1"), ("b", "2")]);
    let first = v1::Push { last: false, upsert: whole.upsert[..1].to_vec(), ..whole.clone() };
    let second = v1::Push { chunk: 1, upsert: whole.upsert[1..].to_vec(), ..whole };
    let mut session = running(&[]);
    assert_eq!(session.handle(message(to_proxy::Message::Push(first))), []);
    let out = session.handle(message(to_proxy::Message::Push(second.clone())));
    assert!(matches!(&out[..], [Output::Apply(_)]));
    let out = session.handle(message(to_proxy::Message::Push(second)));
    assert_eq!(rejection(&out), ErrorCode::Protocol, "a chunk without a beginning");
}

#[test]
fn damage_on_the_way_is_found() {
    let good = push(6, &[("a", "1")]);
    let mut body = good.clone();
    body.upsert[0].body = Bytes::from_static(b"2");
    let mut root = good.clone();
    root.target_root = vec![0; 32].into();
    let mut kind = good.clone();
    kind.upsert[0].kind = "wormhole".into();
    let mut lineage = good.clone();
    lineage.version = Some(v1::Version { lineage: "M".into(), number: 6 });
    for (bad, code) in [
        (body, ErrorCode::Protocol),
        (root, ErrorCode::RootMismatch),
        (kind, ErrorCode::Unsupported),
        (lineage, ErrorCode::Protocol),
    ] {
        let out = running(&[]).handle(message(to_proxy::Message::Push(bad)));
        assert_eq!(rejection(&out), code);
    }
}

#[test]
fn a_step_back_is_refused_and_so_is_a_second_content_of_one_number() {
    for version in [4, 5] {
        let out = running(&[("a", "1")])
            .handle(message(to_proxy::Message::Push(push(version, &[("a", "2")]))));
        assert_eq!(rejection(&out), ErrorCode::VersionRegression);
    }
}

#[test]
fn a_new_number_for_the_same_content_moves_no_content() {
    let mut session = running(&[("a", "1")]);
    let root: Bytes = set(&[("a", "1")]).root().0.to_vec().into();
    let up_to_date = |root| {
        message(to_proxy::Message::UpToDate(v1::UpToDate {
            nonce: "s:1".into(),
            version: Some(v1::Version { lineage: "L".into(), number: 9 }),
            root,
        }))
    };
    let out = session.handle(up_to_date(root));
    assert!(matches!(&out[..], [Output::Renumber(_)]), "{out:?}");
    session.handle(Input::Active { persisted: true, listeners: vec![] });
    assert_eq!(session.running().unwrap().version, Version(9));
    let out = session.handle(up_to_date(vec![0; 32].into()));
    assert_eq!(rejection(&out), ErrorCode::BaseMismatch);
}

#[test]
fn a_foreign_lineage_is_declined_unless_an_operator_adopts_it() {
    let resources = Arc::new(set(&[]));
    let labels = Labels::default();
    let old = Running { lineage: "OLD".into(), version: Version(5), labels, resources };
    let mut session = Session::new(identity(), Some(old.clone()));
    let out = session.handle(welcome("L"));
    assert!(
        matches!(&out[..], [Output::Send(_), Output::Close(why)] if why.contains("--adopt-lineage"))
    );
    let adopting = Identity { adopt_lineage: true, ..identity() };
    let mut session = Session::new(adopting, Some(old));
    assert_eq!(session.handle(welcome("L")), []);
    let out = session.handle(message(to_proxy::Message::Push(push(1, &[("a", "1")]))));
    assert!(matches!(&out[..], [Output::Apply(_)]), "numbers of another lineage start anew");
}

#[test]
fn a_failed_candidate_leaves_what_ran() {
    let mut session = running(&[("a", "1")]);
    session.handle(message(to_proxy::Message::Push(push(6, &[("a", "2")]))));
    let error = v1::ResourceError { code: ErrorCode::BindFailed.into(), ..Default::default() };
    let out = session.handle(Input::Failed(vec![error]));
    assert_eq!(rejection(&out), ErrorCode::BindFailed);
    assert_eq!(session.running().unwrap().version, Version(5));
}

proptest::proptest! {
    #[test]
    fn hostile_pushes_never_panic(
        chunk in 0u32..3,
        last: bool,
        base in proptest::collection::vec(0u8..2, 0..33),
        names in proptest::collection::vec(".{0,5}", 0..4),
    ) {
        let upsert = names.iter().map(|name| v1::Resource {
            kind: "route".into(), name: name.clone(), ..Default::default()
        });
        let push = v1::Push {
            chunk, last, base_root: base.into(), upsert: upsert.collect(), ..push(6, &[])
        };
        let mut session = running(&[]);
        session.handle(message(to_proxy::Message::Push(push)));
        proptest::prop_assert_eq!(session.running().unwrap().version, Version(5));
    }
}

#[test]
fn a_hello_says_whether_what_runs_would_survive() {
    let hello = |session: &mut Session| {
        let out = session.handle(Input::Connected);
        let Some(Output::Send(v1::FromProxy { message: Some(from_proxy::Message::Hello(hello)) })) =
            out.into_iter().next()
        else {
            panic!("no hello")
        };
        hello.persisted
    };
    assert_eq!(hello(&mut Session::new(identity(), None)), None, "nothing runs");
    for persisted in [true, false] {
        let mut session = running(&[("a", "1")]).with_persisted(persisted);
        assert_eq!(hello(&mut session), Some(persisted));
    }
}

#[test]
fn another_share_of_the_same_version_is_taken_with_other_labels_only() {
    let before = running(&[("a", "1")]).running().cloned();
    for (labels, is_taken) in [(vec![], false), (vec!["edge".to_owned()], true)] {
        let mut session = Session::new(identity(), before.clone());
        let Input::Message(v1::ToProxy { message: Some(to_proxy::Message::Welcome(welcome)) }) =
            welcome("L")
        else {
            panic!()
        };
        session.handle(message(to_proxy::Message::Welcome(v1::Welcome { labels, ..welcome })));
        let out = session.handle(message(to_proxy::Message::Push(push(5, &[("b", "1")]))));
        let taken = out.iter().find_map(|output| match output {
            Output::Apply(candidate) => Some(candidate.next.labels.to_strings()),
            _ => None,
        });
        assert_eq!(taken, is_taken.then(|| vec!["edge".to_owned()]), "{out:?}");
    }
}
