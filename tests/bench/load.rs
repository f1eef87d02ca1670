//! `smtp-source` and `smtp-sink`, the load tools of Postfix, which both sides stand between.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use posthouse_tests::{peer, provider::Absent, wait};
use tempfile::NamedTempFile;

use crate::case::Case;

/// No run takes longer on a working system.
const DEADLINE: Duration = Duration::from_mins(10);

/// Enough of the counters' end to hold the last of them whole.
const TAIL: u64 = 200;

/// A running `smtp-sink`, which counts.
pub(crate) struct Sink {
    child: Child,
    counters: NamedTempFile,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Sink {
    /// Starts one on a free port.
    pub(crate) fn start() -> Self {
        let reserved = Absent::reserve();
        let address = SocketAddr::from(([127, 0, 0, 1], reserved.port()));
        let counters = NamedTempFile::new().unwrap();
        // Its counters go to a file: a pipe would wake this process for each message.
        let child = Command::new(peer::program("smtp-sink").expect("asked before"))
            .args([
                "-u",
                "nobody",
                "-c",
                "-m",
                "1000",
                &address.to_string(),
                "1024",
            ])
            .stdout(File::options().append(true).open(counters.path()).unwrap())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        wait::until("smtp-sink answers", wait::SOON, || {
            TcpStream::connect(address).ok()
        });
        Self {
            child,
            counters,
            address,
        }
    }

    /// Messages so far.
    pub(crate) fn count(&self) -> usize {
        let mut file = File::open(self.counters.path()).unwrap();
        let length = file.metadata().unwrap().len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))
            .unwrap();
        let mut tail = String::new();
        file.read_to_string(&mut tail).unwrap();
        let figures = tail.rsplit("mesg=").next().unwrap_or_default();
        let digits: String = figures.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap_or(0)
    }

    /// Waits until it has this many.
    pub(crate) fn wait_for(&self, count: usize) {
        wait::until("the sink has every message", DEADLINE, || {
            (self.count() >= count).then_some(())
        });
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        // It may have ended before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends messages over a case's sessions, which are kept open, until each has its `250`.
pub(crate) fn send(case: &Case, address: SocketAddr, messages: usize) {
    let mut command = Command::new(peer::program("smtp-source").expect("asked before"));
    command.args([
        "-d",
        "-f",
        "bench@shop.example",
        "-t",
        "to@customer.example",
    ]);
    command.args([
        "-s",
        &case.sessions.to_string(),
        "-l",
        &case.size.to_string(),
    ]);
    command.args(["-m", &messages.to_string(), &address.to_string()]);
    peer::run(&mut command, b"");
}

/// What source and sink can do with nothing between them, in messages per second.
pub(crate) fn ceiling(case: &Case) -> f64 {
    let sink = Sink::start();
    let messages = case.messages() * 10;
    let start = Instant::now();
    send(case, sink.address, messages);
    sink.wait_for(messages);
    messages as f64 / start.elapsed().as_secs_f64()
}
