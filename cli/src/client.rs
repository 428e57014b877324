//! Talks to the REST API of a control plane.
//!
//! Knows paths, headers and problems; decides nothing. Every call has a deadline.

pub(crate) mod operate;

use std::{error::Error, path::Path, time::Duration};

use lb_model::{
    Bundle, Diagnostics, Version,
    api::{
        AuthorityView, BUNDLE_TYPE, Committed, ConfigView, Diff, ExplainRequest, Explanation,
        HealthView, OriginList, Plan, Problem, ProxyList, TokenCreated, TokenList, TokenRequest,
        VersionList,
    },
    value::Secret,
};
use reqwest::{
    Certificate, Method, RequestBuilder, Url,
    header::{CONTENT_TYPE, IF_MATCH},
};
use serde::de::DeserializeOwned;

use crate::{
    context::settings::{Settings, Token},
    exit::{Exit, Failure},
};

const CONNECT: Duration = Duration::from_secs(5);
/// For a backup, which may be large.
const BACKUP: Duration = Duration::from_mins(30);
const WHOLE: Duration = Duration::from_secs(30);

/// A control plane.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    server: Url,
    token: Option<Secret<String>>,
    http: reqwest::Client,
}

/// Who changes something, and why.
#[derive(Debug, Clone)]
pub(crate) struct Signature {
    pub(crate) author: String,
    pub(crate) reason: String,
}

/// Why a call gave no answer.
#[derive(Debug)]
pub(crate) enum ApiError {
    /// Nobody answered.
    Unreachable { server: String, why: String, causes: Vec<String> },
    /// The answer did not come in time.
    TooLate { server: String },
    /// The control plane said no, and why.
    Refused(Box<Problem>),
    /// Somebody answered who is no control plane, or another version of one.
    Stranger { server: String, status: u16, why: String },
}

pub(crate) type Answer<T> = Result<T, ApiError>;

