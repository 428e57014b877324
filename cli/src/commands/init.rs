//! `lbctl init`: writes a first configuration, with comments that lead on.

use std::{
    fs::OpenOptions,
    io::{ErrorKind, Write},
};

use crate::{
    args::Init,
    exit::{Exit, Failure},
    output::Output,
    source::reason,
};

const SAMPLE: &str = include_str!("init/lb.yaml");

/// Writes it. Never over what is there.
pub(crate) fn run(init: &Init, output: &Output) -> Result<Exit, Failure> {
    if init.file.as_os_str() == "-" {
        output.data(SAMPLE)?;
        return Ok(Exit::Ok);
    }
    let name = init.file.display();
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&init.file)
        .and_then(|mut file| file.write_all(SAMPLE.as_bytes()));
    written.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => Failure::new(format!("{name} is there already"))
            .exit(Exit::Conflict)
            .fix("nothing was written; name another file, or `-` for standard output"),
        _ => Failure::new(format!("could not write {name}: {}", reason(&error)))
            .fix("name a file in a directory that you may write"),
    })?;
    output
        .note(format_args!("{name} is written. Name your servers in it, then: lbctl check {name}"));
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use lb_model::{Bundle, Config};

    use super::*;

    #[test]
    fn what_is_written_has_neither_fault_nor_warning() {
        let parsed = Config::parse(&Bundle::of_text("lb.yaml", SAMPLE), 0).unwrap();
        assert!(parsed.warnings.is_empty(), "{}", parsed.warnings);
        assert_eq!(parsed.config.backends.len(), 2);
    }

    #[test]
    fn what_is_commented_out_works_too() {
        let text: String = SAMPLE
            .lines()
            .map(|line| line.replacen("# websecure", "websecure", 1).replacen("# cart", "cart", 1))
            .map(|line| line + "\n")
            .collect();
        let parsed = Config::parse(&Bundle::of_text("lb.yaml", &text), 0).unwrap();
        // Nothing but the certificate, of which the comment speaks.
        let found = parsed.warnings;
        assert!(found.iter().all(|finding| finding.code == "LB0404"), "{found}");
        assert_eq!((parsed.config.routes.len(), parsed.config.entry_points.len()), (2, 2));
    }
}
