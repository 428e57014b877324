//! How this proxy proves who it is.
//!
//! At the first start it makes a key, which never leaves the machine, and joins with a single-use
//! token. From then on it has a certificate, which it renews at half its life; one that ended
//! while the control plane was gone is renewed with the key that belongs to it. None of this has
//! anything to do with serving: a proxy without a certificate serves what it has.

pub mod connect;
pub mod material;

use std::time::{Duration, Instant};

use lb_model::value::Secret;
use lb_proto::v1::{
    ChallengeRequest, EnrollRequest, Issued, RenewLapsedRequest, RenewRequest,
    enrollment_client::EnrollmentClient, identity_client::IdentityClient,
};
use tonic::{Status, transport::Channel};

use self::material::{Keys, Material, MaterialError, Pending};

/// The proxy's identity and what it takes to keep it.
#[derive(Debug)]
pub struct Identity {
    keys: Keys,
    material: Option<Material>,
    token: Option<Secret<String>>,
    wanted_name: String,
    renew_at: Option<Instant>,
}

/// Why a proxy has no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Its key or certificate cannot be kept.
    #[error(transparent)]
    Material(#[from] MaterialError),
    /// It was not given a token.
    #[error(
        "this proxy has not joined a fleet yet: make a token with `lbctl tokens create --proxy` \
         and start it with --join-token-file FILE"
    )]
    NoToken,
    /// The token is not one.
    #[error("the join token is not one; it looks like lbt1.ID.SECRET.AUTHORITY")]
    InvalidToken,
    /// The control plane said no, or was not there.
    #[error("{action}: {}", status.message())]
    Refused {
        /// What was asked.
        action: &'static str,
        /// The answer.
        status: Status,
    },
    /// No connection came about.
    #[error("the control plane was not reached")]
    Connect(#[from] tonic::transport::Error),
    /// TLS could not be set up.
    #[error("TLS could not be set up")]
    Tls(#[from] rustls::Error),
}

impl IdentityError {
    fn refused(action: &'static str) -> impl FnOnce(Status) -> Self {
        move |status| Self::Refused { action, status }
    }
}

impl Identity {
    /// The identity in a data directory, or none yet; `token` is for joining.
    ///
    /// # Errors
    ///
    /// When there is one and it cannot be read.
    pub fn open(
        keys: Keys,
        token: Option<Secret<String>>,
        wanted_name: String,
    ) -> Result<Self, IdentityError> {
        let material = keys.load()?;
        Ok(Self { keys, material, token, wanted_name, renew_at: None })
    }

    /// What the fleet calls this proxy, once it has joined.
    pub fn name(&self) -> Option<&str> {
        self.material.as_ref().map(|material| material.name.as_str())
    }

    /// A channel on which this proxy is known. Joins or renews first when it must; `now` is in
    /// seconds since 1970.
    ///
    /// # Errors
    ///
    /// When there is no control plane, or it does not let this proxy in.
    pub async fn connect(
        &mut self,
        control_plane: &str,
        now: i64,
    ) -> Result<Channel, IdentityError> {
        if self.material.is_none() {
            self.join(control_plane).await?;
        }
        let lapsed = self.material.as_ref().is_some_and(|material| now >= material.not_after);
        if lapsed {
            self.renew_lapsed(control_plane).await?;
        }
        let Some(material) = &self.material else { return Err(IdentityError::NoToken) };
        if self.renew_at.is_none() {
            // After a restart the moment is not known: half of what is left.
            let left = u64::try_from(material.not_after - now).unwrap_or(0);
            self.renew_at = Some(Instant::now() + Duration::from_secs(left / 2));
        }
        Ok(connect::channel(control_plane, connect::member(material)?).await?)
    }

    async fn join(&mut self, control_plane: &str) -> Result<(), IdentityError> {
        let Some(token) = &self.token else { return Err(IdentityError::NoToken) };
        let authority =
            material::authority_of(token.expose_secret()).ok_or(IdentityError::InvalidToken)?;
        let channel = connect::channel(control_plane, connect::stranger(authority)?).await?;
        let pending = Pending::new()?;
        let request = EnrollRequest {
            token: token.expose_secret().trim().to_owned(),
            csr: pending.request()?.into(),
            wanted_name: self.wanted_name.clone(),
            software_version: lb_telemetry::SOFTWARE_VERSION.to_owned(),
        };
        let issued = EnrollmentClient::new(channel)
            .enroll(request)
            .await
            .map_err(IdentityError::refused("the control plane did not let this proxy join"))?;
        self.take(pending, issued.into_inner())?;
        // It is used up.
        self.token = None;
        tracing::info!(proxy = self.name(), "joined the fleet");
        Ok(())
    }

    async fn renew_lapsed(&mut self, control_plane: &str) -> Result<(), IdentityError> {
        let Some(material) = &self.material else { return Err(IdentityError::NoToken) };
        let refused = IdentityError::refused;
        let action = "the control plane did not renew a certificate that has ended";
        let channel = connect::channel(control_plane, connect::lapsed(material)?).await?;
        let mut client = EnrollmentClient::new(channel);
        let challenge = client.challenge(ChallengeRequest {}).await.map_err(refused(action))?;
        let challenge = challenge.into_inner().challenge;
        let pending = Pending::new()?;
        let csr = pending.request()?;
        let message = [&challenge[..], &csr[..]].concat();
        let request = RenewLapsedRequest {
            certificate: material.leaf().to_vec().into(),
            signature: material.sign(&message)?.into(),
            csr: csr.into(),
            challenge,
        };
        match client.renew_lapsed(request).await {
            Ok(issued) => {
                self.take(pending, issued.into_inner())?;
                tracing::info!(proxy = self.name(), "renewed a certificate that had ended");
                Ok(())
            }
            Err(status) => {
                // A new token is the way out, if there is one.
                if self.token.is_some() && status.code() == tonic::Code::Unauthenticated {
                    tracing::warn!(reason = status.message(), "joining anew");
                    self.material = None;
                    return self.join(control_plane).await;
                }
                Err(refused(action)(status))
            }
        }
    }

    /// Waits until the certificate should be renewed.
    pub async fn renewal_due(&self) {
        match self.renew_at {
            Some(at) => tokio::time::sleep_until(at.into()).await,
            None => std::future::pending().await,
        }
    }

    /// Asks for a new certificate on a channel on which this proxy is known.
    ///
    /// # Errors
    ///
    /// When the control plane says no; it is asked again later.
    pub async fn renew(&mut self, channel: Channel) -> Result<(), IdentityError> {
        // Should it fail, soon again, and not in a loop.
        self.renew_at = Some(Instant::now() + Duration::from_secs(30));
        let pending = Pending::new()?;
        let request = RenewRequest { csr: pending.request()?.into() };
        let issued = IdentityClient::new(channel)
            .renew(request)
            .await
            .map_err(IdentityError::refused("the control plane did not renew the certificate"))?;
        self.take(pending, issued.into_inner())?;
        tracing::info!(proxy = self.name(), "certificate renewed");
        Ok(())
    }

    /// Takes over whom to trust.
    ///
    /// # Errors
    ///
    /// When it cannot be kept.
    pub fn trust(&mut self, authorities: Vec<Vec<u8>>) -> Result<(), IdentityError> {
        let Some(material) = &mut self.material else { return Ok(()) };
        if material.trust != authorities && !authorities.is_empty() {
            material.trust = authorities;
            self.keys.save(material)?;
            tracing::info!("the authorities of the fleet changed");
        }
        Ok(())
    }

    fn take(&mut self, pending: Pending, issued: Issued) -> Result<(), IdentityError> {
        let renew_after = Duration::from_millis(issued.renew_after_ms);
        let material = pending.complete(issued)?;
        self.keys.save(&material)?;
        self.material = Some(material);
        self.renew_at = Some(Instant::now() + renew_after);
        Ok(())
    }
}
