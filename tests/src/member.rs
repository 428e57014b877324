//! A member of the fleet that says whatever a test wants: no proxy, only its certificate.

use lb_data_plane::identity::{
    connect,
    material::{Pending, authority_of},
};
use lb_model::wire::SCHEMA;
use lb_proto::v1::{
    EnrollRequest, FromProxy, Hello, ReportBatch, ToProxy, config_sync_client::ConfigSyncClient,
    enrollment_client::EnrollmentClient, from_proxy, telemetry_client::TelemetryClient, to_proxy,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, transport::Channel};

use crate::{control_plane::ControlPlane, eventually::eventually};

/// Somebody with a certificate of the fleet, and a connection.
#[derive(Debug, Clone)]
pub struct Member {
    name: String,
    channel: Channel,
}

/// A sync stream in the hands of a test.
#[derive(Debug)]
pub struct Stream {
    to: mpsc::Sender<FromProxy>,
    from: Streaming<ToProxy>,
}

impl Member {
    /// Joins the fleet as `name`.
    pub async fn join(control_plane: &ControlPlane, name: &str) -> Self {
        Self::join_labelled(control_plane, name, &[]).await
    }

    /// Joins the fleet as `name`, with labels.
    pub async fn join_labelled(control_plane: &ControlPlane, name: &str, labels: &[&str]) -> Self {
        let url = control_plane.sync_url();
        let token = control_plane.labelled_token(name, labels).await;
        let authority = authority_of(&token).expect("a token");
        let stranger = connect::stranger(authority).expect("TLS for a stranger");
        let channel = connect::channel(&url, stranger).await.expect("a connection");
        let pending = Pending::new().expect("a key");
        let request = EnrollRequest {
            token,
            csr: pending.request().expect("a request").into(),
            ..EnrollRequest::default()
        };
        let issued = EnrollmentClient::new(channel).enroll(request).await.expect("to be let in");
        let material = pending.complete(issued.into_inner()).expect("a certificate");
        let member = connect::member(&material).expect("TLS for a member");
        let channel = connect::channel(&url, member).await.expect("a connection");
        Self { name: name.to_owned(), channel }
    }

    /// How it would introduce itself if it were honest and ran nothing.
    pub fn hello(&self) -> Hello {
        Hello {
            proxy: self.name.clone(),
            instance: "1".to_owned(),
            schema_min: SCHEMA,
            schema_max: SCHEMA,
            ..Hello::default()
        }
    }

    /// Opens a stream that begins with `first`.
    pub async fn open(&self, first: from_proxy::Message) -> Stream {
        let (to, messages) = mpsc::channel(16);
        let first = FromProxy { message: Some(first) };
        to.send(first).await.expect("room for the first message");
        let mut client = ConfigSyncClient::new(self.channel.clone());
        let from = client.sync(ReceiverStream::new(messages)).await.expect("a stream");
        Stream { to, from: from.into_inner() }
    }

    /// Sends batches of reports and waits until they have arrived, in order, on one stream.
    pub async fn report(&self, batches: Vec<ReportBatch>) {
        let mut client = TelemetryClient::new(self.channel.clone());
        let answers = client.report(tokio_stream::iter(batches)).await.expect("a stream");
        let mut answers = answers.into_inner();
        while let Ok(Some(_)) = answers.message().await {}
    }
}

impl Stream {
    /// Says something; whether the stream was still there.
    pub async fn say(&self, message: from_proxy::Message) -> bool {
        self.to.send(FromProxy { message: Some(message) }).await.is_ok()
    }

    /// The next message but for the authorities; none at the end of the stream.
    pub async fn next(&mut self) -> Option<to_proxy::Message> {
        loop {
            match self.from.message().await {
                Ok(Some(ToProxy { message: Some(to_proxy::Message::Trust(_)) })) => {}
                Ok(Some(message)) => return message.message,
                Ok(None) | Err(_) => return None,
            }
        }
    }

    /// The rest of the stream, which must end.
    pub async fn rest(mut self) -> Vec<to_proxy::Message> {
        let mut rest = Vec::new();
        eventually("the stream ends", async || {
            while let Some(message) = self.next().await {
                rest.push(message);
            }
            Ok(())
        })
        .await;
        rest
    }
}
