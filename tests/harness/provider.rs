//! A provider that behaves as a test scripts it: takes mail, or refuses, stalls, closes, at any step.
//!
//! It is lax on purpose where laxness shows our faults: a line ends at any LF and content ends at a dot between any two
//! line ends, as in servers that fell for SMTP smuggling. What our side lets through becomes a second message here.
//! Every command is kept with whether it came in clear.

mod mail;
mod script;
mod session;

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread,
    time::{Duration, Instant},
};

use socket2::{Domain, Socket, Type};

pub use mail::Mail;
pub use script::{Exchange, ProviderTls, Script, Step, Turn};

use crate::{wait, wire::Octets};

/// A command as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Which connection, counted from 0.
    pub connection: usize,
    /// Whether TLS was on.
    pub secure: bool,
    /// The line without its end.
    pub text: String,
}

/// A running provider. It answers until the test's process ends, even after this value is dropped.
pub struct Provider {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// An address at which nobody answers yet: connections are refused. Other programs that set `SO_REUSEADDR`, as all
/// servers do, can still listen there, so this is also how to choose a port for one without a race.
pub struct Absent {
    socket: Socket,
    address: SocketAddr,
}

pub(crate) struct Shared {
    script: Mutex<Arc<Script>>,
    record: Mutex<Record>,
    changed: Condvar,
}

#[derive(Default)]
struct Record {
    mails: Vec<Mail>,
    commands: Vec<Command>,
    connections: usize,
    octets: Octets,
}

impl Provider {
    /// Starts on a free port of loopback.
    pub fn start(script: Script) -> Self {
        Absent::reserve().answer(script)
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port it listens at.
    pub const fn port(&self) -> u16 {
        self.address.port()
    }

    /// Goes on by another script, in open connections too.
    pub fn follow(&self, script: Script) {
        *self.shared.script.lock().unwrap() = Arc::new(script);
    }

    /// What it took so far.
    pub fn mails(&self) -> Vec<Mail> {
        self.shared.record().mails.clone()
    }

    /// How many messages it took so far.
    pub fn count(&self) -> usize {
        self.shared.record().mails.len()
    }

    /// How often it took each subject.
    pub fn subjects(&self) -> BTreeMap<String, usize> {
        let mut subjects = BTreeMap::new();
        for mail in &self.shared.record().mails {
            *subjects.entry(mail.subject()).or_default() += 1;
        }
        subjects
    }

    /// Every command so far.
    pub fn commands(&self) -> Vec<Command> {
        self.shared.record().commands.clone()
    }

    /// How many commands so far begin with a verb.
    pub fn commands_of(&self, verb: &str) -> usize {
        let record = self.shared.record();
        let fits = |command: &&Command| command.text.to_uppercase().starts_with(verb);
        record.commands.iter().filter(fits).count()
    }

    /// The first mebibyte of what came over all connections as it was on the wire, encrypted or not.
    pub fn octets(&self) -> Vec<u8> {
        self.shared.octets().lock().unwrap().clone()
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.shared.record().connections
    }

    /// Waits until it took `count` messages.
    pub fn wait_for(&self, count: usize) -> Vec<Mail> {
        self.wait_longer_for(count, wait::SOON)
    }

    /// Waits until it took `count` messages, up to a deadline.
    pub fn wait_longer_for(&self, count: usize, deadline: Duration) -> Vec<Mail> {
        let end = Instant::now() + deadline;
        let mut record = self.shared.record();
        while record.mails.len() < count {
            let left = end.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "waited {deadline:?} in vain: {} of {count} messages at the provider; last commands: {:?}",
                record.mails.len(),
                record.commands.iter().rev().take(12).collect::<Vec<_>>()
            );
            record = self.shared.changed.wait_timeout(record, left).unwrap().0;
        }
        record.mails.clone()
    }
}

impl Absent {
    /// A free port of loopback, kept.
    pub fn reserve() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        socket.bind(&any.into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        Self { socket, address }
    }

    /// The port.
    pub const fn port(&self) -> u16 {
        self.address.port()
    }

    /// Begins to answer there.
    pub fn answer(self, script: Script) -> Provider {
        self.socket.listen(1024).unwrap();
        let shared = Arc::new(Shared {
            script: Mutex::new(Arc::new(script)),
            record: Mutex::default(),
            changed: Condvar::new(),
        });
        let provider = Provider {
            address: self.address,
            shared: Arc::clone(&shared),
        };
        let listener = TcpListener::from(self.socket);
        thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&shared);
                thread::spawn(move || session::serve(socket, &shared));
            }
        });
        provider
    }
}

impl Shared {
    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap()
    }

    fn octets(&self) -> Octets {
        Arc::clone(&self.record().octets)
    }

    fn script(&self) -> Arc<Script> {
        Arc::clone(&self.script.lock().unwrap())
    }

    fn connected(&self) -> usize {
        let mut record = self.record();
        record.connections += 1;
        record.connections - 1
    }

    fn said(&self, command: Command) {
        self.record().commands.push(command);
        self.changed.notify_all();
    }

    fn took(&self, mail: Mail) {
        self.record().mails.push(mail);
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests;
