//! Parses the command line and runs.

use std::process::ExitCode;

use clap::Parser;
use posthouse_gateway::command::Cli;

fn main() -> ExitCode {
    // Exit status 2 and a message on standard error where the command line is wrong.
    posthouse_gateway::command::main(Cli::parse())
}
