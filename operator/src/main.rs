//! Parses the command line and runs.

use std::{io::Write, process::ExitCode};

use clap::Parser;
use posthouse_operator::command::{CommandLine, Environment};

fn main() -> ExitCode {
    let mut environment = Environment::of_process();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    if provider.install_default().is_err() {
        let _ = writeln!(
            environment.err,
            "error: another TLS provider is installed already"
        );
        return ExitCode::FAILURE;
    }
    CommandLine::parse().run(&mut environment).into()
}
