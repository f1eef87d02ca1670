//! Since which number of the senders file and of the document a password is accepted, and which gateways have them.
//!
//! Each file has a number that grows with every change. What counts is the number in which a rotation *first* appeared:
//! a later one holds it too, so other changes, however many, never put off a sender. Kept in memory and fed with the
//! files in use at each reconcile of the relay. After a restart of the operator the number of that moment stands for
//! what came before it, which is later than the truth and never earlier.

use std::{collections::BTreeMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use posthouse_config::{Senders, Status};

use crate::{
    mail_relay::{
        facts::{Facts, Heard},
        keys::LiveDocument,
    },
    names,
};

/// For how long a gateway that was not heard yet is waited for. It answers before it is ready; one that does not even
/// start must not put off everybody.
const STARTING: SignedDuration = SignedDuration::from_mins(2);

/// What a Secret holds, or is to hold: a password of this rotation, made with the relay key of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// The sender's rotation.
    pub rotation: u64,
    /// The relay's `clients.keyRotation`.
    pub key_rotation: u64,
}

/// Since when each rotation is accepted, for one relay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    senders: Numbered<(String, u64)>,
    rows: Numbered<String>,
    keys: Numbered<u64>,
}

/// The number in which each entry of a file first appeared.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Numbered<K> {
    /// The number that stands for what came before it.
    begun: Option<u64>,
    latest: u64,
    first: BTreeMap<K, u64>,
}

impl<K> Default for Numbered<K> {
    fn default() -> Self {
        Self {
            begun: None,
            latest: 0,
            first: BTreeMap::new(),
        }
    }
}

impl<K: Ord> Numbered<K> {
    fn observe(&mut self, number: u64, present: impl Iterator<Item = K>) {
        if number < self.latest {
            // The object was made anew and counts from the beginning.
            self.first.clear();
            self.begun = None;
        }
        self.begun.get_or_insert(number);
        let before = std::mem::take(&mut self.first);
        let first = |key: K| {
            let first = before.get(&key).copied().unwrap_or(number);
            (key, first)
        };
        self.first = present.map(first).collect();
        self.latest = number;
    }

    /// Whether a gateway that goes by a number has an entry. A number that was not written yet is that of a file that is
    /// gone.
    fn is_in(&self, key: &K, number: u64) -> bool {
        self.first.get(key).is_some_and(|first| *first <= number) && number <= self.latest
    }

    /// Whether a gateway that goes by a number cannot have an entry. What was there from the beginning it may have.
    fn cannot_be_in(&self, key: &K, number: u64) -> bool {
        self.first
            .get(key)
            .is_none_or(|first| number < *first && Some(*first) != self.begun)
    }
}

impl Ledger {
    /// Takes note of the files in use; one that is absent or cannot be read holds nothing.
    pub fn observe(&mut self, senders: Option<&Senders>, document: Option<&LiveDocument>) {
        let number = senders.map_or(0, |senders| senders.number);
        let rows = || senders.into_iter().flat_map(|senders| &senders.senders);
        let rotations = rows().flat_map(|row| {
            let keys = row.rotations.iter();
            keys.map(|rotation| (row.uid.clone(), *rotation))
        });
        self.senders.observe(number, rotations);
        self.rows.observe(number, rows().map(|row| row.uid.clone()));
        let keys = document
            .into_iter()
            .flat_map(|document| &document.rotations);
        self.keys.observe(
            document.map_or(0, |document| document.number),
            keys.copied(),
        );
    }

    /// Whether a gateway accepts what a Secret holds.
    pub fn accepts(&self, status: &Status, uid: &str, content: Content) -> bool {
        let file = names::relay_key_file(content.key_rotation);
        let unusable = status.files.missing.iter().chain(&status.files.invalid);
        self.senders.is_in(&(uid.to_owned(), content.rotation), status.senders.number)
            && self.keys.is_in(&content.key_rotation, status.document.number)
            // The document may come before the file it names.
            && !unusable.into_iter().any(|path| path.contains(&file))
    }

    /// Whether a gateway cannot accept a rotation yet. Not the opposite of [`Self::accepts`]: of what was there before this
    /// process neither is known for certain.
    pub fn lacks(&self, status: &Status, uid: &str, rotation: u64) -> bool {
        let key = (uid.to_owned(), rotation);
        self.senders.cannot_be_in(&key, status.senders.number)
    }

    /// Whether a gateway knows a sender at all.
    pub fn knows(&self, status: &Status, uid: &str) -> bool {
        self.rows.is_in(&uid.to_owned(), status.senders.number)
    }
}

/// A gateway, as a sender sees it.
#[derive(Clone, Copy, Debug)]
pub struct Gateway<'a> {
    /// Whether clients reach it.
    pub is_ready: bool,
    /// Whether its pod is being deleted.
    pub is_leaving: bool,
    /// Whether its pod was made a moment ago.
    pub is_new: bool,
    /// What was heard of it.
    pub heard: Option<&'a Heard>,
}

impl<'a> Gateway<'a> {
    /// The gateways of a relay.
    pub fn all(facts: &'a Facts) -> Vec<Self> {
        Self::of(&facts.children.pods, &facts.gateways, facts.now)
    }

    /// The gateways of these pods, at a time.
    pub fn of(
        pods: &BTreeMap<String, Arc<Pod>>,
        heard: &'a BTreeMap<String, Heard>,
        now: Timestamp,
    ) -> Vec<Self> {
        let gateway = |(name, pod): (&String, &Arc<Pod>)| Self {
            is_ready: is_ready(pod),
            is_leaving: pod.metadata.deletion_timestamp.is_some(),
            is_new: pod
                .metadata
                .creation_timestamp
                .as_ref()
                .is_some_and(|created| now.duration_since(created.0) < STARTING),
            heard: heard.get(name),
        };
        pods.iter().map(gateway).collect()
    }

