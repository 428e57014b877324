//! `lbctl up`.
use crate::{
    args::{Environment, Up},
    exit::{Exit, Failure},
    output::Output,
};
/// Runs it.
pub(crate) async fn run(_: &Up, _: &Environment, _: &Output) -> Result<Exit, Failure> {
    Ok(Exit::Ok)
}
