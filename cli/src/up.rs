//! `lbctl up`: a control plane and proxies on this machine, as child processes.
//!
//! Starts them, waits until each listens, sees to it that they have a configuration, and then
//! watches: whoever dies takes the rest down, with its last words shown. Nothing it started
//! outlives it, save when it is itself killed by SIGKILL; the next run then names what is left.

pub(crate) mod binaries;
mod demo;
mod fleet;
mod server;

use std::{
    ffi::OsStr,
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use lb_model::{
    Bundle, Document, Version,
    api::{ConfigView, ProxyList, SyncState, TokenRequest},
};
use reqwest::Url;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    args::{Environment, Up},
    client::{Client, Signature},
    commands::{apply, check, wait},
    exit::{Exit, Failure},
    output::Output,
    source::{self, Reading},
    up::{
        binaries::Binaries,
        demo::Demo,
        fleet::{Fleet, Trouble},
        server::Launch,
    },
};

/// How long proxies may take to connect and to run the configuration.
const LIVE: Duration = Duration::from_mins(1);

/// Runs a fleet until it is stopped or somebody dies.
pub(crate) async fn run(
    settings: &Up,
    environment: &Environment,
    output: &Output,
) -> Result<Exit, Failure> {
    let binaries = Binaries::find(environment.path.as_deref())?;
    let reading = match settings.files.as_slice() {
        [] if !settings.layers.set.is_empty() => {
            return Err(Failure::new("--set changes a configuration, and none is given")
                .exit(Exit::Usage)
                .fix("name it with -f FILE"));
        }
        [] => None,
        files => {
            let reading =
                source::read(files, &settings.layers, environment, &mut io::stdin().lock())?;
            check::report(&reading, output)?;
            Some(reading)
        }
    };
    let unknown = settings.labels.iter().find(|(proxy, _)| *proxy > settings.proxies);
    if let Some((proxy, label)) = unknown {
        let (asked, all) = (format!("proxy-{proxy}={label}"), settings.proxies);
        return Err(Failure::new(format!("`{asked}` names none of {all} proxies"))
            .exit(Exit::Usage)
            .fix("raise --proxies, or name another"));
    }
    let _claim = claim(&settings.data_dir)?;
    let mut signals = Signals::listen()?;
    let mut running = Running { fleet: Fleet::default(), demo: Demo::default() };
    let ended = tokio::select! {
        trouble = live(&mut running, settings, &binaries, reading, environment, output) => {
            Some(trouble)
        }
        () = signals.next() => None,
    };
    if let Some(Trouble { log_end: Some(log_end), .. }) = &ended {
        output.important(log_end);
    }
    if !running.fleet.is_empty() {
        output.note("stopping; once more to stop at once");
    }
    tokio::select! {
        () = running.fleet.stop() => {}
        () = signals.next() => {
            running.fleet.kill().await;
            return Ok(Exit::Interrupted);
        }
    }
    match ended {
        Some(trouble) => Err(trouble.failure),
        None => Ok(Exit::Ok),
    }
}

/// What runs. The demo's backends stay until the proxies are gone.
struct Running {
    fleet: Fleet,
    demo: Demo,
}

/// Starts everything and watches it; ends only in trouble.
async fn live(
    running: &mut Running,
    settings: &Up,
    binaries: &Binaries,
    reading: Option<Reading>,
    environment: &Environment,
    output: &Output,
) -> Trouble {
    match start(running, settings, binaries, reading, environment, output).await {
        Ok(()) => running.fleet.first_death().await,
        Err(trouble) => trouble,
    }
}

