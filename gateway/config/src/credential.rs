//! Derived keys and passwords: nothing that must be kept secret is stored but one master key.
//!
//! Every value is HMAC-SHA256 over a purpose and its fields; a field is its length as u32 big-endian and its octets
//! (strings UTF-8, integers u64 big-endian). The operator derives a relay key from its master and writes it to a key
//! file; the gateway derives each sender's password from the relay key and compares in constant time.

use aws_lc_rs::{constant_time, hmac};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

/// The purposes; a value derived for one can never be mistaken for another.
const RELAY: &str = "posthouse relay v1";
const LINK: &str = "posthouse link v1";
const SENDER: &str = "posthouse sender v1";
const LOG: &str = "posthouse log v1";

/// What a derived password begins with, so that scanners for leaked secrets can find it.
pub const PASSWORD_PREFIX: &str = "ph1_";

/// 32 octets of key material. Its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Key([u8; 32]);

/// A key file does not hold exactly 32 octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must hold exactly 32 octets, has {0}")]
pub struct KeyLengthError(usize);

impl Key {
    /// The relay key of a rotation, from the installation's master.
    #[must_use]
    pub fn relay(&self, namespace: &str, name: &str, rotation: u64) -> Self {
        self.derive(
            RELAY,
            &[
                namespace.as_bytes(),
                name.as_bytes(),
                &rotation.to_be_bytes(),
            ],
        )
    }

    /// The seed of the link key pair of a rotation, from the installation's master.
    #[must_use]
    pub fn link(&self, namespace: &str, name: &str, rotation: u64) -> Self {
        self.derive(
            LINK,
            &[
                namespace.as_bytes(),
                name.as_bytes(),
                &rotation.to_be_bytes(),
            ],
        )
    }

    /// A sender's password, from the relay key. `uid` is the MailSender's, 36 lower-case characters.
    pub fn password(&self, uid: &str, rotation: u64) -> String {
        let key = self.derive(SENDER, &[uid.as_bytes(), &rotation.to_be_bytes()]);
        format!("{PASSWORD_PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(key.0))
    }

    /// Whether `given` is the sender's password, in a time that does not depend on where they differ.
    pub fn is_password(&self, uid: &str, rotation: u64, given: &[u8]) -> bool {
        constant_time::verify_slices_are_equal(self.password(uid, rotation).as_bytes(), given)
            .is_ok()
    }

    /// By which an address can be traced through logs without being readable there: HMAC over the purpose and the
    /// address in lower case, cut to 8 octets.
    pub fn log_digest(&self, address: &str) -> [u8; 8] {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &self.0));
        context.update(LOG.as_bytes());
        context.update(address.to_lowercase().as_bytes());
        let mut out = [0; 8];
        out.copy_from_slice(context.sign().as_ref().get(..8).unwrap_or(&[0; 8]));
        out
    }

    /// The octets, for a key file.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn derive(&self, purpose: &str, fields: &[&[u8]]) -> Self {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &self.0));
        for field in std::iter::once(&purpose.as_bytes()).chain(fields) {
            let length = u32::try_from(field.len()).unwrap_or(u32::MAX);
            context.update(&length.to_be_bytes());
            context.update(field);
        }
        let mut out = [0; 32];
        out.copy_from_slice(context.sign().as_ref());
        Self(out)
    }
}

impl TryFrom<&[u8]> for Key {
    type Error = KeyLengthError;

    fn try_from(bytes: &[u8]) -> Result<Self, KeyLengthError> {
        bytes
            .try_into()
            .map(Self)
            .map_err(|_| KeyLengthError(bytes.len()))
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}

/// The user name of a sender: `name.namespace`.
pub fn username(namespace: &str, name: &str) -> String {
    format!("{name}.{namespace}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "6f1ed002-ab5c-4a5e-8b1a-000000000001";

    fn master() -> Key {
        let bytes: Vec<u8> = (0..32).collect();
        Key::try_from(bytes.as_slice()).unwrap()
    }

    /// 16 octets of a key as a number.
    fn word(key: &Key, from: usize) -> u128 {
        u128::from_be_bytes(key.as_bytes()[from..from + 16].try_into().unwrap())
    }

    /// Computed independently with Python:
    /// `hmac.new(key, b"".join(struct.pack(">I", len(f)) + f for f in fields), "sha256")`.
    #[test]
    fn test_vectors() {
        let relay = master().relay("mail-system", "outbound", 1);
        let hex = format!("{:032x}{:032x}", word(&relay, 0), word(&relay, 16));
        assert_eq!(
            hex,
            "a4f09c2c3de66bf5b9db649b9919baeb645375907fd2ad733bffa50071029a2c"
        );
        assert_eq!(
            relay.password(UID, 1),
            "ph1_66pV1UazMVSzJoZvBbpJmkPtqyxxYrjXmq8meL223ws"
        );
        assert_eq!(relay.password(UID, 1).len(), 47);
    }

    #[test]
    fn every_field_matters() {
        let relay = master().relay("a", "bc", 1);
        assert_ne!(relay, master().relay("ab", "c", 1));
        assert_ne!(relay, master().relay("a", "bc", 2));
        assert_ne!(relay, master().link("a", "bc", 1));
        assert!(relay.is_password(UID, 1, relay.password(UID, 1).as_bytes()));
        assert!(!relay.is_password(UID, 2, relay.password(UID, 1).as_bytes()));
        assert!(!relay.is_password(UID, 1, b""));
    }

    #[test]
    fn nothing_is_printed_and_lengths_are_checked() {
        assert_eq!(format!("{:?}", master()), "Key(…)");
        assert_eq!(
            Key::try_from(&[0; 31][..]).unwrap_err().to_string(),
            "must hold exactly 32 octets, has 31"
        );
    }
}
