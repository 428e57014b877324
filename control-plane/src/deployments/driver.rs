//! Ends decisions that are over, and leads canaries from step to step.
//!
//! Every change is a commit: of the author `expiry` where the configuration made an end of a
//! decision, of `canary` where a schedule went on. What a schedule knows is in the store, so a
//! restart goes on where it was; what the versions counted is not, and is gathered anew.
//!
//! It acts on the newest version only, and only once that is built: a decision is about what is.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use lb_model::{Version, api::AuditEntry};
use lb_store::{Store, StoreError};
use tokio_util::sync::CancellationToken;

use super::{
    Deployable, Deployments, Ended, Scope, SplitChoice, canary_id, deployable,
    schedule::{Observed, Schedule, State, Verdict},
};
use crate::{
    audit::Audit,
    metrics::Metrics,
    overrides::keeper,
    report::{Arms, Reports},
    snapshot::{Release, SnapshotCache},
};

/// Who leads schedules, in the history.
pub const AUTHOR: &str = "canary";
/// How often schedules are looked at while there are some.
const LOOK: Duration = Duration::from_millis(500);
/// How long nothing is looked at while there are none: a change wakes.
const REST: Duration = Duration::from_mins(1);
/// How long to wait after a failure of the store.
const PAUSE: Duration = Duration::from_secs(1);
/// Over how long a canary is judged at each moment, and how exactly the beginning of that is known.
const RECENT: SignedDuration = SignedDuration::from_secs(60);
const MARK: SignedDuration = SignedDuration::from_secs(5);

/// Ends decisions and leads schedules.
pub struct Driver {
    /// Where decisions are.
    pub store: Arc<dyn Store>,
    /// What they are about.
    pub cache: Arc<SnapshotCache>,
    /// What the versions counted.
    pub reports: Arc<Reports>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Where it is noted.
    pub audit: Arc<Audit>,
}

/// What is remembered of the step that a schedule is on.
#[derive(Debug)]
struct Watched {
    /// Tells the step from others.
    since: Timestamp,
    /// What had been counted when it began, or when somebody first looked.
    begin: Arms,
    /// What had been counted at moments within the last minute, oldest first.
    marks: VecDeque<(Timestamp, Arms)>,
}

/// The steps that are being watched.
type Watching = BTreeMap<Scope, Watched>;

