//! The command line of `posthouse-gateway`. Names and flags are interface.
//!
//! Exit status: 0 done, 1 anything the message explains, 2 wrong usage. What a command prints for people or programs
//! goes to standard output, everything else to standard error.

pub mod queue;
pub mod run;
pub mod send;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The data plane of Posthouse: accepts mail, keeps it on stable storage, relays it.
#[derive(Debug, Parser)]
#[command(name = "posthouse-gateway", version, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Accept mail and relay it.
    Run(run::RunArguments),
    /// Send one test message and show the whole conversation, credentials as ***.
    Send(send::SendArguments),
    /// Look at the queue and act on it by hand.
    Queue(queue::QueueArguments),
}

/// Runs a command to its end.
pub fn main(cli: Cli) -> ExitCode {
    // A second installation only says that one is there already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let result = match cli.command {
        Command::Run(arguments) => run::main(arguments),
        Command::Send(arguments) => send::main(&arguments),
        Command::Queue(arguments) => queue::main(&arguments),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("posthouse-gateway: {}", chain(&error));
            ExitCode::from(1)
        }
    }
}

/// An error and its causes in one line, each said once: many of ours quote their cause already.
fn chain(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_is_said_once() {
        let cause = || std::io::Error::other("no room");
        let quoting = anyhow::Error::new(crate::spool::OpenError::Io {
            path: "/spool".into(),
            source: cause(),
        });
        assert_eq!(chain(&quoting), "cannot use /spool: no room");
        let plain = anyhow::Error::new(cause()).context("cannot read x");
        assert_eq!(chain(&plain), "cannot read x: no room");
    }
}
