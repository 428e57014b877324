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
mod complete;
mod context;
mod exit;
mod output;
mod source;
mod up;
mod watch;

use std::process::ExitCode;

use crate::{
    args::{Arguments, Environment, Format},
    context::{Contexts, settings::Settings},
    exit::Exit,
    output::Output,
};

fn main() -> ExitCode {
    // The only provider that is built in; a second call would change nothing.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    if complete::answer() {
        return Exit::Ok.into();
    }
    let arguments = match Arguments::read(std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(error) => {
            // A pipe closed by whoever reads the help is no failure worth a word.
            let _ = error.print();
            return Exit::of_clap(error.exit_code()).into();
        }
    };
    let environment = Environment::read();
    let global = &arguments.global;
    let settings = Contexts::read(&environment)
        .and_then(|contexts| Settings::resolve(global, &environment, &contexts));
    let settings = match settings {
        // These must work whatever the file of contexts says.
        Err(_) if arguments.command.is_on_its_own() => {
            Settings::without_contexts(global, &environment)
        }
        settings => settings,
    };
    let settings = match settings {
        Ok(settings) => settings,
        Err(failure) => {
            let format = global.output.unwrap_or(Format::Table);
            Output::new(global, &environment, format, None).fault(&failure);
            return failure.exit.into();
        }
    };
    let format = settings.output.value;
    let output = Output::new(global, &environment, format, settings.protected.clone());
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output.fault(&exit::Failure::new(format!("could not start: {error}")));
            return Exit::Failure.into();
        }
    };
    match runtime.block_on(commands::run(arguments, &settings, &environment, &output)) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            output.fault(&failure);
            failure.exit.into()
        }
    }
}
