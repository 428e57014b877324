//! The `lb-data-plane` process.

use std::process::ExitCode;

use clap::Parser;
use lb_data_plane::{app, settings::Settings};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let settings = Settings::parse();
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
    eprintln!("lb-data-plane: {error:#}");
    ExitCode::FAILURE
}
