//! How requests are divided among backends: the values of each block, apart from where it applies.

use std::{collections::HashSet, net::IpAddr, sync::Arc};

use super::{Faults, Names, list, number, or};
use crate::{
    config::{
        self, Backend, BlueGreen, Canary, CanaryStep, CircuitBreaker, EntryPoint, MirrorTarget,
        Objects, SameSite, SessionStickiness, Slot, TrafficManagement, TrafficMirroring,
    },
    diagnostic::code,
    document::{self, Item, LargeBody, Spanned},
    value::{
        BackendName, ByteSize, CookieName, Duration, EntryPointName, Fraction, Percentage,
        StatusRange, Url, Weight,
    },
};

/// What the blocks are checked against, wherever they stand.
pub(super) struct Surroundings<'d> {
    pub(super) backends: Names<'d>,
    pub(super) entry_points: &'d Objects<EntryPointName, EntryPoint>,
    /// Backends that canaries bring along.
    pub(super) made: Objects<BackendName, Backend>,
    /// Those that are written, to compare with what a canary says of the same id.
    pub(super) written: &'d Objects<BackendName, Backend>,
}

impl Faults<'_> {
    /// What of a block is on.
    pub(super) fn traffic_management(
        &mut self,
        written: &document::TrafficManagement,
        around: &mut Surroundings<'_>,
    ) -> TrafficManagement {
        self.within("traffic_management", |faults| TrafficManagement {
            session_stickiness: on(written.session_stickiness.as_ref()).map(|written| {
                faults.within("session_stickiness", |f| f.session_stickiness(written))
            }),
            blue_green: on(written.blue_green.as_ref())
                .and_then(|written| faults.within("blue_green", |f| f.blue_green(written, around))),
            canary: on(written.canary.as_ref())
                .and_then(|written| faults.within("canary", |f| f.canary(written, around))),
            traffic_mirroring: on(written.traffic_mirroring.as_ref()).and_then(|written| {
                faults.within("traffic_mirroring", |f| f.traffic_mirroring(written, around))
            }),
            circuit_breaker: on(written.circuit_breaker.as_ref())
                .map(|written| faults.within("circuit_breaker", |f| f.circuit_breaker(written))),
        })
    }

    fn session_stickiness(&mut self, written: &document::SessionStickiness) -> SessionStickiness {
        let header_name = written.header_name.as_ref().map(|name| name.value.clone());
        let mut cookie_name = written.cookie_name.as_ref().map(|name| name.value.clone());
        if cookie_name.is_none() && header_name.is_none() {
            cookie_name = CookieName::parse("lb_session").ok();
        }
        let same_site = or(written.same_site.as_ref(), SameSite::Lax);
        let secure = written.secure.as_ref().map(|secure| secure.value);
        if let Some(at) = written.same_site.as_ref().map(|same_site| same_site.at)
            && same_site == SameSite::None
            && secure != Some(true)
        {
            self.within("same_site", |faults| {
                let message = "browsers drop a cookie with `SameSite=None` that is not secure";
                faults.error(at, code::CONFLICT, message, "add secure: true");
            });
        }
        if let Some(path) =
            written.path.as_ref().filter(|path| !super::services::is_path(&path.value))
        {
            self.within("path", |faults| {
                let message = format!("`{}` is not the path of a cookie", path.value);
                faults.error(path.at, code::INVALID_VALUE, message, "write a path such as /shop");
            });
        }
        SessionStickiness {
            cookie_name,
            header_name,
            ttl: written.ttl.map_or(Duration::from_secs(3600), |ttl| ttl.value.get()),
            secure,
            http_only: or(written.http_only.as_ref(), true),
            same_site,
            path: or(written.path.as_ref(), "/".to_owned()),
            domain: written.domain.as_ref().map(|domain| domain.value.clone()),
        }
    }

    fn blue_green(
        &mut self,
        written: &document::BlueGreen,
        around: &Surroundings<'_>,
    ) -> Option<BlueGreen> {
        let mut slot = |key: &'static str, listed: Option<&Vec<Spanned<BackendName>>>| {
            let Some(listed) = listed else {
                if !written.faulty.contains(&key) {
                    let help = format!("write {key}: [ID, ...] with ids of the backends map");
                    self.error(written.at, code::MISSING, format!("`{key}` is missing"), help);
                }
                return None;
            };
            if listed.is_empty() {
                self.within(key, |faults| {
                    let help = "name at least one backend";
                    faults.error(written.at, code::EMPTY, "the slot is empty", help);
                });
                return None;
            }
            let names = self.references(key, listed, &around.backends, "remove it");
            (names.len() == listed.len()).then_some(names)
        };
        let blue = slot("blue_backends", written.blue_backends.as_ref());
        let green = slot("green_backends", written.green_backends.as_ref());
        let in_blue = written.blue_backends.iter().flatten();
        let in_blue: HashSet<_> = in_blue.map(|listed| &listed.value).collect();
        for listed in written.green_backends.iter().flatten() {
            if in_blue.contains(&listed.value) {
                self.within("green_backends", |faults| {
                    let message = format!("`{}` is in both slots", listed.value);
                    let help = "a switch would not move it; leave it in one of the two";
                    faults.error(listed.at, code::CONFLICT, message, help);
                });
            }
        }
        let switch_header = written.switch_header.as_ref();
        let trusted = list(written.switch_header_trusted_ips.as_ref());
        let is_public = |made: &Arc<EntryPoint>| !made.address.0.ip().is_loopback();
        if let Some(header) = switch_header
            && trusted.is_empty()
            && around.entry_points.values().any(is_public)
        {
            self.within("switch_header", |faults| {
                let message = "everybody who can connect may choose a slot with this header";
                let help = "name who may in `switch_header_trusted_ips`";
                faults.warn(header.at, code::OPEN, message, help);
            });
        }
        Some(BlueGreen {
            blue: blue?,
            green: green?,
            active: or(written.active_slot.as_ref(), Slot::Blue),
            switch_header: switch_header.map(|header| header.value.clone()),
            switch_header_trusted_ips: trusted,
            fallback: or(written.fallback.as_ref(), false),
        })
    }

    fn canary(
        &mut self,
        written: &document::Canary,
        around: &mut Surroundings<'_>,
    ) -> Option<Canary> {
        let listed = written.canary_backends.as_deref().unwrap_or_default();
        if written.canary_backends.is_some() && listed.is_empty() {
            let help = "write canary_backends: [{ backend_id: ID, weight: 1 }]";
            self.error(written.at, code::EMPTY, "there is no canary", help);
        }
        let backends =
            self.each("canary_backends", listed, |faults, one| faults.canary_backend(one, around));
        let is_whole = backends.iter().all(Option::is_some);
        let backends: Vec<_> = backends.into_iter().flatten().collect();
        let mut seen = HashSet::new();
        for (one, at) in listed.iter().filter_map(|one| Some((one.backend_id.as_ref()?, one.at))) {
            if !seen.insert(&one.value) {
                let message = format!("`{}` is a canary already", one.value);
                self.error(
                    at,
                    code::DUPLICATE_REFERENCE,
                    message,
                    "give it a larger weight instead",
                );
            }
        }
        let steps = self.steps(written);
        let split = written.traffic_split.as_ref().map(|split| split.value);
        let Some(split) = split.or(steps.first().map(|step| step.split)) else {
            if !written.faulty.contains(&"traffic_split") && written.steps.is_none() {
                let help = "write traffic_split: 10 for a tenth of the requests";
                self.error(written.at, code::MISSING, "`traffic_split` is missing", help);
            }
            return None;
        };
        if !is_whole || backends.is_empty() {
            return None;
        }
        self.explain_split(written, split, &backends);
        Some(Canary {
            backends,
            traffic_split: split,
            split_header: written.split_header.as_ref().map(|header| header.value.clone()),
            sticky: written.sticky.as_ref().map(|sticky| sticky.value),
            steps,
        })
    }

    fn canary_backend(
        &mut self,
        written: &document::CanaryBackend,
        around: &mut Surroundings<'_>,
    ) -> Option<(BackendName, Weight)> {
        let id = written.backend_id.as_ref()?;
        let weight = or(written.weight.as_ref(), Weight::ONE);
        let name = &id.value;
        match &written.url {
            None if written.faulty.contains(&"url") => return None,
            None => {
                if !self.within("backend_id", |faults| faults.refers(id, &around.backends)) {
                    return None;
                }
            }
            Some(url) => match around.written.get(name) {
                Some(known) if known.url != url.value => {
                    self.within("url", |faults| {
                        let message = format!("`{name}` is at {} already", known.url);
                        let help = "leave the URL out here, or give the canary another id";
                        faults.error(url.at, code::CONFLICT, message, help);
                    });
                    return None;
                }
                Some(_) => {}
                None => {
                    let backend = Backend::at(url.value.clone());
                    around.made.insert(name.clone(), Arc::new(backend));
                }
            },
        }
        Some((name.clone(), weight))
    }

    fn steps(&mut self, written: &document::Canary) -> Vec<CanaryStep> {
        let mut least = written.traffic_split.as_ref().map(|split| split.value);
        let steps = self.each("steps", written.steps.iter().flatten(), |faults, step| {
            let split = step.split.as_ref()?;
            if let Some(before) = least.filter(|least| split.value <= *least) {
                faults.within("split", |faults| {
                    let message = format!("{}% is not more than {before}% before it", split.value);
                    let help = "a rollout grows from step to step";
                    faults.error(split.at, code::CONFLICT, message, help);
                });
            }
            least = Some(split.value);
            Some(CanaryStep { split: split.value, hold: step.r#for.as_ref()?.value.get() })
        });
        steps.into_iter().flatten().collect()
    }

    /// `weight` and `traffic_split` are easily taken for each other: says what they come to.
    fn explain_split(
        &mut self,
        written: &document::Canary,
        split: Percentage,
        backends: &[(BackendName, Weight)],
    ) {
        let total: u64 = backends.iter().map(|(_, weight)| u64::from(weight.get())).sum();
        let mut listed = written.canary_backends.iter().flatten();
        let Some(weight) = listed.find_map(|one| one.weight.as_ref()) else { return };
        self.within("canary_backends", |faults| {
            if total == 0 {
                let message = "every canary has weight 0, so none could take a request";
                faults.error(weight.at, code::CONFLICT, message, "give one of them a weight");
                return;
            }
            let share = |weight: Weight| {
                let parts = u64::from(split.parts_per_million()) * u64::from(weight.get()) / total;
                let text = format!("{}.{:04}", parts / 10_000, parts % 10_000);
                text.trim_end_matches('0').trim_end_matches('.').to_owned()
            };
            let shares: Vec<_> = backends
                .iter()
                .take(4)
                .map(|(name, weight)| format!("`{name}` {}%", share(*weight)))
                .collect();
            let message = format!(
                "weights divide the {split}% of `traffic_split` among the canaries; of all \
                 requests, {}{} ",
                shares.join(", "),
                if backends.len() > 4 { " and so on" } else { "" }
            );
            faults.note(weight.at, code::DIVIDED, message.trim_end(), "");
        });
    }

    fn traffic_mirroring(
        &mut self,
        written: &document::TrafficMirroring,
        around: &Surroundings<'_>,
    ) -> Option<TrafficMirroring> {
        let listed = written.targets.as_deref()?;
        if listed.is_empty() {
            let help = "write targets: [{ url: \"http://analytics:8080\" }]";
            self.error(written.at, code::EMPTY, "there is no target", help);
            return None;
        }
        let mut names = HashSet::new();
        let targets = self.each("targets", listed, |faults, target| {
            let url = target.url.as_ref()?;
            let name = or(target.name.as_ref(), url.value.host().to_owned());
            if !names.insert(name.clone()) {
                let at = target.name.as_ref().map_or(target.at, |name| name.at);
                let message = format!("another target is called `{name}`");
                let help = "metrics are told apart by name: give each its own";
                faults.error(at, code::DUPLICATE_REFERENCE, message, help);
            }
            if let Some(entry_point) = looped(&url.value, around.entry_points) {
                faults.within("url", |faults| {
                    let message =
                        format!("copies come in again at the entry point `{entry_point}`");
                    let help = "they are not copied again, but backends get each request twice; \
                                name the service behind it instead";
                    faults.warn(url.at, code::LOOP, message, help);
                });
            }
            if url.value.is_secure() {
                faults.within("url", |faults| {
                    let message = "this version does not mirror over TLS yet";
                    let help = "use an http:// URL for now; nothing is ever ignored silently";
                    faults.error(url.at, code::NOT_YET, message, help);
                });
            }
            Some(MirrorTarget {
                name,
                url: url.value.clone(),
                timeout: target.timeout.map_or(Duration::from_secs(5), |d| d.value.get()),
                ignore_body: or(target.ignore_body.as_ref(), false),
            })
        });
        let targets: Vec<_> = targets.into_iter().flatten().collect();
        (!targets.is_empty()).then(|| TrafficMirroring {
            targets,
            is_async: or(written.r#async.as_ref(), true),
            sample_rate: or(written.sample_rate.as_ref(), Fraction::ONE),
            max_body_bytes: or(written.max_body_bytes.as_ref(), ByteSize(1 << 20)),
            on_large_body: or(written.on_large_body.as_ref(), LargeBody::Skip),
            strip_headers: list(written.strip_headers.as_ref()),
        })
    }

    pub(super) fn circuit_breaker(&mut self, written: &document::CircuitBreaker) -> CircuitBreaker {
        let recovery_timeout =
            written.recovery_timeout.map_or(Duration::from_secs(30), |d| d.value.get());
        let most = written.max_recovery_timeout.filter(|most| most.value < recovery_timeout);
        if let Some(most) = most {
            self.within("max_recovery_timeout", |faults| {
                let message = format!(
                    "{} is shorter than `recovery_timeout` ({recovery_timeout})",
                    most.value
                );
                faults.error(most.at, code::CONFLICT, message, "write a longer one");
            });
        }
        let failure_threshold = number(written.failure_threshold, 5);
        let volume = or(written.request_volume_threshold.as_ref(), 20);
        if let Some(at) = written.request_volume_threshold.as_ref().map(|volume| volume.at)
            && volume > 0
            && volume < failure_threshold
        {
            self.within("request_volume_threshold", |faults| {
                let message = format!(
                    "{failure_threshold} failures need as many requests, so {volume} is always \
                     reached before"
                );
                faults.note(at, code::DIVIDED, message, "");
            });
        }
        let usual = ["500", "502", "503", "504"].into_iter();
        let usual = usual.filter_map(|text| StatusRange::parse(text).ok());
        CircuitBreaker {
            failure_threshold,
            success_threshold: number(written.success_threshold, 3),
            recovery_timeout,
            request_volume_threshold: volume,
            window: written.window.map_or(Duration::from_secs(10), |d| d.value.get()),
            failure_status: match &written.failure_status {
                Some(_) => list(written.failure_status.as_ref()),
                None => usual.collect(),
            },
            max_recovery_timeout: written.max_recovery_timeout.map(|d| d.value),
        }
    }
}

/// A block that is turned on.
pub(super) fn on<T: Item>(written: Option<&T>) -> Option<&T> {
    written.filter(|written| written.is_on() && !written.is_silent())
}

/// A block that says whether it is on. One that does not say does nothing, so it does not replace
/// that of the level above either: leaving out a key must not turn protection off.
pub(super) fn said<T: Item>(written: Option<&T>) -> Option<&T> {
    written.filter(|written| !written.is_silent())
}

/// The entry point that a request to `url` reaches on the same machine, as far as it is certain.
fn looped<'e>(
    url: &Url,
    entry_points: &'e Objects<EntryPointName, EntryPoint>,
) -> Option<&'e EntryPointName> {
    let host: IpAddr = match url.host() {
        "localhost" => IpAddr::from([127, 0, 0, 1]),
        host => host.parse().ok()?,
    };
    let found = entry_points.iter().find(|(_, made)| {
        let address = made.address.0;
        let reaches = address.ip() == host || (address.ip().is_unspecified() && host.is_loopback());
        address.port() == url.port() && reaches
    });
    found.map(|(name, _)| name)
}

/// A block laid over that of the level above: what it says itself, also that it is off, counts.
pub(super) fn laid(
    own: (&document::TrafficManagement, TrafficManagement),
    base: &TrafficManagement,
) -> TrafficManagement {
    let (written, own) = own;
    macro_rules! lay {
        ($($block:ident),*) => {
            TrafficManagement { $(
                $block: match said(written.$block.as_ref()) {
                    Some(_) => own.$block,
                    None => base.$block.clone(),
                },
            )* }
        };
    }
    lay!(session_stickiness, blue_green, canary, traffic_mirroring, circuit_breaker)
}

/// Who meets a new version stays with it where sessions are sticky.
pub(super) fn keep_versions(traffic: &mut TrafficManagement) {
    let Some(sessions) = &traffic.session_stickiness else { return };
    if let Some(canary) = traffic.canary.as_mut().filter(|canary| canary.sticky.is_none()) {
        canary.sticky = Some(match sessions.cookie_name {
            Some(_) => config::CanarySticky::Cookie,
            None => config::CanarySticky::Header,
        });
    }
}
