//! How requests are divided among the backends of a service.

use std::net::IpAddr;

use ipnet::IpNet;

pub use crate::document::{CanarySticky, LargeBody, SameSite, Slot};
use crate::{
    rule::HeaderName,
    value::{
        BackendName, ByteSize, CookieName, Domain, Duration, Fraction, Percentage, StatusRange,
        Url, Weight,
    },
};

/// What is on of the traffic management of a service or a route.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TrafficManagement {
    /// The same backend for the same client.
    pub session_stickiness: Option<SessionStickiness>,
    /// Two sets of backends, of which one serves.
    pub blue_green: Option<BlueGreen>,
    /// A share of the requests for a new version.
    pub canary: Option<Canary>,
    /// Copies of requests for others to look at.
    pub traffic_mirroring: Option<TrafficMirroring>,
    /// No requests for a backend that fails.
    pub circuit_breaker: Option<CircuitBreaker>,
}

/// The same backend for the same client. At least one of cookie and header is there.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionStickiness {
    /// The cookie that remembers the backend; it wins over the header.
    pub cookie_name: Option<CookieName>,
    /// The header whose value stands for a client.
    pub header_name: Option<HeaderName>,
    /// For how long a backend is remembered after the last request.
    pub ttl: Duration,
    /// Whether the cookie is sent over TLS only; as it came, when absent.
    pub secure: Option<bool>,
    /// Whether scripts cannot read the cookie.
    pub http_only: bool,
    /// Whether other sites make browsers send the cookie.
    pub same_site: SameSite,
    /// The paths for which the cookie is sent.
    pub path: String,
    /// The domain for which the cookie is sent.
    pub domain: Option<Domain>,
}

/// Two sets of backends, neither empty and with none in both.
#[derive(Debug, Clone, PartialEq)]
pub struct BlueGreen {
    /// The first set.
    pub blue: Vec<BackendName>,
    /// The second set.
    pub green: Vec<BackendName>,
    /// The set that serves.
    pub active: Slot,
    /// The header that chooses for one request.
    pub switch_header: Option<HeaderName>,
    /// Who may choose by header; everybody when empty.
    pub switch_header_trusted_ips: Vec<IpNet>,
    /// Whether the other set serves while the active one has no backend that is well.
    pub fallback: bool,
}

/// A share of the requests for a new version.
#[derive(Debug, Clone, PartialEq)]
pub struct Canary {
    /// The backends of the new version, never empty, with their shares among each other.
    pub backends: Vec<(BackendName, Weight)>,
    /// The percentage of requests that they get together.
    pub traffic_split: Percentage,
    /// The header that chooses for one request.
    pub split_header: Option<HeaderName>,
    /// By what clients are known who stay with the version they saw.
    pub sticky: Option<CanarySticky>,
    /// How the share grows by itself.
    pub steps: Vec<CanaryStep>,
}

/// Which deployments a route has of its own, in the place of those of its service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OwnDeployments {
    /// Whether it has slots of its own.
    pub blue_green: bool,
    /// Whether it has a canary of its own.
    pub canary: bool,
}

/// A share and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CanaryStep {
    /// The percentage of requests.
    pub split: Percentage,
    /// Until the next step.
    pub hold: Duration,
}

/// What the header of a request asks of a canary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CanaryChoice<'a> {
    /// Nothing: the split decides.
    Split,
    /// The version that most get.
    Stable,
    /// The new version.
    Canary,
    /// One backend of the new version.
    Backend(&'a BackendName),
}

/// Copies of requests for others to look at.
#[derive(Debug, Clone, PartialEq)]
pub struct TrafficMirroring {
    /// Who gets copies; never empty.
    pub targets: Vec<MirrorTarget>,
    /// Whether clients wait for no copy.
    pub is_async: bool,
    /// The share of requests that are copied.
    pub sample_rate: Fraction,
    /// The largest body that is copied.
    pub max_body_bytes: ByteSize,
    /// What happens to a larger one.
    pub on_large_body: LargeBody,
    /// Header fields that copies do not carry.
    pub strip_headers: Vec<HeaderName>,
}

/// Who gets copies.
#[derive(Debug, Clone, PartialEq)]
pub struct MirrorTarget {
    /// What it is called in metrics; no two targets of a block share one.
    pub name: String,
    /// Where it is.
    pub url: Url,
    /// How long it may take.
    pub timeout: Duration,
    /// Whether copies for it have no body.
    pub ignore_body: bool,
}

/// No requests for a backend that fails.
#[derive(Debug, Clone, PartialEq)]
pub struct CircuitBreaker {
    /// Failures within the window that open it.
    pub failure_threshold: u32,
    /// Successes in a row that close it again.
    pub success_threshold: u32,
    /// For how long it stays open before a few requests try again.
    pub recovery_timeout: Duration,
    /// Requests within the window below which it never opens.
    pub request_volume_threshold: u32,
    /// The time over which both are counted.
    pub window: Duration,
    /// The codes that count as failures, beside connections that fail.
    pub failure_status: Vec<StatusRange>,
    /// The longest time that it stays open; always `recovery_timeout` when absent.
    pub max_recovery_timeout: Option<Duration>,
}

