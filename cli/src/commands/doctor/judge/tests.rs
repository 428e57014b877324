use serde_json::{Value, json};

use super::*;

fn fleet(change: impl Fn(&mut Value)) -> Fleet {
    let mut all = json!({
        "health": { "status": "healthy", "software_version": env!("CARGO_PKG_VERSION"),
            "snapshot": 7, "uptime_seconds": 90, "components": { "store": "ok" },
            "proxies": { "connected": 1, "in_sync": 1, "stale": 0, "rejected": 0 },
            "backends": { "healthy": 1, "unhealthy": 0, "disabled": 0, "draining": 0 } },
        "proxies": [{ "id": "a", "state": "synced", "version": 7,
            "software_version": env!("CARGO_PKG_VERSION"), "since": "2026-03-01T11:00:00Z" }],
        "backends": [{ "id": "web1", "url": "http://a", "service": "shop", "weight": 1,
            "admin_state": "enabled", "health": "up", "up_on": 1, "reported_by": 1,
            "in_flight": 0, "requests": 5, "failures": 0, "requests_per_second": 0.5,
            "source": "config" }],
        "overrides": [], "blue_green": [], "canaries": [],
        "certificates": [{ "name": "default", "names": ["a"], "default": true,
            "not_before": "2026-01-01T00:00:00Z", "not_after": "2027-01-01T00:00:00Z",
            "entry_points": ["web"] }],
        "services": [{ "name": "shop", "strategy": "p2c", "backends": ["web1"],
            "health_check": "/healthz", "routes": [] }],
    });
    change(&mut all);
    let of = |name: &str| all[name].clone();
    Fleet {
        health: serde_json::from_value(of("health")).unwrap(),
        proxies: serde_json::from_value(json!({ "version": 7, "proxies": of("proxies") })).unwrap(),
        backends: serde_json::from_value(json!({ "backends": of("backends") })).unwrap(),
        overrides: serde_json::from_value(json!({ "version": 7, "overrides": of("overrides") }))
            .unwrap(),
        blue_green: serde_json::from_value(json!({ "version": 7, "services": of("blue_green") }))
            .unwrap(),
        canaries: serde_json::from_value(json!({ "version": 7, "services": of("canaries") }))
            .unwrap(),
        certificates: serde_json::from_value(of("certificates")).unwrap(),
        services: serde_json::from_value(of("services")).unwrap(),
    }
}

fn facts(fleet: Fleet) -> Facts {
    let now = "2026-03-01T12:00:00Z".parse().unwrap();
    Facts {
        contexts: Ok((0, String::new())),
        server: Some("https://lb.example".into()),
        has_token: true,
        reached: Ok(Clocks { theirs: Some(now), ours: now }),
        now,
        fleet: Some(Ok(fleet)),
        open_files: Some(65_536),
        taken: vec![],
    }
}

/// What is not well, as `group/name verdict`.
fn odd(facts: &Facts) -> Vec<String> {
    let odd = all(facts).into_iter().filter(|check| check.verdict >= Verdict::Warning);
    odd.map(|check| {
        assert!(check.fix.is_some(), "{check:?} has no fix");
        format!("{}/{} {:?}", check.group, check.name, check.verdict)
    })
    .collect()
}

#[test]
fn a_fleet_that_is_well_has_nothing_to_mend() {
    let facts = facts(fleet(|_| {}));
    assert_eq!(odd(&facts), Vec::<String>::new());
    assert!(all(&facts).len() > 12);
}

#[test]
fn each_thing_that_is_wrong_is_found() {
    let cases: [(&str, Value, &str); 15] = [
        ("/health/components/access", json!("open"), "control plane/access Warning"),
        ("/health/components/store", json!("97% full"), "control plane/store Failed"),
        ("/health/status", json!("unhealthy"), "control plane/health Failed"),
        ("/proxies/0/state", json!("disconnected"), "proxies/connected Warning"),
        ("/proxies/0/state", json!("rejected"), "proxies/in sync Failed"),
        ("/proxies/0/persisted", json!(false), "proxies/persisted Failed"),
        ("/proxies/0/shed_at", json!("2026-03-01T11:59:30Z"), "proxies/overload Warning"),
        ("/proxies/0/software_version", json!("9.0.0"), "proxies/software Failed"),
        ("/backends/0/health", json!("down"), "backends/up Failed"),
        ("/backends/0/health", json!("mixed"), "backends/up Warning"),
        ("/backends/0/circuit", json!("open"), "backends/circuits Warning"),
        ("/backends/0/ejected_on", json!(1), "backends/ejected Warning"),
        ("/services/0/health_check", json!(null), "backends/health check Warning"),
        ("/certificates/0/not_after", json!("2026-02-28T12:00:00Z"), "certificates/default Failed"),
        (
            "/overrides/0",
            json!({ "backend": "web1", "state": "disabled", "owner": "ann", "reason": "",
                "since": "2026-03-01T11:00:00Z" }),
            "overrides/end Warning",
        ),
    ];
    for (path, value, expected) in cases {
        let fleet = fleet(|all| {
            let (parent, key) = path.rsplit_once('/').unwrap();
            match all.pointer_mut(parent).unwrap() {
                Value::Array(list) if list.is_empty() => list.push(value.clone()),
                Value::Array(list) => list[0] = value.clone(),
                object => object[key] = value.clone(),
            }
        });
        assert_eq!(odd(&facts(fleet)), [expected], "{path}");
    }
}

