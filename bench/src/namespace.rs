//! A network for one benchmark alone, in which packets can be lost.
//!
//! The benchmark becomes itself once more in a network namespace of its own, with nothing but a
//! loopback in it. Whatever is lost there is lost for nobody else, and it all goes away with the
//! last process that is in it, however that ends. Needs root, `unshare`, `ip` and `nft`.

use std::{convert::Infallible, net::SocketAddr, os::unix::process::CommandExt, process::Command};

use anyhow::{Context, Result, ensure};

/// The option by which a benchmark knows that it is inside.
pub(crate) const INSIDE: &str = "--inside";

/// Becomes this program with the same arguments inside a network of its own.
pub(crate) fn enter() -> Result<Infallible> {
    let own = std::env::current_exe().context("could not find out where this program lies")?;
    let mut command = Command::new("unshare");
    command.args(["--net", "--"]).arg(own).args(std::env::args_os().skip(1)).arg(INSIDE);
    Err(command.exec()).context("could not run unshare, which takes util-linux")
}

/// Makes the loopback of a new network work.
pub(crate) fn begin() -> Result<()> {
    run("ip", &["link", "set", "lo", "up"])
        .context("a network of its own takes root; in a container, start that with --privileged")
}

/// What is sent to an address or from it is lost, without a word, until this is dropped.
#[derive(Debug)]
pub(crate) struct Silence;

impl Silence {
    /// Begins.
    pub(crate) fn of(address: SocketAddr) -> Result<Self> {
        let port = address.port();
        run(
            "nft",
            &[&format!(
                "add table inet lost; \
                 add chain inet lost input {{ type filter hook input priority 0 ; }}; \
                 add rule inet lost input tcp dport {port} drop; \
                 add rule inet lost input tcp sport {port} drop"
            )],
        )?;
        Ok(Self)
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // If it stays, the namespace takes it along.
        let _ = run("nft", &["delete table inet lost"]);
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let shown = format!("{program} {}", arguments.join(" "));
    let output = Command::new(program).args(arguments).output();
    let output = output.with_context(|| format!("could not run `{shown}`"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`{shown}` failed: {}", said.trim());
    Ok(())
}