impl TrafficManagement {
    /// The backends of the new version.
    pub fn canaries(&self) -> impl Iterator<Item = &BackendName> {
        self.canary.iter().flat_map(|canary| &canary.backends).map(|(name, _)| name)
    }

    /// All backends among which requests are divided: those of a service's `pool`, then the
    /// canaries that are not in it.
    pub fn members<'t>(&'t self, pool: &'t [BackendName]) -> impl Iterator<Item = &'t BackendName> {
        pool.iter().chain(self.canaries().filter(|name| !pool.contains(name)))
    }

    /// The share of a backend among the canaries, if it is one.
    pub fn canary_weight(&self, backend: &BackendName) -> Option<Weight> {
        let mut canaries = self.canary.iter().flat_map(|canary| &canary.backends);
        canaries.find(|(name, _)| name == backend).map(|(_, weight)| *weight)
    }

    /// The slot of a backend, if there are slots and it is in one.
    pub fn slot_of(&self, backend: &BackendName) -> Option<Slot> {
        let slots = self.blue_green.as_ref()?;
        [Slot::Blue, Slot::Green].into_iter().find(|slot| slots.backends(*slot).contains(backend))
    }
}

impl Slot {
    /// The one that does not serve when this one does.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Blue => Self::Green,
            Self::Green => Self::Blue,
        }
    }
}

impl BlueGreen {
    /// The backends of a slot.
    pub fn backends(&self, slot: Slot) -> &[BackendName] {
        match slot {
            Slot::Blue => &self.blue,
            Slot::Green => &self.green,
        }
    }

    /// The slot of one request: what its header says, from those who may say it, or the active
    /// one. Letter case does not count, and any other value is no choice.
    pub fn slot(&self, header: Option<&str>, client: IpAddr) -> Slot {
        let ranges = &self.switch_header_trusted_ips;
        let is_trusted = ranges.is_empty() || ranges.iter().any(|range| range.contains(&client));
        let chosen = header.filter(|_| is_trusted).and_then(|value| {
            let is = |slot: Slot| value.trim().eq_ignore_ascii_case(slot.as_str()).then_some(slot);
            is(Slot::Blue).or_else(|| is(Slot::Green))
        });
        chosen.unwrap_or(self.active)
    }
}

impl Canary {
    /// What the value of the split header asks for. `true`, `always` and `1` choose the new
    /// version, `false`, `never` and `0` the stable one, an id its backend.
    pub fn choice(&self, header: Option<&str>) -> CanaryChoice<'_> {
        let Some(value) = header.map(str::trim) else { return CanaryChoice::Split };
        let is_any = |words: [&str; 3]| words.iter().any(|word| value.eq_ignore_ascii_case(word));
        if is_any(["true", "always", "1"]) {
            return CanaryChoice::Canary;
        }
        if is_any(["false", "never", "0"]) {
            return CanaryChoice::Stable;
        }
        let named = self.backends.iter().find(|(name, _)| name.as_str() == value);
        named.map_or(CanaryChoice::Split, |(name, _)| CanaryChoice::Backend(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_chooses_the_slot_for_those_who_may() {
        let name = |text| BackendName::parse(text).unwrap();
        let blue_green = BlueGreen {
            blue: vec![name("web1")],
            green: vec![name("web2")],
            active: Slot::Blue,
            switch_header: None,
            switch_header_trusted_ips: vec!["10.0.0.0/8".parse().unwrap()],
            fallback: false,
        };
        let (inside, outside) = ("10.1.2.3".parse().unwrap(), "192.0.2.1".parse().unwrap());
        assert_eq!(blue_green.slot(Some("GREEN"), inside), Slot::Green);
        assert_eq!(blue_green.slot(Some("green"), outside), Slot::Blue);
        assert_eq!(blue_green.slot(Some("purple"), inside), Slot::Blue);
        assert_eq!(blue_green.slot(None, inside), Slot::Blue);
        assert_eq!(blue_green.backends(Slot::Green), [name("web2")]);
    }

    #[test]
    fn a_header_chooses_the_version_or_a_backend_of_it() {
        let canary1 = BackendName::parse("canary1").unwrap();
        let canary = Canary {
            backends: vec![(canary1.clone(), Weight::ONE)],
            traffic_split: Percentage::parse("10").unwrap(),
            split_header: None,
            sticky: None,
            steps: vec![],
        };
        for (value, choice) in [
            (None, CanaryChoice::Split),
            (Some("Always"), CanaryChoice::Canary),
            (Some("0"), CanaryChoice::Stable),
            (Some("canary1"), CanaryChoice::Backend(&canary1)),
            (Some("canary2"), CanaryChoice::Split),
        ] {
            assert_eq!(canary.choice(value), choice, "{value:?}");
        }
    }
}
