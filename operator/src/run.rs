//! `posthouse-operator run`: the controller.
//!
//! Turns flags and signals into what [`controller::run`] is given. Flags have the names of the chart's values.

use std::{io, net::SocketAddr, sync::Arc};

use aws_lc_rs::rand;
use clap::Args;
use posthouse_admin::{
    admin,
    telemetry::{self, LogFormat, LogLevel},
};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};

use crate::{
    command::{Environment, Exit},
    controller::{self, Page},
    metrics::Metrics,
    settings::Settings,
};

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct Run {
    /// The operator's own namespace: its Lease and its keys are there.
    #[arg(long, value_name = "NAMESPACE")]
    namespace: String,
    /// Namespaces in which relays are served; `*` is all of them.
    #[arg(long, value_name = "NAMESPACE", required = true, value_delimiter = ',')]
    relay_namespaces: Vec<String>,
    /// The gateways' image.
    #[arg(long, value_name = "IMAGE")]
    gateway_image: String,
    /// When the gateways' image is pulled [default: the cluster's].
    #[arg(long, value_name = "POLICY", value_parser = ["Always", "IfNotPresent", "Never"])]
    gateway_pull_policy: Option<String>,
    /// The cluster's domain, for names in certificates.
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    cluster_domain: String,
    /// An issuer of ServiceAccount tokens besides the one the API server names.
    #[arg(long = "service-account-issuer", value_name = "URL")]
    service_account_issuers: Vec<String>,
    /// How this operator is named in the Lease [default: the name of the machine, which is the pod's, and random digits].
    #[arg(long, value_name = "NAME")]
    identity: Option<String>,
    /// Serves /livez, /readyz and /metrics there.
    #[arg(long, value_name = "ADDR", default_value = "[::]:8080")]
    admin: SocketAddr,
    /// How log lines look, here and in the gateways [default: text on a terminal, else json].
    #[arg(long, value_enum)]
    log_format: Option<LogFormat>,
    /// How much is logged.
    #[arg(long, value_enum, default_value = "info")]
    log_level: LogLevel,
}

impl Run {
    fn settings(&self) -> Settings {
        Settings {
            namespace: self.namespace.clone(),
            relay_namespaces: self.relay_namespaces.iter().cloned().collect(),
            gateway_image: self.gateway_image.clone(),
            gateway_pull_policy: self.gateway_pull_policy.clone(),
            cluster_domain: self.cluster_domain.clone(),
            service_account_issuers: self.service_account_issuers.clone(),
            gateway_log_format: self.log_format.unwrap_or(LogFormat::Json),
        }
    }
}

/// Runs the controller until it is stopped, or until another operator leads.
pub fn run(arguments: &Run, environment: &mut Environment<'_>) -> io::Result<Exit> {
    telemetry::start(
        LogFormat::or_fitting(arguments.log_format),
        arguments.log_level,
    );
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let result = runtime.block_on(serve(arguments));
    runtime.shutdown_background();
    match result {
        Ok(()) => Ok(Exit::Done),
        Err(failure) => {
            // The chain is printed once, here.
            writeln!(environment.err, "error: {failure:#}")?;
            Ok(Exit::Failed)
        }
    }
}

async fn serve(arguments: &Run) -> anyhow::Result<()> {
    let metrics = Metrics::new(env!("CARGO_PKG_VERSION"))?;
    let listener = tokio::net::TcpListener::bind(arguments.admin).await?;
    info!(listener = "admin", address = %listener.local_addr()?, "listening");
    let page = Arc::new(Page::new(metrics.clone()));
    let admin = tokio::spawn(admin::serve(listener, page as Arc<dyn admin::Shown>));
    let identity = match &arguments.identity {
        Some(identity) => identity.clone(),
        None => identity()?,
    };
    let result = tokio::select! {
        result = controller::run(arguments.settings(), identity, metrics, stopped()) => result,
        ended = admin => {
            error!("the admin port ended");
            return Err(ended.map_or_else(anyhow::Error::from, |()| anyhow::anyhow!("the admin port ended")));
        }
    };
    Ok(result?)
}

/// The name of the machine and something random: two processes of one machine must not take each other's Lease for
/// their own.
fn identity() -> anyhow::Result<String> {
    let mut octets = [0; 8];
    rand::fill(&mut octets)?;
    let uname = rustix::system::uname();
    let host = uname.nodename().to_string_lossy();
    Ok(format!("{host}_{:016x}", u64::from_ne_bytes(octets)))
}

/// SIGTERM or SIGINT.
async fn stopped() {
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        // Without signals the process ends as it always does: by SIGKILL, which costs no mail.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => info!(signal = "SIGTERM", "signal received"),
        _ = interrupt.recv() => info!(signal = "SIGINT", "signal received"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_processes_of_one_machine_have_two_names() {
        let (one, other) = (identity().unwrap(), identity().unwrap());
        let host = |name: &str| name.rsplit_once('_').unwrap().0.to_owned();
        assert_eq!(host(&one), host(&other));
        assert_ne!(one, other);
    }
}