async fn start(
    running: &mut Running,
    settings: &Up,
    binaries: &Binaries,
    reading: Option<Reading>,
    environment: &Environment,
    output: &Output,
) -> Result<(), Trouble> {
    let Running { fleet, demo } = running;
    output.note("starting the control plane");
    let control = fleet.start(Launch::control_plane(settings, &binaries.control_plane)).await?;
    let sync = control.sync.clone().ok_or_else(|| {
        Failure::new("the control plane does not say where proxies connect")
            .fix("build lbctl and the servers from the same source")
    })?;
    let server = Url::parse(&format!("http://{}", control.admin)).map_err(|error| {
        Failure::new(format!("the control plane listens on `{}`: {error}", control.admin))
    })?;
    let client = Client::new(&server, None, environment.token.clone())?;
    output.note(format_args!("starting {} proxies", settings.proxies));
    let mut launches = Vec::new();
    for number in 1..=settings.proxies {
        let token = join_token(&client, settings, number, environment, output).await?;
        let program = &binaries.data_plane;
        launches.push(Launch::proxy(settings, program, number, &sync, token.as_deref())?);
    }
    let proxies = fleet.start_all(launches).await?;
    let configured = tokio::select! {
        configured = configure(&client, settings, reading, environment, demo, output) => configured?,
        trouble = fleet.first_death() => return Err(trouble),
    };
    let mut text =
        format!("\ncontrol plane  http://{} (proxies connect to {sync})\n", control.admin);
    for (number, proxy) in proxies.iter().enumerate() {
        text += &format!("proxy-{:<7}  http://{}\n", number + 1, proxy.admin);
    }
    let data_dir = settings.data_dir.display();
    text += &format!("data           {data_dir} (logs in {data_dir}/logs)\n");
    let server = (settings.admin_port != 9700).then(|| client.name());
    text += &hints(&configured.urls, &called(environment.path.as_deref()), server.as_deref());
    output.summary(&text)?;
    Ok(())
}

/// The file with a token for a proxy that has not joined yet.
async fn join_token(
    client: &Client,
    settings: &Up,
    number: u16,
    environment: &Environment,
    output: &Output,
) -> Result<Option<PathBuf>, Failure> {
    let name = format!("proxy-{number}");
    let own = settings.labels.iter().filter(|(proxy, _)| *proxy == number);
    let labels: Vec<_> = own.map(|(_, label)| label.to_string()).collect();
    let identity = settings.data_dir.join(&name).join("identity.json");
    if identity.exists() {
        if !labels.is_empty() {
            output.note(format_args!(
                "{name} joined before and keeps the labels it has; remove {} for others",
                identity.display()
            ));
        }
        return Ok(None);
    }
    let request = TokenRequest {
        name: Some(name.clone()),
        labels,
        ttl_seconds: Some(600),
        ..TokenRequest::default()
    };
    let created = client.create_token(&request, &environment.author()).await?;
    let path = settings.data_dir.join(format!("{name}.token"));
    let write = || {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        file.write_all(created.token.as_bytes())
    };
    write().map_err(|error| {
        Failure::new(format!("could not write {}: {}", path.display(), source::reason(&error)))
    })?;
    Ok(Some(path))
}

/// What a configured fleet serves.
struct Configured {
    /// Where clients connect.
    urls: Vec<String>,
}

/// Sees to it that there is a configuration, and waits until every proxy runs it.
async fn configure(
    client: &Client,
    settings: &Up,
    reading: Option<Reading>,
    environment: &Environment,
    demo: &mut Demo,
    output: &Output,
) -> Result<Configured, Failure> {
    let stored = client.config().await?;
    let is_kept = reading.is_none() && stored.version != Version::NONE && !demo::is_ours(&stored);
    let (version, is_new, bundle) = if let Some(reading) = reading {
        let reason = format!("lbctl up -f {}", reading.names());
        let signature = Signature { author: environment.author(), reason };
        let put = client.put_config(&reading.bundle, stored.version, &signature, false).await;
        let committed =
            put.map_err(|error| apply::refused(error, stored.version, &reading, output))?;
        (committed.version, committed.changed, reading.bundle)
    } else if !is_kept {
        let text = demo.serve(&stored, settings.port).await?;
        let signature = Signature { author: "lbctl up".to_owned(), reason: "demo".to_owned() };
        let bundle = Bundle::of_text(demo::NAME, &text);
        let committed = client.put_config(&bundle, stored.version, &signature, false).await?;
        (committed.version, committed.changed, bundle)
    } else {
        output.note(format_args!("keeping version {} of the store", stored.version));
        for note in demo.serve_again(&stored).await {
            output.important(note);
        }
        (stored.version, false, documents(&stored))
    };
    let awaited = wait::Awaited { version, is_new, at_least: settings.proxies.into() };
    let outcome = wait::answered(client, awaited, LIVE).await?;
    let exit = wait::tell(&outcome, version, LIVE, output)?;
    if exit != Exit::Ok && !is_kept {
        let failure = Failure::new("not every proxy runs the configuration").exit(exit);
        return Err(if demo.is_empty() {
            failure.fix("correct it, and start again")
        } else {
            failure.fix("if the port is taken, choose another with --port")
        });
    }
    Ok(Configured { urls: urls(&bundle, &client.proxies().await?) })
}

