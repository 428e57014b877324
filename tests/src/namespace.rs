//! Machines of a test: network namespaces, the cables between them, and what goes wrong there.
//!
//! A program in a namespace listens on its own loopback; a [`Namespace::relay`] makes that
//! reachable for the test without going over a cable, so what a test sees does not depend on the
//! fault it made. Needs root, `ip` and `nft`.

use std::{
    fs::File,
    io,
    net::SocketAddr,
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::net::{TcpListener, TcpStream};

/// Where `ip` keeps the names.
const NAMES: &str = "/run/netns";
/// What the names of all tests begin with; the process and a number follow.
const PREFIX: &str = "lbtest-";

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A network of its own with nothing but a loopback in it. It goes away when dropped.
#[derive(Debug, Clone)]
pub struct Namespace(Arc<Name>);

#[derive(Debug)]
struct Name(String);

impl Namespace {
    /// A new one.
    pub fn new() -> Self {
        sweep();
        let name = format!("{PREFIX}{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
        if let Err(error) = run("ip", &["netns", "add", &name]) {
            panic!(
                "this test makes network namespaces, which only root may: run it as root, for \
                 one with `sudo -E env PATH=$PATH cargo test -p lb-tests`; in a container, start \
                 that with --privileged ({error})"
            );
        }
        let namespace = Self(Arc::new(Name(name)));
        namespace.ip("link set lo up");
        namespace
    }

    /// Connects it to another with a cable, whose ends are called `end` here and `other_end`
    /// there, and have these addresses, such as `10.77.1.1/30`.
    pub fn connect(&self, end: &str, address: &str, other: &Self, other_end: &str, there: &str) {
        let (name, other_name) = (&self.0.0, &other.0.0);
        ip(&format!(
            "link add {end} netns {name} type veth peer name {other_end} netns {other_name}"
        ));
        for (namespace, end, address) in [(self, end, address), (other, other_end, there)] {
            namespace.ip(&format!("address add {address} dev {end}"));
            namespace.ip(&format!("link set {end} up"));
        }
    }

    /// Pulls the cable out, or puts it in again.
    pub fn plug(&self, end: &str, is_in: bool) {
        self.ip(&format!("link set {end} {}", if is_in { "up" } else { "down" }));
    }

    /// Drops what comes in at `end`, goes out there, or both: all of it, or so many percent.
    pub fn lose(&self, end: &str, coming: u8, going: u8) {
        self.lose_nothing();
        for (hook, side, percent) in [("input", "iifname", coming), ("output", "oifname", going)] {
            let share = match percent {
                0 => continue,
                1..100 => format!("numgen random mod 100 < {percent}"),
                _ => String::new(),
            };
            self.nft(&format!(
                "add table inet lbtest; \
                 add chain inet lbtest {hook} {{ type filter hook {hook} priority 0 ; }}; \
                 add rule inet lbtest {hook} {side} \"{end}\" {share} counter drop"
            ));
        }
    }

    /// Ends what [`Namespace::lose`] began.
    pub fn lose_nothing(&self) {
        self.nft("add table inet lbtest; delete table inet lbtest");
    }

    /// How a program with these arguments is started inside.
    pub fn command(&self, program: &Path, arguments: Vec<String>) -> (PathBuf, Vec<String>) {
        let program = program.display().to_string();
        let before = ["netns", "exec", &self.0.0, &program].map(str::to_owned);
        ("ip".into(), before.into_iter().chain(arguments).collect())
    }

    /// An address of this test that leads to `inside`, an address in the namespace.
    pub async fn relay(&self, inside: &str) -> SocketAddr {
        let inside: SocketAddr = inside.parse().expect("an address");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let outside = listener.local_addr().expect("its address");
        // A socket belongs to the namespace of the thread that made it.
        let listener = listener.into_std().expect("a socket");
        let namespace = File::open(Path::new(NAMES).join(&self.0.0)).expect("the namespace");
        // It ends with the process of the tests.
        thread::spawn(move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("to enter the namespace");
            drop(namespace);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async move {
                let listener = TcpListener::from_std(listener).expect("a socket");
                while let Ok((outer, _)) = listener.accept().await {
                    tokio::spawn(pass(outer, inside));
                }
            });
        });
        outside
    }

    fn ip(&self, what: &str) {
        ip(&format!("-netns {} {what}", self.0.0));
    }

    fn nft(&self, what: &str) {
        let made = run("ip", &["netns", "exec", &self.0.0, "nft", what]);
        made.unwrap_or_else(|error| panic!("{error}"));
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        // What is left over is taken away by the next test that makes one.
        let _ = run("ip", &["netns", "delete", &self.0]);
    }
}

async fn pass(mut outer: TcpStream, inside: SocketAddr) -> io::Result<()> {
    let mut inner = TcpStream::connect(inside).await?;
    tokio::io::copy_bidirectional(&mut outer, &mut inner).await?;
    Ok(())
}

/// Takes away what tests left that were killed.
fn sweep() {
    let entries = std::fs::read_dir(NAMES).into_iter().flatten().flatten();
    for name in entries.filter_map(|entry| entry.file_name().into_string().ok()) {
        let process = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            let _ = run("ip", &["netns", "delete", &name]);
        }
    }
}

fn ip(what: &str) {
    let words: Vec<_> = what.split(' ').collect();
    run("ip", &words).unwrap_or_else(|error| panic!("{error}"));
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let shown = format!("{program} {}", arguments.join(" "));
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| format!("could not run `{shown}`: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("`{shown}` failed: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
