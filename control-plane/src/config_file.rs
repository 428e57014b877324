//! A document on the control plane's own disk that holds the configuration.

use std::{fs::File, path::Path};

use anyhow::{Context, bail};
use jiff::Timestamp;
use lb_model::{
    Bundle, Config,
    bundle::{MAX_FILE, Source, read_at_most},
    yaml,
};
use lb_store::{Commit, Key, Store};

use crate::pipeline::bundle_at;

/// Applies a document at the start and gives the name under which the file holds the
/// configuration. The same content as the newest version makes no new one.
///
/// # Errors
///
/// When the file cannot be read or is not valid, with every fault; nothing is committed then.
pub async fn apply(store: &dyn Store, file: &Path) -> anyhow::Result<String> {
    let bundle = read(file)?;
    let now = Timestamp::now();
    match Config::parse(&bundle, now.as_second()) {
        Ok(parsed) => {
            for warning in &parsed.warnings {
                tracing::warn!("{warning}");
            }
        }
        Err(found) => bail!("{} is not valid:\n{found}", file.display()),
    }
    let head = store.head().await?;
    let known = bundle_at(store, head).await?;
    if known.is_none_or(|known| known.content_hash() != bundle.content_hash()) {
        let commit = Commit {
            author: "file".to_owned(),
            reason: format!("read from {}", file.display()),
            time: now,
            puts: vec![(Key::config(), serde_json::to_vec(&bundle)?.into())],
            removes: vec![],
        };
        let record = store.commit(head, commit).await?;
        tracing::info!(version = record.version.0, file = %file.display(), "configuration committed");
    }
    Ok(file.display().to_string())
}

/// Reads a document and the files it names, relative to its own directory.
fn read(file: &Path) -> anyhow::Result<Bundle> {
    let open = |path: &Path, most| read_at_most(&mut File::open(path)?, most);
    let bytes = open(file, yaml::MAX_BYTES)
        .with_context(|| format!("could not read {}", file.display()))?;
    let source = Source::from_bytes(file.display().to_string(), bytes);
    let mut bundle = Bundle { documents: vec![source], ..Bundle::default() };
    let directory = file.parent().unwrap_or(Path::new("."));
    bundle.gather(|reference| open(&directory.join(&reference.path), MAX_FILE));
    Ok(bundle)
}
