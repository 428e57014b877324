//! Copies of requests for others to look at.
//!
//! A sampled request is sent to every target beside its way to the backend, by tasks of the same
//! worker. The client's answer never comes from them, and does not wait for them unless the
//! configuration says so; what may be on its way at once is bounded for the whole proxy
//! ([`Budget`]), and what does not fit is counted and forgotten. The body is told to the copies
//! as the backend takes it ([`body`]).
//!
//! A request that is a copy already is not copied again, so a target that leads back here makes
//! no loop. Neither are requests to switch protocols, nor calls of gRPC, which targets over
//! HTTP/1.1 could not answer.

mod body;
mod budget;
mod copy;
mod counters;
mod sampler;
mod waiting;

use std::{rc::Rc, sync::Arc};

use lb_http::{Field, Known, grpc, h1::BodyLength, h1::encode};
use lb_model::{
    config::{LargeBody, MirrorTarget, Pool, TrafficMirroring},
    value::{BackendUrl, Duration, InvalidValue},
};
use lb_upstream::{Endpoint, LocalEndpoint, PerWorker};

pub use self::{
    body::Tee,
    budget::Budget,
    counters::{Outcome, TargetCounters},
    waiting::Waiting,
};
use self::{budget::Allowance, copy::Sending, sampler::Sampler};
use crate::proxy::{
    exchange::Exchange,
    handler::Asked,
    outgoing::{Outline, write_copy},
    target::Target as RequestTarget,
};

/// The field that tells a copy from a request.
const SHADOW: &str = "x-shadow";

/// The field that ties a copy to its request.
const REQUEST_ID: &str = "x-request-id";

/// Idle connections that a worker keeps for a target.
const IDLE: u32 = 32;

/// Whose requests a mirror copies.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Owner {
    /// Those of every route to a service that says nothing else.
    Service(Arc<str>),
    /// Those of one route.
    Route(Arc<str>),
}

/// Mirroring of a service or a route, as all workers share it.
#[derive(Debug)]
pub struct Mirror {
    owner: Owner,
    spec: TrafficMirroring,
    sampler: Arc<Sampler>,
    targets: Vec<Arc<Target>>,
    budget: Arc<Budget>,
}

/// Who gets copies, as all workers share it.
#[derive(Debug)]
pub struct Target {
    spec: MirrorTarget,
    name: Arc<str>,
    endpoint: Arc<Endpoint>,
    allowance: Allowance,
    counters: Arc<PerWorker<TargetCounters>>,
}

/// How one worker looks at a mirror.
#[derive(Debug)]
pub struct LocalMirror {
    mirror: Arc<Mirror>,
    endpoints: Vec<Rc<LocalEndpoint>>,
}

/// What a copied request must tell its copies.
#[derive(Debug)]
pub struct Copies {
    /// Who is to be told of the body, if there is one that is copied.
    pub tee: Option<Tee>,
    /// Who is to be waited for before the client is answered.
    pub waiting: Option<Waiting>,
}

impl Mirror {
    /// Builds the running form of `spec`, with what did not change of `previous`; `previous`
    /// itself if nothing did.
    ///
    /// # Errors
    ///
    /// A target that this version cannot reach.
    pub fn build(
        owner: Owner,
        spec: &TrafficMirroring,
        previous: Option<&Arc<Self>>,
        (workers, budget): (usize, &Arc<Budget>),
    ) -> Result<Arc<Self>, InvalidValue> {
        if let Some(previous) = previous.filter(|previous| previous.spec == *spec) {
            return Ok(Arc::clone(previous));
        }
        let target = |spec: &MirrorTarget| {
            let kept = previous.and_then(|previous| {
                previous.targets.iter().find(|target| target.spec.name == spec.name)
            });
            match kept {
                Some(kept) if kept.spec == *spec => Ok(Arc::clone(kept)),
                kept => Target::new(spec, kept, workers).map(Arc::new),
            }
        };
        Ok(Arc::new(Self {
            targets: spec.targets.iter().map(target).collect::<Result<_, _>>()?,
            sampler: previous.map(|previous| Arc::clone(&previous.sampler)).unwrap_or_default(),
            owner,
            spec: spec.clone(),
            budget: Arc::clone(budget),
        }))
    }

