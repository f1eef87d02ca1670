//! A pod's process, as tests see it and as the kubelet runs it.
//!
//! The process is never reaped but under the lock, so a signal cannot hit another process that was given its number.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use posthouse_config::{Document, Status, credential::Key};
use rustix::process::{Pid, Signal, kill_process};

use super::files;
use crate::{admin, cluster::Lifeline, gateway::Log};

/// Where a gateway's plain port is in every pod.
const ADMIN: u16 = 8080;

/// Where a gateway with a link key tells its status.
const STATUS: u16 = 8443;

/// A pod that the kubelet knows.
pub struct Running {
    namespace: String,
    name: String,
    uid: String,
    address: Ipv4Addr,
    log: Log,
    /// Where the document is.
    documents: Mutex<Option<PathBuf>>,
    process: Mutex<Option<Child>>,
    files_rest: AtomicBool,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    /// As a shell has it: 128 more than the signal, where a signal ended it.
    pub(super) code: i32,
}

impl Running {
    pub(super) fn new(namespace: &str, name: &str, uid: &str, address: Ipv4Addr) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: uid.to_owned(),
            address,
            log: Log::default(),
            documents: Mutex::default(),
            process: Mutex::default(),
            files_rest: AtomicBool::new(false),
        }
    }

    /// The pod's namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The pod's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The pod's uid.
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// The pod's address.
    pub const fn ip(&self) -> Ipv4Addr {
        self.address
    }

    /// A port of the pod.
    pub fn port(&self, port: u16) -> SocketAddr {
        (self.address, port).into()
    }

    /// A gateway's plain port.
    pub fn admin(&self) -> SocketAddr {
        self.port(ADMIN)
    }

    /// A gateway's account of itself, if it answers: over the link, where its document has one.
    pub fn status(&self) -> Option<Status> {
        let documents = self.documents.lock().unwrap().clone()?;
        let document = Document::parse(&files::document(&documents)).ok()?;
        let Some(link) = document.keys.link else {
            return admin::status(self.admin()).ok();
        };
        let key = Key::try_from(&fs::read(documents.join(link)).ok()?[..]).ok()?;
        admin::status_over_link(self.port(STATUS), &key).ok()
    }

    /// What all its processes wrote.
    pub const fn log(&self) -> &Log {
        &self.log
    }

    /// The process, while there is one.
    pub fn pid(&self) -> Option<u32> {
        self.process.lock().unwrap().as_ref().map(Child::id)
    }

    /// SIGKILL: the container is restarted.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// SIGSTOP: the pod is there and answers nothing. Its kubelet finds out by its probes.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT: it goes on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Its files stay as they are, as in the time until the next sync of a real kubelet.
    pub fn rest_files(&self) {
        self.files_rest.store(true, Ordering::SeqCst);
    }

    /// Its files follow the objects again.
    pub fn refresh_files(&self) {
        self.files_rest.store(false, Ordering::SeqCst);
    }

    pub(super) fn files_rest(&self) -> bool {
        self.files_rest.load(Ordering::SeqCst)
    }

    pub(super) fn signal(&self, signal: Signal) {
        let process = self.process.lock().unwrap();
        let pid = process.as_ref().map(Child::id);
        let pid = pid.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        if let Some(pid) = pid {
            // It has not been reaped, so the number is still its own.
            kill_process(pid, signal).unwrap();
        }
    }

    /// Starts the process, whose document is in a folder.
    pub(super) fn start(&self, mut command: Command, documents: &Path, lifeline: &Lifeline) {
        *self.documents.lock().unwrap() = Some(documents.to_owned());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = lifeline.spawn(&mut command);
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        self.log.follow_also(out, err);
        *self.process.lock().unwrap() = Some(child);
    }

    /// How the process ended, once, when it has.
    pub(super) fn reap(&self) -> Option<Ended> {
        let mut process = self.process.lock().unwrap();
        let status = process.as_mut()?.try_wait().unwrap()?;
        *process = None;
        Some(Ended::from(status))
    }

    /// Ends the process now.
    pub(super) fn end(&self) {
        if let Some(mut child) = self.process.lock().unwrap().take() {
            // It may have ended before.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl From<ExitStatus> for Ended {
    fn from(status: ExitStatus) -> Self {
        let signal = status.signal().map(|signal| signal + 128);
        Self {
            code: status.code().or(signal).unwrap_or(-1),
        }
    }
}