    /// Whether a password must be accepted here before anybody is given it: by a gateway that clients reach, and by one
    /// that is about to become ready, since it may have read its files just before they changed.
    pub fn counts(&self) -> bool {
        let is_coming = match self.heard {
            Some(Heard::Report(report)) => !report.status.draining,
            Some(Heard::Silent { .. }) => false,
            Some(Heard::Nothing { .. }) | None => self.is_new,
        };
        !self.is_leaving && (self.is_ready || is_coming)
    }

    /// Its last account of itself, however old: its numbers never fall.
    pub fn status(&self) -> Option<&'a Status> {
        self.heard
            .and_then(Heard::last)
            .map(|report| &report.status)
    }
}

fn is_ready(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_ref());
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

#[cfg(test)]
mod tests {
    use posthouse_config::{
        senders::Sender,
        status::{DocumentStatus, FilesStatus, SendersStatus},
        yaml,
    };
    use serde_json::json;

    use super::*;

    fn senders(number: u64, rotations: &[u64]) -> Senders {
        let row: Sender = yaml::from_value(json!({ "name": "a", "namespace": "b", "uid": "u", "rotations": rotations, "from": [] })).unwrap();
        Senders {
            number,
            senders: vec![row],
            ..Senders::default()
        }
    }

    fn document(number: u64, rotations: &[u64]) -> LiveDocument {
        LiveDocument {
            number,
            rotations: rotations.to_vec(),
        }
    }

    fn gateway(senders: u64, document: u64) -> Status {
        Status {
            senders: SendersStatus { number: senders },
            document: DocumentStatus {
                number: document,
                ..DocumentStatus::default()
            },
            ..Status::default()
        }
    }

    fn content(rotation: u64, key_rotation: u64) -> Content {
        Content {
            rotation,
            key_rotation,
        }
    }

    #[test]
    fn the_number_in_which_it_first_appeared_counts() {
        let mut ledger = Ledger::default();
        assert!(!ledger.accepts(&gateway(9, 9), "u", content(1, 1)));
        ledger.observe(Some(&senders(3, &[1])), Some(&document(5, &[1])));
        ledger.observe(Some(&senders(4, &[2, 1])), Some(&document(6, &[2, 1])));
        // Others come and go; a gateway need not keep up with them.
        ledger.observe(Some(&senders(9, &[2, 1])), Some(&document(8, &[2, 1])));
        for (reported, wanted, expected) in [
            ((3, 5), (1, 1), true),
            ((2, 5), (1, 1), false),
            ((3, 4), (1, 1), false),
            ((4, 6), (2, 2), true),
            ((3, 6), (2, 2), false),
            ((4, 5), (2, 2), false),
            ((9, 8), (2, 2), true),
            ((9, 8), (3, 2), false),
            // Of a file that is gone.
            ((10, 8), (2, 2), false),
        ] {
            let status = gateway(reported.0, reported.1);
            let accepts = ledger.accepts(&status, "u", content(wanted.0, wanted.1));
            assert_eq!(accepts, expected, "{reported:?} {wanted:?}");
        }
        assert!(ledger.knows(&gateway(3, 0), "u"));
        assert!(!ledger.knows(&gateway(3, 0), "v"));
        // Gone and back: those in between lack it.
        ledger.observe(Some(&senders(10, &[2])), Some(&document(8, &[2])));
        assert!(ledger.lacks(&gateway(10, 8), "u", 1));
        ledger.observe(Some(&senders(11, &[2, 1])), Some(&document(8, &[2])));
        assert!(!ledger.accepts(&gateway(10, 8), "u", content(1, 2)));
        assert!(ledger.accepts(&gateway(11, 8), "u", content(1, 2)));
        assert!(ledger.lacks(&gateway(10, 8), "u", 1));
        assert!(!ledger.lacks(&gateway(11, 8), "u", 1));
        // Made anew.
        ledger.observe(Some(&senders(1, &[2])), Some(&document(8, &[2])));
        assert!(!ledger.accepts(&gateway(11, 8), "u", content(2, 2)));
        assert!(ledger.accepts(&gateway(1, 8), "u", content(2, 2)));
    }

    #[test]
    fn after_a_restart_the_number_of_the_moment_stands_for_the_past() {
        let mut ledger = Ledger::default();
        ledger.observe(Some(&senders(9, &[1])), Some(&document(8, &[1])));
        assert!(!ledger.accepts(&gateway(8, 8), "u", content(1, 1)));
        assert!(!ledger.lacks(&gateway(8, 8), "u", 1));
        assert!(ledger.lacks(&gateway(8, 8), "u", 2));
        ledger.observe(Some(&senders(12, &[1])), Some(&document(8, &[1])));
        assert!(ledger.accepts(&gateway(9, 8), "u", content(1, 1)));
    }

    #[test]
    fn a_key_that_is_not_there_yet_makes_no_password() {
        let mut ledger = Ledger::default();
        ledger.observe(Some(&senders(1, &[1])), Some(&document(1, &[2, 1])));
        let mut status = gateway(1, 1);
        status.files = FilesStatus {
            missing: vec!["/etc/posthouse/relay-2.key".to_owned()],
            invalid: Vec::new(),
        };
        assert!(!ledger.accepts(&status, "u", content(1, 2)));
        assert!(ledger.accepts(&status, "u", content(1, 1)));
    }
}
