//! The two measured systems, each set up to be durable and as quick as its documentation allows.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
};

use posthouse_config::yaml;
use posthouse_tests::{Postfix, Site, admin, gateway, wait};
use tempfile::TempDir;

use crate::{case::Case, group::Group, load::Sink};

/// A running side, and the sink behind it.
pub(crate) struct Side {
    /// Where it takes mail.
    pub(crate) address: SocketAddr,
    /// Its processes.
    pub(crate) group: Group,
    /// Where it relays to.
    pub(crate) sink: Sink,
    /// How it was set up.
    pub(crate) settings: String,
    /// How many times a case's messages it needs for a run that lasts.
    pub(crate) pace: usize,
    /// What keeps it running; absent once it was stopped.
    system: Option<System>,
}

enum System {
    Postfix { _postfix: Postfix, _folder: TempDir },
    Gateway { process: Child, _site: Box<Site> },
}

impl Side {
    /// Postfix with the same number of connections to the sink, connection reuse, and nothing that slows its input.
    pub(crate) fn postfix(folder: &Path, case: &Case) -> Self {
        let sink = Sink::start();
        let folder = TempDir::with_prefix_in("posthouse-bench-", folder).unwrap();
        let relay = format!("[127.0.0.1]:{}", sink.address.port());
        let connections = case.sessions.to_string();
        let processes = (case.sessions * 2 + 100).to_string();
        let settings = [
            ("relayhost", relay.as_str()),
            ("in_flow_delay", "0"),
            ("default_process_limit", processes.as_str()),
            (
                "default_destination_concurrency_limit",
                connections.as_str(),
            ),
            ("initial_destination_concurrency", connections.as_str()),
            ("smtp_connection_cache_on_demand", "yes"),
            ("smtp_connection_cache_destinations", relay.as_str()),
            ("smtp_connection_reuse_time_limit", "300s"),
            ("smtp_tls_security_level", "none"),
            ("smtp_dns_support_level", "disabled"),
            ("smtpd_peername_lookup", "no"),
            ("smtpd_client_connection_count_limit", "0"),
            ("smtpd_relay_restrictions", "permit_mynetworks, reject"),
            ("message_size_limit", "104857600"),
        ];
        let group = Group::control("postfix");
        let started = group.clone().unwrap_or(Group::Below(0));
        let postfix = Postfix::start(folder.path(), &settings, |command| started.wrap(command));
        let group = group.unwrap_or_else(|| Group::Below(master(folder.path())));
        Self {
            address: postfix.address(),
            group,
            sink,
            settings: postfix.settings.clone(),
            pace: 1,
            system: Some(System::Postfix {
                _postfix: postfix,
                _folder: folder,
            }),
        }
    }

    /// The gateway, with an anonymous listener on loopback and one clear-text upstream.
    pub(crate) fn gateway(folder: &Path, case: &Case) -> Self {
        let sink = Sink::start();
        let mut site = Site::inside(folder);
        let upstream = site.upstream("sink", sink.address.port());
        upstream.limits.max_connections = u32::try_from(case.sessions).unwrap_or(u32::MAX);
        upstream.limits.messages_per_connection = 100_000;
        site.document.spool.segment_bytes = 32 << 20;
        site.write();
        let group = Group::control("gateway");
        let started = group.clone().unwrap_or(Group::Below(0));
        let log = site.path("log");
        let process = run(
            started.wrap(gateway::command(&site.folder(), &site.spool())),
            &log,
        );
        let group = group.unwrap_or(Group::Below(process.id()));
        let admin = wait::until("the log says where the admin port is", wait::SOON, || {
            gateway::admin_in(&fs::read_to_string(&log).unwrap_or_default())
        });
        wait::until_true("the gateway is ready", || {
            admin::get(admin, "/readyz").is_ok_and(|answer| answer.code == 200)
        });
        let listeners = admin::status(admin).unwrap().listeners;
        Self {
            address: listeners[0].address.parse().unwrap(),
            group,
            sink,
            settings: yaml::to_string(&site.document).unwrap(),
            pace: 10,
            system: Some(System::Gateway {
                process,
                _site: Box::new(site),
            }),
        }
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        if let Some(System::Gateway { mut process, _site }) = self.system.take() {
            // It may have ended before.
            let _ = process.kill();
            let _ = process.wait();
        }
        self.group.remove();
    }
}

/// Both sides log to a file.
fn run(mut command: Command, log: &Path) -> Child {
    let file = File::create(log).unwrap();
    let errors = file.try_clone().unwrap();
    command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(errors)
        .spawn()
        .unwrap()
}

/// The process id of Postfix's first process.
fn master(folder: &Path) -> u32 {
    let text = fs::read_to_string(folder.join("queue/pid/master.pid")).unwrap();
    text.trim().parse().unwrap()
}
