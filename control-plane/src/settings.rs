//! The control plane's own settings: flags, and `LB_CONTROL_PLANE_*` variables.
//!
//! Nothing here describes traffic; that is in the configuration, and hot.

use std::{collections::BTreeMap, ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Parser, Subcommand, ValueEnum};
use lb_telemetry::logging::Format;

use crate::admin::tls;

/// Keeps the configuration of a fleet of proxies and streams it to them.
#[derive(Debug, Clone, Parser)]
#[command(name = "lb-control-plane", version)]
pub struct Settings {
    /// Where the configuration and its history are kept
    #[arg(long, value_name = "DIR", env = "LB_CONTROL_PLANE_DATA_DIR")]
    pub data_dir: PathBuf,

    /// Where the REST API answers; other addresses than loopback take a token for an operator,
    /// and are served over TLS
    #[arg(
        long,
        value_name = "ADDR",
        default_value = "127.0.0.1:9700",
        env = "LB_CONTROL_PLANE_ADMIN_ADDR"
    )]
    pub admin_addr: SocketAddr,

    /// A name under which operators reach the REST API, for the certificate that the fleet's
    /// authority signs; may be repeated
    #[arg(
        long = "admin-name",
        value_name = "NAME",
        env = "LB_CONTROL_PLANE_ADMIN_NAME",
        value_delimiter = ','
    )]
    pub admin_names: Vec<String>,

    /// A certificate chain in PEM for the REST API, instead of one by the fleet's authority
    #[arg(long, value_name = "FILE", requires = "admin_key", env = "LB_CONTROL_PLANE_ADMIN_CERT")]
    pub admin_cert: Option<PathBuf>,

    /// Its private key in PEM
    #[arg(long, value_name = "FILE", requires = "admin_cert", env = "LB_CONTROL_PLANE_ADMIN_KEY")]
    pub admin_key: Option<PathBuf>,

    /// Where proxies connect, with certificates of the fleet
    #[arg(
        long,
        value_name = "ADDR",
        default_value = "127.0.0.1:9701",
        env = "LB_CONTROL_PLANE_SYNC_ADDR"
    )]
    pub sync_addr: SocketAddr,

    /// A document, or a directory of them, that holds the configuration: it is read at the start,
    /// whenever it changes and at SIGHUP, and the API refuses changes
    #[arg(long, short, value_name = "FILE_OR_DIR", env = "LB_CONTROL_PLANE_CONFIG")]
    pub config: Option<PathBuf>,

    /// Set one value over the documents and the environment; may be repeated
    #[arg(long, value_name = "PATH=VALUE", value_parser = pair, requires = "config")]
    pub set: Vec<(String, String)>,

    /// How often the documents are looked at where the system does not report changes
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "5s",
        value_parser = poll,
        env = "LB_CONTROL_PLANE_CONFIG_POLL"
    )]
    pub config_poll: Duration,

    /// The environment at the start, which documents may name
    #[arg(skip)]
    pub environment: BTreeMap<String, String>,

    /// The file with the key that seals everything in the data directory; made at the first start
    /// [default: DATA_DIR.key, beside the directory]
    #[arg(long, value_name = "FILE", env = "LB_CONTROL_PLANE_SECRETS_KEY_FILE")]
    pub secrets_key_file: Option<PathBuf>,

    /// How much of the disk is held back, to be given up when it runs full; 0 holds back nothing
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "64MiB",
        value_parser = size,
        env = "LB_CONTROL_PLANE_BALLAST"
    )]
    pub ballast: u64,

    /// How long the certificate of a proxy lives; it is renewed at half of that
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "24h",
        value_parser = certificate_life,
        env = "LB_CONTROL_PLANE_PROXY_CERTIFICATE_LIFE"
    )]
    pub proxy_certificate_life: Duration,

    /// Fill the empty data directory from a backup, and exit
    #[arg(long, value_name = "FILE")]
    pub restore: Option<PathBuf>,

    /// What is logged: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "info", env = "LB_CONTROL_PLANE_LOG_LEVEL")]
    pub log_level: String,

    /// How log lines look
    #[arg(
        long,
        value_name = "FORMAT",
        value_enum,
        default_value = "text",
        env = "LB_CONTROL_PLANE_LOG_FORMAT"
    )]
    pub log_format: LogFormat,

    #[command(subcommand)]
    /// Something else than to run
    pub command: Option<Command>,
}

/// What the program does instead of running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Make a token for an admin, when none is left; the control plane must not run
    RecoverToken,
}

impl Settings {
    /// How the REST API is served: over TLS with a certificate from there, or in plain.
    pub fn admin_tls(&self) -> Option<tls::Source> {
        match (&self.admin_cert, &self.admin_key) {
            (Some(certificate), Some(key)) => {
                Some(tls::Source::Files { certificate: certificate.clone(), key: key.clone() })
            }
            _ if self.admin_addr.ip().is_loopback() && self.admin_names.is_empty() => None,
            _ => Some(tls::Source::Fleet(tls::names(self.admin_addr, &self.admin_names))),
        }
    }
}

impl Settings {
    /// Reads flags and the environment, once.
    pub fn read() -> Self {
        let text = |(name, value): (OsString, OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let environment = std::env::vars_os().filter_map(text).collect();
        Self { environment, ..Self::parse() }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

impl From<LogFormat> for Format {
    fn from(format: LogFormat) -> Self {
        match format {
            LogFormat::Text => Self::Text,
            LogFormat::Json => Self::Json,
        }
    }
}

fn size(text: &str) -> Result<u64, String> {
    match lb_model::value::ByteSize::parse(text) {
        Ok(size) => Ok(size.0),
        Err(error) => Err(format!("{error}; {}", error.help.as_deref().unwrap_or_default())),
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    lb_source::pair(text).map_err(|error| error.to_string())
}

fn poll(text: &str) -> Result<Duration, String> {
    match lb_model::value::Duration::parse(text) {
        Ok(poll) if poll.as_millis() >= 100 => Ok(poll.get()),
        Ok(_) => Err("looking more often than every 100ms is of no use".to_owned()),
        Err(error) => Err(format!("{error}; {}", error.help.as_deref().unwrap_or_default())),
    }
}

fn certificate_life(text: &str) -> Result<Duration, String> {
    match lb_model::value::Duration::parse(text) {
        Ok(life) if life.as_millis() >= 1_000 => Ok(life.get()),
        Ok(_) => Err("a certificate lives for at least 1s".to_owned()),
        Err(error) => Err(format!("{error}; {}", error.help.as_deref().unwrap_or_default())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_is_spoken_beyond_loopback_and_where_it_is_asked_for() {
        let of = |flags: &[&str]| {
            let line = [&["lb-control-plane", "--data-dir", "d"], flags].concat();
            Settings::try_parse_from(line).map(|settings| settings.admin_tls())
        };
        assert!(of(&[]).unwrap().is_none());
        assert!(of(&["--admin-addr", "[::1]:9700"]).unwrap().is_none());
        let Some(tls::Source::Fleet(names)) = of(&["--admin-addr", "10.0.0.7:9700"]).unwrap()
        else {
            panic!("TLS")
        };
        assert!(names.contains(&"10.0.0.7".to_owned()), "{names:?}");
        let files = of(&["--admin-cert", "c.pem", "--admin-key", "k.pem"]).unwrap();
        assert!(matches!(files, Some(tls::Source::Files { .. })));
        assert!(of(&["--admin-cert", "c.pem"]).is_err());
        assert!(of(&["--admin-addr", "localhost"]).is_err());
    }
}
