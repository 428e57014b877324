//! What the facts mean, and what to do about them. Pure.

mod deployments;

use lb_model::{
    Version,
    api::{BackendView, CircuitState, OverrideView, ProxyView, SyncState},
    config::AdminState,
};

use super::{
    Check, Verdict,
    facts::{Clocks, Facts, Fleet, PORTS},
};
use crate::{
    commands::objects::{Remains, remains},
    exit::{Exit, Failure},
    output::{diagnostics::plural, time},
};

/// Clocks further apart make certificates and tokens good and bad at other times than one thinks.
const SKEW_SECONDS: u64 = 5;
/// A proxy needs two files for a request on its way; with fewer it is easily stopped.
const OPEN_FILES: u64 = 4_096;

/// For how long after it a proxy that refused requests for overload is thought to go on.
const SHED_SECONDS: i64 = 60;

/// Collects checks of one group.
struct Group<'a>(&'static str, &'a mut Vec<Check>);

impl Group<'_> {
    fn add(&mut self, verdict: Verdict, name: &str, detail: impl Into<String>, fix: Option<&str>) {
        self.1.push(Check {
            group: self.0,
            name: name.to_owned(),
            verdict,
            detail: detail.into(),
            fix: fix.map(str::to_owned),
        });
    }

    fn well(&mut self, name: &str, detail: impl Into<String>) {
        self.add(Verdict::Ok, name, detail, None);
    }

    fn warn(&mut self, name: &str, detail: impl Into<String>, fix: &str) {
        self.add(Verdict::Warning, name, detail, Some(fix));
    }

    fn fail(&mut self, name: &str, detail: impl Into<String>, fix: &str) {
        self.add(Verdict::Failed, name, detail, Some(fix));
    }

    fn skip(&mut self, name: &str, detail: impl Into<String>) {
        self.add(Verdict::Skipped, name, detail, None);
    }

    fn failure(&mut self, name: &str, failure: &Failure) {
        self.add(Verdict::Failed, name, failure.what.clone(), failure.fix.as_deref());
    }
}

/// Every check that the facts allow.
pub(super) fn all(facts: &Facts) -> Vec<Check> {
    let mut checks = Vec::new();
    client(facts, &mut checks);
    if let Some(Ok(fleet)) = &facts.fleet {
        control_plane(facts, fleet, &mut checks);
        proxies(facts, fleet, &mut checks);
        backends(fleet, &mut checks);
        kept_away(fleet, &mut checks);
        deployments::deployments((fleet, facts.now), &mut checks);
        certificates(facts, fleet, &mut checks);
        overrides(fleet, &mut checks);
    } else {
        let mut group = Group("control plane", &mut checks);
        group.skip("fleet", "nothing is known without an answer of the control plane");
    }
    machine(facts, &mut checks);
    checks
}

fn client(facts: &Facts, checks: &mut Vec<Check>) {
    let mut group = Group("client", checks);
    match &facts.contexts {
        Ok((0, _)) => group.well("contexts", "none; flags, variables and defaults hold"),
        Ok((count, file)) => {
            group.well("contexts", format!("{} in {file}", plural(*count, "context")));
        }
        Err(failure) => group.failure("contexts", failure),
    }
    let server = facts.server.as_deref().unwrap_or("the control plane");
    match &facts.reached {
        Ok(_) => group.well("server", format!("{server} answers")),
        Err(failure) => {
            if facts.contexts.is_ok() {
                group.failure("server", failure);
            } else {
                group.skip("server", "not known while contexts cannot be read");
            }
            return;
        }
    }
    if server.starts_with("https://") {
        group.well("tls", "the connection is encrypted, and the certificate is trusted");
    } else if ["http://127.", "http://localhost", "http://[::1]"]
        .iter()
        .any(|own| server.starts_with(own))
    {
        group.well("tls", "in plain, which stays on this machine");
    } else {
        let fix = "start the control plane with an address that speaks TLS, and name its \
                   authority with --ca";
        group.warn("tls", "in plain over the network: everybody on the way can read it", fix);
    }
    match &facts.fleet {
        Some(Err(failure)) if failure.exit == Exit::NotAuthorised => {
            let fix = "name the file of a good one with --token-file, or make one with: lbctl \
                       tokens create --role viewer --name NAME";
            group.fail("token", failure.what.clone(), fix);
        }
        Some(Err(failure)) => group.failure("answers", failure),
        Some(Ok(_)) if facts.has_token => group.well("token", "accepted"),
        Some(Ok(_)) => group.well("token", "none is shown, and none is asked for"),
        None => {}
    }
}

