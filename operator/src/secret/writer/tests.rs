use std::{collections::BTreeMap, time::Duration};

use prometheus::IntGauge;
use serde_json::{Value, json};

use super::*;
use crate::{
    call::METADATA_ONLY,
    testing::{Asked, Record, api_server, failure},
};

const SECRETS: &str = "/api/v1/namespaces/mail/secrets";

fn draft(secret_type: SecretType) -> SecretDraft {
    SecretDraft {
        namespace: "mail".into(),
        name: "outbound-keys".into(),
        secret_type,
        labels: BTreeMap::from([(labels::OWNER.into(), "u1".into())]),
        annotations: BTreeMap::new(),
        owners: Vec::new(),
        data: BTreeMap::from([("link.key".into(), b"secret".to_vec())]),
    }
}

fn is_proof(asked: &Asked) -> bool {
    asked.line == format!("POST {SECRETS}?dryRun=All")
}

/// A writer with a proved fence; the proof is not recorded.
async fn writer(
    mut answer: impl FnMut(&Asked) -> Option<(u16, Value)> + Send + 'static,
) -> (SecretWriter, Record) {
    let (client, record) = api_server(move |asked| {
        if is_proof(asked) {
            return failure(422, "Invalid", json!({})).map(|(code, mut status)| {
                status["message"] =
                    "ValidatingAdmissionPolicy 'posthouse-secret-fence' with".into();
                (code, status)
            });
        }
        answer(asked)
    });
    let gauge = IntGauge::new("posthouse_operator_secret_fence", "help").unwrap();
    let fence = Fence::new(client.clone(), "mail", gauge);
    fence.prove().await;
    (SecretWriter::new(client, fence), record)
}

fn lines(record: &Record) -> Vec<String> {
    let asked = record.all().into_iter().filter(|asked| !is_proof(asked));
    let short = |line: &str| {
        line.replace("?fieldManager=posthouse-operator", "")
            .replace(SECRETS, "")
    };
    asked.map(|asked| short(&asked.line)).collect()
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "it is an answer, and there may be none"
)]
fn metadata() -> Option<(u16, Value)> {
    Some((
        200,
        json!({"kind": "PartialObjectMetadata", "metadata": {"uid": "s1"}}),
    ))
}

#[tokio::test]
async fn nothing_is_written_while_the_fence_is_not_proved() {
    let (client, record) = api_server(|_| metadata());
    let gauge = IntGauge::new("posthouse_operator_secret_fence", "help").unwrap();
    let fence = Fence::new(client.clone(), "mail", gauge);
    let writer = SecretWriter::new(client, fence);
    let relay = draft(SecretType::Relay);
    for error in [
        writer.put(&relay, &Vec::new).await.unwrap_err(),
        writer.keep(&relay, &Vec::new).await.unwrap_err(),
        writer.create(&relay).await.unwrap_err(),
    ] {
        assert_eq!(error.category(), "fence");
    }
    assert!(record.lines().is_empty());
}

#[tokio::test]
async fn it_is_put_whole_and_posted_when_there_is_none() {
    let (writer, record) = writer(|asked| {
        if asked.line.starts_with("PUT") {
            failure(404, "NotFound", json!({"kind": "secrets"}))
        } else {
            metadata()
        }
    })
    .await;
    let written = writer
        .put(&draft(SecretType::Relay), &Vec::new)
        .await
        .unwrap();
    assert_eq!(written.uid, "s1");
    assert_eq!(lines(&record), ["PUT /outbound-keys", "POST "]);
    for asked in record.all().iter().skip(1) {
        assert_eq!(asked.accept, METADATA_ONLY);
        assert_eq!(asked.body["data"]["link.key"], "c2VjcmV0");
        assert_eq!(asked.body["type"], "posthouse.dev/relay");
        assert_eq!(asked.body.get("immutable"), None);
        assert_eq!(asked.body["metadata"].get("resourceVersion"), None);
    }
}

#[tokio::test]
async fn what_is_made_once_is_posted_and_never_changes() {
    let (writer, record) = writer(|_| failure(409, "AlreadyExists", json!({}))).await;
    let created = writer.create(&draft(SecretType::Key)).await.unwrap();
    assert_eq!(created, Created::Exists);
    assert_eq!(lines(&record), ["POST "]);
    assert_eq!(record.all()[1].body["immutable"], true);
}

