//! Carries the messages of a sync session, and finds its way back after every interruption.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use lb_proto::v1::{self, config_sync_client::ConfigSyncClient};
use lb_telemetry::logging::{LogLevel, Logged};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::session::{Identity, Input, Output, Running, Session};
use crate::{
    apply::{Applied, Applier},
    identity::Identity as Credentials,
    metrics::ApplyMetrics,
    report::SharedReporter,
};

/// The largest message taken from the control plane. Pushes come in small chunks, but a
/// single resource may be larger.
const MAX_MESSAGE: usize = 64 << 20;
/// How many messages wait for a slow control plane.
const QUEUE: usize = 16;

/// The first and the longest pause between two attempts.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// Follows a control plane.
#[derive(Debug)]
pub struct Client {
    /// Where it is.
    pub control_plane: String,
    /// Who follows.
    pub identity: Identity,
    /// How it proves that.
    pub credentials: Credentials,
    /// Makes versions serve.
    pub applier: Applier,
    /// What serves already.
    pub running: Option<Running>,
    /// Reports over the same connection.
    pub reporter: SharedReporter,
    /// What is counted.
    pub metrics: Arc<ApplyMetrics>,
    /// How much is logged.
    pub log: Arc<LogLevel>,
}

impl Client {
    /// Follows until told to stop, then gives the applier back.
    pub async fn run(mut self, stop: CancellationToken) -> Applier {
        let mut pause = PAUSE.0;
        // A reason is said once, and again when it was another in between.
        let mut said = String::new();
        loop {
            let mut welcome = false;
            let ended = tokio::select! {
                () = stop.cancelled() => return self.applier,
                ended = self.follow(&mut welcome) => ended,
            };
            if self.metrics.is_connected() {
                tracing::warn!(reason = ended, "control plane lost; serving on without it");
            } else if ended == said {
                tracing::debug!(reason = ended, "control plane not followed");
            } else {
                tracing::warn!(reason = ended, "control plane not followed; trying again");
            }
            said = ended;
            self.metrics.connected(false);
            if welcome {
                pause = PAUSE.0;
            }
            // A fleet that lost its control plane must not come back as one.
            let wait = jittered(pause);
            pause = (pause * 2).min(PAUSE.1);
            let until = tokio::time::Instant::now() + wait;
            while tokio::time::Instant::now() < until {
                tokio::select! {
                    () = stop.cancelled() => return self.applier,
                    () = self.applier.survived() => {}
                    () = tokio::time::sleep_until(until) => {}
                }
            }
        }
    }

