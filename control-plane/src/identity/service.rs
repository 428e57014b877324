//! Answers proxies that join, renew, or come back late.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_lc_rs::{constant_time, hmac, rand};
use jiff::Timestamp;
use lb_proto::v1::{
    ChallengeRequest, ChallengeResponse, EnrollRequest, Issued, RenewLapsedRequest, RenewRequest,
    enrollment_server::Enrollment, identity_server::Identity,
};
use tonic::{Request, Response, Status};

use super::{
    authority::{AuthorityError, key_signed, read_proxy, signed_by},
    ledger::{Ledger, LedgerError},
    throttle::Throttle,
};
use crate::sync::transport::Peer;

/// How long after its end a certificate may still be renewed, in seconds.
pub const LAPSE: i64 = 7 * 86_400;
/// How long a challenge is good, in seconds.
const CHALLENGE: i64 = 60;

/// Answers proxies.
#[derive(Clone)]
pub struct IdentityService {
    ledger: Arc<Ledger>,
    throttle: Arc<Mutex<Throttle>>,
    challenges: Arc<hmac::Key>,
}

impl IdentityService {
    /// Answers from a ledger.
    ///
    /// # Errors
    ///
    /// When the system gives no randomness.
    pub fn new(ledger: Arc<Ledger>) -> Result<Self, aws_lc_rs::error::Unspecified> {
        let mut key = [0; 32];
        rand::fill(&mut key)?;
        Ok(Self {
            ledger,
            throttle: Arc::default(),
            challenges: Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &key)),
        })
    }

    fn throttle(&self) -> std::sync::MutexGuard<'_, Throttle> {
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn may_try(&self, source: IpAddr, now: i64) -> Result<(), Status> {
        match self.throttle().wait(source, now) {
            Some(seconds) => Err(Status::resource_exhausted(format!(
                "too many failed attempts from {source}; wait {seconds} seconds"
            ))),
            None => Ok(()),
        }
    }

    fn issued(&self, proxy: String, chain: Vec<Vec<u8>>) -> Result<Response<Issued>, Status> {
        let state = self.ledger.state();
        let trust = state.authorities.trust().map_err(|error| internal(&error))?;
        Ok(Response::new(Issued {
            proxy,
            chain: chain.into_iter().map(Into::into).collect(),
            trust: trust.into_iter().map(Into::into).collect(),
            renew_after_ms: half_life(self.ledger.life()).as_millis() as u64,
        }))
    }

    /// A challenge is the time and its MAC: nothing is kept of it.
    fn challenge(&self, now: i64) -> Vec<u8> {
        let mut challenge = now.to_be_bytes().to_vec();
        challenge.extend_from_slice(hmac::sign(&self.challenges, &now.to_be_bytes()).as_ref());
        challenge
    }

    fn is_fresh(&self, challenge: &[u8], now: i64) -> bool {
        let Some((time, _)) = challenge.split_at_checked(8) else { return false };
        let time = i64::from_be_bytes(time.try_into().unwrap_or_default());
        (0..=CHALLENGE).contains(&(now - time))
            && constant_time::verify_slices_are_equal(&self.challenge(time), challenge).is_ok()
    }

    fn renew_lapsed(&self, request: &RenewLapsedRequest, now: i64) -> Result<String, Status> {
        let refused = Status::unauthenticated;
        if !self.is_fresh(&request.challenge, now) {
            return Err(refused("the challenge is not one of this control plane, or too old"));
        }
        let state = self.ledger.state();
        let trust = state.authorities.trust().map_err(|error| internal(&error))?;
        if !signed_by(&request.certificate, &trust) {
            return Err(refused("the certificate is not of this fleet; join with a new token"));
        }
        let certificate = read_proxy(&request.certificate)
            .ok_or_else(|| refused("the certificate is not that of a proxy"))?;
        let message = [&request.challenge[..], &request.csr[..]].concat();
        if !key_signed(&request.certificate, &message, &request.signature) {
            return Err(refused("the request is not signed by the key of the certificate"));
        }
        if now > certificate.not_after + LAPSE {
            return Err(refused(
                "the certificate ended more than 7 days ago; join with a new token",
            ));
        }
        if !state.is_member(&certificate.name) {
            return Err(Status::permission_denied("the proxy was revoked"));
        }
        Ok(certificate.name)
    }
}