fn control_plane(facts: &Facts, fleet: &Fleet, checks: &mut Vec<Check>) {
    let health = &fleet.health;
    let mut group = Group("control plane", checks);
    let up = time::span(health.uptime_seconds);
    if health.status == "unhealthy" {
        group.fail("health", "unhealthy: it cannot do its work", "look at its log");
    } else {
        // What is degraded shows below, part by part.
        group.well("health", format!("{}, up {up}", health.status));
    }
    for (part, state) in &health.components {
        match (part.as_str(), state.as_str()) {
            (_, "ok") => group.well(part, "ok"),
            ("access", _) => group.warn(
                part,
                state.clone(),
                "lbctl tokens create --role admin --name NAME > admin.token",
            ),
            ("store", _) => group.fail(
                part,
                state.clone(),
                "free space on its disk, look at its log, and keep a backup: lbctl backup FILE",
            ),
            _ => group.warn(part, state.clone(), "look at: lbctl status"),
        }
    }
    let ours = env!("CARGO_PKG_VERSION");
    skew(
        &mut group,
        "software",
        &[("this lbctl", ours), ("control plane", &health.software_version)],
    );
    if let Ok(Clocks { theirs: Some(theirs), ours }) = &facts.reached {
        // The field of the header counts whole seconds.
        let apart = (theirs.as_second() - ours.as_second()).unsigned_abs();
        if apart <= SKEW_SECONDS {
            group.well("clock", format!("within {SKEW_SECONDS} seconds of ours"));
        } else {
            let way = if theirs > ours { "ahead of" } else { "behind" };
            group.warn(
                "clock",
                format!("{} {way} ours", time::span(apart)),
                "let both machines follow NTP; certificates and tokens depend on it",
            );
        }
    } else {
        group.skip("clock", "the answer has no date");
    }
}

/// Same major version and at most one minor apart works; further apart is not tried.
fn skew(group: &mut Group<'_>, name: &str, each: &[(&str, &str)]) {
    let number = |text: &str| -> Option<(u64, u64)> {
        let mut parts = text.split(['.', '-', '+']);
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    };
    let versions: Vec<_> = each.iter().map(|(_, version)| *version).collect();
    let told = || {
        let told = each.iter().map(|(who, version)| format!("{who} {version}"));
        told.collect::<Vec<_>>().join(", ")
    };
    let numbers: Vec<_> = versions.iter().filter_map(|version| number(version)).collect();
    let fix = "bring all to the same version, the control plane first";
    let far = numbers.iter().any(|(major, minor)| {
        numbers
            .iter()
            .any(|(other, other_minor)| major != other || minor.abs_diff(*other_minor) > 1)
    });
    if versions.windows(2).all(|pair| pair[0] == pair[1]) {
        group.well(name, format!("all {}", versions.first().unwrap_or(&"alike")));
    } else if far {
        group.fail(name, format!("too far apart: {}", told()), fix);
    } else {
        group.warn(name, format!("different: {}", told()), fix);
    }
}