    /// Whose requests it copies.
    pub const fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Who gets copies.
    pub fn targets(&self) -> &[Arc<Target>] {
        &self.targets
    }

    /// What all copies of the proxy take.
    pub const fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }
}

impl Target {
    fn new(
        spec: &MirrorTarget,
        previous: Option<&Arc<Self>>,
        workers: usize,
    ) -> Result<Self, InvalidValue> {
        let host = spec.url.host();
        let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
        let url = BackendUrl::parse(&format!("http://{open}{host}{close}:{}", spec.url.port()))?;
        let name: Arc<str> = spec.name.as_str().into();
        let endpoint = Endpoint::new("mirror".into(), Arc::clone(&name), url, None, workers);
        let counters = previous.map(|previous| Arc::clone(&previous.counters));
        Ok(Self {
            counters: counters.unwrap_or_else(|| Arc::new(PerWorker::new(workers))),
            endpoint: Arc::new(endpoint),
            allowance: previous.map(|previous| previous.allowance.share()).unwrap_or_default(),
            spec: spec.clone(),
            name,
        })
    }

    /// What it is called in metrics.
    pub const fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What became of the copies for it.
    pub fn counters(&self) -> &PerWorker<TargetCounters> {
        &self.counters
    }
}

impl LocalMirror {
    /// The view of worker number `worker`, with the idle connections of `previous`.
    pub fn new(mirror: Arc<Mirror>, worker: usize, previous: Option<&Self>) -> Self {
        let policy =
            Pool { max_idle: IDLE, idle_timeout: Duration::from_secs(30), ..Pool::default() };
        let endpoint = |target: &Arc<Target>| {
            let kept = previous.and_then(|previous| {
                let mut endpoints = previous.endpoints.iter();
                endpoints.find(|local| Arc::ptr_eq(local.endpoint(), &target.endpoint))
            });
            kept.map_or_else(
                || {
                    let local = LocalEndpoint::new(Arc::clone(&target.endpoint), worker);
                    local.set_policy(policy);
                    Rc::new(local)
                },
                Rc::clone,
            )
        };
        let endpoints = mirror.targets.iter().map(endpoint).collect();
        Self { mirror, endpoints }
    }

    /// The shared side.
    pub const fn mirror(&self) -> &Arc<Mirror> {
        &self.mirror
    }

    /// The targets as this worker sees them.
    pub fn endpoints(&self) -> &[Rc<LocalEndpoint>] {
        &self.endpoints
    }

    fn begin(&self, worker: usize, outline: &Outline<'_>) -> Option<Copies> {
        let Mirror { spec, sampler, targets, budget, .. } = &*self.mirror;
        if !may_be_copied(outline) || !sampler.takes(spec.sample_rate) {
            return None;
        }
        let length = outline.asked.length;
        let most = spec.max_body_bytes.0;
        let is_too_large = matches!(length, BodyLength::Exact(length) if length > most);
        let copied = match length {
            BodyLength::Exact(length) => BodyLength::Exact(length.min(most)),
            length => length,
        };
        let room =
            if is_too_large && spec.on_large_body == LargeBody::Skip { None } else { Some(most) };
        let wants_body = targets.iter().any(|target| !target.spec.ignore_body);
        let tee = room
            .filter(|_| wants_body)
            .and_then(|room| Tee::new(length, room, spec.on_large_body, Arc::clone(budget)));
        let waiting = (!spec.is_async).then(Waiting::default);
        for (target, endpoint) in targets.iter().zip(&self.endpoints) {
            let has_body = !target.spec.ignore_body;
            if has_body && room.is_none() {
                target.counters.of(worker).count(Outcome::TooLarge);
                continue;
            }
            let Some(slot) = budget.copy(&target.allowance) else {
                target.counters.of(worker).count(Outcome::Dropped);
                continue;
            };
            let body = tee.as_ref().filter(|_| has_body).map(|tee| tee.reader(copied));
            let sending = Sending {
                head: head(target, &spec.strip_headers, outline, has_body.then_some(copied)),
                method: outline.asked.method.clone(),
                endpoint: Rc::clone(endpoint),
                timeout: target.spec.timeout.get(),
                target: Arc::clone(target),
                worker,
                _slot: slot,
                _waited_for: waiting.as_ref().map(Waiting::ticket),
            };
            tokio::task::spawn_local(sending.run(body));
        }
        Some(Copies { tee, waiting })
    }
}

