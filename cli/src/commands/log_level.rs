//! `lbctl log-level`: what a server logs, and how to change that for a while.

use lb_model::api::{LogLevelRequest, LogLevelView};

use crate::{
    args::LogLevel,
    client::Client,
    exit::{Exit, Failure},
    output::Output,
};

/// What stands for the control plane where a proxy could.
const CONTROL_PLANE: &str = "control-plane";

/// Shows or changes.
pub(crate) async fn run(
    client: &Client,
    settings: &LogLevel,
    output: &Output,
) -> Result<Exit, Failure> {
    let LogLevel { target, level, lasts } = settings;
    let proxy = (target != CONTROL_PLANE).then_some(target.as_str());
    let wanted = level.map(|level| LogLevelRequest {
        level: level.as_str().to_owned(),
        for_seconds: Some(u32::try_from(lasts.as_secs()).unwrap_or(u32::MAX)),
    });
    if wanted.is_some() {
        output.permit(&format!("{target} will log otherwise for a while"))?;
    }
    let view = client.log_level(proxy, wanted.as_ref()).await?;
    let names = |view: &LogLevelView| vec![view.level.clone()];
    output.value(&view, names, |view| match &view.until {
        Some(until) => format!("{target} logs {} until {until}\n", view.level),
        None => format!("{target} logs {}\n", view.level),
    })?;
    Ok(Exit::Ok)
}