fn proxies(facts: &Facts, fleet: &Fleet, checks: &mut Vec<Check>) {
    let mut group = Group("proxies", checks);
    let all = &fleet.proxies.proxies;
    if all.is_empty() {
        let fix =
            "start one: lb-data-plane --control-plane https://HOST:9701 --join-token-file FILE";
        group.warn("connected", "no proxy has connected yet", fix);
        return;
    }
    let ids = |wanted: &dyn Fn(&&ProxyView) -> bool| -> Vec<&str> {
        all.iter().filter(wanted).map(|proxy| proxy.id.as_str()).collect()
    };
    match ids(&|proxy| proxy.state == SyncState::Disconnected).as_slice() {
        [] => group.well("connected", format!("all of {}", plural(all.len(), "proxy"))),
        away => group.warn(
            "connected",
            format!("{} of {} away: {}", away.len(), all.len(), away.join(", ")),
            "look whether they run and reach the control plane; those that are gone for good: \
             lbctl proxies revoke ID",
        ),
    }
    match ids(&|proxy| matches!(proxy.state, SyncState::Rejected | SyncState::Declined)).as_slice()
    {
        [] => match ids(&|proxy| proxy.state == SyncState::Applying).as_slice() {
            [] => group.well("in sync", format!("version {}", fleet.proxies.version)),
            late => group.warn(
                "in sync",
                format!("on their way to version {}: {}", fleet.proxies.version, late.join(", ")),
                "look again; if it stays so, look at their logs",
            ),
        },
        refused => group.fail(
            "in sync",
            format!("refused version {}: {}", fleet.proxies.version, refused.join(", ")),
            "lbctl proxies says why; correct it and apply again, or: lbctl rollback N",
        ),
    }
    match ids(&|proxy| !proxy.persisted && proxy.version != Version::NONE).as_slice() {
        [] => group.well("persisted", "all would serve the same after a restart on their own"),
        lost => group.fail(
            "persisted",
            format!("the disk refused the version: {}", lost.join(", ")),
            "free space and correct permissions of their data directories",
        ),
    }
    let sheds = |proxy: &&ProxyView| {
        let at = proxy.shed_at.as_ref().and_then(|at| at.parse::<jiff::Timestamp>().ok());
        at.is_some_and(|at| facts.now.duration_since(at).as_secs() < SHED_SECONDS)
    };
    match ids(&sheds).as_slice() {
        [] => group.well("overload", "none refused requests of late"),
        shedding => group.warn(
            "overload",
            format!("refuse requests with 503 to answer the rest in time: {}", shedding.join(", ")),
            "add proxies or give them more processors; `overload` in the configuration has the \
             limits, max_delay and max_memory",
        ),
    }
    let mut versions: Vec<_> = vec![("control plane", fleet.health.software_version.as_str())];
    versions.extend(all.iter().map(|proxy| (proxy.id.as_str(), proxy.software_version.as_str())));
    versions.sort_by_key(|(_, version)| *version);
    versions.dedup_by_key(|(_, version)| *version);
    skew(&mut group, "software", &versions);
}

fn backends(fleet: &Fleet, checks: &mut Vec<Check>) {
    let mut group = Group("backends", checks);
    let all = &fleet.backends.backends;
    if all.is_empty() {
        group.warn(
            "up",
            "there is none",
            "write lb.yaml (lbctl init), then: lbctl apply -f lb.yaml",
        );
        return;
    }
    let is_in = |state| state == AdminState::Enabled;
    let down = all.iter().filter(|one| is_in(one.admin_state) && one.health == "down");
    let mixed = all.iter().filter(|one| is_in(one.admin_state) && one.health == "mixed");
    let names = |each: &mut dyn Iterator<Item = &BackendView>| {
        let mut names: Vec<_> = each
            .map(|one| match &one.last_error {
                Some(why) => format!("{}/{} ({why})", one.service, one.id),
                None => format!("{}/{}", one.service, one.id),
            })
            .collect();
        names.sort();
        names
    };
    let (down, mixed) = (names(&mut { down }), names(&mut { mixed }));
    if down.is_empty() && mixed.is_empty() {
        group.well("up", format!("none of {} is down", plural(all.len(), "backend")));
    }
    if !down.is_empty() {
        group.fail(
            "up",
            format!("down on every proxy: {}", down.join(", ")),
            "start it, or correct its url or health_check; meanwhile: lbctl backends disable ID",
        );
    }
    if !mixed.is_empty() {
        group.warn(
            "up",
            format!("down on some proxies: {}", mixed.join(", ")),
            "look at the network between those proxies and it",
        );
    }
    let Some(services) = &fleet.services else {
        group.skip("health check", "the control plane is too old to say");
        return;
    };
    let blind: Vec<_> = services
        .iter()
        .filter(|service| service.health_check.is_none())
        .map(|service| service.name.as_str())
        .collect();
    if blind.is_empty() {
        group.well("health check", "every service has one");
    } else {
        group.warn(
            "health check",
            format!(
                "none for {}: a backend that is down goes on getting requests",
                blind.join(", ")
            ),
            "write `health_check: { path: /healthz }`, for all services or one",
        );
    }
}

