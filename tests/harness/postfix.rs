//! A Postfix of our own: its own folder, port, queue and log; nothing of the machine's configuration is read.
//!
//! Needs root, as Postfix does. Stopped when dropped.

use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Command,
};

use crate::{peer, provider::Absent, wait};

/// A running Postfix.
pub struct Postfix {
    folder: PathBuf,
    program: PathBuf,
    port: u16,
    /// The settings it runs with, as in `main.cf`.
    pub settings: String,
}

/// The services every instance has; nothing is in a chroot, so that files are found where they are.
const SERVICES: &str = "\
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
tlsmgr unix - - n 1000? 1 tlsmgr
postlog unix-dgram n - n - 1 postlogd
";

impl Postfix {
    /// Whether it can be started here; says so if not.
    pub fn is_there() -> bool {
        if !rustix::process::geteuid().is_root() {
            return peer::missing::<()>("postfix (which needs root)").is_some();
        }
        peer::program("postfix").is_some()
    }

    /// Starts one in an existing folder, with these settings on top of its own. `wrap` may change the command that
    /// starts it, as for a control group.
    pub fn start(
        folder: &Path,
        settings: &[(&str, &str)],
        wrap: impl Fn(Command) -> Command,
    ) -> Self {
        let reserved = Absent::reserve();
        let port = reserved.port();
        let program = peer::program("postfix").expect("asked before");
        prepare(folder);
        let settings = write_settings(folder, port, settings);
        let postfix = Self {
            folder: folder.to_owned(),
            program,
            port,
            settings,
        };
        let (output, text) = peer::attempt(&mut wrap(postfix.command("start")), b"");
        assert!(output.status.success(), "{text}\n{}", postfix.log());
        wait::until("postfix answers", wait::SOON, || {
            std::net::TcpStream::connect(postfix.address()).ok()
        });
        drop(reserved);
        postfix
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// What it logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Messages in its queue.
    pub fn queued(&self) -> usize {
        let queue = self.folder.join("queue");
        ["incoming", "active", "deferred", "maildrop", "hold"]
            .map(|name| files(&queue.join(name)))
            .iter()
            .sum()
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("-c").arg(self.folder.join("config")).arg(verb);
        command
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        // What cannot be stopped here is already gone.
        let _ = self.command("abort").output();
    }
}

fn files(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => files(&entry.path()),
            _ => 1,
        })
        .sum()
}

/// The folders, with the owners and modes Postfix insists on. Every folder above must be open to its user.
fn prepare(folder: &Path) {
    for name in ["config", "queue", "data"] {
        fs::create_dir_all(folder.join(name)).unwrap();
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    let id = |option: &str| -> u32 {
        let mut command = Command::new("id");
        let text = peer::run(command.args([option, "postfix"]), b"");
        text.trim().parse().unwrap()
    };
    chown(folder.join("data"), Some(id("-u")), Some(id("-g"))).unwrap();
}

fn write_settings(folder: &Path, port: u16, settings: &[(&str, &str)]) -> String {
    let config = folder.join("config");
    let path = |name: &str| folder.join(name).display().to_string();
    let (queue, data, log) = (path("queue"), path("data"), path("log"));
    let top = folder.display().to_string();
    let own = [
        ("compatibility_level", "3.6"),
        ("queue_directory", queue.as_str()),
        ("data_directory", data.as_str()),
        ("maillog_file", log.as_str()),
        ("maillog_file_prefixes", top.as_str()),
        ("myhostname", "postfix.example"),
        ("mydestination", ""),
        ("alias_maps", ""),
        ("alias_database", ""),
        ("local_recipient_maps", ""),
        ("inet_interfaces", "127.0.0.1"),
        ("inet_protocols", "ipv4"),
        ("mynetworks", "127.0.0.0/8"),
    ];
    let mut text = String::new();
    for (name, value) in own.iter().chain(settings) {
        let _ = writeln!(text, "{name} = {value}");
    }
    fs::write(config.join("main.cf"), &text).unwrap();
    let services = format!("127.0.0.1:{port} inet n - n - - smtpd\n{SERVICES}");
    fs::write(config.join("master.cf"), services).unwrap();
    text
}