impl Client {
    /// A client as flags, the environment and contexts say.
    pub(crate) fn open(settings: &Settings) -> Result<Self, Failure> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|error| {
                let why = crate::source::reason(&error);
                Failure::new(format!("could not read {}: {why}", path.display()))
            })
        };
        let token = match settings.token.as_ref().map(|token| &token.value) {
            Some(Token::File(path)) => {
                let text = String::from_utf8_lossy(&read(path)?).trim().to_owned();
                Some(Secret::new(text))
            }
            Some(Token::Text(text)) => Some(text.clone()),
            None => None,
        };
        let authority = settings.ca.as_ref().map(|ca| read(&ca.value)).transpose()?;
        Self::new(&settings.server.value, authority.as_deref(), token)
    }

    /// A client of the control plane at this address, which trusts an authority in PEM, or those
    /// of the system, and shows a token.
    pub(crate) fn new(
        server: &Url,
        authority: Option<&[u8]>,
        token: Option<Secret<String>>,
    ) -> Result<Self, Failure> {
        if token.is_some() && server.scheme() == "http" && !is_loopback(server) {
            let what = format!("the token would travel to {server} for everybody to read");
            return Err(Failure::new(what)
                .exit(Exit::NotAuthorised)
                .fix("name the control plane with https://, and its authority with --ca"));
        }
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("lbctl/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .timeout(WHOLE)
            .redirect(reqwest::redirect::Policy::none());
        if server.scheme() == "http" {
            // The system's certificates are not needed, and a small image may have none.
            builder = builder.tls_certs_only([]);
        } else if let Some(authority) = authority {
            let certificates = Certificate::from_pem_bundle(authority).unwrap_or_default();
            if certificates.is_empty() {
                return Err(Failure::new("the file of --ca holds no certificate in PEM").fix(
                    "write one with `lbctl authority --pem`, or take authority.pem from the \
                          control plane's data directory",
                ));
            }
            builder = builder.tls_certs_only(certificates);
        }
        if is_loopback(server) {
            // What HTTP_PROXY names cannot reach this machine's loopback addresses.
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| {
            Failure::new(format!("could not set up a client for {server}: {}", causes(&error)))
        })?;
        Ok(Self { server: server.clone(), token, http })
    }

    /// The documents of the current version.
    pub(crate) async fn config(&self) -> Answer<ConfigView> {
        self.get(&["api", "v1", "config"], &[]).await
    }

    /// Makes a bundle the current version if `expected` is current now.
    pub(crate) async fn put_config(
        &self,
        bundle: &Bundle,
        expected: Version,
        signature: &Signature,
        dry_run: bool,
    ) -> Answer<Committed> {
        let body = serde_json::to_vec(bundle).map_err(|error| self.stranger(0, &error))?;
        let mut request = self
            .request(Method::PUT, &["api", "v1", "config"])
            .query(&[("author", &signature.author), ("reason", &signature.reason)])
            .header(CONTENT_TYPE, BUNDLE_TYPE)
            .header(IF_MATCH, format!("\"{expected}\""))
            .body(body);
        if dry_run {
            request = request.query(&[("dry_run", "true")]);
        }
        self.send(request).await
    }

    /// The documents of an older version, and who made it when and why.
    pub(crate) async fn version(&self, version: Version) -> Answer<ConfigView> {
        self.get(&["api", "v1", "versions", &version.to_string()], &[]).await
    }

    /// What leads from one version to another; from the one before when `from` is absent.
    pub(crate) async fn diff(&self, from: Option<Version>, to: Version) -> Answer<Diff> {
        let query: Vec<_> = from.map(|from| ("from", from.to_string())).into_iter().collect();
        self.get(&["api", "v1", "versions", &to.to_string(), "diff"], &query).await
    }

    /// What a bundle would change, compared with a version or with the current one.
    pub(crate) async fn plan(&self, bundle: &Bundle, base: Option<Version>) -> Answer<Plan> {
        let body = serde_json::to_vec(bundle).map_err(|error| self.stranger(0, &error))?;
        let request = self.request(Method::POST, &["api", "v1", "plan"]);
        let request = request.header(CONTENT_TYPE, BUNDLE_TYPE).body(body);
        let base = base.map(|base| ("base", base.to_string()));
        self.send(request.query(&base.as_slice())).await
    }

    /// What would become of a request.
    pub(crate) async fn explain(&self, request: &ExplainRequest) -> Answer<Explanation> {
        self.send(self.request(Method::POST, &["api", "v1", "explain"]).json(request)).await
    }

    /// Where each value of the current version comes from.
    pub(crate) async fn origins(&self) -> Answer<OriginList> {
        self.get(&["api", "v1", "config", "sources"], &[]).await
    }

    /// The newest versions, or those before one.
    pub(crate) async fn versions(&self, limit: u32, before: Option<u64>) -> Answer<VersionList> {
        let mut query = vec![("limit", limit.to_string())];
        query.extend(before.map(|before| ("before", before.to_string())));
        self.get(&["api", "v1", "versions"], &query).await
    }

    /// Makes the content of a version current again, as a new version.
    pub(crate) async fn restore(
        &self,
        version: Version,
        expected: Option<Version>,
        signature: &Signature,
    ) -> Answer<Committed> {
        let version = version.to_string();
        let mut request = self
            .request(Method::POST, &["api", "v1", "versions", &version, "restore"])
            .query(&[("author", &signature.author), ("reason", &signature.reason)]);
        if let Some(expected) = expected {
            request = request.header(IF_MATCH, format!("\"{expected}\""));
        }
        self.send(request).await
    }

    /// Every proxy and what it runs.
    pub(crate) async fn proxies(&self) -> Answer<ProxyList> {
        self.get(&["api", "v1", "proxies"], &[]).await
    }

    /// Ends a proxy's membership.
    pub(crate) async fn revoke_proxy(&self, id: &str, author: &str) -> Answer<serde_json::Value> {
        let path = ["api", "v1", "proxies", id, "revoke"];
        self.send(self.request(Method::POST, &path).query(&[("author", author)])).await
    }

    /// Fetches a backup and hands it over piece by piece.
    pub(crate) async fn backup(
        &self,
        mut take: impl FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<u64, Failure> {
        let request = self.request(Method::GET, &["api", "v1", "backup"]).timeout(BACKUP);
        let mut response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status().as_u16();
        if status != 200 {
            let body = response.bytes().await.map_err(|error| self.unreachable(&error))?;
            return Err(self.refusal(status, &body).into());
        }
        let mut size = 0;
        while let Some(part) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            take(&part).map_err(|error| {
                let why = crate::source::reason(&error);
                Failure::new(format!("could not write the backup: {why}"))
            })?;
            size += part.len() as u64;
        }
        Ok(size)
    }

    /// Makes a token.
    pub(crate) async fn create_token(
        &self,
        token: &TokenRequest,
        author: &str,
    ) -> Answer<TokenCreated> {
        let request = self.request(Method::POST, &["api", "v1", "tokens"]);
        self.send(request.query(&[("author", author)]).json(token)).await
    }

    /// Every token, without secrets.
    pub(crate) async fn tokens(&self) -> Answer<TokenList> {
        self.get(&["api", "v1", "tokens"], &[]).await
    }

    /// Takes a token back.
    pub(crate) async fn revoke_token(&self, id: &str, author: &str) -> Answer<serde_json::Value> {
        let path = ["api", "v1", "tokens", id];
        self.send(self.request(Method::DELETE, &path).query(&[("author", author)])).await
    }

    /// Whom the fleet trusts.
    pub(crate) async fn authority(&self) -> Answer<AuthorityView> {
        self.get(&["api", "v1", "authority"], &[]).await
    }

    /// Begins to replace the authority.
    pub(crate) async fn rotate_authority(&self, author: &str) -> Answer<AuthorityView> {
        let path = ["api", "v1", "authority", "rotate"];
        self.send(self.request(Method::POST, &path).query(&[("author", author)])).await
    }

    /// The control plane's clock, as the `Date` of an answer says it (RFC 9110 section 6.6.1),
    /// if it does. Needs no token.
    pub(crate) async fn date(&self) -> Answer<Option<String>> {
        let request = self.request(Method::GET, &["livez"]);
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let date = response.headers().get(reqwest::header::DATE);
        Ok(date.and_then(|date| date.to_str().ok()).map(str::to_owned))
    }

    /// How the control plane is.
    pub(crate) async fn health(&self) -> Answer<HealthView> {
        let request = self.request(Method::GET, &["admin", "health"]);
        let (status, body) = self.exchange(request).await?;
        // An unhealthy control plane answers with an error status and the same document.
        match serde_json::from_slice(&body) {
            Ok(health) => Ok(health),
            Err(error) if (200..300).contains(&status) => Err(self.stranger(status, &error)),
            Err(_) => Err(self.refusal(status, &body)),
        }
    }

    async fn get<T: DeserializeOwned>(&self, path: &[&str], query: &[(&str, String)]) -> Answer<T> {
        self.send(self.request(Method::GET, path).query(query)).await
    }

    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let mut url = self.server.clone();
        url.set_query(None);
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let request = self.http.request(method, url);
        match &self.token {
            Some(token) => request.bearer_auth(token.expose_secret()),
            None => request,
        }
    }

    async fn send<T: DeserializeOwned>(&self, request: RequestBuilder) -> Answer<T> {
        let (status, body) = self.exchange(request).await?;
        if !(200..300).contains(&status) {
            return Err(self.refusal(status, &body));
        }
        serde_json::from_slice(&body).map_err(|error| self.stranger(status, &error))
    }

    async fn exchange(&self, request: RequestBuilder) -> Answer<(u16, bytes::Bytes)> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status().as_u16();
        let body = response.bytes().await.map_err(|error| self.unreachable(&error))?;
        Ok((status, body))
    }

    fn refusal(&self, status: u16, body: &[u8]) -> ApiError {
        match serde_json::from_slice::<Problem>(body) {
            Ok(problem) => ApiError::Refused(Box::new(Problem { status, ..problem })),
            Err(error) => self.stranger(status, &error),
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> ApiError {
        let server = self.name();
        if error.is_timeout() && !error.is_connect() {
            ApiError::TooLate { server }
        } else {
            ApiError::Unreachable { server, why: causes(error), causes: chain(error) }
        }
    }

    fn stranger(&self, status: u16, error: &dyn Error) -> ApiError {
        ApiError::Stranger { server: self.name(), status, why: error.to_string() }
    }

    /// The address as it is typed, without credentials.
    pub(crate) fn name(&self) -> String {
        let mut url = self.server.clone();
        let _ = url.set_password(None);
        let _ = url.set_username("");
        url.as_str().trim_end_matches('/').to_owned()
    }
}

impl ApiError {
    /// What a configuration was refused for, if that is what happened.
    pub(crate) fn diagnostics(&self) -> Option<&Diagnostics> {
        match self {
            Self::Refused(problem) if !problem.diagnostics.is_empty() => Some(&problem.diagnostics),
            _ => None,
        }
    }

    /// Whether another version than the expected one is current.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused(problem) if problem.status == 412)
    }

    /// The version that is current, where the problem is about it.
    pub(crate) fn current(&self) -> Option<Version> {
        match self {
            Self::Refused(problem) => problem.current,
            _ => None,
        }
    }

    /// Whether there is nothing where it was asked, as in a control plane of an older release.
    pub(crate) fn is_unknown(&self) -> bool {
        matches!(self, Self::Refused(problem) if problem.status == 404)
    }

    /// Whether asking again may help.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::TooLate { .. } => true,
            Self::Refused(problem) => problem.status == 503,
            Self::Stranger { .. } => false,
        }
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::Unreachable { server, why, causes } if why.contains("certificate") => {
                Self::new(format!("could not trust {server}: {why}"))
                    .exit(Exit::Unreachable)
                    .fix(
                        "name the fleet's authority with --ca FILE: authority.pem in the control \
                         plane's data directory, or what `lbctl authority --pem` writes",
                    )
                    .causes(causes)
            }
            ApiError::Unreachable { server, why, causes } => {
                Self::new(format!("could not reach {server}: {why}"))
                    .exit(Exit::Unreachable)
                    .causes(causes)
                    .fix("start one with `lbctl up`, or name another with --server")
            }
            ApiError::TooLate { server } => {
                Self::new(format!("{server} did not answer within {} seconds", WHOLE.as_secs()))
                    .exit(Exit::Unreachable)
                    .fix("look at its log, or try again")
            }
            ApiError::Refused(problem) => refused(&problem),
            ApiError::Stranger { server, status, why } => {
                let what = match status {
                    200..300 => format!("could not read the answer of {server}: {why}"),
                    _ => format!("{server} answered with status {status} and no reason"),
                };
                let exit = match Exit::of_status(status) {
                    exit @ (Exit::NotAuthorised | Exit::Unreachable) => exit,
                    _ => Exit::Failure,
                };
                Self::new(what).exit(exit).fix(
                    "make sure that --server names the admin address of a control plane, \
                          and compare versions with `lbctl version`",
                )
            }
        }
    }
}

