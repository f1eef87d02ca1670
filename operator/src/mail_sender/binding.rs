//! What a sender's Secret is to hold now, and what is remembered of it.
//!
//! ```text
//! nothing ──▶ newest        once every gateway that counts accepts it, and one is ready
//! former  ──▶ newest        the same; until then the former is kept as it is
//! ```
//! Pure. A password is never in a Secret before every gateway accepts it: an application that reads it would be refused
//! by some. Whether the Secret is written again where nothing changed is the writer's business.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use posthouse_api::mail_sender::status::CredentialStatus;

use super::{
    AcceptedSender,
    ledger::{Content, Gateway, Ledger},
    rotation,
};
use crate::mail_relay::{keys::KeyRotations, validate::ValidListener};

/// Everything a decision goes by.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// The sender.
    pub accepted: &'a AcceptedSender,
    /// What is remembered of its Secret.
    pub status: Option<&'a CredentialStatus>,
    /// The relay's keys.
    pub keys: &'a KeyRotations,
    /// Since when what is accepted.
    pub ledger: &'a Ledger,
    /// The relay's gateways.
    pub gateways: &'a [Gateway<'a>],
}

/// What is to be done about a Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What it is to hold; absent leaves it alone.
    pub content: Option<Content>,
    /// Why that is not the newest.
    pub waits: Option<Waits>,
}

/// What a sender waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// Clients could reach no gateway at all.
    NoReadyGateway,
    /// Some gateway does not have it yet.
    Gateways,
    /// The Secret has it, and some gateway does not: consent was withdrawn and given again.
    Again,
}

/// What the Secret of a sender with a password is to hold now; `wanted` is its `credential.rotation`.
pub fn decide(situation: &Situation, wanted: u64) -> Decision {
    let newest = Content {
        rotation: wanted,
        key_rotation: situation.keys.current,
    };
    let former = situation
        .status
        .map(|status| former(status, situation.keys));
    let is_accepted = situation.is_accepted(newest);
    let is_written = former == Some(newest);
    let waits = if !is_accepted {
        Waits::Gateways
    } else if is_written || situation.has_ready_gateway() {
        return Decision {
            content: Some(newest),
            waits: None,
        };
    } else {
        Waits::NoReadyGateway
    };
    let waits = match (is_written, situation.is_lacking(wanted)) {
        (false, _) => Some(waits),
        (true, true) => Some(Waits::Again),
        // A gateway that starts or is silent: the others go on, and it will have what they have.
        (true, false) => None,
    };
    Decision {
        content: former.filter(|former| situation.is_accepted(*former)),
        waits,
    }
}

/// Why the tokens of a sender are not accepted everywhere yet.
pub fn tokens_wait(situation: &Situation) -> Option<Waits> {
    let uid = &situation.accepted.row.uid;
    let mut known = situation.counting().filter_map(Gateway::status).peekable();
    if known.peek().is_none() {
        return Some(Waits::NoReadyGateway);
    }
    let has_all = known.all(|status| situation.ledger.knows(status, uid));
    (!has_all).then_some(Waits::Gateways)
}

impl<'a> Situation<'a> {
    fn counting(&self) -> impl Iterator<Item = &'a Gateway<'a>> {
        self.gateways.iter().filter(|gateway| gateway.counts())
    }

    fn has_ready_gateway(&self) -> bool {
        self.counting().any(|gateway| gateway.is_ready)
    }

    /// Whether some gateway is known not to accept a rotation.
    fn is_lacking(&self, rotation: u64) -> bool {
        let uid = &self.accepted.row.uid;
        let mut known = self.counting().filter_map(Gateway::status);
        known.any(|status| self.ledger.lacks(status, uid, rotation))
    }

    /// Whether every gateway accepts a password on the listener the sender is told of. None at all does.
    fn is_accepted(&self, content: Content) -> bool {
        let uid = &self.accepted.row.uid;
        let listener = &self.accepted.admitted.listener;
        self.counting().all(|gateway| {
            gateway.status().is_some_and(|status| {
                self.ledger.accepts(status, uid, content) && listens(status, listener)
            })
        })
    }
}

/// Whether a gateway has bound a listener: while a new one is rolled out some have not.
fn listens(status: &posthouse_config::Status, listener: &ValidListener) -> bool {
    let port = listener.container_port().to_string();
    status.listeners.iter().any(|bound| {
        let bound_port = bound.address.rsplit_once(':').map(|(_, port)| port);
        bound.name == listener.name && bound_port == Some(port.as_str())
    })
}

/// What the Secret holds, as far as it is remembered. A Secret older than the relay's current key has the previous one.
fn former(status: &CredentialStatus, keys: &KeyRotations) -> Content {
    let is_older = status
        .written_time
        .as_ref()
        .is_none_or(|time| time.0 < keys.since);
    let previous = keys.previous.filter(|_| is_older);
    Content {
        rotation: rotation::written(status),
        key_rotation: previous.unwrap_or(keys.current),
    }
}

/// What is remembered after a Secret was written; nothing changes where it held that before.
pub fn remembered(
    status: Option<&CredentialStatus>,
    keys: &KeyRotations,
    written: Content,
    overlap_seconds: u32,
    now: Timestamp,
) -> CredentialStatus {
    // As precise as the API: else what is read back would never be equal.
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let before = status.map(|status| former(status, keys));
    match status {
        Some(status) if before == Some(written) => status.clone(),
        _ => CredentialStatus {
            rotation: i64::try_from(written.rotation).unwrap_or(i64::MAX),
            written_time: Some(Time(now)),
            previous_valid_until: match (status, before) {
                // Only the relay's key is new.
                (Some(status), Some(before)) if before.rotation == written.rotation => {
                    status.previous_valid_until.clone()
                }
                (Some(_), _) => now
                    .checked_add(SignedDuration::from_secs(overlap_seconds.into()))
                    .ok()
                    .map(Time),
                // Lost, or never written: nobody knows what would be valid.
                (None, _) => None,
            },
        },
    }
}

#[cfg(test)]
mod tests;
