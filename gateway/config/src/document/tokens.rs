//! ServiceAccount tokens: who issues them, for whom they must be meant, and the keys that sign them.
//!
//! All of it is public. The gateway checks tokens by these keys alone and asks nobody; the operator keeps them current.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Check;

/// Whose tokens are believed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tokens {
    /// What a token's `aud` must hold: `posthouse.dev/<namespace>/<relay>`, so that a token for one relay is no good at
    /// another.
    pub audience: String,
    /// At most 8.
    pub issuers: Vec<Issuer>,
}

/// One issuer of tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Issuer {
    /// What a token's `iss` must be.
    pub issuer: String,
    /// Its keys, as JSON Web Keys (RFC 7517 §4); one that is not understood is passed over.
    pub keys: Vec<Value>,
}

impl Tokens {
    pub(super) fn check(&self, check: &mut Check) {
        check.require(
            !self.audience.is_empty(),
            "tokens.audience",
            "must not be empty",
        );
        check.range("tokens.issuers", self.issuers.len() as u64, 0, 8);
        for (i, issuer) in self.issuers.iter().enumerate() {
            let path = format!("tokens.issuers[{i}].issuer");
            check.require(!issuer.issuer.is_empty(), &path, "must not be empty");
        }
    }
}

/// The audience of a relay's tokens.
pub fn audience(namespace: &str, relay: &str) -> String {
    format!("posthouse.dev/{namespace}/{relay}")
}
