//! The language by example: what each document means, or what is wrong with it.
//!
//! `golden/NAME.in.yaml` gives `NAME.snapshot.json` if it is valid, and `NAME.diagnostics.txt` if
//! there is anything to say about it; `NAME.also.yaml` is a second document beside it, and
//! `NAME.set.txt` holds a value set from outside on each line, `PATH=VALUE`.
//!
//! `golden/NAME.check.yaml` is read as `lbctl check` does, which only warns of what this version
//! does not run; instead of a snapshot there is `NAME.policies.txt`, what would be decided beside
//! the route. `block-*` are as an operator copies them from a list of features: they name
//! backends, which `files/backends.yaml` supplies.
//!
//! A path that begins with `./` is read from `golden/files/`; other files are not given. With
//! `LB_BLESS=1` in the environment the answers are written instead of compared: read the
//! difference before you commit it.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use lb_model::{
    Bundle, Config, Diagnostic, Diagnostics, Document, Parsed, Setting,
    bundle::{Content, Source},
    config::{
        Backend, Certificate, EntryPoint, EntryPointTimeouts, GrpcProbe, HealthCheck, HttpProbe,
        KeepAlive, Limits, Pool, Probe, Route, RouteTimeouts, Service, ServiceTimeouts, Strategy,
        Tls, TrafficManagement,
    },
    document::HeaderValue,
    resource::HashKey,
    rule::HeaderName,
    value::{Duration, Labels, Pattern, Percentage},
    wire,
};
use serde_json::{Map, Value, json};

/// The day on which all of this is read: 2027-01-01.
const NOW: i64 = 1_798_761_600;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

/// How a document is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// As what is applied.
    Parse,
    /// As what is only looked at.
    Check,
}

impl Reading {
    const ALL: [Self; 2] = [Self::Parse, Self::Check];

    fn ending(self) -> &'static str {
        match self {
            Self::Parse => ".in.yaml",
            Self::Check => ".check.yaml",
        }
    }
}

/// The names of all pairs and how each is read.
fn names() -> Vec<(String, Reading)> {
    let entries = fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = entries
        .filter_map(|name| {
            let name = name.to_str()?;
            let mut readings = Reading::ALL.into_iter();
            readings.find_map(|r| Some((name.strip_suffix(r.ending())?.to_owned(), r)))
        })
        .collect();
    names.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(names.len() >= 60, "there are {} in {}", names.len(), directory().display());
    let twice = names.windows(2).find(|pair| pair[0].0 == pair[1].0);
    assert!(twice.is_none(), "{} has two endings", twice.unwrap()[0].0);
    names
}

fn bundle(name: &str, reading: Reading) -> Bundle {
    let mut bundle = Bundle::default();
    for file in [format!("{name}{}", reading.ending()), format!("{name}.also.yaml")] {
        if let Ok(bytes) = fs::read(directory().join(&file)) {
            bundle.documents.push(Source::from_bytes(file, bytes));
        }
    }
    let set = fs::read_to_string(directory().join(format!("{name}.set.txt"))).unwrap_or_default();
    for line in set.lines() {
        let (path, value) = line.split_once('=').unwrap();
        bundle.settings.push(Setting {
            path: path.split('.').map(str::to_owned).collect(),
            value: Content(value.into()),
            origin: format!("flag --set {path}"),
        });
    }
    if name.starts_with("block-") {
        let bytes = fs::read(directory().join("files/backends.yaml")).unwrap();
        bundle.documents.push(Source::from_bytes("backends.yaml", bytes));
    }
    let (document, _) = Document::read(&bundle);
    if document.file_references(&bundle).iter().any(|file| file.path.starts_with("./")) {
        bundle.gather(|file| fs::read(directory().join("files").join(&file.path)));
    }
    bundle
}