#[test]
fn a_backend_that_is_out_on_purpose_is_no_fault() {
    let fleet = fleet(|all| {
        all["backends"][0]["health"] = json!("down");
        all["backends"][0]["admin_state"] = json!("disabled");
    });
    assert_eq!(odd(&facts(fleet)), Vec::<String>::new());
}

#[test]
fn an_overload_of_long_ago_is_over() {
    let fleet = fleet(|all| all["proxies"][0]["shed_at"] = json!("2026-03-01T11:58:30Z"));
    assert_eq!(odd(&facts(fleet)), Vec::<String>::new());
}

#[test]
fn clocks_apart_and_small_limits_are_warned_about() {
    let mut facts = facts(fleet(|_| {}));
    facts.reached =
        Ok(Clocks { theirs: Some("2026-03-01T12:02:00Z".parse().unwrap()), ours: facts.now });
    facts.open_files = Some(256);
    assert_eq!(odd(&facts), ["control plane/clock Warning", "this machine/open files Warning"]);
    let clock = all(&facts).into_iter().find(|check| check.name == "clock").unwrap();
    assert_eq!(clock.detail, "2m0s ahead of ours");
}

#[test]
fn versions_one_minor_apart_are_warned_about_and_further_ones_fail() {
    let verdict = |other: &str| {
        let mut checks = Vec::new();
        skew(&mut Group("g", &mut checks), "software", &[("a", "1.4.2"), ("b", other)]);
        checks[0].verdict
    };
    assert_eq!(verdict("1.4.2"), Verdict::Ok);
    assert_eq!(verdict("1.4.9"), Verdict::Warning);
    assert_eq!(verdict("1.5.0"), Verdict::Warning);
    assert_eq!(verdict("1.6.0"), Verdict::Failed);
    assert_eq!(verdict("2.4.2"), Verdict::Failed);
}

#[test]
fn without_a_server_this_machine_is_looked_at() {
    let mut facts = facts(fleet(|_| {}));
    facts.fleet = None;
    facts.reached = Err(Failure::new("could not reach it").fix("start one"));
    facts.taken = vec![9700];
    assert_eq!(odd(&facts), ["client/server Failed", "this machine/ports Warning"]);
    facts.contexts = Err(Failure::new("config.yaml:3: no").fix("correct it"));
    assert_eq!(odd(&facts), ["client/contexts Failed", "this machine/ports Warning"]);
}

#[test]
fn a_token_that_is_refused_is_told_apart_from_a_server_that_is_away() {
    let mut facts = facts(fleet(|_| {}));
    facts.fleet = Some(Err(Failure::new("the token has ended").exit(Exit::NotAuthorised)));
    assert_eq!(odd(&facts), ["client/token Failed"]);
}

/// What is odd about the slots and the canary of one service, with what is said of it.
fn deployed(blue_green: Value, canary: Value) -> Vec<(String, String)> {
    let fleet = fleet(|all| {
        let list = |one: &Value| if one.is_null() { json!([]) } else { json!([one]) };
        (all["blue_green"], all["canaries"]) = (list(&blue_green), list(&canary));
    });
    let odd = all(&facts(fleet)).into_iter().filter(|check| check.verdict >= Verdict::Warning);
    odd.map(|check| {
        assert!(check.fix.is_some_and(|fix| !fix.is_empty()), "{} has no fix", check.name);
        assert_eq!(check.group, "deployments");
        (format!("{} {:?}", check.name, check.verdict), check.detail)
    })
    .collect()
}

