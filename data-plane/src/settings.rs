//! The proxy's own settings: flags, and `LB_DATA_PLANE_*` variables.
//!
//! Nothing here describes traffic; that comes from the control plane, and is hot.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Parser, ValueEnum};
use lb_model::value::Label;
use lb_telemetry::logging::Format;

/// Takes traffic as the control plane says, and goes on without it.
#[derive(Debug, Clone, Parser)]
#[command(name = "lb-data-plane", version)]
pub struct Settings {
    /// Where the control plane takes proxies
    #[arg(
        long,
        value_name = "URL",
        default_value = "https://127.0.0.1:9701",
        value_parser = control_plane,
        env = "LB_DATA_PLANE_CONTROL_PLANE"
    )]
    pub control_plane: String,

    /// Where the last good configuration is kept
    #[arg(long, value_name = "DIR", env = "LB_DATA_PLANE_DATA_DIR")]
    pub data_dir: PathBuf,

    /// Where health, metrics and the state of this proxy are answered; loopback only
    #[arg(
        long,
        value_name = "ADDR",
        default_value = "127.0.0.1:9702",
        value_parser = loopback,
        env = "LB_DATA_PLANE_ADMIN_ADDR"
    )]
    pub admin_addr: SocketAddr,

    /// Threads that serve traffic; one for each processor by default
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024), env = "LB_DATA_PLANE_WORKERS")]
    pub workers: Option<u16>,

    /// Where this proxy stands: backends of the same zone get its requests first
    #[arg(long, value_name = "ZONE", value_parser = zone, env = "LB_DATA_PLANE_ZONE")]
    pub zone: Option<Label>,

    /// What this proxy would like to be called; the control plane decides when it joins
    #[arg(long, value_name = "NAME", value_parser = name, env = "LB_DATA_PLANE_NAME")]
    pub name: Option<String>,

    /// A file with the token that lets this proxy join the fleet; needed once
    #[arg(long, value_name = "FILE", env = "LB_DATA_PLANE_JOIN_TOKEN_FILE")]
    pub join_token_file: Option<PathBuf>,

    /// The most memory that a version may be expected to need; larger ones are refused
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "1GiB",
        value_parser = size,
        env = "LB_DATA_PLANE_MEMORY_BUDGET"
    )]
    pub memory_budget: u64,

    /// Follow a control plane whose history is not the one this proxy has followed so far
    #[arg(long, env = "LB_DATA_PLANE_ADOPT_LINEAGE")]
    pub adopt_lineage: bool,

    /// After SIGTERM: how long new connections are still taken while `/readyz` says 503
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "5s",
        value_parser = duration,
        env = "LB_DATA_PLANE_DRAIN_ACCEPT_GRACE"
    )]
    pub drain_accept_grace: Duration,

    /// After that: how long requests may take to finish
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "30s",
        value_parser = duration,
        env = "LB_DATA_PLANE_DRAIN_TIMEOUT"
    )]
    pub drain_timeout: Duration,

    /// What is logged: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "info", env = "LB_DATA_PLANE_LOG_LEVEL")]
    pub log_level: String,

    /// How log lines look
    #[arg(
        long,
        value_name = "FORMAT",
        value_enum,
        default_value = "text",
        env = "LB_DATA_PLANE_LOG_FORMAT"
    )]
    pub log_format: LogFormat,
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

fn zone(text: &str) -> Result<Label, String> {
    Label::parse(text).map_err(|error| error.to_string())
}

fn control_plane(text: &str) -> Result<String, String> {
    let wrong =
        |why: &str| format!("{why}; write https://HOST:PORT, such as https://127.0.0.1:9701");
    let rest = match text.split_once("://") {
        Some(("https", rest)) => rest,
        Some(("http", _)) => return Err(wrong("a control plane is only reached over TLS")),
        _ => return Err(wrong("a URL is wanted")),
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
            Ok(format!("https://{authority}"))
        }
        _ => Err(wrong("the URL has no host and port")),
    }
}

/// Whoever asks is not authenticated yet, so they must be on this machine.
fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text
        .parse()
        .map_err(|_| format!("`{text}` is not an address and a port, such as 127.0.0.1:9702"))?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err(format!(
            "{address} can be reached from other machines, and callers are not authenticated \
             yet; use 127.0.0.1:{}",
            address.port()
        ))
    }
}

fn name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if (1..=64).contains(&text.len()) && text.chars().all(fits) {
        Ok(text.to_owned())
    } else {
        Err("a name has 1 to 64 letters, digits, `-`, `_` and `.`".to_owned())
    }
}

fn size(text: &str) -> Result<u64, String> {
    match lb_model::value::ByteSize::parse(text) {
        Ok(size) => Ok(size.0),
        Err(error) => Err(format!("{error}; {}", error.help.as_deref().unwrap_or_default())),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    match lb_model::value::Duration::parse(text) {
        Ok(duration) => Ok(duration.get()),
        Err(error) => Err(format!("{error}; {}", error.help.as_deref().unwrap_or_default())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_control_plane_is_a_url_with_a_port() {
        assert_eq!(control_plane("https://cp:9701/").unwrap(), "https://cp:9701");
        for bad in ["cp:9701", "http://cp:1", "https://cp", "https://:1", "ftp://cp:1"] {
            assert!(control_plane(bad).unwrap_err().contains("write https://HOST:PORT"), "{bad}");
        }
    }

    #[test]
    fn the_admin_endpoint_stays_on_this_machine() {
        assert!(loopback("127.0.0.1:0").is_ok());
        assert!(loopback("0.0.0.0:9702").unwrap_err().contains("use 127.0.0.1:9702"));
    }
}
