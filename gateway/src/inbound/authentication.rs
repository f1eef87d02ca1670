//! Whether what a client presents is right: a password or a token (see [`super::token`]).
//!
//! Passwords are derived, not stored, and compared in constant time: every rotation of a sender and every relay key that
//! counts now is tried, and an unknown name costs as much as a known one, so that the time tells nobody which names
//! exist.

use std::{sync::Arc, time::Duration};

use posthouse_config::{Snapshot, credential::Key, senders::Sender};
use posthouse_smtp::sasl::{Credentials, Presented};

use super::{
    refusal::{self, Refusal},
    token::{self, TokenError, TokenProof},
};
use crate::mail::Timestamp;

/// What is compared for a name that does not exist.
const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

/// What became of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// The client is who it says.
    Right(Proven),
    /// It is not.
    Wrong(Refusal),
    /// It cannot be told now.
    Later(Refusal),
    /// The same: no known key has this id.
    UnknownKey(Refusal, String),
}

/// A client that has proved who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Proven {
    /// Its user name.
    pub(super) username: Arc<str>,
    /// What it has proved.
    pub(super) proof: Proof,
    /// For how long that holds; absent where no time ends it.
    pub(super) lasts: Option<Duration>,
}

/// What a client has proved. It holds for as long as that is accepted: what is withdrawn must not go on working in the
/// sessions that are open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// That it knows a password.
    Password(PasswordProof),
    /// That it has a token.
    Token(TokenProof),
}

impl Proof {
    /// Whether it would still be accepted for a sender.
    pub(super) fn holds(&self, snapshot: &Snapshot, sender: &Sender) -> bool {
        match self {
            Self::Password(proof) => proof.holds(snapshot, sender),
            Self::Token(proof) => proof.holds(snapshot, sender),
        }
    }
}

/// Judges what a client presents. A token that came in clear is not looked at: it may have been overheard, and its owner
/// is to learn of that.
pub(super) fn judge(
    snapshot: &Snapshot,
    presented: &Presented,
    is_in_clear: bool,
    now: Timestamp,
) -> (Judged, Option<TokenError>) {
    let (username, token) = match presented {
        Presented::Password(given) if token::is_token(&given.password) => {
            (Some(given.username.as_str()), &given.password)
        }
        Presented::Password(given) => return (password(snapshot, given), None),
        Presented::Bearer(given) => (given.username.as_deref(), &given.token),
    };
    if is_in_clear && snapshot.document.tokens.is_some() {
        return (Judged::Wrong(refusal::token_in_clear()), None);
    }
    match token::judge(snapshot, username, token, now) {
        Ok(accepted) => {
            let proven = Proven {
                username: accepted.username,
                proof: Proof::Token(accepted.proof),
                lasts: Some(accepted.lasts),
            };
            (Judged::Right(proven), None)
        }
        Err(error) => {
            let refusal = refusal::token(&error);
            let judged = match &error {
                TokenError::UnknownKey(id) => Judged::UnknownKey(refusal, id.clone()),
                _ => Judged::Wrong(refusal),
            };
            (judged, Some(error))
        }
    }
}

fn password(snapshot: &Snapshot, given: &Credentials) -> Judged {
    match verdict(snapshot, given) {
        Verdict::Right(proof) => Judged::Right(Proven {
            username: given.username.as_str().into(),
            proof: Proof::Password(proof),
            lasts: None,
        }),
        Verdict::Wrong => Judged::Wrong(refusal::wrong_password()),
        Verdict::KeyMissing => Judged::Later(refusal::key_missing()),
    }
}

/// Whether a name and a password belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    /// They do.
    Right(PasswordProof),
    /// They do not.
    Wrong,
    /// A relay key is missing, so it cannot be told.
    KeyMissing,
}

/// A password by what it was derived from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PasswordProof {
    uid: Box<str>,
    rotation: u64,
    /// The rotation of the relay key.
    key: u64,
}

impl PasswordProof {
    /// Whether the password would still be accepted for a sender.
    fn holds(&self, snapshot: &Snapshot, sender: &Sender) -> bool {
        let keys = &snapshot.document.keys.relay;
        *sender.uid == *self.uid
            && sender.rotations.contains(&self.rotation)
            && keys.iter().any(|key| key.rotation == self.key)
    }
}

fn verdict(snapshot: &Snapshot, credentials: &Credentials) -> Verdict {
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
                proof = Some(PasswordProof {
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
        Verdict::Right(PasswordProof {
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
                verdict(&snapshot, &claim(username, password)),
                expected,
                "{username}"
            );
        }
    }

    #[test]
    fn a_proof_holds_as_long_as_all_it_was_derived_from() {
        let snapshot = snapshot();
        let sender = &snapshot.senders.senders[0];
        let proof = PasswordProof {
            uid: SENDER_UID.into(),
            rotation: 2,
            key: 1,
        };
        assert!(proof.holds(&snapshot, sender));
        for other in [
            PasswordProof {
                uid: NOBODY.into(),
                ..proof.clone()
            },
            PasswordProof {
                rotation: 3,
                ..proof.clone()
            },
            PasswordProof { key: 2, ..proof },
        ] {
            assert!(!other.holds(&snapshot, sender), "{other:?}");
        }
    }

    #[test]
    fn without_the_key_nothing_can_be_told() {
        let right = claim("checkout.shop", key().password(SENDER_UID, 1));
        assert_eq!(
            verdict(&snapshot_without_keys(), &right),
            Verdict::KeyMissing
        );
    }
}