fn slots(blue: u64, green: u64, fallback: bool) -> Value {
    let slot = |id: &str, healthy: u64| json!({ "backends": [id], "healthy": healthy, "requests_per_second": 0.0 });
    json!({ "service": "shop", "active": "blue", "configured": "blue", "fallback": fallback,
        "blue": slot("web1", blue), "green": slot("web2", green) })
}

#[test]
fn slots_that_could_not_serve_are_named() {
    let names = |view: Value| {
        let odd = deployed(view, Value::Null);
        assert!(odd.iter().all(|(_, detail)| detail.starts_with("shop: ")), "{odd:?}");
        odd.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
    };
    assert_eq!(names(slots(1, 1, false)), Vec::<String>::new());
    assert_eq!(names(slots(1, 0, false)), ["idle slot Warning"]);
    assert_eq!(names(slots(0, 1, false)), ["active slot Failed"]);
    assert_eq!(names(slots(0, 1, true)), ["active slot Warning"], "the other one answers");
    assert_eq!(names(slots(0, 0, true)), ["active slot Failed", "idle slot Warning"]);
}

/// A canary with so many backends that are well and so much of the requests, by a decision of ann
/// or of a schedule in this state.
fn canary(healthy: u64, split: f64, since: Option<&str>, state: &str) -> Value {
    let arm = json!({ "requests_per_second": 0.0, "error_percent": 0.0 });
    let schedule = json!({ "state": state, "step": 2, "steps": 3, "since": since,
        "why": "8% of its requests failed" });
    let decided = json!({ "service": "shop", "kind": "split", "value": split.to_string(),
        "owner": "ann", "reason": "", "since": since,
        "schedule": if state.is_empty() { Value::Null } else { schedule } });
    json!({ "service": "shop", "split": split, "configured": 10.0, "backends": ["new1"],
        "healthy": healthy, "stable": arm, "canary": arm,
        "override": if since.is_some() { decided } else { Value::Null } })
}

#[test]
fn canaries_that_are_down_aborted_or_left_where_they_are_are_named() {
    let recent = Some("2026-03-01T11:00:00Z");
    let long_ago = Some("2026-02-26T12:00:00Z");
    let cases = [
        (canary(1, 10.0, None, ""), "", ""),
        (canary(0, 0.0, None, ""), "", ""),
        (canary(0, 10.0, None, ""), "canary Warning", "its 10% go to the stable version"),
        (canary(1, 25.0, recent, ""), "", ""),
        (canary(1, 25.0, long_ago, ""), "canary paused Warning", "stays at 25% by decision of ann"),
        (canary(1, 100.0, long_ago, ""), "canary promoted Warning", "3d0h ago"),
        (canary(1, 100.0, long_ago, "finished"), "canary promoted Warning", "all requests"),
        (canary(1, 25.0, long_ago, "running"), "", ""),
        (canary(1, 25.0, recent, "holding"), "", ""),
        (canary(1, 25.0, long_ago, "holding"), "canary schedule Warning", "step 2 of 3"),
        (canary(1, 0.0, long_ago, "stopped"), "", ""),
        (
            canary(1, 0.0, recent, "aborted"),
            "canary schedule Warning",
            "aborted in step 2 of 3 1h0m ago: 8% of its requests failed",
        ),
    ];
    for (view, name, part) in cases {
        let odd = deployed(Value::Null, view.clone());
        let names: Vec<_> = odd.iter().map(|(name, _)| name.as_str()).collect();
        let expected: &[&str] = if name.is_empty() { &[] } else { &[name] };
        assert_eq!(names, expected, "{view}");
        assert!(odd.iter().all(|(_, detail)| detail.contains(part)), "{odd:?}");
    }
}

#[test]
fn what_a_route_has_of_its_own_is_named_as_it_is_typed() {
    let of_route = |mut view: Value| {
        view["route"] = json!("api");
        view
    };
    let fleet = fleet(|all| {
        all["blue_green"] = json!([of_route(slots(1, 0, false))]);
        all["canaries"] = json!([of_route(canary(0, 10.0, None, ""))]);
    });
    let checks = all(&facts(fleet));
    let odd: Vec<_> = checks.iter().filter(|check| check.group == "deployments").collect();
    for (check, fix) in
        odd.iter().zip(["lbctl bg switch green --route api", "lbctl canary abort --route api"])
    {
        assert!(check.detail.starts_with("route api: "), "{check:?}");
        assert!(check.fix.as_ref().is_some_and(|said| said.ends_with(fix)), "{check:?}");
    }
    assert_eq!(odd.len(), 2);
}
