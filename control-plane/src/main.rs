//! The `lb-control-plane` process.

use std::process::ExitCode;

use lb_control_plane::{
    app::{self, InvalidConfiguration},
    settings::Settings,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How it exits when its configuration is not valid and no earlier one is stored.
const INVALID: u8 = 3;

fn main() -> ExitCode {
    let settings = Settings::read();
    let log = match lb_telemetry::logging::start(&settings.log_level, settings.log_format.into()) {
        Ok(log) => log,
        Err(error) => return report(&anyhow::anyhow!(error)),
    };
    match app::run(settings, log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error),
    }
}

#[expect(clippy::print_stderr, reason = "the last word of a process that could not start")]
fn report(error: &anyhow::Error) -> ExitCode {
    eprintln!("lb-control-plane: {error:#}");
    if error.is::<InvalidConfiguration>() { ExitCode::from(INVALID) } else { ExitCode::FAILURE }
}
