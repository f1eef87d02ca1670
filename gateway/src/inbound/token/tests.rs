use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
        ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair,
        KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
    },
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use posthouse_config::{Document, Senders};
use serde_json::{Value, json};

use super::*;
use crate::inbound::tests::{PLAIN, SENDER_UID, document};

pub(in crate::inbound) const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
pub(in crate::inbound) const AUDIENCE: &str = "posthouse.dev/mail/out";
const ACCOUNT_UID: &str = "0d5c7f6e-0000-4000-8000-000000000002";
const START: u64 = 1_795_339_000;

/// A key of an issuer, made for the test.
pub(in crate::inbound) enum Signer {
    Rsa(Box<RsaKeyPair>),
    Ec(&'static str, &'static str, EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

fn encoded(octets: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(octets)
}

impl Signer {
    fn rsa() -> Self {
        Self::Rsa(Box::new(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()))
    }

    fn ec(
        name: &'static str,
        curve: &'static str,
        algorithm: &'static EcdsaSigningAlgorithm,
    ) -> Self {
        Self::Ec(name, curve, EcdsaKeyPair::generate(algorithm).unwrap())
    }

    pub(in crate::inbound) fn p256() -> Self {
        Self::ec("ES256", "P-256", &ECDSA_P256_SHA256_FIXED_SIGNING)
    }

    fn all() -> [Self; 5] {
        [
            Self::rsa(),
            Self::p256(),
            Self::ec("ES384", "P-384", &ECDSA_P384_SHA384_FIXED_SIGNING),
            Self::ec("ES512", "P-521", &ECDSA_P521_SHA512_FIXED_SIGNING),
            Self::Ed(Ed25519KeyPair::generate().unwrap()),
        ]
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::Ec(name, ..) => name,
            Self::Ed(_) => "EdDSA",
        }
    }

    pub(in crate::inbound) fn key(&self, id: &str) -> Value {
        match self {
            // PKCS #1 in DER: two sequence headers of four octets and a zero, then the modulus; the exponent comes last.
            Self::Rsa(pair) => {
                let der = pair.public_key().as_ref();
                json!({"kty": "RSA", "kid": id, "use": "sig", "alg": "RS256",
                    "n": encoded(&der[9..265]), "e": encoded(&der[267..])})
            }
            Self::Ec(name, curve, pair) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                json!({"kty": "EC", "kid": id, "alg": name, "crv": curve, "x": encoded(x), "y": encoded(y)})
            }
            Self::Ed(pair) => {
                json!({"kty": "OKP", "kid": id, "crv": "Ed25519", "x": encoded(pair.public_key())})
            }
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .unwrap();
                signature
            }
            Self::Ec(_, _, pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Self::Ed(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    /// A token with any header and any claims.
    fn signed(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", encoded(header), encoded(claims));
        let signature = self.sign(signed.as_bytes());
        format!("{signed}.{}", encoded(signature))
    }

    pub(in crate::inbound) fn token(&self, id: &str, claims: &Value) -> String {
        let header = json!({"alg": self.name(), "kid": id});
        self.signed(&header.to_string(), &claims.to_string())
    }
}

/// What the API server says in a token of `checkout` in `shop`, from [`START`] on for an hour.
pub(in crate::inbound) fn claims() -> Value {
    claims_from(START)
}

pub(in crate::inbound) fn claims_from(start: u64) -> Value {
    json!({
        "aud": [AUDIENCE],
        "exp": start + 3600, "iat": start, "nbf": start,
        "iss": ISSUER,
        "jti": "9c2b7a5e-0000-4000-8000-000000000003",
        "kubernetes.io": {
            "namespace": "shop",
            "node": {"name": "node", "uid": "n"},
            "pod": {"name": "checkout-7d9f", "uid": "p"},
            "serviceaccount": {"name": "checkout", "uid": ACCOUNT_UID}
        },
        "sub": "system:serviceaccount:shop:checkout"
    })
}

fn sender(name: &str, accounts: &Value) -> Value {
    json!({"name": name, "namespace": "shop", "uid": SENDER_UID, "from": ["shop.example"],
        "serviceAccounts": accounts})
}

/// `checkout.shop` may be used under the ServiceAccount of [`claims`].
pub(in crate::inbound) fn listed() -> Value {
    json!([sender(
        "checkout",
        &json!([{"name": "checkout", "uid": ACCOUNT_UID}])
    )])
}

/// A document that believes these keys, and its senders.
pub(in crate::inbound) fn believing(keys: &[Value], senders: &Value) -> Snapshot {
    believing_on(document(PLAIN, ""), keys, senders)
}

pub(in crate::inbound) fn believing_on(
    document: Document,
    keys: &[Value],
    senders: &Value,
) -> Snapshot {
    let tokens = Tokens {
        audience: AUDIENCE.into(),
        issuers: vec![Issuer {
            issuer: ISSUER.into(),
            keys: keys.to_vec(),
        }],
    };
    let document = Document {
        tokens: Some(tokens),
        ..document
    };
    let senders = json!({"format": 1, "number": 1, "generation": 1, "senders": senders});
    let senders = Senders::parse(&senders.to_string()).unwrap();
    Snapshot::new(
        Arc::new(document),
        Arc::new(senders),
        std::collections::BTreeMap::new(),
    )
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

/// A minute after a token was issued.
fn now() -> Timestamp {
    at(START + 60)
}

/// Changes claims.
fn with(change: impl FnOnce(&mut Value)) -> Value {
    let mut claims = claims();
    change(&mut claims);
    claims
}

/// What becomes of a token of a key that is believed.
fn judged(token: impl FnOnce(&Signer) -> String) -> Result<Accepted, TokenError> {
    let signer = Signer::p256();
    let snapshot = believing(&[signer.key("k")], &listed());
    judge(&snapshot, None, token(&signer).as_bytes(), now())
}

fn judged_claims(claims: &Value) -> Result<Accepted, TokenError> {
    judged(|signer| signer.token("k", claims))
}

#[test]
fn a_token_of_every_algorithm_is_accepted_with_and_without_a_user_name() {
    for signer in Signer::all() {
        let snapshot = believing(&[signer.key("k")], &listed());
        let token = signer.token("k", &claims());
        assert!(is_token(token.as_bytes()));
        for username in [None, Some("checkout.shop")] {
            let accepted = judge(&snapshot, username, token.as_bytes(), now()).unwrap();
            assert_eq!(&*accepted.username, "checkout.shop", "{}", signer.name());
            assert_eq!(accepted.lasts, Duration::from_hours(1));
            assert!(
                accepted
                    .proof
                    .holds(&snapshot, &snapshot.senders.senders[0])
            );
        }
        let mut forged = token.into_bytes();
        let length = forged.len();
        forged[length - 20] ^= 1;
        // The octet may be no Base64 any more.
        assert!(matches!(
            judge(&snapshot, None, &forged, now()),
            Err(TokenError::Signature | TokenError::Malformed)
        ));
    }
}

#[test]
fn only_three_parts_are_meant_as_a_token() {
    for password in ["", "a.b", "a..b", "a.b.c.d", "a.b.c=", "ph1_abc", "p.w.d!"] {
        assert!(!is_token(password.as_bytes()), "{password}");
    }
    assert!(is_token(b"eyJ.e30.-_"));
}

#[test]
fn a_key_that_is_not_known_is_asked_for_later_and_another_issuers_key_is_none() {
    let (known, other) = (Signer::p256(), Signer::p256());
    let snapshot = believing(&[known.key("k")], &listed());
    let judge = |token: String| judge(&snapshot, None, token.as_bytes(), now()).unwrap_err();
    assert_eq!(
        judge(other.token("new", &claims())),
        TokenError::UnknownKey("new".into())
    );
    assert_eq!(judge(other.token("k", &claims())), TokenError::Signature);
    let elsewhere = with(|claims| claims["iss"] = "https://evil.example".into());
    assert_eq!(judge(known.token("k", &elsewhere)), TokenError::Issuer);
}

/// RFC 8725 §3.1, §3.2: the token does not choose how it is verified.
#[test]
fn the_algorithm_is_that_of_the_key() {
    let signer = Signer::p256();
    let public = signer.key("k");
    let claims_text = claims().to_string();
    let unsigned = format!(
        "{}.{}.",
        encoded(r#"{"alg":"none","kid":"k"}"#),
        encoded(&claims_text)
    );
    // The public key taken for a shared secret.
    let shared = {
        use aws_lc_rs::hmac;
        let message = format!(
            "{}.{}",
            encoded(r#"{"alg":"HS256","kid":"k"}"#),
            encoded(&claims_text)
        );
        let secret = hmac::Key::new(hmac::HMAC_SHA256, public.to_string().as_bytes());
        let tag = hmac::sign(&secret, message.as_bytes());
        format!("{message}.{}", encoded(tag))
    };
    let snapshot = believing(&[public], &listed());
    for (token, expected) in [
        (unsigned, TokenError::Malformed),
        (shared, TokenError::Malformed),
        (
            signer.signed(r#"{"alg":"ES384","kid":"k"}"#, &claims_text),
            TokenError::Algorithm,
        ),
        (
            signer.signed(r#"{"alg":"RS256","kid":"k"}"#, &claims_text),
            TokenError::Algorithm,
        ),
        (
            signer.signed(r#"{"alg":"es256","kid":"k"}"#, &claims_text),
            TokenError::Malformed,
        ),
    ] {
        let judged = judge(&snapshot, None, token.as_bytes(), now());
        assert_eq!(judged, Err(expected), "{token}");
    }
}

#[test]
fn keys_that_are_not_understood_are_passed_over() {
    let signer = Signer::p256();
    let token = signer.token("k", &claims());
    let changed = |member: &str, value: Value| {
        let mut key = signer.key("k");
        key[member] = value;
        key
    };
    for (key, expected) in [
        (
            changed("use", json!("enc")),
            TokenError::UnknownKey("k".into()),
        ),
        (
            changed("key_ops", json!(["sign"])),
            TokenError::UnknownKey("k".into()),
        ),
        (
            changed("kty", json!("oct")),
            TokenError::UnknownKey("k".into()),
        ),
        (
            changed("crv", json!("P-224")),
            TokenError::UnknownKey("k".into()),
        ),
        (
            changed("x", json!("AA")),
            TokenError::UnknownKey("k".into()),
        ),
        (changed("x", json!(1)), TokenError::UnknownKey("k".into())),
        (changed("alg", json!("ES384")), TokenError::Algorithm),
        (
            changed("x", signer.key("k")["y"].clone()),
            TokenError::Signature,
        ),
        (json!("no key"), TokenError::UnknownKey("k".into())),
    ] {
        let alone = believing(std::slice::from_ref(&key), &listed());
        assert_eq!(
            judge(&alone, None, token.as_bytes(), now()),
            Err(expected),
            "{key}"
        );
        let beside = believing(&[key, signer.key("k")], &listed());
        assert!(judge(&beside, None, token.as_bytes(), now()).is_ok());
    }
}

#[test]
fn what_is_no_token_is_refused() {
    let good = claims().to_string();
    let twice = good.replacen("\"exp\"", "\"exp\":9999999999,\"exp\"", 1);
    let nested = good.replacen("\"uid\"", "\"uid\":\"x\",\"uid\"", 1);
    for (header, claims) in [
        (r#"{"alg":"ES256"}"#, good.as_str()),
        (r#"{"alg":"ES256","kid":""}"#, &good),
        (r#"{"alg":"ES256","kid":"a\nb"}"#, &good),
        (r#"{"alg":"ES256","kid":7}"#, &good),
        (r#"{"kid":"k"}"#, &good),
        (
            r#"{"alg":"ES256","kid":"k","crit":["b64"],"b64":false}"#,
            &good,
        ),
        (r#"{"alg":"none","alg":"ES256","kid":"k"}"#, &good),
        (r#"{"alg":"ES256","kid":"k"}"#, &twice),
        (r#"{"alg":"ES256","kid":"k"}"#, &nested),
        (r#"{"alg":"ES256","kid":"k"}"#, "[]"),
        (r#"{"alg":"ES256","kid":"k"}"#, "{}"),
    ] {
        let judged = judged(|signer| signer.signed(header, claims));
        assert_eq!(judged, Err(TokenError::Malformed), "{header} {claims}");
    }
    let long = format!(r#"{{"alg":"ES256","kid":"{}"}}"#, "k".repeat(129));
    assert_eq!(
        judged(|signer| signer.signed(&long, &good)),
        Err(TokenError::Malformed)
    );
    for token in ["", ".", "..", "a.b", "e30.e30.e30.e30", "e30=.e30.e30"] {
        assert_eq!(
            judged(|_| token.to_owned()),
            Err(TokenError::Malformed),
            "{token}"
        );
    }
    let without = Snapshot::new(
        Arc::new(document(PLAIN, "")),
        Arc::default(),
        std::collections::BTreeMap::new(),
    );
    assert_eq!(
        judge(&without, None, b"a.b.c", now()),
        Err(TokenError::NotOffered)
    );
}

#[test]
fn a_token_counts_from_its_beginning_to_its_end_with_a_minute_of_leeway() {
    let signer = Signer::p256();
    let snapshot = believing(&[signer.key("k")], &listed());
    let token = signer.token("k", &claims());
    let judged = |seconds: u64| judge(&snapshot, None, token.as_bytes(), at(seconds));
    let end = START + 3600;
    assert_eq!(judged(START - 61), Err(TokenError::NotYet));
    assert!(judged(START - 60).is_ok());
    assert_eq!(judged(end + 59).unwrap().lasts, Duration::from_secs(1));
    assert_eq!(judged(end + 60), Err(TokenError::Expired));
    // RFC 7519 §2: a fraction is fine.
    let fraction = with(|claims| claims["exp"] = json!(1_795_340_800.5));
    assert!(judged_claims(&fraction).is_ok());
}

#[test]
fn times_must_be_there_and_not_far_apart() {
    let without = |member: &'static str| {
        with(move |claims| {
            claims.as_object_mut().unwrap().remove(member);
        })
    };
    assert_eq!(judged_claims(&without("exp")), Err(TokenError::Malformed));
    assert_eq!(judged_claims(&without("iat")), Err(TokenError::Malformed));
    assert!(judged_claims(&without("nbf")).is_ok());
    for (expires, expected) in [
        (json!(START + 86_400), Ok(())),
        (json!(START + 86_401), Err(TokenError::TooLong)),
        (json!("1"), Err(TokenError::Malformed)),
        (json!(-1), Err(TokenError::Malformed)),
        (json!(1e300), Err(TokenError::Malformed)),
        (json!(u64::MAX), Err(TokenError::Malformed)),
    ] {
        let claims = with(|claims| claims["exp"] = expires.clone());
        assert_eq!(judged_claims(&claims).map(|_| ()), expected, "{expires}");
    }
    let backwards = with(|claims| claims["iat"] = json!(START + 7200));
    assert_eq!(judged_claims(&backwards), Err(TokenError::TooLong));
    let late = with(|claims| claims["nbf"] = json!("soon"));
    assert_eq!(judged_claims(&late), Err(TokenError::Malformed));
}

#[test]
fn a_token_for_another_relay_is_no_good_here() {
    for (audience, is_for_us) in [
        (json!(AUDIENCE), true),
        (json!(["x", AUDIENCE]), true),
        (json!("posthouse.dev/mail/other"), false),
        (json!(["https://kubernetes.default.svc"]), false),
        (json!([]), false),
        (json!(format!("{AUDIENCE}/")), false),
        (Value::Null, false),
    ] {
        let claims = with(|claims| claims["aud"] = audience.clone());
        let expected = if is_for_us {
            Ok(())
        } else {
            Err(TokenError::Audience(AUDIENCE.into()))
        };
        assert_eq!(judged_claims(&claims).map(|_| ()), expected, "{audience}");
    }
}

#[test]
fn a_token_must_be_bound_to_a_pod() {
    for path in ["pod", "serviceaccount", "namespace"] {
        let claims = with(|claims| {
            let claim = claims["kubernetes.io"].as_object_mut().unwrap();
            claim.remove(path);
        });
        assert_eq!(judged_claims(&claims), Err(TokenError::NoPod), "{path}");
    }
    let none = with(|claims| claims["kubernetes.io"] = Value::Null);
    assert_eq!(judged_claims(&none), Err(TokenError::NoPod));
    let empty = with(|claims| claims["kubernetes.io"]["serviceaccount"]["uid"] = "".into());
    assert_eq!(judged_claims(&empty), Err(TokenError::NoPod));
    let other = with(|claims| claims["sub"] = "system:serviceaccount:shop:other".into());
    assert_eq!(judged_claims(&other), Err(TokenError::Malformed));
}

/// The account of [`claims`].
fn account() -> Account {
    let token = claims();
    Claims::of(token.as_object().unwrap()).unwrap().account
}

#[test]
fn the_sender_is_the_one_named_or_the_only_one() {
    let signer = Signer::p256();
    let token = signer.token("k", &claims());
    let ours = json!([{"name": "checkout", "uid": ACCOUNT_UID}]);
    let namesakes = json!([{"name": "checkout", "uid": "another"}]);
    let judged = |senders: &Value, username: Option<&str>| {
        let snapshot = believing(&[signer.key("k")], senders);
        let judged = judge(&snapshot, username, token.as_bytes(), now());
        judged.map(|accepted| accepted.username.to_string())
    };
    let two = json!([
        sender("a", &ours),
        sender("b", &ours),
        sender("c", &namesakes)
    ]);
    assert_eq!(judged(&two, Some("b.shop")), Ok("b.shop".into()));
    assert_eq!(judged(&two, None), Err(TokenError::Several(account())));
    assert_eq!(
        judged(&two, Some("c.shop")),
        Err(TokenError::Namesake(account()))
    );
    for username in ["x.shop", "a.other", "a", ""] {
        assert_eq!(
            judged(&two, Some(username)),
            Err(TokenError::OtherSender(account())),
            "{username}"
        );
    }
    let one = json!([sender("a", &ours), sender("c", &namesakes)]);
    assert_eq!(judged(&one, None), Ok("a.shop".into()));
    let none = json!([sender("c", &namesakes)]);
    assert_eq!(judged(&none, None), Err(TokenError::Namesake(account())));
    let nobody = json!([sender("c", &json!([]))]);
    assert_eq!(judged(&nobody, None), Err(TokenError::NotListed(account())));
    let mut abroad = sender("a", &ours);
    abroad["namespace"] = "other".into();
    assert_eq!(
        judged(&json!([abroad]), Some("a.other")),
        Err(TokenError::OtherSender(account()))
    );
}

#[test]
fn a_proof_holds_as_long_as_all_it_rests_on() {
    let signer = Signer::p256();
    let before = believing(&[signer.key("k")], &listed());
    let token = signer.token("k", &claims());
    let proof = judge(&before, None, token.as_bytes(), now()).unwrap().proof;
    let holds = |snapshot: &Snapshot| proof.holds(snapshot, &snapshot.senders.senders[0]);
    // A key that is no longer published changes nothing: the token was good.
    assert!(holds(&believing(&[], &listed())));
    assert!(!holds(&believing(
        &[],
        &json!([sender("checkout", &json!([]))])
    )));
    let mut other = listed();
    other[0]["uid"] = "another".into();
    assert!(!holds(&believing(&[], &other)));
    for change in [
        |tokens: &mut Tokens| tokens.issuers.clear(),
        |tokens: &mut Tokens| tokens.audience = "posthouse.dev/mail/other".into(),
    ] {
        let mut document = Document::clone(&before.document);
        change(document.tokens.as_mut().unwrap());
        let changed = Snapshot::new(
            Arc::new(document),
            Arc::clone(&before.senders),
            std::collections::BTreeMap::new(),
        );
        assert!(!holds(&changed));
    }
}

/// A token, and the keys, of a kube-apiserver 1.34.1 that nobody here wrote, made by `kubectl create token` for a pod.
#[test]
fn a_token_of_a_real_api_server_is_accepted_in_its_hour() {
    const ISSUED: u64 = 1_795_354_707;
    let token = include_str!("tests/kubernetes.jwt");
    let keys: Value = serde_json::from_str(include_str!("tests/kubernetes.jwks.json")).unwrap();
    let account = json!([{"name": "checkout", "uid": "35ce6729-7132-48ac-9fda-f7c0a31f9680"}]);
    let senders = json!([sender("checkout", &account)]);
    let mut believing = believing(keys["keys"].as_array().unwrap(), &senders);
    let mut document = Document::clone(&believing.document);
    let tokens = document.tokens.as_mut().unwrap();
    tokens.issuers[0].issuer = "https://kubernetes.default.svc".into();
    tokens.audience = "posthouse.dev/mail-system/outbound".into();
    believing.document = Arc::new(document);
    let judged = |seconds| judge(&believing, None, token.as_bytes(), at(seconds));
    assert_eq!(&*judged(ISSUED + 1).unwrap().username, "checkout.shop");
    assert_eq!(judged(ISSUED + 3660), Err(TokenError::Expired));
}
