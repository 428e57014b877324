use lb_model::Bundle;

use super::*;

const DOCUMENT: &str = "
backends:
  a: { url: \"http://127.0.0.1:1\" }
  b: { url: \"http://127.0.0.1:2\" }
  c: { url: \"http://127.0.0.1:3\" }
services:
  shop:
    backends: [a, b]
    traffic_management:
      blue_green: { enabled: true, blue_backends: [a], green_backends: [b], active_slot: SLOT }
      canary: { enabled: true, CANARY, canary_backends: [{ backend_id: ID }] }
  plain: { backends: [a] }
routes:
  all: { rule: PathPrefix(`/`), service: shop }
  own:
    rule: PathPrefix(`/own`)
    service: shop
    traffic_management: { canary: { enabled: true, traffic_split: 3, canary_backends: [{ backend_id: ID }] } }
  guarded:
    rule: PathPrefix(`/guarded`)
    service: shop
    traffic_management: { circuit_breaker: { enabled: true } }
";

fn config(slot: &str, canary: &str, id: &str) -> Config {
    config_of(&DOCUMENT.replace("SLOT", slot).replace("CANARY", canary).replace("ID", id))
}

fn config_of(text: &str) -> Config {
    Config::parse(&Bundle::of_text("lb.yaml", text), 0).unwrap().config
}

fn plain() -> Config {
    config("blue", "traffic_split: 10", "c")
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn by(owner: &str) -> Decided {
    Decided { owner: owner.into(), reason: "release 7".into(), since: at(0) }
}

fn split(text: &str) -> Percentage {
    Percentage::parse(text).unwrap()
}

fn shop() -> Scope {
    Scope::Service("shop".into())
}

fn own() -> Scope {
    Scope::Route("own".into())
}

fn id_of(config: &Config) -> String {
    canary_id(deployable(config)[&shop()].canary.as_ref().unwrap().said, &config.backends)
}

fn slot(slot: Slot) -> Deployments {
    let slot = Some(SlotChoice { slot, by: by("ann") });
    Deployments([(shop(), Deployment { slot, split: None })].into())
}

fn share(text: &str, config: &Config, schedule: Option<Schedule>) -> Deployments {
    let choice = SplitChoice { split: split(text), canary: id_of(config), by: by("ann"), schedule };
    Deployments([(shop(), Deployment { slot: None, split: Some(choice) })].into())
}

fn ended(decided: &Deployments, config: &Config) -> Vec<String> {
    let ended = decided.clone().end(config, &configured(config));
    ended.iter().map(ToString::to_string).collect()
}

#[test]
fn a_decision_about_a_service_holds_for_routes_that_say_nothing_of_their_own() {
    let mut config = plain();
    let untouched = Arc::clone(&config.services["plain"]);
    let mut decided = share("50", &config, None);
    decided.change(&shop(), |d| d.slot = slot(Slot::Green).0[&shop()].slot.clone());
    let gone = Scope::Route("gone".into());
    decided.change(&gone, |d| d.slot = Some(SlotChoice { slot: Slot::Green, by: by("ann") }));
    decided.merge(&mut config);
    let traffic = |config: &Config, route: &str| config.routes[route].traffic_management.clone();
    let said = |traffic: &TrafficManagement| {
        let slot = traffic.blue_green.as_ref().unwrap().active;
        (slot, traffic.canary.as_ref().unwrap().traffic_split)
    };
    assert_eq!(said(&config.services["shop"].traffic_management), (Slot::Green, split("50")));
    assert_eq!(said(&traffic(&config, "guarded").unwrap()), (Slot::Green, split("50")));
    // Its slots are those of the service, and its canary is not.
    assert_eq!(said(&traffic(&config, "own").unwrap()), (Slot::Green, split("3")));
    assert!(traffic(&config, "all").is_none());
    assert!(Arc::ptr_eq(&config.services["plain"], &untouched));
    let views = decided.views(&config, at(0));
    let said: Vec<_> = views
        .iter()
        .map(|v| (&*v.service, v.route.as_deref(), &*v.kind, &*v.value, v.dormant))
        .collect();
    assert_eq!(
        said,
        [
            ("shop", None, "slot", "green", false),
            ("shop", None, "split", "50", false),
            ("", Some("gone"), "slot", "green", true),
        ]
    );
}

#[test]
fn a_decision_about_a_route_is_about_what_is_its_own() {
    let mut config = plain();
    let mut decided = Deployments::default();
    let choice = share("70", &config, None).0[&shop()].split.clone();
    for scope in [own(), Scope::Route("guarded".into())] {
        decided.change(&scope, |d| d.split.clone_from(&choice));
    }
    decided.merge(&mut config);
    let split_of = |traffic: &TrafficManagement| traffic.canary.as_ref().unwrap().traffic_split;
    let of_route = |name: &str| split_of(config.routes[name].traffic_management.as_ref().unwrap());
    assert_eq!((of_route("own"), of_route("guarded")), (split("70"), split("10")));
    assert_eq!(split_of(&config.services["shop"].traffic_management), split("10"));
    let views = decided.views(&config, at(0));
    let said: Vec<_> = views.iter().map(|v| (v.route.as_deref(), v.dormant)).collect();
    assert_eq!(said, [(Some("guarded"), true), (Some("own"), false)]);
    assert_eq!(views[1].service, "shop");
    // It ends by what the route says, not by what the service says.
    let words = |text: &str| {
        let mut decided = decided.clone();
        let config = config_of(text);
        let ended = decided.end(&config, &configured(&config));
        ended.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let document = DOCUMENT.replace("SLOT", "blue").replace("ID", "c");
    assert!(words(&document.replace("CANARY", "traffic_split: 70")).is_empty());
    let same = document.replace("CANARY", "traffic_split: 10").replace("split: 3", "split: 70");
    assert_eq!(
        words(&same),
        ["the decided split of route own ended: the configuration says the same"]
    );
}

#[test]
fn a_canary_is_counted_wherever_its_requests_are() {
    let config = plain();
    let all = deployable(&config);
    assert_eq!(all.keys().map(ToString::to_string).collect::<Vec<_>>(), ["shop", "route own"]);
    let guarded = Scope::Route("guarded".into());
    let Deployable { service, blue_green, canary } = &all[&shop()];
    assert_eq!(*service, "shop");
    assert_eq!(canary.as_ref().unwrap().counted, [shop(), guarded.clone()]);
    assert_eq!(blue_green.as_ref().unwrap().counted, [shop(), guarded, own()]);
    let Deployable { service, blue_green, canary } = &all[&own()];
    assert_eq!((*service, blue_green.is_none()), ("shop", true));
    assert_eq!(canary.as_ref().unwrap().counted, [own()]);
}

#[test]
fn what_the_configuration_says_itself_ends_the_decision_and_nothing_else_does() {
    assert!(ended(&slot(Slot::Green), &plain()).is_empty());
    let green = config("green", "traffic_split: 10", "c");
    let words = ended(&slot(Slot::Green), &green);
    assert_eq!(words, ["the decided slot of shop ended: the configuration says the same"]);
    let decided = share("50", &plain(), None);
    assert!(ended(&decided, &plain()).is_empty());
    assert_eq!(ended(&decided, &config("blue", "traffic_split: 50", "c")).len(), 1);
    // Where there is no such deployment any more, it waits.
    let text =
        "backends: { a: { url: \"http://127.0.0.1:1\" } }\nservices: { shop: { backends: [a] } }";
    let bare = config_of(text);
    assert!(ended(&decided, &bare).is_empty() && ended(&slot(Slot::Green), &bare).is_empty());
    assert!(decided.views(&bare, at(0))[0].dormant);
}

#[test]
fn a_share_is_of_one_canary_and_not_of_the_next() {
    let decided = share("100", &plain(), None);
    let mut next = config("blue", "traffic_split: 10", "b");
    decided.merge(&mut next);
    let canary = next.services["shop"].traffic_management.canary.as_ref().unwrap();
    assert_eq!(canary.traffic_split, split("10"), "not for a moment");
    let words = ended(&decided, &next);
    assert_eq!(words, ["the decided split of shop ended: there is another canary"]);
}

#[test]
fn a_schedule_is_of_its_steps() {
    const STEPS: &str = "steps: [{ split: 5, for: 10m }, { split: 25, for: 30m }]";
    let stepped = config("blue", STEPS, "c");
    let steps = &deployable(&stepped)[&shop()].canary.as_ref().unwrap().said.steps;
    let running = Schedule::begin(steps, at(0));
    let stopped = running.as_ref().map(|running| running.stopped("ann decided otherwise"));
    let other = config("blue", "steps: [{ split: 6, for: 10m }]", "c");
    for (schedule, config, ends) in [
        (&running, &stepped, false),
        (&stopped, &stepped, false),
        (&None, &stepped, true),
        (&running, &other, true),
        (&stopped, &other, true),
        // Without steps, one that has ended is a decision like any other.
        (&running, &plain(), true),
        (&stopped, &plain(), false),
        (&stopped, &config_at_share("5"), true),
    ] {
        let decided = share("5", &stepped, schedule.clone());
        assert_eq!(!ended(&decided, config).is_empty(), ends, "{schedule:?}");
    }
}

fn config_at_share(share: &str) -> Config {
    config("blue", &format!("traffic_split: {share}"), "c")
}

#[test]
fn what_is_stored_is_read_again_and_what_says_nothing_is_not_kept() {
    let mut decided = share("12.5", &plain(), None);
    decided.change(&shop(), |d| d.slot = slot(Slot::Green).0[&shop()].slot.clone());
    decided.change(&own(), |d| d.slot = slot(Slot::Blue).0[&shop()].slot.clone());
    let text = serde_json::to_string(&decided).unwrap();
    assert_eq!(serde_json::from_str::<Deployments>(&text).unwrap(), decided);
    assert!(text.contains("\"12.5\"") && text.contains("\"green\"") && !text.contains("null"));
    assert!(text.contains("\"shop\":{") && text.contains("\"route own\":{"), "{text}");
    for scope in [shop(), own()] {
        decided.change(&scope, |decided| *decided = Deployment::default());
    }
    assert_eq!(decided, Deployments::default());
    assert!(
        serde_json::from_str::<Deployments>("{\"shop\":{\"slot\":{\"slot\":\"red\"}}}").is_err()
    );
}