fn refused(problem: &Problem) -> Failure {
    let what = if problem.detail.is_empty() { &problem.title } else { &problem.detail };
    let what = what.trim_end_matches('.');
    let what = if what.is_empty() {
        format!("refused with status {}", problem.status)
    } else {
        what.into()
    };
    let failure = Failure::new(what).exit(Exit::of_status(problem.status));
    match problem.code.as_str() {
        "unknown_version" => failure.fix("see which there are with `lbctl history`"),
        "store_unavailable" => failure.fix("look at the log of the control plane"),
        _ => failure,
    }
}

fn is_loopback(server: &Url) -> bool {
    let host = server.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Every cause, the nearest first.
fn chain(error: &(dyn Error + 'static)) -> Vec<String> {
    let (mut causes, mut next) = (Vec::new(), Some(error));
    while let Some(error) = next {
        causes.push(error.to_string());
        next = error.source();
    }
    causes
}

/// The last cause says it best: those above only repeat that a request failed.
fn causes(error: &(dyn Error + 'static)) -> String {
    let mut last: &(dyn Error + 'static) = error;
    while let Some(source) = last.source() {
        last = source;
    }
    match last.downcast_ref::<std::io::Error>() {
        Some(error) => crate::source::reason(error),
        None => last.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(server: &str) -> Client {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Client::new(&Url::parse(server).unwrap(), None, None).unwrap()
    }

    #[test]
    fn paths_are_put_behind_the_servers_own() {
        for (server, expected) in [
            ("http://127.0.0.1:9700", "http://127.0.0.1:9700/admin/health"),
            ("http://lb.example/ops/", "http://lb.example/ops/admin/health"),
            ("http://lb.example/ops?x=1", "http://lb.example/ops/admin/health"),
        ] {
            let request = client(server).request(Method::GET, &["admin", "health"]);
            assert_eq!(request.build().unwrap().url().as_str(), expected);
        }
    }

    #[test]
    fn a_server_without_certificates_of_the_system_can_be_reached_in_plain() {
        let _ = client("http://lb.example");
    }

    #[test]
    fn a_token_is_not_sent_where_everybody_could_read_it() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let token = || Some(Secret::new("lbo1.a.b".to_owned()));
        let new = |server: &str| Client::new(&Url::parse(server).unwrap(), None, token());
        assert!(new("http://127.0.0.1:9700").is_ok() && new("http://[::1]:9700").is_ok());
        let failure = new("http://lb.example:9700").unwrap_err();
        assert!(failure.exit == Exit::NotAuthorised && failure.fix.unwrap().contains("https"));
        let client = new("http://127.0.0.1:9700").unwrap();
        let request = client.request(Method::GET, &["admin", "health"]).build().unwrap();
        assert_eq!(request.headers()["authorization"], "Bearer lbo1.a.b");
        assert!(!format!("{client:?}").contains("lbo1.a.b"));
    }

    #[test]
    fn credentials_of_an_address_are_never_shown() {
        assert_eq!(client("http://me:secret@lb.example/").name(), "http://lb.example");
    }

    #[tokio::test]
    async fn nobody_there_is_said_with_the_fix() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let error = client(&format!("http://{address}")).proxies().await.unwrap_err();
        assert!(error.is_passing());
        let failure = Failure::from(error);
        assert_eq!(failure.exit, Exit::Unreachable);
        assert_eq!(
            failure.to_string(),
            format!(
                "could not reach http://{address}: connection refused; start one with \
                 `lbctl up`, or name another with --server"
            )
        );
    }

    #[test]
    fn problems_become_failures_with_their_code_and_fix() {
        for (status, code, exit, fix) in [
            (409, "held_by_file", Exit::Conflict, None),
            (404, "unknown_version", Exit::NotFound, Some("lbctl history")),
            (503, "store_unavailable", Exit::Unreachable, Some("log")),
            (413, "too_large", Exit::Failure, None),
            (401, "unauthenticated", Exit::NotAuthorised, None),
        ] {
            let problem = Problem {
                status,
                code: code.into(),
                detail: "It does not work.".into(),
                ..Problem::default()
            };
            let failure = Failure::from(ApiError::Refused(Box::new(problem)));
            assert_eq!(failure.exit, exit, "{code}");
            assert_eq!(failure.what, "It does not work");
            match fix {
                Some(fix) => assert!(failure.fix.unwrap().contains(fix), "{code}"),
                None => assert_eq!(failure.fix, None, "{code}"),
            }
        }
    }

    #[test]
    fn an_answer_without_a_reason_asks_whether_the_server_is_right() {
        let error = client("http://lb.example").refusal(502, b"<html>");
        let failure = Failure::from(error);
        assert_eq!(failure.exit, Exit::Failure);
        assert!(failure.what.contains("status 502"), "{failure}");
    }
}
