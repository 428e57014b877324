//! Moves a session's messages over gRPC.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{Stream, StreamExt};
use jiff::Timestamp;
use lb_proto::v1::{
    FromProxy, LogLevel, Refuse, ReportBatch, ReportControl, ToProxy, Trust,
    config_sync_server::ConfigSync, from_proxy::Message, telemetry_server::Telemetry, to_proxy,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::{
    registry::{Commands, Line, Registry, StreamId},
    session::{Identity, Input, News, Output, Session, clip},
};
use crate::{
    identity::{
        authority::{ProxyCertificate, key_identifier},
        ledger::Ledger,
        service::member,
    },
    metrics::Metrics,
    report::Reports,
    snapshot::SnapshotCache,
};

/// How many messages wait for a slow proxy. A push of many chunks waits in its session's task.
const QUEUE: usize = 16;
/// How long a proxy may let the messages for it wait.
const PATIENCE: Duration = Duration::from_secs(30);
/// The largest message a proxy may send.
pub const MAX_MESSAGE: usize = 4 << 20;

/// Answers the streams of all proxies.
#[derive(Clone)]
pub struct SyncService {
    /// What this control plane says of itself.
    pub identity: Identity,
    /// What the proxies should run.
    pub cache: Arc<SnapshotCache>,
    /// How they stand.
    pub registry: Arc<Registry>,
    /// What they report.
    pub reports: Arc<Reports>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Ends every stream.
    pub stop: CancellationToken,
    /// Who belongs to the fleet.
    pub ledger: Arc<Ledger>,
    /// Numbers the streams.
    pub streams: Arc<AtomicU64>,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl ConfigSync for SyncService {
    type SyncStream = Answers<ToProxy>;

    async fn sync(
        &self,
        request: Request<Streaming<FromProxy>>,
    ) -> Result<Response<Self::SyncStream>, Status> {
        let certificate = member(&request, &self.ledger)?;
        let (answers, stream) = mpsc::channel(QUEUE);
        let (commands, commanded) = mpsc::channel(1);
        let id = self.streams.fetch_add(1, Ordering::Relaxed);
        let connection = Connection {
            service: self.clone(),
            id,
            certificate,
            told: 0,
            proxy: None,
            answers,
            end: CancellationToken::new(),
            log_level: None,
            resets_breakers: false,
            commands,
        };
        tokio::spawn(connection.run(request.into_inner(), commanded));
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

#[tonic::async_trait]
impl Telemetry for SyncService {
    type ReportStream = Answers<ReportControl>;

    async fn report(
        &self,
        request: Request<Streaming<ReportBatch>>,
    ) -> Result<Response<Self::ReportStream>, Status> {
        let certificate = member(&request, &self.ledger)?;
        let ledger = Arc::clone(&self.ledger);
        let mut batches = request.into_inner();
        let (answers, stream) = mpsc::channel(1);
        let (reports, stop) = (Arc::clone(&self.reports), self.stop.clone());
        tokio::spawn(async move {
            let mut decisions = ledger.watch();
            // One that was taken since the certificate was looked at counts too.
            decisions.mark_changed();
            let control = ReportControl { min_interval_ms: crate::report::INTERVAL_MS };
            if answers.send(Ok(control)).await.is_err() {
                return;
            }
            loop {
                let batch = tokio::select! {
                    () = stop.cancelled() => return,
                    changed = decisions.changed() => {
                        if changed.is_err() || !ledger.state().admits(&certificate) {
                            return;
                        }
                        continue;
                    }
                    batch = batches.next() => batch,
                };
                match batch {
                    Some(Ok(mut batch)) => {
                        // Who reports is known from its certificate.
                        certificate.name.clone_into(&mut batch.proxy);
                        reports.take(batch, Timestamp::now());
                    }
                    Some(Err(_)) | None => return,
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

/// One open stream.
struct Connection {
    service: SyncService,
    id: StreamId,
    /// Who is at the other end.
    certificate: ProxyCertificate,
    /// Which set of authorities it was told of last.
    told: u64,
    proxy: Option<String>,
    answers: mpsc::Sender<Result<ToProxy, Status>>,
    /// Ends this stream: a newer one of the same proxy is there.
    end: CancellationToken,
    /// How much the proxy said in its first message that it logs.
    log_level: Option<LogLevel>,
    /// Whether it said there that it takes commands about circuit breakers.
    resets_breakers: bool,
    /// What the proxy is told beside versions.
    commands: Commands,
}

impl Connection {
    async fn run(
        mut self,
        mut messages: Streaming<FromProxy>,
        mut commanded: mpsc::Receiver<to_proxy::Message>,
    ) {
        let stream = uuid::Uuid::new_v4().to_string();
        let mut session =
            Session::new(self.service.identity.clone(), stream, self.certificate.labels.clone());
        let mut targets = self.service.cache.watch();
        targets.mark_changed();
        let mut decisions = self.service.ledger.watch();
        // One that was taken since the certificate was looked at counts too.
        decisions.mark_changed();
        let (stop, end) = (self.service.stop.clone(), self.end.clone());
        loop {
            let input = tokio::select! {
                () = stop.cancelled() => break,
                () = end.cancelled() => break,
                changed = decisions.changed() => {
                    if changed.is_err() || !self.is_welcome().await {
                        break;
                    }
                    continue;
                }
                Some(command) = commanded.recv() => {
                    if !self.send(Ok(ToProxy { message: Some(command) })).await {
                        break;
                    }
                    continue;
                }
                changed = targets.changed() => match changed {
                    Ok(()) => match targets.borrow_and_update().clone() {
                        Some(release) => {
                            let labels = &self.certificate.labels;
                            Input::Target(self.service.cache.target(&release, labels))
                        }
                        None => continue,
                    },
                    Err(_) => break,
                },
                message = messages.next() => match message {
                    Some(Ok(message)) => match self.read(message).await {
                        Some(message) => Input::Message(message),
                        None => continue,
                    },
                    Some(Err(status)) => {
                        tracing::debug!(proxy = self.proxy, %status, "sync stream broke");
                        break;
                    }
                    None => break,
                },
            };
            let outputs = session
                .handle(input, &|root| self.service.cache.by_root(root, &self.certificate.labels));
            if !self.perform(outputs).await {
                break;
            }
        }
        if let Some(proxy) = &self.proxy {
            tracing::info!(proxy, "proxy disconnected");
            self.service.registry.disconnected(proxy, self.id, Timestamp::now());
        }
    }

    /// Takes what is not for the session, and puts the true name on what is.
    async fn read(&mut self, mut message: FromProxy) -> Option<FromProxy> {
        match &mut message.message {
            Some(Message::Trusted(trusted)) => {
                self.service.registry.trusted(&self.certificate.name, self.id, trusted.generation);
                return None;
            }
            Some(Message::LogLevel(level)) => {
                let level = LogLevel {
                    level: clip(std::mem::take(&mut level.level)),
                    error: clip(std::mem::take(&mut level.error)),
                    ends_in_ms: level.ends_in_ms,
                };
                self.logs(level);
                return None;
            }
            Some(Message::BreakersReset(answer)) => {
                self.service.registry.resets.answer(&self.certificate.name, *answer);
                return None;
            }
            Some(Message::Hello(hello)) => {
                self.resets_breakers = hello.resets_breakers;
                self.log_level = hello
                    .log_level
                    .take()
                    .map(|level| LogLevel { level: clip(level.level), ..level });
                self.certificate.name.clone_into(&mut hello.proxy);
                self.tell_trust().await;
            }
            _ => {}
        }
        Some(message)
    }

    /// The proxy says how much it logs.
    fn logs(&self, level: LogLevel) {
        let (name, now) = (&self.certificate.name, Timestamp::now());
        self.service.registry.logs(name, self.id, level, now);
    }

    /// Tells the proxy whom to trust, and whether its certificate is still good enough.
    /// Once for each change of the authorities: most decisions are about others.
    async fn tell_trust(&mut self) {
        let state = self.service.ledger.state();
        let authorities = &state.authorities;
        if self.told == authorities.generation {
            return;
        }
        self.told = authorities.generation;
        let (Ok(trusted), Ok(signing)) = (authorities.trust(), authorities.signing()) else {
            return;
        };
        let signing = signing.der().ok().and_then(|der| key_identifier(&der));
        let trust = Trust {
            generation: authorities.generation,
            authorities: trusted.into_iter().map(Into::into).collect(),
            renew: signing.is_some_and(|signing| signing != self.certificate.authority_key),
        };
        let message = ToProxy { message: Some(to_proxy::Message::Trust(trust)) };
        self.send(Ok(message)).await;
    }

    /// After a decision: whether the proxy is still a member. If so it learns whom to trust.
    async fn is_welcome(&mut self) -> bool {
        if !self.service.ledger.state().admits(&self.certificate) {
            tracing::warn!(proxy = self.certificate.name, "a revoked proxy is cut off");
            let refuse = Refuse { message: "this proxy was revoked".to_owned() };
            let message = ToProxy { message: Some(to_proxy::Message::Refuse(refuse)) };
            self.send(Ok(message)).await;
            return false;
        }
        if self.proxy.is_some() {
            self.tell_trust().await;
        }
        true
    }

    /// Hands a message over; false when nobody takes it, or not in time.
    async fn send(&self, message: Result<ToProxy, Status>) -> bool {
        tokio::select! {
            sent = self.answers.send_timeout(message, PATIENCE) => sent.is_ok(),
            () = self.service.stop.cancelled() => false,
            () = self.end.cancelled() => false,
        }
    }

    /// Does what the session says; false ends the stream.
    async fn perform(&mut self, outputs: Vec<Output>) -> bool {
        for output in outputs {
            match output {
                Output::Send(message) => {
                    if !self.send(Ok(message)).await {
                        return false;
                    }
                }
                Output::News(news) => {
                    if let Err(status) = self.news(news) {
                        self.send(Err(status)).await;
                        return false;
                    }
                }
                Output::Close => return false,
            }
        }
        true
    }

    fn news(&mut self, news: News) -> Result<(), Status> {
        let now = Timestamp::now();
        let SyncService { registry, cache, metrics, .. } = &self.service;
        if let News::Hello(hello) = &news {
            let line = Line { end: self.end.clone(), commands: self.commands.clone() };
            registry
                .connected(self.id, hello, &self.certificate, line, now)
                .map_err(|full| Status::resource_exhausted(full.to_string()))?;
            tracing::info!(proxy = hello.proxy, version = hello.running.0, "proxy connected");
            self.proxy = Some(hello.proxy.clone());
            if let Some(level) = self.log_level.take() {
                self.logs(level);
            }
            if self.resets_breakers {
                registry.resets_breakers(&hello.proxy, self.id);
            }
        }
        let proxy = self.proxy.as_deref().unwrap_or_default();
        let committed_at = cache.newest().map_or(now, |release| release.committed_at);
        match &news {
            News::Rejected { version, errors, .. } => {
                let first = errors.first().map(|e| e.message.as_str()).unwrap_or_default();
                tracing::warn!(proxy, version = version.0, first, "proxy refused a version");
            }
            News::RootMismatch => tracing::error!(proxy, "proxy runs other content than it says"),
            News::Declined(reason) => tracing::warn!(proxy, reason, "proxy declined"),
            News::Active { version, .. } => {
                tracing::debug!(proxy, version = version.0, "version active");
            }
            News::Hello(_) | News::Pushed { .. } | News::Validated(_) => {}
        }
        metrics.sync(&news, now.duration_since(committed_at).as_secs_f64());
        registry.news(proxy, self.id, news, committed_at, now);
        Ok(())
    }
}
