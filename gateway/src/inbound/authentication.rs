//! Whether a name and a password belong together: passwords are derived, not stored, and compared in constant time.
//!
//! Every rotation of a sender and every relay key that counts now is tried. An unknown name costs as much as a known
//! one, so that the time tells nobody which names exist.

use posthouse_config::{Snapshot, credential::Key};
use posthouse_smtp::sasl::Credentials;

/// What is compared for a name that does not exist.
const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

/// What became of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// They belong together.
    Right,
    /// They do not.
    Wrong,
    /// A relay key is missing, so it cannot be told.
    KeyMissing,
}

/// Judges a claim.
pub(super) fn judge(snapshot: &Snapshot, credentials: &Credentials) -> Verdict {
    let configured = &snapshot.document.keys.relay;
    let keys: Vec<Key> = configured
        .iter()
        .filter_map(|key| Key::try_from(snapshot.file(&key.path)?.as_ref()).ok())
        .collect();
    let sender = snapshot.senders.by_username(&credentials.username);
    let (uid, rotations) = sender.map_or((NOBODY, [0].as_slice()), |sender| {
        (sender.uid.as_str(), sender.rotations.as_slice())
    });
    let mut matched = false;
    for key in &keys {
        for &rotation in rotations {
            matched |= key.is_password(uid, rotation, &credentials.password);
        }
    }
    if matched && sender.is_some() {
        Verdict::Right
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

    #[test]
    fn every_accepted_rotation_is_right_and_nothing_else() {
        let snapshot = snapshot();
        for (username, password, expected) in [
            (
                "checkout.shop",
                key().password(SENDER_UID, 1),
                Verdict::Right,
            ),
            (
                "checkout.shop",
                key().password(SENDER_UID, 2),
                Verdict::Right,
            ),
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
    fn without_the_key_nothing_can_be_told() {
        let right = claim("checkout.shop", key().password(SENDER_UID, 1));
        assert_eq!(judge(&snapshot_without_keys(), &right), Verdict::KeyMissing);
    }
}
