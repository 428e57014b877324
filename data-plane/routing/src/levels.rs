//! Which of a service's backends may be chosen, once it is known who is well.
//!
//! Three questions, in this order. Which **priority level**: the first carries everything as
//! long as enough of it is well, then the next takes over what it cannot carry, as in Envoy: a
//! level of which 5/7 are well still counts as whole. Is it time to **panic**: where hardly
//! anyone seems well, the checks are more likely wrong than the backends, and the few left would
//! drown; so everybody takes part. Which **zone**: the proxy's own while half of it is well.
//!
//! The answer is a [`Choice`], which says of each member whether it [admits](Choice::admits) it;
//! nothing is kept and nothing allocated.

use lb_model::config::{Backend, Service};

/// How backends are chosen after health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settings {
    /// Below which percentage of a level's weight being well health is ignored; 0 never.
    pub panic_threshold: u8,
    /// Whether backends of the proxy's own zone come first.
    pub prefer_local: bool,
}

impl Settings {
    /// How a service chooses, on a proxy that stands in a zone or in none, of backends whose levels
    /// or zones differ or not; nothing where nobody need look at levels.
    pub fn of(service: &Service, has_zone: bool, has_levels: bool) -> Option<Self> {
        let panic_threshold = service.panic_threshold.rounded_up();
        let settings = Self { panic_threshold, prefer_local: has_zone };
        (has_levels || panic_threshold > 0).then_some(settings)
    }

    /// Whether the levels or zones of backends matter to a proxy that stands in a zone or in none.
    pub fn are_needed<'b>(backends: impl IntoIterator<Item = &'b Backend>, has_zone: bool) -> bool {
        let mut all = backends.into_iter();
        all.any(|backend| backend.priority > 0 || (has_zone && backend.zone.is_some()))
    }
}

/// What matters of one backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Its level; 0 is used first.
    pub priority: u8,
    /// Whether it is in the proxy's own zone.
    pub is_local: bool,
    /// Whether it is well: checks, outlier detection and breaker have nothing against it.
    pub is_eligible: bool,
    /// Whether an operator lets it take new requests. Not even panic overrules that.
    pub is_enabled: bool,
    /// Its share of requests; with 0 it takes no part at all.
    pub weight: u16,
}

/// Who may be chosen for one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// The level.
    pub priority: u8,
    /// Whether health is ignored.
    pub is_panic: bool,
    /// Whether only the proxy's own zone takes part.
    pub is_local: bool,
}

impl Choice {
    /// Whether the member may be chosen. At least one of those looked at may.
    pub const fn admits(self, member: Member) -> bool {
        member.takes_part()
            && member.priority == self.priority
            && (self.is_panic || member.is_eligible)
            && (!self.is_local || member.is_local)
    }
}

impl Member {
    const fn takes_part(self) -> bool {
        self.is_enabled && self.weight > 0
    }
}

/// A whole level, in millionths.
const WHOLE: u64 = 1_000_000;
/// A level is whole as long as 1/1.4 of it is well.
const OVERPROVISION: u64 = 1_400_000;

/// Who may be chosen among `members`; none if nobody may be. `draw`, which should take every
/// value equally often, divides requests among levels: the same draw gives the same level.
pub fn choose(settings: Settings, members: &[Member], draw: u32) -> Option<Choice> {
    let first = Level::after(members, None)?;
    // The levels, up to the one with which they are whole.
    let mut total = first.health();
    let mut level = first;
    while total < WHOLE && level.has_next {
        level = Level::after(members, Some(level.priority))?;
        total += level.health();
    }
    total = total.min(WHOLE);
    if total == 0 {
        // Nobody is well anywhere: then the first level is as good as any.
        return (settings.panic_threshold > 0).then_some(Choice {
            priority: first.priority,
            is_panic: true,
            is_local: false,
        });
    }
    // Each level gets its health of the total, the last of them what is left.
    let mut place = (u64::from(draw) * total) >> 32;
    let mut level = first;
    while place >= level.health() && level.has_next {
        place -= level.health();
        level = Level::after(members, Some(level.priority))?;
    }
    // As long as all levels together are whole, a broken one needs no help.
    let is_panic = total < WHOLE && level.is_below(settings.panic_threshold);
    let is_local = settings.prefer_local && !is_panic && is_zone_well(members, level.priority);
    Some(Choice { priority: level.priority, is_panic, is_local })
}

/// One priority level: the weight of those that take part.
#[derive(Debug, Clone, Copy)]
struct Level {
    priority: u8,
    /// Of those that are well.
    eligible: u64,
    /// Of all; above 0.
    enabled: u64,
    /// Whether there is a level of a higher number.
    has_next: bool,
}

impl Level {
    /// The level with the lowest number above `priority`.
    fn after(members: &[Member], priority: Option<u8>) -> Option<Self> {
        let mut level: Option<Self> = None;
        for member in members.iter().filter(|member| member.takes_part()) {
            if priority.is_some_and(|priority| member.priority <= priority) {
                continue;
            }
            let enabled = u64::from(member.weight);
            let eligible = if member.is_eligible { enabled } else { 0 };
            match &mut level {
                Some(level) if member.priority > level.priority => level.has_next = true,
                Some(level) if member.priority == level.priority => {
                    level.eligible += eligible;
                    level.enabled += enabled;
                }
                _ => {
                    let (priority, has_next) = (member.priority, level.is_some());
                    level = Some(Self { priority, eligible, enabled, has_next });
                }
            }
        }
        level
    }

    /// How much of all requests it can carry, in millionths.
    const fn health(&self) -> u64 {
        let health = self.eligible * OVERPROVISION / self.enabled;
        if health < WHOLE { health } else { WHOLE }
    }

    fn is_below(&self, percent: u8) -> bool {
        self.eligible * 100 < self.enabled * u64::from(percent)
    }
}

/// Whether at least half of the backends of the proxy's own zone are well at this level. They
/// are counted and not weighed: a zone is for sharing trips, not load.
fn is_zone_well(members: &[Member], priority: u8) -> bool {
    let (mut eligible, mut all) = (0_usize, 0_usize);
    for member in members.iter().filter(|member| member.takes_part()) {
        if member.priority == priority && member.is_local {
            all += 1;
            eligible += usize::from(member.is_eligible);
        }
    }
    eligible > 0 && eligible * 2 >= all
}

#[cfg(test)]
mod tests;