impl Driver {
    /// Works until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let mut releases = self.cache.watch();
        let mut watching = Watching::new();
        // What could not be noted yet.
        let mut unnoted = Vec::new();
        loop {
            let newest = releases.borrow_and_update().clone();
            let now = Timestamp::now();
            let looked = match &newest {
                Some(release) => self.look(release, (&mut watching, &mut unnoted), now).await,
                None => Ok(false),
            };
            let is_noted = keeper::note(&self.audit, &mut unnoted).await;
            let pause = match looked {
                Ok(_) if !is_noted => PAUSE,
                Ok(true) => LOOK,
                Ok(false) => REST,
                Err(error) => {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::error!(%error, cause, "canaries are not led; trying again");
                    PAUSE
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                changed = releases.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Looks once; says whether there is something to look at again.
    async fn look(
        &self,
        release: &Release,
        (watching, unnoted): (&mut Watching, &mut Vec<AuditEntry>),
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        if self.store.head().await? != release.version {
            // What is newer is built in a moment, and wakes.
            return Ok(true);
        }
        let mut decided = Deployments::clone(&release.deployments);
        let ended = decided.end(&release.config, &release.configured);
        if !ended.is_empty() {
            let reasons: Vec<_> = ended.iter().map(ToString::to_string).collect();
            let signature = (keeper::AUTHOR, &*reasons.join("; "));
            if let Some(version) = self.commit(release, &decided, signature, now).await? {
                let note = |ended: &Ended| {
                    let path = match ended.kind {
                        "slot" => format!("/api/v1/blue-green/{}/switch", ended.scope.path()),
                        _ => format!("/api/v1/canary/{}/set", ended.scope.path()),
                    };
                    entry((keeper::AUTHOR, "END"), path, &ended.scope, (version, now))
                };
                unnoted.extend(ended.iter().map(note));
            }
            return Ok(true);
        }
        let steps = step(release, &mut decided, &self.reports, watching, now);
        if !steps.moved.is_empty() {
            let reasons: Vec<_> = steps.moved.iter().map(|moved| moved.reason.as_str()).collect();
            let signature = (AUTHOR, &*reasons.join("; "));
            if let Some(version) = self.commit(release, &decided, signature, now).await? {
                for Moved { scope, service, outcome, .. } in &steps.moved {
                    let labels = [service.as_str(), scope.route().unwrap_or_default(), outcome];
                    self.metrics.canary_steps.with_label_values(&labels).inc();
                    let path = format!("/api/v1/canary/{}/set", scope.path());
                    unnoted.push(entry((AUTHOR, "STEP"), path, scope, (version, now)));
                }
            }
        }
        Ok(steps.are_running)
    }

    /// Commits on top of a release; nothing when somebody was faster.
    async fn commit(
        &self,
        release: &Release,
        decided: &Deployments,
        signature: (&str, &str),
        now: Timestamp,
    ) -> Result<Option<Version>, StoreError> {
        match decided.commit(&*self.store, release.version, signature, now).await {
            Ok(version) => {
                let (author, reason) = signature;
                tracing::info!(version = version.0, author, reason, "deployments changed");
                Ok(Some(version))
            }
            // What they left is looked at anew.
            Err(StoreError::Conflict { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// What happened by itself in the audit log: the request that would have done it, by nobody.
fn entry(
    (who, method): (&str, &str),
    path: String,
    scope: &Scope,
    (version, now): (Version, Timestamp),
) -> AuditEntry {
    AuditEntry {
        time: now.to_string(),
        who: who.to_owned(),
        token: None,
        role: None,
        from: "this machine".to_owned(),
        method: method.to_owned(),
        path,
        object: Some(scope.name().to_owned()),
        status: 200,
        code: None,
        version: Some(version),
    }
}

/// What came of looking at every schedule.
#[derive(Debug, Default)]
struct Steps {
    moved: Vec<Moved>,
    are_running: bool,
}

#[derive(Debug)]
struct Moved {
    scope: Scope,
    /// Whose backends are divided.
    service: String,
    reason: String,
    outcome: &'static str,
}

/// Begins schedules and leads them on.
fn step(
    release: &Release,
    decided: &mut Deployments,
    reports: &Reports,
    watching: &mut Watching,
    now: Timestamp,
) -> Steps {
    let mut steps = Steps::default();
    let mut led = Vec::new();
    for (scope, Deployable { service, canary, .. }) in deployable(&release.config) {
        let Some(canary) = canary.filter(|canary| !canary.said.steps.is_empty()) else {
            continue;
        };
        let id = canary_id(canary.said, &release.config.backends);
        let known = decided.0.get(&scope).and_then(|decided| decided.split.as_ref());
        let next = match known {
            None => Schedule::begin(&canary.said.steps, now).map(|begun| (begun, "started")),
            Some(choice) => {
                let Some(schedule) = choice.schedule.as_ref().filter(|s| s.is_running()) else {
                    continue;
                };
                led.push(scope.clone());
                let arms = reports.arms(&canary.counted);
                let observed = watched(watching, &scope, schedule.since, &arms, now);
                let verdict = schedule.judge(&observed, now);
                let outcome = match &verdict {
                    Verdict::Next => "advanced",
                    Verdict::Finish => "finished",
                    Verdict::Abort(_) | Verdict::Wait | Verdict::Hold => "aborted",
                };
                schedule.after(&verdict, now).map(|next| (next, outcome))
            }
        };
        steps.are_running = true;
        let Some((next, outcome)) = next else { continue };
        let reason = said(&scope, &next);
        let choice = SplitChoice::scheduled(next, id, reason.clone(), now);
        decided.change(&scope, |decided| decided.split = Some(choice));
        steps.moved.push(Moved { scope, service: service.to_owned(), reason, outcome });
    }
    watching.retain(|scope, _| led.contains(scope));
    steps
}

/// What a schedule did, for the history.
fn said(scope: &Scope, schedule: &Schedule) -> String {
    let (split, all) = (schedule.split(), schedule.steps.len());
    match schedule.state {
        State::Finished => format!("{scope}: the canary finished its steps, at {split}%"),
        State::Aborted => format!("{scope}: the canary was aborted: {}", schedule.why),
        State::Running | State::Stopped => {
            format!("{scope}: canary at {split}%, step {} of {all}", schedule.step + 1)
        }
    }
}

/// Takes in what was counted by now, and gives what that is since the step began and lately.
fn watched(
    watching: &mut Watching,
    scope: &Scope,
    since: Timestamp,
    arms: &Arms,
    now: Timestamp,
) -> Observed {
    let new = || Watched { since, begin: *arms, marks: VecDeque::new() };
    let watched = watching.entry(scope.clone()).or_insert_with(new);
    let went_back = |before: &Arms| {
        arms.stable.requests < before.stable.requests
            || arms.canary.requests < before.canary.requests
    };
    if watched.since != since || went_back(&watched.begin) {
        *watched = new();
    }
    if watched.marks.back().is_none_or(|(at, _)| now.duration_since(*at) >= MARK) {
        watched.marks.push_back((now, *arms));
    }
    while watched.marks.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= RECENT) {
        watched.marks.pop_front();
    }
    let lately = watched.marks.front().map_or(watched.begin, |(_, before)| *before);
    Observed { recent: arms.since(&lately), step: arms.since(&watched.begin) }
}

#[cfg(test)]
mod tests;
