//! An issuer of ServiceAccount tokens, as an API server is one: RS256, a key with an id, tokens bound to a pod.

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use posthouse_config::document::Issuer as Believed;
use rcgen::{KeyPair, PKCS_RSA_SHA256};
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject};
use serde_json::{Value, json};

/// Its name, as of a cluster made with kubeadm.
pub const NAME: &str = "https://kubernetes.default.svc.cluster.local";

/// One issuer with one key.
pub struct Issuer {
    key: RsaKeyPair,
    key_id: String,
}

impl Issuer {
    /// Makes the key.
    pub fn new(key_id: &str) -> Self {
        Self {
            key: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
            key_id: key_id.to_owned(),
        }
    }

    /// With the key of an API server, PEM, under the id that stands in a token of that one.
    pub fn like(key: &str, token: &str) -> Self {
        let key = PrivatePkcs8KeyDer::from_pem_slice(key.as_bytes()).unwrap();
        Self {
            key: RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).unwrap(),
            key_id: key_id(token),
        }
    }

    /// Its public key (RFC 7517), as `/openid/v1/jwks` has it.
    pub fn public_key(&self) -> Value {
        // PKCS #1 in DER: two sequence headers of four octets and a zero, then the modulus; the exponent comes last.
        let der = self.key.public_key().as_ref();
        json!({
            "use": "sig", "kty": "RSA", "kid": self.key_id, "alg": "RS256",
            "n": encoded(&der[9..265]), "e": encoded(&der[267..]),
        })
    }

    /// As a document has it.
    pub fn believed(&self) -> Believed {
        Believed {
            issuer: NAME.to_owned(),
            keys: vec![self.public_key()],
        }
    }

    /// A token of a pod under ServiceAccount `name` of namespace `shop`, valid for an hour from now.
    pub fn token(&self, name: &str, uid: &str, audience: &str) -> String {
        let now = now();
        let claims = json!({
            "aud": [audience], "iss": NAME, "jti": "9c2b7a5e-0000-4000-8000-000000000003",
            "exp": now + 3600, "iat": now, "nbf": now,
            "kubernetes.io": {
                "namespace": "shop",
                "node": { "name": "node-1", "uid": "9c2b7a5e-0000-4000-8000-000000000004" },
                "pod": { "name": format!("{name}-7d9f"), "uid": "9c2b7a5e-0000-4000-8000-000000000005" },
                "serviceaccount": { "name": name, "uid": uid },
            },
            "sub": format!("system:serviceaccount:shop:{name}"),
        });
        self.sign(&claims)
    }

    /// A token that says anything.
    pub fn sign(&self, claims: &Value) -> String {
        let header = json!({ "alg": "RS256", "kid": self.key_id });
        let message = format!(
            "{}.{}",
            encoded(header.to_string()),
            encoded(claims.to_string())
        );
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                message.as_bytes(),
                &mut signature,
            )
            .unwrap();
        format!("{message}.{}", encoded(signature))
    }
}

/// A key for an API server, PEM.
pub fn new_key() -> String {
    let key = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
    key.serialize_pem()
}

/// The id of the key that signed a token.
pub fn key_id(token: &str) -> String {
    let [header, _] = parts(token);
    header["kid"].as_str().unwrap().to_owned()
}

/// What a token says.
pub fn claims(token: &str) -> Value {
    let [_, claims] = parts(token);
    claims
}

/// The header and the claims (RFC 7515 §7.1).
fn parts(token: &str) -> [Value; 2] {
    let mut parts = token.split('.').map(|part| {
        let json = BASE64_URL_SAFE_NO_PAD.decode(part).unwrap();
        serde_json::from_slice(&json).unwrap()
    });
    [parts.next().unwrap(), parts.next().unwrap()]
}

fn encoded(octets: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(octets)
}

/// Seconds since 1970.
#[expect(
    clippy::disallowed_methods,
    reason = "the tested process goes by the machine's clock"
)]
fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_secs()
}
