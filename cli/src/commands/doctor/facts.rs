//! What is found out: asks the control plane and this machine, and judges nothing.

use std::net::{Ipv4Addr, TcpListener};

use jiff::Timestamp;
use lb_model::api::{
    BackendList, BlueGreenList, CanaryList, CertificateView, HealthView, ObjectList, OverrideList,
    ProxyList, ServiceView,
};
use rustix::process::{Resource, getrlimit};

use crate::{
    args::{Environment, Filter},
    client::{Answer, Client},
    context::{Contexts, settings::Settings},
    exit::Failure,
};

/// Ports of this machine that a control plane and a proxy take by default, and for what.
pub(super) const PORTS: [(u16, &str); 5] = [
    (8000, "requests in plain"),
    (8443, "requests over TLS"),
    (9700, "the API of a control plane"),
    (9701, "proxies of a control plane"),
    (9702, "the admin endpoint of a proxy"),
];

/// Everything that is known.
#[derive(Debug)]
pub(super) struct Facts {
    /// How many contexts there are, and where.
    pub(super) contexts: Result<(usize, String), Failure>,
    /// The control plane that is meant, as it is typed.
    pub(super) server: Option<String>,
    /// Whether a token is shown to it.
    pub(super) has_token: bool,
    /// Whether it answers, and its clock; then the middle of asking by ours.
    pub(super) reached: Result<Clocks, Failure>,
    /// When all of this was found out.
    pub(super) now: Timestamp,
    /// What the control plane says, where it may be asked.
    pub(super) fleet: Option<Result<Fleet, Failure>>,
    /// How many files this user's programs may open; nothing where there is no limit.
    pub(super) open_files: Option<u64>,
    /// Which of [`PORTS`] are taken.
    pub(super) taken: Vec<u16>,
}

/// Two clocks at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clocks {
    /// Theirs, if it was told.
    pub(super) theirs: Option<Timestamp>,
    /// Ours.
    pub(super) ours: Timestamp,
}

/// What the control plane says.
#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) health: HealthView,
    pub(super) proxies: ProxyList,
    pub(super) backends: BackendList,
    pub(super) overrides: OverrideList,
    /// Absent where the control plane is too old to say.
    pub(super) blue_green: Option<BlueGreenList>,
    /// Absent where the control plane is too old to say.
    pub(super) canaries: Option<CanaryList>,
    /// Absent where the control plane is too old to say.
    pub(super) certificates: Option<Vec<CertificateView>>,
    /// Absent where the control plane is too old to say.
    pub(super) services: Option<Vec<ServiceView>>,
}

/// Finds everything out.
pub(super) async fn gather(
    settings: Result<&Settings, &Failure>,
    environment: &Environment,
) -> Facts {
    let contexts = match settings {
        Err(failure) => Err(failure.clone()),
        Ok(_) => Contexts::read(environment).map(|contexts| {
            let file = contexts.file.as_ref().map(|file| file.display().to_string());
            (contexts.all().len(), file.unwrap_or_else(|| "no file".to_owned()))
        }),
    };
    let client = match settings {
        Ok(settings) => Client::open(settings),
        Err(failure) => Err(failure.clone()),
    };
    let server = client.as_ref().ok().map(Client::name);
    let has_token = settings.is_ok_and(|settings| settings.token.is_some());
    let (reached, fleet) = match &client {
        Err(failure) => (Err(failure.clone()), None),
        Ok(client) => match reach(client).await {
            Ok(clocks) => (Ok(clocks), Some(ask(client).await)),
            Err(failure) => (Err(failure), None),
        },
    };
    Facts {
        contexts,
        server,
        has_token,
        reached,
        now: Timestamp::now(),
        fleet,
        open_files: getrlimit(Resource::Nofile).current,
        taken: PORTS.iter().map(|(port, _)| *port).filter(|port| is_taken(*port)).collect(),
    }
}

async fn reach(client: &Client) -> Result<Clocks, Failure> {
    let before = Timestamp::now();
    let date = client.date().await?;
    let half = (Timestamp::now().as_millisecond() - before.as_millisecond()) / 2;
    let ours = Timestamp::from_millisecond(before.as_millisecond() + half).unwrap_or(before);
    let parse = |date: String| {
        jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date.as_str()).ok()
    };
    Ok(Clocks { theirs: date.and_then(parse), ours })
}

async fn ask(client: &Client) -> Result<Fleet, Failure> {
    let certificates = known(client.objects("certificates").await)?;
    let services = known(client.objects("services").await)?;
    Ok(Fleet {
        health: client.health().await?,
        proxies: client.proxies().await?,
        backends: client.backends(&Filter::default()).await?,
        overrides: client.overrides().await?,
        blue_green: known(client.blue_green().await)?,
        canaries: known(client.canaries().await)?,
        certificates: certificates.and_then(|list| match list {
            ObjectList::Certificates { objects, .. } => Some(objects),
            _ => None,
        }),
        services: services.and_then(|list| match list {
            ObjectList::Services { objects, .. } => Some(objects),
            _ => None,
        }),
    })
}

/// What an older control plane does not know is no failure.
fn known<T>(answer: Answer<T>) -> Result<Option<T>, Failure> {
    match answer {
        Ok(list) => Ok(Some(list)),
        Err(error) => match Failure::from(error) {
            failure if failure.exit == crate::exit::Exit::NotFound => Ok(None),
            failure => Err(failure),
        },
    }
}

fn is_taken(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_err()
}