fn documents(view: &ConfigView) -> Bundle {
    Bundle { documents: view.documents.clone(), ..Bundle::default() }
}

/// Where clients connect, as a browser on this machine would write it.
fn urls(bundle: &Bundle, proxies: &ProxyList) -> Vec<String> {
    let (document, _) = Document::read(bundle);
    let has_tls = |name: &str| {
        let mut entry_points = document.entry_points.iter().flatten();
        entry_points.any(|(entry, written)| entry.value.as_str() == name && written.tls.is_some())
    };
    let mut urls = Vec::new();
    let serving = proxies.proxies.iter().filter(|proxy| proxy.state == SyncState::Synced);
    for listener in serving.flat_map(|proxy| &proxy.listeners) {
        let scheme = if has_tls(&listener.entry_point) { "https" } else { "http" };
        let address = listener.address.replace("0.0.0.0", "127.0.0.1").replace("[::]", "[::1]");
        let url = format!("{scheme}://{address}/");
        if !urls.contains(&url) {
            urls.push(url);
        }
    }
    urls
}

/// What to try next.
fn hints(urls: &[String], lbctl: &str, server: Option<&str>) -> String {
    let lbctl = match server {
        Some(server) => format!("{lbctl} --server {server}"),
        None => lbctl.to_owned(),
    };
    let mut text = "\ntry\n".to_owned();
    for url in urls {
        let insecure = if url.starts_with("https") { "-k " } else { "" };
        text += &format!("  curl -i {insecure}{url}\n");
    }
    text += &format!(
        "  {lbctl} status\n  {lbctl} get > lb.yaml     # then edit it, and\n  \
         {lbctl} apply -f lb.yaml\n\nCtrl-C stops everything.\n"
    );
    text
}

/// How this program is called from where it was.
fn called(search: Option<&OsStr>) -> String {
    let own = std::env::current_exe().and_then(|own| own.canonicalize());
    let here = std::env::current_dir().and_then(|here| here.canonicalize());
    match (own, here) {
        (Ok(own), Ok(here)) => own_name(&own, &here, search.unwrap_or_default()),
        _ => "lbctl".to_owned(),
    }
}

/// How a program is called from a directory: by its name where the search path leads to it.
fn own_name(own: &Path, here: &Path, search: &OsStr) -> String {
    let name = own.file_name().unwrap_or(own.as_os_str());
    // What the path leads to first is what runs.
    let mut places = std::env::split_paths(search).map(|dir| dir.join(name));
    let first = places.find(|file| file.is_file()).and_then(|file| file.canonicalize().ok());
    let is_it = first.is_some_and(|first| first == own);
    let called = if is_it { Path::new(name) } else { own.strip_prefix(here).unwrap_or(own) };
    called.display().to_string()
}

