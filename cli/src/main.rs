//! `lbctl`, the command line of lb.
//!
//! Reads the command line, runs one command, and turns its end into an exit code. Everything that
//! decides is elsewhere; this file only joins the parts.

#![allow(
    clippy::format_push_string,
    reason = "text for people is short; `write!` would add a result that cannot fail"
)]

mod args;
mod client;
mod commands;
mod exit;
mod output;
mod source;
mod up;

use std::process::ExitCode;

use clap::Parser;

use crate::{
    args::{Arguments, Environment},
    exit::Exit,
    output::Output,
};

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // A pipe closed by whoever reads the help is no failure worth a word.
            let _ = error.print();
            return Exit::of_clap(error.exit_code()).into();
        }
    };
    let environment = Environment::read();
    let output = Output::new(&arguments.global, &environment);
    // The only provider that is built in; a second call would change nothing.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output.fault(&exit::Failure::new(format!("could not start: {error}")));
            return Exit::Failure.into();
        }
    };
    match runtime.block_on(commands::run(arguments, &environment, &output)) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            output.fault(&failure);
            failure.exit.into()
        }
    }
}
