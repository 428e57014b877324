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
    args::{Arguments, Command, Environment, Format},
    context::{Contexts, settings::Settings},
    exit::{Exit, Failure},
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
            let format = global.output.clone().unwrap_or(Format::Table);
            let output = Output::new(global, &environment, format, None);
            return match arguments.command {
                // It is what should tell what is wrong with contexts.
                Command::Doctor => ended(
                    block_on(commands::doctor::run(Err(&failure), &environment, &output)),
                    &output,
                ),
                _ => ended(Err(failure), &output),
            };
        }
    };
    let format = settings.output.value.clone();
    let output = Output::new(global, &environment, format, settings.protected.clone());
    ended(block_on(commands::run(arguments, &settings, &environment, &output)), &output)
}

/// Runs a command to its end.
fn block_on(command: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(format!("could not start: {error}")))?;
    runtime.block_on(command)
}

fn ended(result: Result<Exit, Failure>, output: &Output) -> ExitCode {
    match result {
        Ok(exit) => exit.into(),
        Err(failure) => {
            output.fault(&failure);
            failure.exit.into()
        }
    }
}
