use base64::{Engine, prelude::BASE64_STANDARD};
use prometheus::IntGauge;
use serde_json::{Value, json};

use super::*;
use crate::{
    fence::Fence,
    testing::{Record, api_server, failure},
};

const SECRET: &str = "GET /api/v1/namespaces/ph/secrets/posthouse-keys";

fn now() -> Timestamp {
    "2030-01-01T00:00:00Z".parse().unwrap()
}

/// A cluster in which the Secret is this, until it is made: then it is what was made.
async fn load(stored: Option<Value>) -> (Result<Installation, InstallationError>, Record) {
    let mut stored = stored;
    let (client, record) = api_server(move |asked| {
        if asked.line.contains("dryRun") {
            let (code, mut status) = failure(422, "Invalid", json!({}))?;
            status["message"] = "ValidatingAdmissionPolicy 'posthouse-secret-fence' with".into();
            return Some((code, status));
        }
        if asked.line.starts_with("POST") {
            stored = Some(asked.body.clone());
            return Some((201, json!({"metadata": {"uid": "s1"}})));
        }
        match &stored {
            Some(stored) => Some((200, stored.clone())),
            None => failure(404, "NotFound", json!({"kind": "secrets"})),
        }
    });
    let gauge = IntGauge::new("posthouse_operator_secret_fence", "help").unwrap();
    let fence = Fence::new(client.clone(), "ph", gauge);
    fence.prove().await;
    let writer = SecretWriter::new(client.clone(), fence);
    (
        Installation::load(&client, "ph", &writer, now()).await,
        record,
    )
}

fn secret(data: &[(&str, &[u8])]) -> Value {
    let data: serde_json::Map<_, _> = data
        .iter()
        .map(|(key, value)| ((*key).to_owned(), BASE64_STANDARD.encode(value).into()))
        .collect();
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "posthouse-keys"}, "data": data})
}

#[tokio::test]
async fn it_is_made_once_and_then_read() {
    let (made, record) = load(None).await;
    let made = made.unwrap();
    let lines = record.lines();
    assert_eq!(lines[1], SECRET);
    assert!(lines[2].starts_with("POST /api/v1/namespaces/ph/secrets?"));
    assert_eq!(lines[3], SECRET);
    let stored = record.all()[2].body.clone();
    assert_eq!(stored["type"], "posthouse.dev/key");
    assert_eq!(stored["immutable"], true);

    let (read, record) = load(Some(stored)).await;
    let read = read.unwrap();
    assert_eq!(record.lines()[1..], [SECRET]);
    assert_eq!(read.master, made.master);
    assert_eq!(read.authority.certificate, made.authority.certificate);
    let (other, _) = load(None).await;
    assert_ne!(other.unwrap().master, made.master);
}

#[tokio::test]
async fn a_malformed_one_is_told_by_its_key_and_left_alone() {
    let good = certificate::make_authority(now()).unwrap();
    let other = certificate::make_authority(now()).unwrap();
    let old = certificate::make_authority("2010-01-01T00:00:00Z".parse().unwrap()).unwrap();
    let master: &[u8] = &[7; 32];
    let (chain, key) = (good.certificate.as_bytes(), good.key.as_bytes());
    for (data, expected) in [
        (
            vec![("ca.crt", chain), ("ca.key", key)],
            "\"master\" of Secret \"posthouse-keys\" is missing",
        ),
        (
            vec![("master", &master[1..]), ("ca.crt", chain), ("ca.key", key)],
            "\"master\" of Secret \"posthouse-keys\" must hold exactly 32 octets, has 31",
        ),
        (
            vec![
                ("master", master),
                ("ca.crt", b"x".as_slice()),
                ("ca.key", key),
            ],
            "\"ca.crt\" of Secret \"posthouse-keys\" must be a certificate",
        ),
        (
            vec![("master", master), ("ca.crt", chain), ("ca.key", &[0xff])],
            "\"ca.key\" of Secret \"posthouse-keys\" must be PEM text",
        ),
        (
            vec![
                ("master", master),
                ("ca.crt", chain),
                ("ca.key", other.key.as_bytes()),
            ],
            "\"ca.key\" of Secret \"posthouse-keys\" must be the key of the certificate",
        ),
        (
            vec![
                ("master", master),
                ("ca.crt", old.certificate.as_bytes()),
                ("ca.key", old.key.as_bytes()),
            ],
            "\"ca.crt\" of Secret \"posthouse-keys\" has ended",
        ),
    ] {
        let (result, record) = load(Some(secret(&data))).await;
        let error = result.err().unwrap().to_string();
        assert!(error.starts_with(&format!("key {expected}")), "{error}");
        assert_eq!(record.lines().len(), 2, "nothing is written");
    }
}

#[tokio::test]
async fn an_answer_that_is_no_secret_is_not_repeated() {
    let (result, _) = load(Some(json!({"data": {"master": "c2VjcmV0 no base64"}}))).await;
    let error = result.err().unwrap();
    assert!(matches!(
        error,
        InstallationError::Read(CallError::Malformed(_))
    ));
    assert!(!format!("{error:?}").contains("c2VjcmV0"));
}