/// Begins the copies of a request that is about to be sent, if its route has any and it is one
/// of those that are copied.
#[inline]
pub fn begin(exchange: &Exchange, outline: &Outline<'_>) -> Option<Copies> {
    let place = exchange.route().mirror?;
    copy(exchange, outline, place)
}

fn copy(exchange: &Exchange, outline: &Outline<'_>, place: usize) -> Option<Copies> {
    let worker = exchange.ticket().client().worker().index();
    exchange.entry().view.mirrors()[place].begin(worker, outline)
}

/// Whether a request is of a kind that is copied.
fn may_be_copied(outline: &Outline<'_>) -> bool {
    let fields = outline.asked.fields;
    let is_shadow = fields.named(SHADOW).any(|value| value.eq_ignore_ascii_case(b"true"));
    let is_grpc = grpc::is_message(fields);
    outline.upgrade.is_none() && !is_shadow && !is_grpc
}

/// The head of a copy; one without a body says so.
fn head(
    target: &Target,
    strip: &[lb_model::rule::HeaderName],
    outline: &Outline<'_>,
    length: Option<BodyLength>,
) -> Vec<u8> {
    let asked = outline.asked;
    let is_stripped = |name: &[u8]| {
        strip.iter().any(|stripped| name.eq_ignore_ascii_case(stripped.as_str().as_bytes()))
    };
    let mut lines = Vec::new();
    encode::field(&mut lines, SHADOW.as_bytes(), b"true");
    if asked.fields.named(REQUEST_ID).next().is_none() || is_stripped(REQUEST_ID.as_bytes()) {
        let id = uuid::Uuid::new_v4().to_string();
        encode::field(&mut lines, REQUEST_ID.as_bytes(), id.as_bytes());
    }
    let (prefix, own_query) = split(target.spec.url.target());
    let path = format!("{}{}", prefix.strip_suffix('/').unwrap_or(prefix), outline.path);
    let query = match (own_query, asked.target.query) {
        (Some(own), Some(theirs)) => Some(format!("{own}&{theirs}")),
        (own, theirs) => own.or(theirs).map(str::to_owned),
    };
    let mut head = Vec::new();
    let asked = Asked {
        length: length.unwrap_or(BodyLength::Empty),
        target: RequestTarget { query: query.as_deref(), ..asked.target },
        ..*asked
    };
    let outline = Outline {
        asked: &asked,
        path: &path,
        authority: outline.host,
        has_length: outline.has_length || length.is_none(),
        expects_continue: false,
        ..*outline
    };
    let passes = |field: &Field<'_>| {
        let is_own =
            field.known == Known::Other && field.name.eq_ignore_ascii_case(SHADOW.as_bytes());
        !is_own && !is_stripped(field.name)
    };
    write_copy(&mut head, &outline, passes, &lines);
    head
}

/// Path and query.
fn split(target: &str) -> (&str, Option<&str>) {
    target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)))
}

#[cfg(test)]
mod tests;
