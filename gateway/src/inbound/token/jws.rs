//! A signed token in compact form (RFC 7515 §7.1) and the keys that sign it (RFC 7517, RFC 7518, RFC 8037).
//!
//! The algorithm is the key's: the token's own word for it must agree and decides nothing. There is neither `none` nor
//! any algorithm with a shared secret, for which a public key could be passed off as one.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519,
    RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use super::json;

/// Octets of a key's id; those of Kubernetes have 43.
const MAXIMUM_KEY_ID: usize = 128;

/// A token that is not believed yet.
pub(super) struct Jws<'a> {
    algorithm: Algorithm,
    /// The id of the key that is said to have signed it; printable ASCII.
    pub(super) key_id: String,
    /// What it says.
    pub(super) claims: Map<String, Value>,
    signed: &'a [u8],
    signature: Vec<u8>,
}

/// What a key cannot do for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyFault {
    /// It is not for signatures, or not of a kind that is known here.
    NotUnderstood,
    /// It is of another kind than the token says.
    OtherAlgorithm,
    /// It did not sign this.
    Signature,
}

/// Asymmetric signatures, as an issuer of a cluster may use them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Rs256,
    Es256,
    Es384,
    Es512,
    EdDsa,
}

impl Algorithm {
    /// RFC 7518 §3.1, RFC 8037 §3.1; names are case-sensitive.
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "RS256" => Self::Rs256,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            "ES512" => Self::Es512,
            "EdDSA" => Self::EdDsa,
            _ => return None,
        })
    }

    /// That of a key (RFC 7518 §6.1, RFC 8037 §2).
    fn of_key(key: &Value) -> Option<Self> {
        let member = |name: &str| key.get(name).and_then(Value::as_str);
        Some(match (member("kty")?, member("crv")) {
            ("RSA", None) => Self::Rs256,
            ("EC", Some("P-256")) => Self::Es256,
            ("EC", Some("P-384")) => Self::Es384,
            ("EC", Some("P-521")) => Self::Es512,
            ("OKP", Some("Ed25519")) => Self::EdDsa,
            _ => return None,
        })
    }
}

impl<'a> Jws<'a> {
    /// Takes a token apart; nothing if it is none, or one that asks for what is not known here.
    pub(super) fn parse(token: &'a [u8]) -> Option<Self> {
        let signed_length = token.iter().rposition(|&octet| octet == b'.')?;
        let (signed, signature) = token.split_at_checked(signed_length)?;
        let mut parts = signed.split(|&octet| octet == b'.');
        let (Some(header), Some(claims), None) = (parts.next(), parts.next(), parts.next()) else {
            return None;
        };
        let header = json::object(&decoded(header)?)?;
        // RFC 7515 §4.1.11: what it lists must be understood, and nothing of the kind is.
        if header.contains_key("crit") {
            return None;
        }
        let member = |name: &str| header.get(name).and_then(Value::as_str);
        let key_id = member("kid")?;
        let is_shown = key_id.bytes().all(|octet| octet.is_ascii_graphic());
        if key_id.is_empty() || key_id.len() > MAXIMUM_KEY_ID || !is_shown {
            return None;
        }
        Some(Self {
            algorithm: Algorithm::named(member("alg")?)?,
            key_id: key_id.to_owned(),
            claims: json::object(&decoded(claims)?)?,
            signed,
            signature: decoded(signature.get(1..)?)?,
        })
    }

    /// Whether a key signed the token.
    pub(super) fn verify(&self, key: &Value) -> Result<(), KeyFault> {
        if !is_for_signatures(key) {
            return Err(KeyFault::NotUnderstood);
        }
        let algorithm = Algorithm::of_key(key).ok_or(KeyFault::NotUnderstood)?;
        let restricted = key
            .get("alg")
            .map(|name| name.as_str().and_then(Algorithm::named));
        if algorithm != self.algorithm || restricted.is_some_and(|only| only != Some(algorithm)) {
            return Err(KeyFault::OtherAlgorithm);
        }
        match algorithm {
            Algorithm::Rs256 => self.verify_rsa(key),
            Algorithm::Es256 => self.verify_point(&ECDSA_P256_SHA256_FIXED, key, 32),
            Algorithm::Es384 => self.verify_point(&ECDSA_P384_SHA384_FIXED, key, 48),
            Algorithm::Es512 => self.verify_point(&ECDSA_P521_SHA512_FIXED, key, 66),
            Algorithm::EdDsa => {
                let public = coordinate(key, "x", 32)?;
                self.verify_with(&ED25519, &public)
            }
        }
    }

    /// RFC 7518 §6.3.1. Keys under 2,048 bits are not accepted.
    fn verify_rsa(&self, key: &Value) -> Result<(), KeyFault> {
        let public = RsaPublicKeyComponents {
            n: member(key, "n")?,
            e: member(key, "e")?,
        };
        let verified = public.verify(&RSA_PKCS1_2048_8192_SHA256, self.signed, &self.signature);
        verified.map_err(|_| KeyFault::Signature)
    }

    /// RFC 7518 §6.2.1: the point of the curve, uncompressed (SEC 1 §2.3.3).
    fn verify_point(
        &self,
        algorithm: &'static dyn VerificationAlgorithm,
        key: &Value,
        octets: usize,
    ) -> Result<(), KeyFault> {
        let (x, y) = (coordinate(key, "x", octets)?, coordinate(key, "y", octets)?);
        let point = [&[4], x.as_slice(), y.as_slice()].concat();
        self.verify_with(algorithm, &point)
    }

    fn verify_with(
        &self,
        algorithm: &'static dyn VerificationAlgorithm,
        public: &[u8],
    ) -> Result<(), KeyFault> {
        let public = UnparsedPublicKey::new(algorithm, public);
        let verified = public.verify(self.signed, &self.signature);
        verified.map_err(|_| KeyFault::Signature)
    }
}

/// RFC 7517 §4.2, §4.3: a key may say what it is for.
fn is_for_signatures(key: &Value) -> bool {
    let is_use = key.get("use").is_none_or(|purpose| purpose == "sig");
    let operations = key.get("key_ops").map(Value::as_array);
    is_use
        && operations.is_none_or(|operations| {
            operations.is_some_and(|operations| operations.iter().any(|name| name == "verify"))
        })
}

fn coordinate(key: &Value, name: &str, octets: usize) -> Result<Vec<u8>, KeyFault> {
    let coordinate = member(key, name)?;
    if coordinate.len() == octets {
        Ok(coordinate)
    } else {
        Err(KeyFault::NotUnderstood)
    }
}

fn member(key: &Value, name: &str) -> Result<Vec<u8>, KeyFault> {
    let text = key.get(name).and_then(Value::as_str);
    text.and_then(|text| decoded(text.as_bytes()))
        .ok_or(KeyFault::NotUnderstood)
}

/// RFC 7515 §2: without padding, without anything else.
fn decoded(text: &[u8]) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(text).ok()
}
