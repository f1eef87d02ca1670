//! `posthouse-gateway run`: the gateway itself.
//!
//! Turns flags and signals into what [`crate::run`] is given; the first SIGTERM or SIGINT stops, the second aborts.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc};

use anyhow::Context;
use clap::Args;
use posthouse_admin::telemetry::{self, LogFormat, LogLevel};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};
use tracing::{info, warn};

use crate::{
    Options,
    clock::SystemClock,
    mail::{Redactor, redact::AddressStyle},
    reload::{Folder, ListenOverride},
};

/// Flags of `run`.
#[derive(Debug, Args)]
pub struct RunArguments {
    /// The document, or the folder that holds gateway.yaml.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Where mail is kept [default: `spool` beside the document].
    #[arg(long, value_name = "DIR")]
    spool: Option<PathBuf>,
    /// Which of the relay's gateways this is; not below the document's `replicas` means draining.
    #[arg(long, value_name = "N", default_value_t = 0)]
    ordinal: u32,
    /// Binds a listener elsewhere than the document says; port 0 is fine.
    #[arg(long, value_name = "NAME=ADDR")]
    listen: Vec<ListenOverride>,
    /// Serves /livez, /readyz, /metrics and, without --status, /status there.
    #[arg(long, value_name = "ADDR")]
    admin: Option<SocketAddr>,
    /// Serves /status there instead, over TLS, to those who have the document's link key.
    #[arg(long, value_name = "ADDR")]
    status: Option<SocketAddr>,
    /// The pod's uid, told in /status: an address may pass from one pod to another.
    #[arg(long, value_name = "UID", default_value = "")]
    pod_uid: String,
    /// How log lines look [default: text on a terminal, else json].
    #[arg(long, value_enum)]
    log_format: Option<LogFormat>,
    /// How much is logged.
    #[arg(long, value_enum, default_value = "info")]
    log_level: LogLevel,
    /// Whether logs show whole addresses.
    #[arg(long, value_enum, default_value = "redacted")]
    log_addresses: AddressStyle,
}

/// Runs the gateway until it is stopped.
pub fn main(arguments: RunArguments) -> anyhow::Result<ExitCode> {
    telemetry::start(
        LogFormat::or_fitting(arguments.log_format),
        arguments.log_level,
    );
    if let Err(error) = raise_file_limit() {
        warn!(%error, "cannot raise the limit of open files");
    }
    let folder = Folder::new(&arguments.config, arguments.listen);
    let options = Options {
        spool: arguments.spool.unwrap_or_else(|| folder.default_spool()),
        folder,
        ordinal: arguments.ordinal,
        admin: arguments.admin,
        status: arguments.status,
        pod_uid: arguments.pod_uid,
        redactor: Arc::new(Redactor::new(arguments.log_addresses)),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let result = runtime.block_on(async {
        let stops = stop_requests()?;
        crate::run(options, Arc::new(SystemClock::default()), stops).await?;
        anyhow::Ok(())
    });
    // Blocking reads may still be under way; nothing waits for them any more.
    runtime.shutdown_background();
    result.map(|()| ExitCode::SUCCESS)
}

/// As many files and sockets may be open as the machine allows: the limit that processes start with, often 1024, is for
/// those that use `select`.
fn raise_file_limit() -> std::io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    Ok(setrlimit(Resource::Nofile, raised)?)
}

/// One message for each SIGTERM or SIGINT.
fn stop_requests() -> anyhow::Result<mpsc::UnboundedReceiver<()>> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch SIGINT")?;
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => info!(signal = "SIGTERM", "signal received"),
                _ = interrupt.recv() => info!(signal = "SIGINT", "signal received"),
            }
            if sender.send(()).is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_files_may_be_open_as_the_machine_allows() {
        let limit = getrlimit(Resource::Nofile);
        // As a shell starts it: a soft limit below the hard one.
        let low = limit.maximum.map(|maximum| maximum.min(1024));
        let lowered = Rlimit {
            current: low.or(Some(1024)),
            ..limit
        };
        setrlimit(Resource::Nofile, lowered).unwrap();
        raise_file_limit().unwrap();
        assert_eq!(getrlimit(Resource::Nofile).current, limit.maximum);
    }
}
