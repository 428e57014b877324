//! How a simulated proxy becomes a member of the fleet and reaches the control plane: by the
//! code of the real ones, with a key, a certificate and a connection of its own.

use std::{io, net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context, Result};
use lb_data_plane::identity::{Identity, material::Keys};
use lb_model::value::Secret;
use lb_proto::v1::{FromProxy, Trust, Trusted, from_proxy};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinSet,
    time::sleep,
};
use tonic::transport::Channel;

use crate::{cluster::token, http::Caller};

/// How a proxy that crawls reads: about 1 KiB a second.
const SIP: usize = 256;
const SIPS: Duration = Duration::from_millis(250);

/// A member of the fleet.
#[derive(Debug)]
pub(crate) struct Member {
    identity: Identity,
    control_plane: String,
    relay: Option<JoinSet<()>>,
}

impl Member {
    /// Joins the fleet; the key is kept in `directory`.
    pub(crate) async fn join(
        name: &str,
        control_plane: SocketAddr,
        admin: &mut Caller,
        directory: &Path,
    ) -> Result<Self> {
        std::fs::create_dir_all(directory)?;
        let token = Secret::new(token(admin, name).await?);
        let keys = Keys::in_directory(directory);
        let identity = Identity::open(keys, Some(token), name.to_owned())?;
        let control_plane = format!("https://{control_plane}");
        let mut member = Self { identity, control_plane, relay: None };
        member.open().await?;
        Ok(member)
    }

    /// From now on, this member reads about 1 KiB a second.
    pub(crate) async fn crawl(&mut self, control_plane: SocketAddr) -> Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        self.control_plane = format!("https://{}", listener.local_addr()?);
        let mut relay = JoinSet::new();
        relay.spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                // Whatever breaks, the next connection is another.
                let _ = crawling(near, control_plane).await;
            }
        });
        self.relay = Some(relay);
        Ok(())
    }

    /// Opens a connection.
    pub(crate) async fn open(&mut self) -> Result<Channel> {
        let now = jiff::Timestamp::now().as_second();
        self.identity.connect(&self.control_plane, now).await.context("not connected")
    }

    /// Takes over whom to trust, and gives the answer.
    pub(crate) fn trust(&mut self, trust: Trust) -> Result<FromProxy> {
        let Trust { generation, authorities, .. } = trust;
        self.identity.trust(authorities.into_iter().map(Into::into).collect())?;
        Ok(FromProxy { message: Some(from_proxy::Message::Trusted(Trusted { generation })) })
    }
}

/// Carries one connection, slowly in the direction of the proxy.
async fn crawling(near: TcpStream, control_plane: SocketAddr) -> io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    // Or the kernel would read ahead.
    socket.set_recv_buffer_size(2_048)?;
    let far = socket.connect(control_plane).await?;
    let (mut far_reads, mut far_writes) = far.into_split();
    let (mut near_reads, mut near_writes) = near.into_split();
    let slowly = async {
        let mut sip = [0; SIP];
        loop {
            match far_reads.read(&mut sip).await? {
                0 => return Ok(0),
                read => near_writes.write_all(&sip[..read]).await?,
            }
            sleep(SIPS).await;
        }
    };
    tokio::select! {
        ended = slowly => ended,
        ended = tokio::io::copy(&mut near_reads, &mut far_writes) => ended,
    }
    .map(|_| ())
}
