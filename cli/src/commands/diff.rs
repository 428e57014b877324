//! `lbctl diff`: what leads from one configuration to another.

use std::io;

use lb_model::{Version, api::Change, difference::Written};

use super::{apply, check, plan};
use crate::{
    args::{Diff, Environment},
    client::Client,
    exit::{Exit, Failure},
    output::{Output, changes},
    source::{self, Reading},
};

/// Files of this machine are compared with a key that everybody knows: whoever runs this has them.
const LOCAL: [u8; 32] = [0; 32];

/// One side.
enum Side {
    Version(Version),
    Files(Reading),
}

/// Compares and draws.
pub(crate) async fn run(
    client: impl Fn() -> Result<Client, Failure>,
    diff: &Diff,
    environment: &Environment,
    output: &Output,
) -> Result<Exit, Failure> {
    let side = |text: &str| -> Result<Side, Failure> {
        if let Ok(number) = text.trim_start_matches('v').parse() {
            return Ok(Side::Version(Version(number)));
        }
        let stdin = &mut io::stdin().lock();
        Ok(Side::Files(source::read(&[text.into()], &diff.layers, environment, stdin)?))
    };
    let to = diff.to.as_deref().map(&side).transpose()?;
    let found = match (side(&diff.from)?, to) {
        (Side::Version(version), None) => client()?.diff(None, version).await?.changes,
        (Side::Version(from), Some(Side::Version(to))) => {
            client()?.diff(Some(from), to).await?.changes
        }
        (Side::Version(from), Some(Side::Files(to))) => {
            check::report(&to, output)?;
            let planned = client()?.plan(&to.bundle, Some(from)).await;
            planned.map_err(|error| apply::refused(error, from, &to, output))?.changes
        }
        (Side::Files(from), Some(Side::Files(to))) => {
            let written = |reading: &Reading| Written::read(&reading.bundle, &LOCAL);
            written(&from).changes_to(&written(&to))
        }
        (Side::Files(_), Some(Side::Version(version))) => {
            return Err(Failure::new("a version comes first, and the file that would change it")
                .exit(Exit::Usage)
                .fix(format!("write lbctl diff {version} {}", diff.from)));
        }
        (Side::Files(_), None) => {
            return Err(Failure::new("a file is compared with something")
                .exit(Exit::Usage)
                .fix(format!("write lbctl diff VERSION {0}, or lbctl plan -f {0}", diff.from)));
        }
    };
    output.value(&found, |found| changes::names(found), |found| draw(found, output))?;
    Ok(plan::exit(&found, diff.detailed_exitcode))
}

fn draw(found: &[Change], output: &Output) -> String {
    if found.is_empty() {
        return "no value differs\n".to_owned();
    }
    format!("{}{}\n", changes::draw(found, output.color), changes::summary(found))
}