#[tokio::test]
async fn a_secret_without_an_owner_of_ours_is_a_conflict() {
    let (writer, record) = writer(|_| failure(422, "Invalid", json!({}))).await;
    let error = writer
        .put(&draft(SecretType::Relay), &|| {
            vec![(SecretType::Relay, "u1".into())]
        })
        .await
        .unwrap_err();
    assert_eq!(error.category(), "secret_conflict");
    assert!(!format!("{error:?}").contains("c2VjcmV0"));
    assert_eq!(
        lines(&record),
        ["PUT /outbound-keys", "DELETE /outbound-keys?"]
    );
    assert_eq!(record.all()[2].body["dryRun"], json!(["All"]));
}

/// An API server with a Secret of this owner, behind the policy.
fn policy(owner: &'static str) -> impl FnMut(&Asked) -> Option<(u16, Value)> + Send {
    let mut is_there = true;
    move |asked| {
        let is_dry = asked.line.contains("dryRun") || asked.body.get("dryRun").is_some();
        match asked.line.split(' ').next() {
            Some("DELETE") => {
                is_there = is_there && is_dry;
                Some((
                    200,
                    json!({"kind": "Status", "status": "Success", "details": {"uid": "s0"}}),
                ))
            }
            Some("PUT") if is_there && asked.body["metadata"]["labels"][labels::OWNER] != owner => {
                failure(422, "Invalid", json!({}))
            }
            Some("PUT") if !is_there => failure(404, "NotFound", json!({})),
            _ => metadata(),
        }
    }
}

#[tokio::test]
async fn a_secret_that_was_left_behind_is_replaced() {
    let (writer, record) = writer(policy("gone")).await;
    let living = [
        (SecretType::Relay, "u1".to_owned()),
        (SecretType::Binding, "u2".to_owned()),
    ];
    let written = writer
        .put(&draft(SecretType::Relay), &|| living.to_vec())
        .await;
    assert_eq!(written.unwrap().uid, "s1");
    assert_eq!(
        lines(&record),
        [
            "PUT /outbound-keys",
            "DELETE /outbound-keys?",
            "PUT /outbound-keys&dryRun=All",
            "DELETE /outbound-keys?",
            "POST "
        ]
    );
    // Only asking sends no values.
    assert_eq!(record.all()[3].body["data"], json!({}));
    assert_eq!(record.all()[4].body["preconditions"]["uid"], "s0");
}

#[tokio::test]
async fn a_secret_of_a_living_owner_is_a_conflict() {
    let (writer, record) = writer(policy("u2")).await;
    let living = [(SecretType::Binding, "u2".to_owned())];
    let error = writer
        .put(&draft(SecretType::Relay), &|| living.to_vec())
        .await;
    assert_eq!(error.unwrap_err().category(), "secret_conflict");
    let deleted = record
        .all()
        .into_iter()
        .filter(|asked| asked.line.starts_with("DELETE") && asked.body.get("dryRun").is_none());
    assert_eq!(deleted.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_same_is_put_again_within_the_hour_and_at_once_when_it_changed() {
    let (writer, record) = writer(|_| metadata()).await;
    let mut draft = draft(SecretType::Relay);
    for (wait, expected) in [(0, 1), (1, 1), (3600, 2), (3500, 2), (200, 3)] {
        tokio::time::advance(Duration::from_secs(wait)).await;
        // The proof is made by whoever keeps the fence.
        writer.fence.prove().await;
        writer.keep(&draft, &Vec::new).await.unwrap();
        assert_eq!(lines(&record).len(), expected, "after {wait} s more");
    }
    draft.data.insert("relay-2.key".into(), b"more".to_vec());
    writer.keep(&draft, &Vec::new).await.unwrap();
    assert_eq!(lines(&record).len(), 4);
    writer.forget("mail", "outbound-keys");
    writer.keep(&draft, &Vec::new).await.unwrap();
    assert_eq!(lines(&record).len(), 5);
}
