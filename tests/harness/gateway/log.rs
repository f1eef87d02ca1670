//! What a process writes, line by line, as it comes; JSON lines are understood.

use std::{
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    sync::{Arc, Mutex},
    thread,
};

use serde_json::Value;

/// The lines so far, of standard output and standard error.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    /// Collects two streams until they end.
    pub fn follow(out: impl Read + Send + 'static, err: impl Read + Send + 'static) -> Self {
        let log = Self::default();
        log.follow_also(out, err);
        log
    }

    /// Collects two more streams, of a process that came after.
    pub fn follow_also(&self, out: impl Read + Send + 'static, err: impl Read + Send + 'static) {
        self.collect(out);
        self.collect(err);
    }

    fn collect(&self, stream: impl Read + Send + 'static) {
        let lines = Arc::clone(&self.0);
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
    }

    /// Everything so far.
    pub fn text(&self) -> String {
        self.0.lock().unwrap().join("\n")
    }

    /// The last lines so far.
    pub fn tail(&self, count: usize) -> String {
        let lines = self.0.lock().unwrap();
        let from = lines.len().saturating_sub(count);
        lines.get(from..).unwrap_or_default().join("\n")
    }

    /// The lines so far that contain a word.
    pub fn lines_with(&self, word: &str) -> Vec<String> {
        let lines = self.0.lock().unwrap();
        lines
            .iter()
            .filter(|line| line.contains(word))
            .cloned()
            .collect()
    }
}

/// Where the admin port was bound, once a log says so.
pub fn admin(log: &str) -> Option<SocketAddr> {
    port("admin", log)
}

/// Where a port beside the listeners was bound, once a log says so.
pub(super) fn port(port: &str, log: &str) -> Option<SocketAddr> {
    let said = log.lines().filter(|line| line.contains("listening"));
    said.filter_map(|line| serde_json::from_str(line).ok())
        .find_map(|value: Value| {
            let fields = value.get("fields").unwrap_or(&value);
            let name = fields.get("listener").or_else(|| fields.get("name"))?;
            (name == port).then_some(())?;
            fields.get("address")?.as_str()?.parse().ok()
        })
}
