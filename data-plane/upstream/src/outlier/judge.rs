//! Who of a service's backends is an outlier: samples and the time in, decisions out.

use std::time::Duration;

use tokio::time::Instant;

use super::Settings;

/// One backend as it is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sample {
    /// Until when it was ejected; nothing if it is in and that was told.
    pub until: Option<Instant>,
    /// How many ejections in a row still count.
    pub times: u32,
    /// Requests of the last interval that succeeded.
    pub successes: u64,
    /// Those that failed.
    pub failures: u64,
}

/// What happens to one backend, given by its place among the samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is out from now on.
    Eject {
        /// Which one.
        member: usize,
        /// Why.
        cause: Cause,
        /// Until when.
        until: Instant,
        /// How often in a row by now.
        times: u32,
    },
    /// Its ejection is over.
    Return {
        /// Which one.
        member: usize,
    },
    /// It has been well for an interval: an ejection less counts.
    Forgive {
        /// Which one.
        member: usize,
        /// How many still count.
        times: u32,
    },
}

/// Why a backend is ejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// It failed too often in a row.
    ConsecutiveFailures,
    /// It fails much more often than the others.
    SuccessRate,
}

impl Cause {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConsecutiveFailures => "consecutive_failures",
            Self::SuccessRate => "success_rate",
        }
    }
}

impl Decision {
    /// Whom it concerns.
    pub const fn member(&self) -> usize {
        match self {
            Self::Eject { member, .. } | Self::Return { member } | Self::Forgive { member, .. } => {
                *member
            }
        }
    }
}

impl Sample {
    fn is_out(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until > now)
    }

    const fn requests(&self) -> u64 {
        self.successes.saturating_add(self.failures)
    }

    fn rate(&self) -> f64 {
        self.successes as f64 / self.requests() as f64
    }
}

/// Ejects the backend at `member` after a run of failures, if it is in and may be out.
pub fn eject(
    settings: &Settings,
    samples: &[Sample],
    member: usize,
    now: Instant,
) -> Option<Decision> {
    let sample = samples.get(member).filter(|sample| !sample.is_out(now))?;
    let out = samples.iter().filter(|sample| sample.is_out(now)).count();
    may_eject(settings, out, samples.len())
        .then(|| ejection(settings, sample, member, Cause::ConsecutiveFailures, now))
}

/// Judges all backends of a service after an interval.
pub fn sweep(settings: &Settings, samples: &[Sample], now: Instant) -> Vec<Decision> {
    let mut decisions = Vec::new();
    for (member, sample) in samples.iter().enumerate() {
        match sample.until {
            Some(until) if until <= now => decisions.push(Decision::Return { member }),
            None if sample.times > 0 => {
                decisions.push(Decision::Forgive { member, times: sample.times - 1 });
            }
            Some(_) | None => {}
        }
    }
    let out = samples.iter().filter(|sample| sample.is_out(now)).count();
    for (more, member) in too_low(settings, samples, now).into_iter().enumerate() {
        if !may_eject(settings, out + more, samples.len()) {
            break;
        }
        // One ejected again is not forgiven.
        decisions.retain(|decision| {
            !matches!(decision, Decision::Forgive { member: other, .. } if *other == member)
        });
        let cause = Cause::SuccessRate;
        decisions.push(ejection(settings, &samples[member], member, cause, now));
    }
    decisions
}

/// Those with a success rate far below the mean, the worst first, for not all may be ejected.
fn too_low(settings: &Settings, samples: &[Sample], now: Instant) -> Vec<usize> {
    let Some(limits) = settings.success_rate else { return vec![] };
    let has_enough = |sample: &Sample| sample.requests() >= limits.request_volume.max(1);
    let judged: Vec<_> = samples
        .iter()
        .enumerate()
        .filter(|(_, sample)| !sample.is_out(now) && has_enough(sample))
        .map(|(member, sample)| (member, sample.rate()))
        .collect();
    if judged.is_empty() || judged.len() < limits.minimum_hosts as usize {
        return vec![];
    }
    let mean = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / judged.len() as f64;
    let normal = mean(&mut judged.iter().map(|(_, rate)| *rate));
    let variance = mean(&mut judged.iter().map(|(_, rate)| (rate - normal).powi(2)));
    let limit = normal - f64::from(limits.stdev_factor) / 1_000.0 * variance.sqrt();
    let mut low: Vec<_> = judged.iter().copied().filter(|(_, rate)| *rate < limit).collect();
    low.sort_by(|(_, a), (_, b)| a.total_cmp(b));
    low.into_iter().map(|(member, _)| member).collect()
}

/// Whether one more of `all` may be out when `out` are. The first always may, or small services
/// would have no detection at all.
fn may_eject(settings: &Settings, out: usize, all: usize) -> bool {
    let percent = usize::from(settings.max_ejection_percent);
    percent > 0 && (out == 0 || (out + 1) * 100 <= all * percent)
}

fn ejection(
    settings: &Settings,
    sample: &Sample,
    member: usize,
    cause: Cause,
    now: Instant,
) -> Decision {
    let times = sample.times.saturating_add(1);
    let longest = settings.max_ejection_time.max(settings.base_ejection_time);
    let time = settings.base_ejection_time.saturating_mul(times).min(longest);
    // The clock of a machine ends after the machine does.
    let until = now.checked_add(time).unwrap_or(now + Duration::from_hours(24));
    Decision::Eject { member, cause, until, times }
}
