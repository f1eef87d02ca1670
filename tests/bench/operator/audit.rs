//! What the operator asked of the API server, by the server's own audit log: every request, with nothing between.
//!
//! A watch is one request, written when it ends.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::PathBuf,
    sync::{Mutex, MutexGuard},
};

use serde_json::Value;

/// One finished request.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    verb: String,
    resource: String,
}

/// The log, read as far as it is written.
pub(crate) struct Log {
    path: PathBuf,
    read: Mutex<(u64, Vec<Call>)>,
}

impl Log {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            read: Mutex::default(),
        }
    }

    /// Every request so far.
    pub(crate) fn all(&self) -> Vec<Call> {
        self.follow().1.clone()
    }

    fn follow(&self) -> MutexGuard<'_, (u64, Vec<Call>)> {
        let mut read = self.read.lock().unwrap();
        let mut text = String::new();
        // Made with the first request.
        if let Ok(mut file) = File::open(&self.path) {
            file.seek(SeekFrom::Start(read.0)).unwrap();
            file.read_to_string(&mut text).unwrap();
        }
        // The last line may be written as we read.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        read.0 += whole as u64;
        read.1.extend(text[..whole].lines().filter_map(Call::parse));
        read
    }
}

impl Call {
    fn parse(line: &str) -> Option<Self> {
        let event: Value = serde_json::from_str(line).ok()?;
        let account = "system:serviceaccount:posthouse-system:posthouse-operator";
        if event["user"]["username"] != account {
            return None;
        }
        let object = &event["objectRef"];
        let resource = object["resource"].as_str().or(event["requestURI"].as_str());
        let part = object["subresource"].as_str();
        let resource = resource.unwrap_or_default();
        Some(Self {
            verb: event["verb"].as_str().unwrap_or_default().to_owned(),
            resource: part.map_or_else(|| resource.to_owned(), |part| format!("{resource}/{part}")),
        })
    }

    /// Whether it writes a Secret.
    pub(crate) fn is_secret(&self) -> bool {
        self.resource == "secrets" && self.verb == "update"
    }

    /// Whether something happens: it is not of what goes on for ever.
    pub(crate) fn is_work(&self) -> bool {
        self.verb != "watch" && !matches!(self.resource.as_str(), "leases" | "secrets")
    }
}

/// How many there are of each kind, the most first.
pub(crate) fn by_kind(calls: &[Call]) -> Vec<(String, usize)> {
    let mut kinds = BTreeMap::<String, usize>::new();
    for call in calls {
        *kinds
            .entry(format!("{} {}", call.verb, call.resource))
            .or_default() += 1;
    }
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    kinds
}