    /// One stream from its beginning to its end; gives the reason of the end.
    async fn follow(&mut self, welcome: &mut bool) -> String {
        let now = jiff::Timestamp::now().as_second();
        let channel = match self.credentials.connect(&self.control_plane, now).await {
            Ok(channel) => channel,
            Err(error) => return chain(&error),
        };
        if let Some(name) = self.credentials.name() {
            name.clone_into(&mut self.identity.proxy);
        }
        let (answers, stream) = mpsc::channel(QUEUE);
        let mut session = Session::new(self.identity.clone(), self.running.clone())
            .with_poisoned(self.applier.poisoned())
            .with_listeners(self.applier.listeners())
            .with_persisted(self.applier.is_persisted())
            .with_log_level(logged(&self.log));
        let mut log_changes = self.log.watch();
        for output in session.handle(Input::Connected) {
            if let Output::Send(message) = output
                && answers.send(message).await.is_err()
            {
                return "the stream did not open".to_owned();
            }
        }
        let mut client =
            ConfigSyncClient::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE);
        let mut messages = match client.sync(ReceiverStream::new(stream)).await {
            Ok(response) => response.into_inner(),
            Err(status) => return status.message().to_owned(),
        };
        let (reporter, reports) = (Arc::clone(&self.reporter), channel.clone());
        let report = tokio::spawn(async move {
            if let Err(status) = reporter.run(reports).await {
                tracing::debug!(%status, "report stream ended");
            }
        });
        let _end_with_stream = AbortOnDrop(report.abort_handle());
        loop {
            let message = tokio::select! {
                message = messages.next() => message,
                () = self.applier.survived() => continue,
                Ok(()) = log_changes.changed() => {
                    // Also when a level ends by itself.
                    if answers.send(log_level(logged(&self.log))).await.is_err() {
                        return "the stream broke".to_owned();
                    }
                    continue;
                }
                () = self.credentials.renewal_due() => {
                    self.renew(&channel).await;
                    continue;
                }
            };
            let message = match message {
                Some(Ok(message)) => message,
                Some(Err(status)) => return status.message().to_owned(),
                None => return "the control plane closed the stream".to_owned(),
            };
            if !*welcome && matches!(message.message, Some(v1::to_proxy::Message::Welcome(_))) {
                *welcome = true;
                self.metrics.connected(true);
                tracing::info!(control_plane = self.control_plane, "following the control plane");
            }
            if let Some(v1::to_proxy::Message::Trust(trust)) = message.message {
                let renewed = trust.renew;
                if let Some(answer) = self.trust(trust, &channel).await
                    && answers.send(answer).await.is_err()
                {
                    return "the stream broke".to_owned();
                }
                if renewed {
                    // The control plane sees who signed a certificate when a stream opens.
                    return "coming back with a certificate of the new authority".to_owned();
                }
                continue;
            }
            if let Some(v1::to_proxy::Message::SetLogLevel(wanted)) = message.message {
                let lasts = Duration::from_millis(wanted.for_ms);
                // What was taken is told by the arm that waits for changes.
                if let Err(error) = self.log.set(&wanted.level, lasts) {
                    let answer = v1::LogLevel { error, ..logged(&self.log) };
                    if answers.send(log_level(answer)).await.is_err() {
                        return "the stream broke".to_owned();
                    }
                }
                continue;
            }
            if let Some(v1::to_proxy::Message::ResetBreakers(asked)) = message.message {
                if answers.send(self.reset_breakers(&asked)).await.is_err() {
                    return "the stream broke".to_owned();
                }
                continue;
            }
            let outputs = session.handle(Input::Message(message));
            if let Err(reason) = self.perform(&mut session, outputs, &answers).await {
                return reason;
            }
        }
    }

    /// Renews the certificate. The stream goes on with the one it began with.
    async fn renew(&mut self, channel: &Channel) {
        if let Err(error) = self.credentials.renew(channel.clone()).await {
            tracing::warn!(reason = chain(&error), "certificate not renewed; trying again");
        }
    }

    /// Takes over whom to trust, and renews at once where that is asked for.
    async fn trust(&mut self, trust: v1::Trust, channel: &Channel) -> Option<v1::FromProxy> {
        let v1::Trust { generation, authorities, renew } = trust;
        let authorities = authorities.into_iter().map(Into::into).collect();
        if let Err(error) = self.credentials.trust(authorities) {
            tracing::error!(reason = chain(&error), "the authorities of the fleet were not kept");
            return None;
        }
        if renew {
            self.renew(channel).await;
        }
        let trusted = v1::from_proxy::Message::Trusted(v1::Trusted { generation });
        Some(v1::FromProxy { message: Some(trusted) })
    }

    /// Closes circuit breakers, and says how many.
    fn reset_breakers(&self, asked: &v1::ResetBreakers) -> v1::FromProxy {
        let v1::ResetBreakers { id, backend } = asked;
        let (found, closed) = self.reporter.runtime.reset_breakers(backend);
        tracing::info!(backend, found, closed, "circuit breakers reset");
        let answer = v1::BreakersReset { id: *id, found, closed };
        v1::FromProxy { message: Some(v1::from_proxy::Message::BreakersReset(answer)) }
    }

    /// Does what the session says; an error ends the stream.
    async fn perform(
        &mut self,
        session: &mut Session,
        outputs: Vec<Output>,
        answers: &mpsc::Sender<v1::FromProxy>,
    ) -> Result<(), String> {
        let mut outputs = std::collections::VecDeque::from(outputs);
        while let Some(output) = outputs.pop_front() {
            let input = match output {
                Output::Send(message) => {
                    answers.send(message).await.map_err(|_| "the stream broke".to_owned())?;
                    continue;
                }
                Output::Close(reason) => {
                    tracing::warn!(reason, "not following this control plane");
                    // What is queued is still wanted: it tells the other side why.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    return Err(reason);
                }
                Output::Apply(candidate) => {
                    let validated = async || {
                        for output in session.handle(Input::Validated) {
                            if let Output::Send(message) = output {
                                let _ = answers.send(message).await;
                            }
                        }
                    };
                    match self.applier.apply(&candidate.next, validated).await {
                        Ok(applied) => {
                            self.running = Some(candidate.next);
                            active(applied)
                        }
                        Err(errors) => Input::Failed(errors),
                    }
                }
                Output::Renumber(candidate) => {
                    let applied = self.applier.renumber(&candidate.next).await;
                    self.running = Some(candidate.next);
                    active(applied)
                }
            };
            outputs.extend(session.handle(input));
        }
        Ok(())
    }
}

/// How much is logged, for the control plane.
fn logged(log: &LogLevel) -> v1::LogLevel {
    let Logged { level, until } = log.now();
    let left = |until: Instant| until.saturating_duration_since(Instant::now()).as_millis() as u64;
    v1::LogLevel { level, ends_in_ms: until.map(left), error: String::new() }
}

fn log_level(level: v1::LogLevel) -> v1::FromProxy {
    v1::FromProxy { message: Some(v1::from_proxy::Message::LogLevel(level)) }
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn active(applied: Applied) -> Input {
    Input::Active { persisted: applied.persisted, listeners: applied.listeners }
}

/// A random part of a pause, at least half of it: with short parts, pauses that double grow past
/// the outage, and a fleet that lost its control plane for a moment would miss it for long.
fn jittered(pause: Duration) -> Duration {
    let random = uuid::Uuid::new_v4().as_u64_pair().1 % 1_000;
    let share = 0.5 + 0.5 * random as f64 / 1_000.0;
    pause.mul_f64(share)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
