//! What must hold for every field of the published definitions, and what people rely on by name.

use serde_json::Value;

use super::*;

/// Every schema of both definitions, with its path.
fn schemas() -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for crd in crds() {
        let kind = crd.spec.names.kind.clone();
        let version = crd.spec.versions.into_iter().next().unwrap();
        let root = serde_json::to_value(version.schema.unwrap().open_api_v3_schema).unwrap();
        walk(&kind, &root, &mut found);
    }
    found
}

fn walk(path: &str, schema: &Value, found: &mut Vec<(String, Value)>) {
    found.push((path.to_owned(), schema.clone()));
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        walk(&format!("{path}.{name}"), property, found);
    }
    for (member, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
        if schema[member].is_object() {
            walk(&format!("{path}{mark}"), &schema[member], found);
        }
    }
}

fn of_path(wanted: &str) -> Value {
    let mut all = schemas().into_iter();
    all.find(|(path, _)| path == wanted)
        .unwrap_or_else(|| panic!("no field {wanted}"))
        .1
}

#[test]
fn every_field_is_described_and_every_size_has_a_maximum() {
    for (path, schema) in schemas() {
        let is_field = !path.ends_with("[]") && !path.ends_with("{}");
        let description = schema["description"].as_str().unwrap_or_default();
        assert!(
            !is_field || !description.is_empty(),
            "{path} has no description"
        );
        assert!(!description.contains('\n'), "{path}: {description}");
        let is_sized = match schema["type"].as_str() {
            Some("array") => schema["maxItems"].is_u64(),
            Some("string") => {
                schema["maxLength"].is_u64()
                    || schema["enum"].is_array()
                    || schema["format"].is_string()
            }
            Some("object") => {
                schema["additionalProperties"].is_null() || schema["maxProperties"].is_u64()
            }
            Some("integer" | "boolean") => true,
            Some(other) => panic!("{path}: a type {other}"),
            None => schema["x-kubernetes-int-or-string"] == true,
        };
        assert!(is_sized, "{path} has no maximum: {schema}");
    }
}

#[test]
fn nothing_is_nullable_and_formats_are_known() {
    for (path, schema) in schemas() {
        assert!(schema["nullable"].is_null(), "{path} is nullable");
        let format = schema["format"].as_str().unwrap_or("int32");
        assert!(
            ["int32", "int64", "date-time"].contains(&format),
            "{path} has format {format}"
        );
    }
}

#[test]
fn enumerations_are_never_read_as_booleans() {
    for (path, schema) in schemas() {
        for value in schema["enum"].as_array().into_iter().flatten() {
            let text = value.as_str().unwrap().to_lowercase();
            assert!(
                !["on", "off", "yes", "no", "true", "false", "y", "n"].contains(&text.as_str()),
                "{path}: {text}"
            );
        }
    }
}

/// Defaults in the schema are stored with every object for ever: no field gets one by accident.
#[test]
fn only_four_fields_have_a_default() {
    let defaults: Vec<_> = schemas()
        .into_iter()
        .filter(|(_, schema)| !schema["default"].is_null())
        .map(|(path, schema)| format!("{path} = {}", schema["default"]))
        .collect();
    assert_eq!(
        defaults,
        [
            "MailRelay.spec.clients = {}",
            "MailRelay.spec.clients.keyRotation = 1",
            "MailRelay.spec.replicas = 2",
            "MailSender.spec.credential.rotation = 1",
        ]
    );
}

#[test]
fn lists_merge_as_their_meaning_wants() {
    let list_type = |path: &str| {
        let schema = of_path(path);
        (
            schema["x-kubernetes-list-type"].clone(),
            schema["x-kubernetes-list-map-keys"].clone(),
        )
    };
    for path in [
        "MailRelay.spec.listeners",
        "MailRelay.spec.upstreams",
        "MailRelay.spec.clients.grants",
        "MailRelay.status.endpoints",
        "MailRelay.status.gateways",
        "MailRelay.status.upstreams",
    ] {
        assert_eq!(
            list_type(path),
            ("map".into(), vec!["name"].into()),
            "{path}"
        );
    }
    for path in [
        "MailRelay.status.conditions",
        "MailSender.status.conditions",
    ] {
        assert_eq!(
            list_type(path),
            ("map".into(), vec!["type"].into()),
            "{path}"
        );
    }
    for path in [
        "MailRelay.spec.routes",
        "MailRelay.spec.routes[].targets",
        "MailRelay.spec.upstreams[].limits.windows",
    ] {
        assert_eq!(list_type(path), ("atomic".into(), Value::Null), "{path}");
    }
    for path in [
        "MailRelay.spec.clients.anonymous.networks",
        "MailRelay.spec.clients.anonymous.senderDomains",
        "MailRelay.spec.clients.grants[].senderDomains",
        "MailRelay.spec.upstreams[].senders",
        "MailRelay.spec.routes[].match.senderDomains",
        "MailRelay.spec.routes[].match.recipientDomains",
        "MailRelay.spec.routes[].match.namespaces",
        "MailRelay.spec.networkPolicy.from",
        "MailRelay.spec.networkPolicy.metricsFrom",
        "MailSender.spec.from",
        "MailSender.spec.serviceAccounts",
        "MailSender.spec.recipients.allow",
        "MailSender.spec.allowFields",
    ] {
        assert_eq!(list_type(path).0, "set", "{path}");
    }
}

#[test]
fn a_field_says_what_its_absence_means() {
    let policy = of_path("MailRelay.spec.listeners[].tls.policy");
    assert_eq!(policy["description"], "Absent is Required.");
    assert_eq!(
        policy["enum"],
        serde_json::json!(["Required", "Offered", "Disabled"])
    );
}

#[test]
fn what_people_type_and_see() {
    let [relay, sender] = <[_; 2]>::try_from(crds()).unwrap();
    for (crd, short, columns) in [
        (
            relay,
            "mrelay",
            "Ready Mail Replicas Queued Held Oldest Upstreams Age",
        ),
        (
            sender,
            "msender",
            "Ready Reason Relay Secret Held Failures Age",
        ),
    ] {
        assert_eq!(crd.spec.names.short_names.unwrap(), [short]);
        assert_eq!(crd.spec.names.categories.unwrap(), ["posthouse"]);
        let printed = crd.spec.versions[0]
            .additional_printer_columns
            .clone()
            .unwrap();
        let names: Vec<_> = printed.into_iter().map(|column| column.name).collect();
        assert_eq!(names.join(" "), columns);
        let subresources = crd.spec.versions[0].subresources.clone().unwrap();
        assert_eq!(subresources.scale.is_some(), short == "mrelay");
    }
}

/// A client-side apply stores the object in an annotation of at most 256 KiB; so does Argo CD.
#[test]
fn a_definition_is_not_too_large() {
    for crd in crds() {
        let size = serde_json::to_vec(&crd).unwrap().len();
        assert!(
            size < 160 * 1024,
            "{} has {size} octets",
            crd.spec.names.kind
        );
    }
}
