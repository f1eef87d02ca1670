//! Whether a name and a password belong together: passwords are derived, not stored, and compared in constant time.
//!
//! Every rotation of a sender and every relay key that counts now is tried. An unknown name costs as much as a known
//! one, so that the time tells nobody which names exist.

use posthouse_config::{Snapshot, credential::Key, senders::Sender};
use posthouse_smtp::sasl::Credentials;

/// What is compared for a name that does not exist.
const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

/// What became of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// They belong together.
    Right(Proof),
    /// They do not.
    Wrong,
    /// A relay key is missing, so it cannot be told.
    KeyMissing,
}

/// The password a client has proved to know, by what it was derived from. It holds for as long as that is accepted: a
/// password that is withdrawn must not go on working in the sessions that are open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Proof {
    uid: Box<str>,
    rotation: u64,
    /// The rotation of the relay key.
    key: u64,
}

impl Proof {
    /// Whether the password would still be accepted for a sender.
    pub(super) fn holds(&self, snapshot: &Snapshot, sender: &Sender) -> bool {
        let keys = &snapshot.document.keys.relay;
        *sender.uid == *self.uid
            && sender.rotations.contains(&self.rotation)
            && keys.iter().any(|key| key.rotation == self.key)
    }
}

/// Judges a claim.
pub(super) fn judge(snapshot: &Snapshot, credentials: &Credentials) -> Verdict {
    let configured = &snapshot.document.keys.relay;
    let keys: Vec<(u64, Key)> = configured
        .iter()
        .filter_map(|key| {
            let octets = snapshot.file(&key.path)?;
            Some((key.rotation, Key::try_from(octets.as_ref()).ok()?))
        })
        .collect();
    let sender = snapshot.senders.by_username(&credentials.username);
    let (uid, rotations) = sender.map_or((NOBODY, [0].as_slice()), |sender| {
        (sender.uid.as_str(), sender.rotations.as_slice())
    });
    let mut proof = None;
    for (number, key) in &keys {
        for &rotation in rotations {
            if key.is_password(uid, rotation, &credentials.password) {
                proof = Some(Proof {
                    uid: uid.into(),
                    rotation,
                    key: *number,
                });
            }
        }
    }
    if let (Some(proof), true) = (proof, sender.is_some()) {
        Verdict::Right(proof)
    } else if keys.is_empty() || keys.len() < configured.len() {
        Verdict::KeyMissing
    } else {
        Verdict::Wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbound::tests::{SENDER_UID, key, snapshot, snapshot_without_keys};

    fn claim(username: &str, password: impl AsRef<[u8]>) -> Credentials {
        Credentials {
            username: username.into(),
            password: password.as_ref().to_vec(),
        }
    }

    fn right(rotation: u64) -> Verdict {
        Verdict::Right(Proof {
            uid: SENDER_UID.into(),
            rotation,
            key: 1,
        })
    }

    #[test]
    fn every_accepted_rotation_is_right_and_nothing_else() {
        let snapshot = snapshot();
        for (username, password, expected) in [
            ("checkout.shop", key().password(SENDER_UID, 1), right(1)),
            ("checkout.shop", key().password(SENDER_UID, 2), right(2)),
            (
                "checkout.shop",
                key().password(SENDER_UID, 3),
                Verdict::Wrong,
            ),
            ("checkout.shop", String::new(), Verdict::Wrong),
            ("checkout", key().password(SENDER_UID, 1), Verdict::Wrong),
            ("nobody.shop", key().password(NOBODY, 0), Verdict::Wrong),
        ] {
            assert_eq!(
                judge(&snapshot, &claim(username, password)),
                expected,
                "{username}"
            );
        }
    }

    #[test]
    fn a_proof_holds_as_long_as_all_it_was_derived_from() {
        let snapshot = snapshot();
        let sender = &snapshot.senders.senders[0];
        let proof = Proof {
            uid: SENDER_UID.into(),
            rotation: 2,
            key: 1,
        };
        assert!(proof.holds(&snapshot, sender));
        for other in [
            Proof {
                uid: NOBODY.into(),
                ..proof.clone()
            },
            Proof {
                rotation: 3,
                ..proof.clone()
            },
            Proof { key: 2, ..proof },
        ] {
            assert!(!other.holds(&snapshot, sender), "{other:?}");
        }
    }

    #[test]
    fn without_the_key_nothing_can_be_told() {
        let right = claim("checkout.shop", key().password(SENDER_UID, 1));
        assert_eq!(judge(&snapshot_without_keys(), &right), Verdict::KeyMissing);
    }
}
