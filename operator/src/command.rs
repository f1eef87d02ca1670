//! The command line: which command, with which arguments.
//!
//! Exit codes: 0 done, 1 anything the message explains (input, machine), 2 wrong usage (which `clap` answers itself).
//! Everything a command touches besides files arrives in [`Environment`], so that tests need no process.

use std::{
    io::{self, Read, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::Timestamp;

use crate::{
    check, crds,
    local::Listen,
    render,
    run::{self, Run},
};

/// The control plane of Posthouse.
#[derive(Debug, Parser)]
#[command(name = "posthouse-operator", version, about)]
pub struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the controller.
    Run(Run),
    /// Print the CustomResourceDefinitions.
    Crds,
    /// Validate offline; print every problem.
    Check(Check),
    /// Print the objects that a MailRelay becomes, or write what a gateway needs to run without a cluster.
    Render(Render),
}

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct Check {
    #[command(flatten)]
    pub(crate) files: Files,
    /// How problems are printed.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

/// Arguments of `render`.
#[derive(Debug, Args)]
pub struct Render {
    #[command(flatten)]
    pub(crate) files: Files,
    /// Write gateway.yaml, senders.json, secrets, keys and bindings below this folder.
    #[arg(long, value_name = "DIR", conflicts_with = "api_versions")]
    pub(crate) local: Option<PathBuf>,
    /// What the cluster has besides Kubernetes' own kinds, as in monitoring.coreos.com/v1 or security.openshift.io/v1.
    #[arg(long, value_name = "VERSION", value_delimiter = ',')]
    pub(crate) api_versions: Vec<String>,
    /// Bind a listener elsewhere than on 127.0.0.1 and its own port (below 1024: port + 2000).
    #[arg(long, value_name = "NAME=ADDR", requires = "local")]
    pub(crate) listen: Vec<Listen>,
    /// How the objects, or problems and the written bindings, are printed.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

/// Where objects are read from.
#[derive(Debug, Args)]
pub struct Files {
    /// A file or folder with YAML documents (MailRelay, MailSender, Secret, ConfigMap, Namespace, ServiceAccount); `-` is standard input.
    #[arg(short = 'f', long = "filename", value_name = "FILE", required = true, num_args = 1..)]
    pub(crate) paths: Vec<PathBuf>,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Lines for people.
    Text,
    /// One JSON value for programs.
    Json,
}

/// What a command reads and writes besides files.
pub struct Environment<'a> {
    /// Standard input.
    pub input: Box<dyn Read + 'a>,
    /// Standard output.
    pub out: Box<dyn Write + 'a>,
    /// Standard error.
    pub err: Box<dyn Write + 'a>,
    /// The time now: certificates are made from it.
    pub now: Timestamp,
}

impl Environment<'_> {
    /// That of the process.
    pub fn of_process() -> Self {
        Self {
            input: Box::new(io::stdin()),
            out: Box::new(io::stdout()),
            err: Box::new(io::stderr()),
            now: Timestamp::now(),
        }
    }
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// What was asked for is done.
    Done,
    /// The messages explain why not.
    Failed,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => Self::SUCCESS,
            Exit::Failed => Self::FAILURE,
        }
    }
}

impl CommandLine {
    /// Runs the command.
    pub fn run(self, environment: &mut Environment<'_>) -> Exit {
        let result = match self.command {
            Command::Run(arguments) => run::run(&arguments, environment),
            Command::Crds => print_crds(&mut environment.out).map(|()| Exit::Done),
            Command::Check(arguments) => check::run(&arguments, environment),
            Command::Render(arguments) => render::run(&arguments, environment),
        };
        result.unwrap_or_else(|error| {
            // Nobody is left to be told when standard error is gone too.
            let _ = writeln!(environment.err, "error: {error}");
            Exit::Failed
        })
    }
}

fn print_crds(out: &mut dyn Write) -> io::Result<()> {
    for (_, text) in crds::files().map_err(io::Error::other)? {
        out.write_all(text.as_bytes())?;
    }
    Ok(())
}
