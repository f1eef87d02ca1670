//! One gateway process: started on a [`crate::Site`], watched through its log and its admin port, ended by signals.
//!
//! All ports are 0; what was bound is read from the log. Dropping the value kills the process.

mod binary;
mod log;

use std::{
    collections::BTreeMap,
    io::Read,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, ExitStatus, Output, Stdio},
};

use posthouse_config::Status;
use rustix::process::{Pid, Signal, kill_process};

pub use binary::executable;
pub use log::{Log, admin as admin_in};

use crate::{Client, admin, wait};

/// A process that does not outlive this value, also when a test fails while it waits.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended before.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A running gateway.
pub struct Gateway {
    child: Process,
    log: Log,
    admin: SocketAddr,
    listeners: BTreeMap<String, SocketAddr>,
}

impl Gateway {
    /// Starts on a document's folder and a spool, and waits until it is ready to take mail.
    pub fn start(folder: &Path, spool: &Path) -> Self {
        Self::start_with(folder, spool, &[])
    }

    /// As [`Gateway::start`], with more flags. [`Gateway::address`] knows no listener if the admin port has no status.
    pub fn start_with(folder: &Path, spool: &Path, flags: &[&str]) -> Self {
        let mut command = command(folder, spool);
        command.args(flags);
        let pipes = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = Process(pipes.spawn().unwrap());
        let log = Log::follow(
            child.0.stdout.take().unwrap(),
            child.0.stderr.take().unwrap(),
        );
        let admin = wait::until("the log says where the admin port is", wait::SOON, || {
            let ended = child.0.try_wait().unwrap();
            assert!(
                ended.is_none(),
                "the gateway ended: {ended:?}\n{}",
                log.text()
            );
            log::admin(&log.text())
        });
        let mut gateway = Self {
            child,
            log,
            admin,
            listeners: BTreeMap::new(),
        };
        gateway.wait_until_ready();
        let status = admin::status(gateway.admin).unwrap_or_default();
        for listener in status.listeners {
            let address = listener.address.parse().unwrap();
            gateway.listeners.insert(listener.name, address);
        }
        gateway
    }

    fn wait_until_ready(&mut self) {
        wait::until("the gateway is ready", wait::SOON, || {
            let ended = self.child.0.try_wait().unwrap();
            assert!(ended.is_none(), "it ended: {ended:?}\n{}", self.log.text());
            let ready = admin::get(self.admin, "/readyz").ok()?;
            (ready.code == 200).then_some(())
        });
    }

    /// Where a listener is bound.
    pub fn address(&self, listener: &str) -> SocketAddr {
        let bound = self.listeners.get(listener);
        *bound.unwrap_or_else(|| panic!("no listener {listener} in {:?}", self.listeners))
    }

    /// A session at the listener `plain`, after EHLO.
    pub fn client(&self) -> Client {
        let mut client = Client::connect(self.address("plain"));
        client.hello();
        client
    }

    /// Where a port beside the listeners was bound.
    pub fn port(&self, name: &str) -> SocketAddr {
        log::port(name, &self.log.text()).unwrap()
    }

    /// Its admin port.
    pub const fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Its account of itself.
    pub fn status(&self) -> Status {
        admin::status(self.admin).unwrap()
    }

    /// The sum of a metric's series; see [`admin::metric`].
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        admin::metric(self.admin, name, labels).unwrap()
    }

    /// What it logged.
    pub const fn log(&self) -> &Log {
        &self.log
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.0.id()
    }

    /// The most memory it ever had resident, in KiB (`VmHWM`).
    pub fn peak_kib(&self) -> u64 {
        memory_kib(self.pid(), "status", "VmHWM:")
    }

    /// The memory it has now, shared pages by their share, in KiB (`Pss`).
    pub fn proportional_kib(&self) -> u64 {
        memory_kib(self.pid(), "smaps_rollup", "Pss:")
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// SIGKILL, and waits until the process is gone.
    pub fn kill(mut self) {
        self.child.0.kill().unwrap();
        self.child.0.wait().unwrap();
    }

    /// Stops it with SIGTERM, which must end it with success.
    pub fn stop(mut self) {
        self.terminate();
        let status = self.wait();
        assert!(status.success(), "{status}\n{}", self.log.text());
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        wait::until("the gateway ends", wait::SOON, || {
            self.child.0.try_wait().unwrap()
        })
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        kill_process(pid.unwrap(), signal).unwrap();
    }
}

/// Runs a gateway that must end by itself; what it said and how it ended.
pub fn run_to_the_end(folder: &Path, spool: &Path, arguments: &[&str]) -> Output {
    let mut command = command(folder, spool);
    let pipes = command.args(arguments).stdin(Stdio::null());
    let pipes = pipes.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Process(pipes.spawn().unwrap());
    let status = wait::until("the gateway ends by itself", wait::SOON, || {
        child.0.try_wait().unwrap()
    });
    let mut output = Output {
        status,
        stdout: Vec::new(),
        stderr: Vec::new(),
    };
    // What it said fits into the pipes: it is little, and the process has ended.
    let (mut out, mut err) = (
        child.0.stdout.take().unwrap(),
        child.0.stderr.take().unwrap(),
    );
    out.read_to_end(&mut output.stdout).unwrap();
    err.read_to_end(&mut output.stderr).unwrap();
    output
}

/// The command that runs a gateway, with its admin port on a free one.
pub fn command(folder: &Path, spool: &Path) -> Command {
    let mut command = Command::new(executable("posthouse-gateway"));
    command
        .arg("run")
        .arg("--config")
        .arg(folder)
        .arg("--spool")
        .arg(spool)
        .args(["--admin", "127.0.0.1:0", "--log-format", "json"]);
    command
}

/// A figure in KiB from a file of `/proc`; 0 once the process is gone.
pub fn memory_kib(pid: u32, file: &str, field: &str) -> u64 {
    let path = format!("/proc/{pid}/{file}");
    let text = std::fs::read_to_string(Path::new(&path)).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(field));
    let figure = line.and_then(|line| line.split_ascii_whitespace().nth(1));
    figure.and_then(|figure| figure.parse().ok()).unwrap_or(0)
}
