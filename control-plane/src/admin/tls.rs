//! TLS towards operators: a certificate of the fleet's authority, or one from files.
//!
//! Either is made or read anew while the control plane runs: when the authorities change, before
//! the certificate ends, and when the files change.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    identity::{
        authority::{AuthorityError, Pair, SERVER_NAME},
        ledger::Ledger,
    },
    sync::transport::{SERVER_LIFE, private_key},
};

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(30);
/// The file in the data directory with the certificates of the trusted authorities.
pub const AUTHORITY_FILE: &str = "authority.pem";

/// Where the certificate comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// The fleet's authority signs one for these names and addresses.
    Fleet(Vec<String>),
    /// Two files in PEM.
    Files {
        /// The chain, leaf first.
        certificate: PathBuf,
        /// Its key.
        key: PathBuf,
    },
}

/// TLS that could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("could not read {what} in {path}")]
    File {
        /// What was looked for.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: rustls::pki_types::pem::Error,
    },
    /// The authority failed.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// Certificate and key do not fit together.
    #[error("the certificate for operators cannot be used")]
    Unusable(#[from] rustls::Error),
}

/// The names under which operators reach a control plane that listens at `address`.
pub fn names(address: SocketAddr, more: &[String]) -> Vec<String> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let mut names = vec![SERVER_NAME.to_owned(), "localhost".to_owned(), host];
    names.extend([IpAddr::from([127, 0, 0, 1]), address.ip()].map(|ip| ip.to_string()));
    names.extend(more.iter().cloned());
    names.retain(|name| !name.is_empty());
    names.sort();
    names.dedup();
    names
}

/// How TLS is spoken now.
///
/// # Errors
///
/// When the certificate cannot be had.
pub fn config(source: &Source, ledger: &Ledger) -> Result<Arc<ServerConfig>, TlsError> {
    let (chain, key) = match source {
        Source::Fleet(names) => {
            let authorities = &ledger.state().authorities;
            let Pair { chain, key } = authorities.server_pair(names.clone(), SERVER_LIFE)?;
            (chain.into_iter().map(CertificateDer::from).collect(), private_key(&key))
        }
        Source::Files { certificate, key } => (read_chain(certificate)?, read_key(key)?),
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::File { what: "certificates", path: path.to_owned(), source };
    CertificateDer::pem_file_iter(path).map_err(failed)?.collect::<Result<_, _>>().map_err(failed)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|source| TlsError::File {
        what: "a private key",
        path: path.to_owned(),
        source,
    })
}

/// Keeps the configuration, and the file with the authorities, as they should be until told to
/// stop.
pub async fn follow(
    configs: Option<(Source, watch::Sender<Arc<ServerConfig>>)>,
    ledger: Arc<Ledger>,
    directory: PathBuf,
    stop: CancellationToken,
) {
    let mut changes = ledger.watch();
    let mut generation = 0;
    let (mut made, mut seen) = (Instant::now(), None);
    loop {
        let now = ledger.state().authorities.generation;
        let is_changed = now != generation;
        if is_changed && let Err(error) = write_authorities(&ledger, &directory) {
            tracing::error!(%error, file = AUTHORITY_FILE, "not written");
        }
        if let Some((source, sender)) = &configs {
            let is_due = match source {
                Source::Fleet(_) => {
                    (is_changed && generation > 0) || made.elapsed() > SERVER_LIFE / 2
                }
                Source::Files { certificate, key } => {
                    let times = [certificate, key].map(|path| modified(path));
                    let before = seen.replace(times);
                    before.is_some_and(|before| before != times)
                }
            };
            if is_due {
                match config(source, &ledger) {
                    Ok(config) => {
                        made = Instant::now();
                        sender.send_replace(config);
                        tracing::info!("the certificate for operators is a new one");
                    }
                    Err(error) => {
                        let cause = std::error::Error::source(&error).map(ToString::to_string);
                        tracing::error!(%error, cause, "the certificate for operators stays");
                    }
                }
            }
        }
        generation = now;
        tokio::select! {
            () = stop.cancelled() => return,
            changed = changes.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

fn modified(path: &Path) -> Option<std::time::SystemTime> {
    std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

/// The certificates of the trusted authorities, in PEM.
///
/// # Errors
///
/// When the authorities cannot be read.
pub fn authorities(ledger: &Ledger) -> Result<String, AuthorityError> {
    let pem = |der: Vec<u8>| {
        let text = STANDARD.encode(der);
        let lines = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect::<Vec<_>>();
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
    };
    Ok(ledger.state().authorities.trust()?.into_iter().map(pem).collect())
}

fn write_authorities(ledger: &Ledger, directory: &Path) -> anyhow::Result<()> {
    let temporary = directory.join(format!(".{AUTHORITY_FILE}"));
    std::fs::write(&temporary, authorities(ledger)?)?;
    std::fs::rename(temporary, directory.join(AUTHORITY_FILE))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_names_where_operators_ask() {
        let names = names("10.0.0.7:9700".parse().unwrap(), &["lb.example".to_owned()]);
        for name in ["10.0.0.7", "127.0.0.1", "localhost", "lb.example", SERVER_NAME] {
            assert!(names.iter().any(|each| each == name), "{name}: {names:?}");
        }
    }
}