#[tonic::async_trait]
impl Enrollment for IdentityService {
    async fn enroll(&self, request: Request<EnrollRequest>) -> Result<Response<Issued>, Status> {
        let (source, now) = (source(&request)?, Timestamp::now().as_second());
        self.may_try(source, now)?;
        let EnrollRequest { token, csr, wanted_name, .. } = request.into_inner();
        match self.ledger.enroll(&token, &csr, &wanted_name).await {
            Ok((name, chain)) => self.issued(name, chain),
            Err(error) => {
                self.throttle().fail(source, now);
                tracing::warn!(%source, %error, "a proxy was not let in");
                Err(status(&error))
            }
        }
    }

    async fn challenge(
        &self,
        _: Request<ChallengeRequest>,
    ) -> Result<Response<ChallengeResponse>, Status> {
        let challenge = self.challenge(Timestamp::now().as_second()).into();
        Ok(Response::new(ChallengeResponse { challenge }))
    }

    async fn renew_lapsed(
        &self,
        request: Request<RenewLapsedRequest>,
    ) -> Result<Response<Issued>, Status> {
        let (source, now) = (source(&request)?, Timestamp::now().as_second());
        self.may_try(source, now)?;
        let request = request.into_inner();
        let name = IdentityService::renew_lapsed(self, &request, now).inspect_err(|status| {
            self.throttle().fail(source, now);
            tracing::warn!(%source, reason = status.message(), "a late renewal was refused");
        })?;
        tracing::info!(proxy = name, "a certificate that had ended was renewed");
        let chain = self.ledger.renew(&name, &request.csr).map_err(|error| status(&error))?;
        self.issued(name, chain)
    }
}

#[tonic::async_trait]
impl Identity for IdentityService {
    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<Issued>, Status> {
        let name = member(&request, &self.ledger)?;
        let csr = request.into_inner().csr;
        let chain = self.ledger.renew(&name, &csr).map_err(|error| status(&error))?;
        self.issued(name, chain)
    }
}

/// The name of the member that asks, from its certificate.
///
/// # Errors
///
/// When it showed none, or was revoked.
pub fn member<T>(request: &Request<T>, ledger: &Ledger) -> Result<String, Status> {
    let peer = request.extensions().get::<Peer>();
    let certificate = peer.and_then(|peer| peer.proxy.as_ref()).ok_or_else(|| {
        Status::unauthenticated("a proxy shows its certificate; join with a token first")
    })?;
    if !ledger.state().is_member(&certificate.name) {
        return Err(Status::permission_denied("the proxy was revoked, or never joined"));
    }
    Ok(certificate.name.clone())
}

/// When a certificate is renewed: at half its life, each proxy at another moment.
fn half_life(life: Duration) -> Duration {
    let random = uuid::Uuid::new_v4().as_u64_pair().1 % 1_000;
    life.mul_f64(0.45 + 0.1 * random as f64 / 1_000.0)
}

fn source<T>(request: &Request<T>) -> Result<IpAddr, Status> {
    let peer = request.extensions().get::<Peer>();
    peer.map(|peer| peer.address.ip()).ok_or_else(|| Status::internal("no peer address"))
}

fn status(error: &LedgerError) -> Status {
    match error {
        LedgerError::Token(invalid) => Status::unauthenticated(invalid.to_string()),
        LedgerError::Unknown { .. } => Status::permission_denied(error.to_string()),
        LedgerError::Full => Status::resource_exhausted(error.to_string()),
        LedgerError::Authority(AuthorityError::InvalidRequest) => {
            Status::invalid_argument(error.to_string())
        }
        _ => internal(error),
    }
}

fn internal(error: &dyn std::error::Error) -> Status {
    tracing::error!(%error, "identity failed");
    Status::unavailable("the control plane could not keep or make the certificate; try again")
}
