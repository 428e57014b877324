//! A proxy that follows the control plane and serves nothing.
//!
//! The messages, hashes and answers are those of a real proxy, by its own
//! [`Session`](lb_data_plane::sync::session::Session); only that a version is compiled and
//! switched to takes no time here.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use futures_util::StreamExt;
use lb_data_plane::sync::session::{Identity, Input, Output, Running, Session};
use lb_proto::v1::{
    self, BackendReport, ReportBatch, config_sync_client::ConfigSyncClient,
    telemetry_client::TelemetryClient,
};
use tokio::{sync::mpsc, time::sleep};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use super::{connection::Member, ledger::Ledger};

/// The first and the longest pause between two attempts, those of real proxies.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// How many messages wait for a slow control plane.
const QUEUE: usize = 16;
/// The largest message taken from the control plane.
const MAX_MESSAGE: usize = 64 << 20;
/// How often a proxy reports, and about how many backends.
const REPORTS: Duration = Duration::from_secs(1);
const BACKENDS: usize = 10;

/// What a proxy does with what it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// Acknowledges at once.
    Good,
    /// Reads 1 KiB a second.
    Slow,
    /// Never says anything but its name.
    Mute,
    /// Refuses every version.
    Refusing,
}

/// One proxy.
#[derive(Debug)]
pub(crate) struct Simulated {
    /// What it is called.
    pub(crate) name: String,
    /// What it does.
    pub(crate) behaviour: Behaviour,
    /// How it reaches the control plane.
    pub(crate) member: Member,
    /// Whether it reports, as real proxies do.
    pub(crate) reports: bool,
    /// Where its acknowledgements are written down.
    pub(crate) ledger: Arc<Ledger>,
    /// What it would serve.
    pub(crate) running: Option<Running>,
}

impl Simulated {
    /// Follows the control plane, over every interruption, for ever.
    pub(crate) async fn run(mut self) {
        let mut pause = PAUSE.0;
        loop {
            let mut welcome = false;
            // Whatever ends the stream, the next one begins.
            let _ = self.follow(&mut welcome).await;
            if welcome {
                pause = PAUSE.0;
            }
            sleep(jittered(pause)).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    async fn follow(&mut self, welcome: &mut bool) -> Result<()> {
        let channel = self.member.open().await?;
        let (answers, stream) = mpsc::channel(QUEUE);
        let mut session = Session::new(self.identity(), self.running.clone());
        for output in session.handle(Input::Connected) {
            if let Output::Send(message) = output {
                answers.send(message).await?;
            }
        }
        let client = ConfigSyncClient::new(channel.clone());
        let mut client = client.max_decoding_message_size(MAX_MESSAGE);
        let mut messages = client.sync(ReceiverStream::new(stream)).await?.into_inner();
        let reporting = async {
            if self.reports {
                let _ = report(&self.name, channel).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::pin!(reporting);
        loop {
            let message = tokio::select! {
                message = messages.next() => message.context("the stream ended")??,
                () = &mut reporting => bail!("reports never end"),
            };
            *welcome = true;
            if let Some(v1::to_proxy::Message::Trust(trust)) = message.message {
                answers.send(self.member.trust(trust)?).await?;
                continue;
            }
            let mut outputs = VecDeque::from(session.handle(Input::Message(message)));
            while let Some(output) = outputs.pop_front() {
                match output {
                    Output::Send(_) if self.behaviour == Behaviour::Mute => {}
                    Output::Send(message) => answers.send(message).await?,
                    Output::Apply(_) if self.behaviour == Behaviour::Refusing => {
                        outputs.extend(session.handle(Input::Failed(vec![refusal()])));
                    }
                    Output::Apply(candidate) | Output::Renumber(candidate) => {
                        outputs.extend(session.handle(Input::Validated));
                        let listeners = vec![listener()];
                        let active = Input::Active { persisted: true, listeners };
                        outputs.extend(session.handle(active));
                        if self.behaviour == Behaviour::Good {
                            self.ledger.acknowledge(candidate.next.version);
                        }
                        self.running = Some(candidate.next);
                    }
                    Output::Close(why) => bail!(why),
                }
            }
        }
    }

    fn identity(&self) -> Identity {
        Identity {
            proxy: self.name.clone(),
            instance: "1".to_owned(),
            admin_address: "127.0.0.1:9702".to_owned(),
            adopt_lineage: false,
        }
    }
}

fn listener() -> v1::Listener {
    v1::Listener { entry_point: "web".to_owned(), address: "127.0.0.1:8000".to_owned() }
}

fn refusal() -> v1::ResourceError {
    let mut error = v1::ResourceError {
        kind: "entry_point".to_owned(),
        name: "web".to_owned(),
        message: "this proxy refuses everything".to_owned(),
        code: 0,
    };
    error.set_code(v1::ErrorCode::BindFailed);
    error
}

/// Reports about every second, as a real proxy does with this configuration.
async fn report(name: &str, channel: Channel) -> Result<()> {
    let (batches, stream) = mpsc::channel(1);
    let mut client = TelemetryClient::new(channel);
    // Held, so that the stream stays open.
    let _control = client.report(ReceiverStream::new(stream)).await?;
    for sequence in 1.. {
        sleep(jittered(2 * REPORTS)).await;
        let backend = |index| BackendReport {
            service: "all".to_owned(),
            backend: format!("b{index}"),
            health: v1::BackendHealth::Unchecked.into(),
            requests: 100 * sequence,
            ..BackendReport::default()
        };
        let batch = ReportBatch {
            proxy: name.to_owned(),
            instance: "1".to_owned(),
            sequence,
            backends: (0..BACKENDS).map(backend).collect(),
            ..ReportBatch::default()
        };
        batches.send(batch).await?;
    }
    Ok(())
}

/// A random part of a pause, at least a tenth of it, as real proxies wait.
fn jittered(pause: Duration) -> Duration {
    let random = uuid::Uuid::new_v4().as_u64_pair().1 % 1_000;
    pause.mul_f64(0.5 + 0.5 * random as f64 / 1_000.0)
}
