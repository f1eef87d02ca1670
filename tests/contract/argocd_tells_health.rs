//! The health checks for Argo CD give the health a person would: run by the Lua that Argo CD has, 5.1.

use std::{fs, process::Command};

use posthouse_config::yaml;
use posthouse_tests::peer;
use serde_json::{Value, json};

use crate::repository;

/// What a check says of an object.
fn health(kind: &str, object: &Value) -> Option<(String, String)> {
    let lua = peer::program("lua5.1")?;
    let file = repository("charts/posthouse/argocd/health-checks.yaml");
    let patch: Value = yaml::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let key = format!("resource.customizations.health.posthouse.dev_{kind}");
    let check = patch["data"][&key].as_str().unwrap();
    let program = format!(
        "obj = {}\nlocal hs = (function()\n{check}\nend)()\nio.write(hs.status, '\\n', hs.message)",
        literal(object)
    );
    let said = peer::run(Command::new(lua).arg("-"), program.as_bytes());
    let (status, message) = said.split_once('\n').unwrap();
    Some((status.to_owned(), message.to_owned()))
}

/// JSON as a Lua value.
fn literal(value: &Value) -> String {
    match value {
        Value::Null => "nil".to_owned(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(literal).collect();
            format!("{{{}}}", items.join(","))
        }
        Value::Object(members) => {
            let members: Vec<_> = members
                .iter()
                .map(|(key, value)| format!("[{key:?}]={}", literal(value)))
                .collect();
            format!("{{{}}}", members.join(","))
        }
    }
}

/// An object of generation 2 with conditions of type, status, reason.
fn object(observed: i64, conditions: &[(&str, &str, &str)]) -> Value {
    let conditions: Vec<_> = conditions
        .iter()
        .map(|(kind, status, reason)| {
            json!({ "type": kind, "status": status, "reason": reason, "message": format!("{reason}, in words") })
        })
        .collect();
    json!({
        "metadata": { "generation": 2 },
        "status": { "observedGeneration": observed, "mail": "Flowing", "conditions": conditions },
    })
}

#[test]
fn of_a_relay() {
    let deleted = {
        let mut deleted = object(2, &[("Ready", "False", "Draining")]);
        deleted["metadata"]["deletionTimestamp"] = "2026-11-22T12:00:00Z".into();
        deleted
    };
    let cases = [
        (
            json!({ "metadata": { "generation": 1 } }),
            "Progressing",
            "operator",
        ),
        (
            object(1, &[("Ready", "True", "Ready")]),
            "Progressing",
            "change",
        ),
        (object(2, &[]), "Progressing", "operator"),
        (
            object(2, &[("Ready", "Unknown", "Pending")]),
            "Progressing",
            "Pending",
        ),
        (
            object(2, &[("Ready", "True", "Ready")]),
            "Healthy",
            "Flowing",
        ),
        (
            object(
                2,
                &[
                    ("UpstreamsHealthy", "False", "Unreachable"),
                    ("Ready", "True", "Ready"),
                ],
            ),
            "Healthy",
            "Unreachable",
        ),
        (
            object(2, &[("Ready", "False", "NoReadyGateway")]),
            "Progressing",
            "NoReadyGateway",
        ),
        (
            object(2, &[("Ready", "False", "SecretNotFound")]),
            "Degraded",
            "SecretNotFound",
        ),
        (
            object(
                2,
                &[
                    ("Ready", "False", "InvalidSpec"),
                    ("Stalled", "True", "InvalidSpec"),
                ],
            ),
            "Degraded",
            "InvalidSpec",
        ),
        (deleted, "Progressing", "Draining"),
    ];
    for (object, status, says) in cases {
        let Some((found, message)) = health("MailRelay", &object) else {
            return;
        };
        assert!(
            found == status && message.contains(says),
            "{found}: {message} of {object}"
        );
    }
}

#[test]
fn of_a_sender() {
    let cases = [
        (
            json!({ "metadata": { "generation": 1 } }),
            "Progressing",
            "operator",
        ),
        (
            object(1, &[("Ready", "True", "Ready")]),
            "Progressing",
            "change",
        ),
        (
            object(2, &[("Accepted", "True", "Accepted")]),
            "Progressing",
            "operator",
        ),
        (object(2, &[("Ready", "True", "Ready")]), "Healthy", "Ready"),
        (
            object(2, &[("Ready", "False", "Pending")]),
            "Progressing",
            "Pending",
        ),
        (
            object(2, &[("Ready", "False", "NotGranted")]),
            "Degraded",
            "NotGranted",
        ),
        (
            object(2, &[("Ready", "False", "SecretConflict")]),
            "Degraded",
            "SecretConflict",
        ),
    ];
    for (object, status, says) in cases {
        let Some((found, message)) = health("MailSender", &object) else {
            return;
        };
        assert!(
            found == status && message.contains(says),
            "{found}: {message} of {object}"
        );
    }
}