/// What keeps requests from backends although they are up.
fn kept_away(fleet: &Fleet, checks: &mut Vec<Check>) {
    let mut group = Group("backends", checks);
    let all = &fleet.backends.backends;
    if all.is_empty() {
        return;
    }
    let name = |one: &BackendView| format!("{}/{}", one.service, one.id);
    let circuits = all.iter().filter(|one| one.circuit.is_some()).count();
    let open: Vec<_> =
        all.iter().filter(|one| one.circuit == Some(CircuitState::Open)).map(name).collect();
    match open.as_slice() {
        [] if circuits == 0 => group.well("circuits", "no backend has a breaker"),
        [] => group.well("circuits", format!("none of {} is open", plural(circuits, "breaker"))),
        open => group.warn(
            "circuits",
            format!("open, so that it gets no request: {}", open.join(", ")),
            "lbctl circuit-breakers --state open -o wide says where and since when; mend the \
             backend, which is tried again by itself, or at once with: lbctl circuit-breakers \
             reset ID",
        ),
    }
    let ejected = all.iter().filter(|one| one.ejected_on > 0);
    let ejected: Vec<_> = ejected
        .map(|one| format!("{} on {} of {} proxies", name(one), one.ejected_on, one.reported_by))
        .collect();
    if ejected.is_empty() {
        group.well("ejected", "none is out for its answers");
    } else {
        group.warn(
            "ejected",
            format!("answers worse than the others: {}", ejected.join(", ")),
            "look at its log; it is taken back by itself, and kept away until then with: lbctl \
             backends disable ID",
        );
    }
}

fn certificates(facts: &Facts, fleet: &Fleet, checks: &mut Vec<Check>) {
    let mut group = Group("certificates", checks);
    let Some(all) = &fleet.certificates else {
        return group.skip("expiry", "the control plane is too old to say");
    };
    if all.is_empty() {
        return group.well("expiry", "there is none");
    }
    let renew = "renew it and apply again";
    for certificate in all {
        let name = certificate.name.as_str();
        match remains(certificate, facts.now) {
            None => group.skip(name, "its times cannot be read"),
            Some(Remains::Ended(ago)) => {
                group.fail(
                    name,
                    format!("ended {} ago; clients refuse it", time::span(ago)),
                    renew,
                );
            }
            Some(Remains::Short(left)) => {
                let detail = format!("ends in {}, the last quarter of its life", time::span(left));
                group.warn(name, detail, renew);
            }
            Some(Remains::Long(left)) => group.well(name, format!("ends in {}", time::span(left))),
        }
    }
}

fn overrides(fleet: &Fleet, checks: &mut Vec<Check>) {
    let mut group = Group("overrides", checks);
    let all = &fleet.overrides.overrides;
    let named = |wanted: &dyn Fn(&&OverrideView) -> bool| -> Vec<&str> {
        all.iter().filter(wanted).map(|decided| decided.backend.as_str()).collect()
    };
    match named(&|decided| decided.expires.is_none()).as_slice() {
        [] => group.well(
            "end",
            match all.len() {
                0 => "there is none".to_owned(),
                count => if count == 1 { "it ends by itself" } else { "all end by themselves" }
                    .to_owned(),
            },
        ),
        endless => group.warn(
            "end",
            format!("nothing ends what was decided about {}", endless.join(", ")),
            "lbctl backends enable ID when it is over; next time with --for 1h",
        ),
    }
    let dormant = named(&|decided| decided.dormant);
    if !dormant.is_empty() {
        group.warn(
            "in use",
            format!("the configuration has no backend {}", dormant.join(", ")),
            "lbctl backends enable ID forgets it",
        );
    }
}

fn machine(facts: &Facts, checks: &mut Vec<Check>) {
    let mut group = Group("this machine", checks);
    match facts.open_files {
        Some(limit) if limit < OPEN_FILES => group.warn(
            "open files",
            format!("a program may open {limit}; a proxy needs two for each request"),
            "ulimit -n 65536, or LimitNOFILE=65536 in its systemd unit; it matters only where a \
             proxy runs",
        ),
        Some(limit) => group.well("open files", format!("a program may open {limit}")),
        None => group.well("open files", "no limit"),
    }
    if facts.reached.is_ok() {
        return group.skip("ports", "there is a control plane, so they may well be taken");
    }
    let taken: Vec<_> = PORTS
        .iter()
        .filter(|(port, _)| facts.taken.contains(port))
        .map(|(port, what)| format!("{port} ({what})"))
        .collect();
    if taken.is_empty() {
        let all = PORTS.map(|(port, _)| port.to_string());
        group.well("ports", format!("{} are free", all.join(", ")));
    } else {
        group.warn(
            "ports",
            format!("taken: {}", taken.join(", ")),
            "`ss -ltnp` says by whom; lbctl up --port, --admin-port, --sync-port and \
             --proxy-admin-port take others",
        );
    }
}

#[cfg(test)]
mod tests;
