//! `posthouse-operator render` prints what `run` applies for the same objects. What only a cluster can know is left out of
//! the comparison: uids, numbers, the keys of tokens, and the image, which is a flag of `run`.

use std::{fs, process::Command};

use posthouse_tests::{Installation, Relay, gateway};
use serde_json::{Value, json};

/// Takes out what only a cluster, or a flag, decides.
fn without_facts(mut object: Value) -> Value {
    let metadata = &mut object["metadata"];
    metadata["ownerReferences"] = json!(null);
    metadata["annotations"]["posthouse.dev/key-rotation-time"] = json!(null);
    let template = &mut object["spec"]["template"];
    if template.is_object() {
        template["metadata"]["annotations"]["posthouse.dev/upgrade-digest"] = json!(null);
        template["spec"]["containers"][0]["image"] = json!(null);
        template["spec"]["containers"][0]["imagePullPolicy"] = json!(null);
    }
    if object["kind"] == "ConfigMap"
        && let Some(files) = object["data"].as_object_mut()
    {
        for text in files.values_mut() {
            *text = file(text.as_str().unwrap());
        }
    }
    object
}

/// The document or the senders file as a value; anything else as it is.
fn file(text: &str) -> Value {
    let parsed = posthouse_config::yaml::from_str::<Value>(text);
    let Some(mut value) = parsed.ok().filter(Value::is_object) else {
        return json!(text);
    };
    for member in ["number", "generation", "tokens"] {
        value[member] = json!(null);
    }
    for sender in value["senders"].as_array_mut().into_iter().flatten() {
        sender["uid"] = json!(null);
    }
    value
}

/// Where `printed` says something that `live` does not. The API server adds defaults, so `live` may say more.
fn differences(path: &str, printed: &Value, live: &Value, found: &mut Vec<String>) {
    match (printed, live) {
        (Value::Null, _) => {}
        (Value::Object(printed), live) => {
            // The uid of an owner stands also in the template of claims.
            for (name, value) in printed
                .iter()
                .filter(|(name, _)| *name != "posthouse.dev/owner")
            {
                differences(&format!("{path}.{name}"), value, &live[name], found);
            }
        }
        (Value::Array(printed), Value::Array(live)) if printed.len() == live.len() => {
            for (i, (printed, live)) in printed.iter().zip(live).enumerate() {
                differences(&format!("{path}[{i}]"), printed, live, found);
            }
        }
        _ if printed == live => {}
        _ => found.push(format!("{path}: printed {printed}, live {live}")),
    }
}

#[test]
fn for_the_same_objects() {
    let Some(cluster) = Installation::shared() else {
        return;
    };
    let relay = Relay::start(&cluster);
    let namespace = relay.namespace();
    let get = |arguments: &[&str]| -> Value {
        let text = namespace.kubectl(&[&["get", "-o", "json"], arguments].concat(), "");
        serde_json::from_str(&text).unwrap()
    };
    let folder = tempfile::tempdir().unwrap();
    let given = folder.path().join("objects.yaml");
    let objects = get(&["mailrelays,mailsenders"]);
    let objects: Vec<_> = objects["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(Value::to_string)
        .collect();
    fs::write(&given, objects.join("\n---\n")).unwrap();
    // Standard error warns of Secrets that were not given.
    let render = Command::new(gateway::executable("posthouse-operator"))
        .args(["render", "--output", "json", "-f"])
        .arg(&given)
        .output()
        .unwrap();
    let printed: Value = serde_json::from_slice(&render.stdout).unwrap();

    let mut found = Vec::new();
    let mut compared = 0;
    for object in printed["objects"].as_array().unwrap() {
        let (kind, name) = (
            object["kind"].as_str().unwrap(),
            object["metadata"]["name"].as_str().unwrap(),
        );
        let live = get(&[kind, name]);
        differences(
            &format!("{kind}/{name}"),
            &without_facts(object.clone()),
            &without_facts(live),
            &mut found,
        );
        compared += 1;
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert!(
        compared >= 9,
        "only {compared} objects were printed: {printed}"
    );
}