/// Takes the data directory for this process alone, for as long as the file lives.
fn claim(data_dir: &Path) -> Result<File, Failure> {
    let logs = data_dir.join("logs");
    let failed = |path: &Path, error: &io::Error| {
        let why = source::reason(error);
        Failure::new(format!("could not write to {}: {why}", path.display()))
            .fix("name another directory with --data-dir")
    };
    std::fs::create_dir_all(&logs).map_err(|error| failed(&logs, &error))?;
    let path: PathBuf = data_dir.join("up.lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|error| failed(&path, &error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(std::fs::TryLockError::WouldBlock) => {
            return Err(Failure::new(format!("another `lbctl up` uses {}", data_dir.display()))
                .exit(Exit::Conflict)
                .fix("stop it, or name another directory with --data-dir"));
        }
        Err(std::fs::TryLockError::Error(error)) => return Err(failed(&path, &error)),
    }
    server::forget_earlier(data_dir)?;
    Ok(file)
}

/// The signals that ask to stop: Ctrl-C, SIGTERM, and the terminal going away.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| Failure::new(format!("could not listen for signals: {error}")))
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_directory_belongs_to_one_run() {
        let folder = tempfile::tempdir().unwrap();
        let first = claim(folder.path()).unwrap();
        assert_eq!(claim(folder.path()).unwrap_err().exit, Exit::Conflict);
        drop(first);
        assert!(claim(folder.path()).is_ok());
    }

    #[test]
    fn hints_name_the_server_only_when_it_is_not_the_usual_one() {
        let url = ["http://127.0.0.1:8000/".to_owned()];
        let text = hints(&url, "lbctl", None);
        assert!(text.contains("  curl -i http://127.0.0.1:8000/\n  lbctl status\n"), "{text}");
        let text = hints(&[], "lbctl", Some("http://127.0.0.1:1"));
        assert!(text.contains("  lbctl --server http://127.0.0.1:1 status\n"), "{text}");
    }

    #[test]
    fn hints_call_the_program_as_it_can_be_called() {
        let dir = tempfile::tempdir().unwrap();
        let here = dir.path().canonicalize().unwrap();
        let bin = here.join("target/debug");
        std::fs::create_dir_all(&bin).unwrap();
        let own = bin.join("lbctl");
        std::fs::write(&own, "").unwrap();
        let search = |dirs: &[&Path]| std::env::join_paths(dirs).unwrap();
        assert_eq!(own_name(&own, &here, &search(&[])), "target/debug/lbctl");
        assert_eq!(own_name(&own, &here, &search(&[Path::new("/nowhere"), &bin])), "lbctl");
        // Another one comes first.
        let other = here.join("bin");
        std::fs::create_dir(&other).unwrap();
        std::fs::write(other.join("lbctl"), "").unwrap();
        assert_eq!(own_name(&own, &here, &search(&[&other, &bin])), "target/debug/lbctl");
        assert_eq!(own_name(&own, &bin.join("x"), &search(&[])), own.display().to_string());
    }

    #[test]
    fn addresses_are_written_as_a_browser_takes_them() {
        use lb_model::api::{ListenerView, ProxyView};
        let listener = |entry_point: &str, address: &str| ListenerView {
            entry_point: entry_point.into(),
            address: address.into(),
        };
        let proxy = |listeners| -> ProxyView {
            let proxy = serde_json::json!({ "id": "a", "state": "synced", "version": 1,
                "software_version": "0.1.0", "since": "2026-03-01T12:00:00Z" });
            ProxyView { listeners, ..serde_json::from_value(proxy).unwrap() }
        };
        let text =
            "entry_points: { web: { address: \":1\" }, tls: { address: \":2\", tls: {} } }\n";
        let web = listener("web", "0.0.0.0:8000");
        let list = ProxyList {
            version: Version(1),
            proxies: vec![proxy(vec![web.clone(), listener("tls", "[::]:8443")]), proxy(vec![web])],
        };
        let urls = urls(&Bundle::of_text("lb.yaml", text), &list);
        assert_eq!(urls, ["http://127.0.0.1:8000/", "https://[::1]:8443/"]);
    }
}