#[test]
fn every_document_means_what_its_golden_file_says() {
    let is_blessing = std::env::vars_os().any(|(name, _)| name == "LB_BLESS");
    let mut wrong = Vec::new();
    for (name, reading) in names() {
        let bundle = bundle(&name, reading);
        let outcome = match reading {
            Reading::Parse => Config::parse(&bundle, NOW),
            Reading::Check => Config::check(&bundle, NOW),
        };
        let (config, findings) = match outcome {
            Ok(parsed) => (Some(parsed.config), parsed.warnings),
            Err(findings) => (None, findings),
        };
        let findings = (!findings.is_empty()).then(|| findings.to_string());
        let looked_at = config.as_ref().filter(|_| reading == Reading::Check);
        for (kind, text) in [
            ("snapshot.json", config.as_ref().map(|config| render(config, reading))),
            ("policies.txt", looked_at.map(|config| format!("{:#?}\n", config.policies))),
            ("diagnostics.txt", findings),
        ] {
            let path = directory().join(format!("{name}.{kind}"));
            if is_blessing {
                match &text {
                    Some(text) => fs::write(&path, text).unwrap(),
                    None => drop(fs::remove_file(&path)),
                }
            }
            let known = fs::read_to_string(&path).ok();
            if known != text {
                let shown = text.unwrap_or_else(|| "(nothing)\n".to_owned());
                wrong.push(format!("{} should now be:\n{shown}", path.display()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{}\nif this is right, run again with LB_BLESS=1 and commit what changed",
        wrong.join("\n")
    );
}

#[test]
fn a_block_at_a_service_means_what_it_means_for_all() {
    for block in
        ["session-stickiness", "blue-green", "canary", "traffic-mirroring", "circuit-breaker"]
    {
        let of_all = bundle(&format!("block-{block}"), Reading::Parse);
        let mut of_one = of_all.clone();
        let text = &of_all.documents[0].text;
        let lines = format!("\n{text}").replace('\n', "\n    ");
        let service = "services:\n  default:\n    backends: [web1, web2, web3, web4]";
        of_one.documents[0].text = format!("{service}{lines}\n");
        let traffic = |bundle| {
            let config = Config::parse(bundle, NOW).unwrap_or_else(|faults| panic!("{faults}"));
            let services: Vec<_> = config.config.services.values().cloned().collect();
            let [service] = services.as_slice() else { panic!("{block}: {services:?}") };
            Arc::clone(&service.traffic_management)
        };
        let (all, one) = (traffic(&of_all), traffic(&of_one));
        assert_eq!(all, one, "{block}");
        assert_ne!(*one, TrafficManagement::default(), "{block}");
    }
}

#[test]
fn what_only_warns_when_it_is_looked_at_is_refused_when_it_is_applied() {
    let mut refused = 0;
    for (name, reading) in names() {
        let bundle = bundle(&name, reading);
        let codes = |outcome: Result<Parsed, Diagnostics>| match outcome {
            Ok(parsed) => parsed.warnings,
            Err(found) => found,
        };
        let checked = codes(Config::check(&bundle, NOW));
        let parsed = codes(Config::parse(&bundle, NOW));
        let same = |a: &Diagnostic, b: &Diagnostic| {
            let is_later = a.code == "LB0105" && a.severity != b.severity;
            (&a.code, &a.place, &a.message) == (&b.code, &b.place, &b.message)
                && (is_later || a.severity == b.severity)
        };
        let differs = checked.iter().zip(&parsed).find(|(a, b)| !same(a, b));
        assert!(checked.len() == parsed.len() && differs.is_none(), "{name}: {differs:?}");
        refused += usize::from(checked != parsed);
    }
    assert!(refused > 10, "{refused}");
}

#[test]
fn every_code_of_a_finding_occurs_in_a_golden_file() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let source = fs::read_to_string(root.join("model/src/diagnostic.rs")).unwrap();
    let codes: BTreeSet<_> = source
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub const ")?.split('"').nth(1))
        .collect();
    assert!(codes.len() > 20, "{codes:?}");
    let texts = names().into_iter().map(|(name, _)| {
        let path = directory().join(format!("{name}.diagnostics.txt"));
        fs::read_to_string(path).unwrap_or_default()
    });
    let texts: String = texts.collect();
    let unseen: Vec<_> =
        codes.iter().filter(|code| !texts.contains(&format!("[{code}]"))).collect();
    assert!(unseen.is_empty(), "no golden file shows {unseen:?}");
}

#[test]
fn no_golden_file_shows_a_private_key() {
    for (name, reading) in names() {
        let documents = bundle(&name, reading).documents;
        let written: String = documents.into_iter().map(|document| document.text).collect();
        let mut keys = written.split("-----BEGIN PRIVATE KEY-----\n").skip(1);
        let Some(secret) = keys.next().and_then(|key| key.lines().next()) else { continue };
        for kind in ["snapshot.json", "policies.txt", "diagnostics.txt"] {
            let text = fs::read_to_string(directory().join(format!("{name}.{kind}")));
            assert!(!text.unwrap_or_default().contains(secret.trim()), "{name}.{kind}");
        }
    }
}

/// What a proxy would make of it: the configuration after its way over the wire.
/// What a configuration says; where a proxy could run it, as a proxy reads it.
fn render(written: &Config, reading: Reading) -> String {
    let config = match reading {
        Reading::Parse => &travelled(written),
        Reading::Check => written,
    };
    let mut value = json!({
        "entry_points": objects(&config.entry_points, entry_point),
        "backends": objects(&config.backends, backend),
        "services": objects(&config.services, service),
        "routes": objects(&config.routes, route),
        "certificates": objects(&config.certificates, certificate),
    });
    if !written.placement.is_empty() {
        value["placement"] = written
            .placement
            .iter()
            .map(|(name, labels)| (name.to_string(), json!(labels.to_strings())))
            .collect();
        value["shares"] = shares(written);
    }
    format!("{}\n", serde_json::to_string_pretty(&value).unwrap())
}

/// A configuration after it went over the wire.
fn travelled(written: &Config) -> Config {
    let key = HashKey([7; 32]);
    let shipped = wire::encode(written, key);
    let config = wire::decode(&shipped, None).unwrap_or_else(|faults| panic!("{faults:?}"));
    let again = wire::encode(&config, key);
    assert_eq!(shipped.root(), again.root(), "the wire form has one form of each meaning");
    config
}

/// What a proxy without labels gets, and one with each label.
fn shares(config: &Config) -> Value {
    let placing = config.placing();
    let each = placing.iter().map(|label| Labels::from_iter([label.clone()]));
    let share = |labels: Labels| {
        let set = wire::encode(&config.for_proxies(&labels), HashKey([7; 32]));
        let held = labels.to_strings().join(" ");
        let keys: Vec<_> = set.iter().map(|(key, _)| key.to_string()).collect();
        (format!("[{held}]"), json!(keys))
    };
    std::iter::once(Labels::default()).chain(each).map(share).collect()
}

fn objects<N: ToString, T>(
    objects: &lb_model::config::Objects<N, T>,
    render: impl Fn(&T) -> Value,
) -> Value {
    let rendered = objects.iter().map(|(name, object)| (name.to_string(), render(object)));
    Value::Object(rendered.collect::<Map<_, _>>())
}

// Each names every field, so that a new one cannot be forgotten here.

fn entry_point(entry_point: &EntryPoint) -> Value {
    let EntryPoint { address, tls, timeouts, limits, keep_alive, trusted_ips, overload } =
        entry_point;
    let EntryPointTimeouts { header, idle, body } = timeouts;
    let Limits { connections, request_line, header_bytes, header_count, body: body_limit } = limits;
    let KeepAlive { max_requests, max_time } = keep_alive;
    let value = json!({
        "address": address.0.to_string(),
        "tls": tls.as_ref().map(|Tls { certificates }| json!({
            "certificates": certificates.as_ref().map(|listed| {
                listed.iter().map(ToString::to_string).collect::<Vec<_>>()
            }),
        })),
        "timeouts": {
            "header": header.to_string(), "idle": idle.to_string(), "body": body.to_string()
        },
        "limits": {
            "connections": connections,
            "request_line": request_line.to_string(),
            "header_bytes": header_bytes.to_string(),
            "header_count": header_count,
            "body": body_limit.to_string(),
        },
        "keep_alive": { "max_requests": max_requests, "max_time": max_time.to_string() },
        "trusted_ips": trusted_ips.iter().map(ToString::to_string).collect::<Vec<_>>(),
    });
    said([("overload", overload.as_ref().map(debug))], value)
}

/// What only some objects say, added where they say it.
fn said<const N: usize>(keys: [(&str, Option<Value>); N], mut value: Value) -> Value {
    for (key, said) in keys {
        if let (Some(object), Some(said)) = (value.as_object_mut(), said) {
            object.insert(key.to_owned(), said);
        }
    }
    value
}

/// In Rust's words, a line for each field.
fn debug(object: &impl std::fmt::Debug) -> Value {
    format!("{object:#?}").lines().collect()
}

/// The same, unless it is what objects are by default.
fn unusual<T: std::fmt::Debug + PartialEq>(object: &T, usual: &T) -> Option<Value> {
    (object != usual).then(|| debug(object))
}

fn backend(backend: &Backend) -> Value {
    let Backend { url, weight, admin_state: _, zone, priority } = backend;
    let value = json!({ "url": url.to_string(), "weight": weight.get() });
    said([("zone", zone.as_ref().map(debug)), ("priority", unusual(priority, &0))], value)
}

fn service(service: &Service) -> Value {
    let Service {
        backends,
        weighted,
        failover,
        strategy,
        slow_start,
        panic_threshold,
        outlier_detection,
        retry,
        traffic_management,
        health_check,
        timeouts,
        pool,
        pass_host_header,
    } = service;
    let ServiceTimeouts { connect, response_header, idle, total } = timeouts;
    let Pool {
        max_idle,
        idle_timeout,
        max_connections,
        max_pending_requests,
        queue_timeout,
        max_lifetime,
    } = pool;
    let value = json!({
        "backends": backends.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "strategy": strategy.as_str(),
        "health_check": health_check.as_ref().map(check),
        "timeouts": {
            "connect": connect.to_string(),
            "response_header": response_header.to_string(),
            "idle": idle.to_string(),
            "total": total.to_string(),
        },
        "pool": { "max_idle": max_idle, "idle_timeout": idle_timeout.to_string() },
        "pass_host_header": pass_host_header,
    });
    let (usual, pool) = (Pool::default(), value);
    let hash_on = match strategy {
        Strategy::Hash(source) => Some(json!(source.to_string())),
        _ => None,
    };
    said(
        [
            ("hash_on", hash_on),
            ("weighted", unusual(weighted, &Vec::new())),
            ("failover", failover.as_ref().map(debug)),
            ("slow_start", unusual(slow_start, &Duration::ZERO)),
            ("panic_threshold", unusual(panic_threshold, &Percentage::ZERO)),
            ("outlier_detection", outlier_detection.as_ref().map(debug)),
            ("retry", retry.as_ref().map(debug)),
            ("traffic_management", unusual(traffic_management, &Arc::default())),
            ("max_connections", unusual(max_connections, &usual.max_connections)),
            ("max_pending_requests", unusual(max_pending_requests, &usual.max_pending_requests)),
            ("queue_timeout", unusual(queue_timeout, &usual.queue_timeout)),
            ("max_lifetime", unusual(max_lifetime, &usual.max_lifetime)),
        ],
        pool,
    )
}

fn check(check: &HealthCheck) -> Value {
    let HealthCheck {
        probe,
        port,
        host,
        tls,
        authorities,
        interval,
        unhealthy_interval,
        timeout,
        healthy_threshold,
        unhealthy_threshold,
    } = check;
    let fields = |headers: &[(HeaderName, HeaderValue)]| -> Map<_, _> {
        headers.iter().map(|(name, value)| (name.as_str().to_owned(), json!(value.0))).collect()
    };
    let probe = match probe {
        Probe::Http(HttpProbe { path, method, headers, status, body }) => json!({ "http": {
            "path": path,
            "method": method.as_str(),
            "headers": fields(headers),
            "status": status.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "body": body.as_ref().map(Pattern::as_str),
        }}),
        Probe::Tcp => json!("tcp"),
        Probe::Grpc(GrpcProbe { service, headers }) => {
            json!({ "grpc": { "service": service, "headers": fields(headers) } })
        }
    };
    json!({
        "probe": probe,
        "port": port,
        "host": host.as_ref().map(|host| &host.0),
        "tls": tls,
        "authorities": authorities.len(),
        "interval": interval.to_string(),
        "unhealthy_interval": unhealthy_interval.to_string(),
        "timeout": timeout.to_string(),
        "healthy_threshold": healthy_threshold,
        "unhealthy_threshold": unhealthy_threshold,
    })
}

fn route(route: &Route) -> Value {
    let Route {
        rule,
        entry_points,
        priority,
        service,
        timeouts,
        in_flight,
        retry,
        traffic_management,
    } = route;
    let RouteTimeouts { connect, response_header, idle, total } = timeouts;
    let text = |duration: &Option<Duration>| duration.map(|duration| duration.to_string());
    let value = json!({
        "rule": rule.as_str(),
        "entry_points": entry_points.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "priority": priority,
        "service": service.to_string(),
        "timeouts": {
            "connect": text(connect),
            "response_header": text(response_header),
            "idle": text(idle),
            "total": text(total),
        },
    });
    said(
        [
            ("in_flight", unusual(in_flight, &Vec::new())),
            ("retry", retry.as_ref().map(debug)),
            ("traffic_management", traffic_management.as_ref().map(debug)),
        ],
        value,
    )
}

fn certificate(certificate: &Certificate) -> Value {
    json!({
        "names": certificate.names(),
        "not_before": certificate.not_before(),
        "not_after": certificate.not_after(),
        "chain": certificate.chain().len(),
        "default": certificate.is_default(),
    })
}
