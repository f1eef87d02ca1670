//! Cases of rules, as data: one table runs through CEL and through `validate`, so that the two cannot part.
//!
//! A case changes a base object by a merge patch (RFC 7396). `refused` says where and how both must refuse it; without
//! it both must accept it. With `before` the case is an update from that object: such rules compare with what is
//! stored, which only the API server knows, so CEL alone is asked.

use std::collections::BTreeSet;

use kube::core::cel::{ValidationErrors, Validator};
use posthouse_config::yaml;
use serde::Deserialize;
use serde_json::Value;

use crate::problem::{Findings, Problem};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(default)]
    before: Option<Value>,
    change: Value,
    #[serde(default)]
    refused: Option<Refused>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Refused {
    path: String,
    message: String,
}

/// RFC 7396.
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(members) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let object = target.as_object_mut().unwrap();
    for (name, value) in members {
        if value.is_null() {
            object.remove(name);
        } else {
            merge(object.entry(name).or_insert(Value::Null), value);
        }
    }
}

fn changed(base: &Value, patch: &Value, schema: &Value) -> Value {
    let mut object = base.clone();
    merge(&mut object, patch);
    add_defaults(&mut object, schema);
    object
}

/// What the API server does before it asks the rules: a default is filled up with the defaults below it.
fn add_defaults(value: &mut Value, schema: &Value) {
    let Some(object) = value.as_object_mut() else {
        return;
    };
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(default) = property.get("default") {
            object.entry(name).or_insert_with(|| default.clone());
        }
        if let Some(member) = object.get_mut(name) {
            add_defaults(member, property);
        }
    }
}

/// The published schema of a kind.
fn schema(kind: &str) -> Value {
    let mut crds = posthouse_api::crds().into_iter();
    let crd = crds.find(|crd| crd.spec.names.kind == kind).unwrap();
    let schema = crd.spec.versions[0].schema.clone().unwrap();
    serde_json::to_value(schema.open_api_v3_schema.unwrap()).unwrap()
}

fn cel(schema: &Value, object: &Value, before: Option<&Value>) -> Vec<Problem> {
    let errors = Validator::new().validate(schema, object, before);
    let errors = errors
        .err()
        .map(ValidationErrors::into_vec)
        .unwrap_or_default();
    errors
        .into_iter()
        .map(|error| Problem {
            path: error.field_path,
            message: error.message,
        })
        .collect()
}

/// Runs a table of cases for a kind. `validate` gives what the operator finds in an object.
pub(crate) fn run(kind: &str, base: &str, table: &str, validate: impl Fn(Value) -> Findings) {
    let schema = schema(kind);
    let base: Value = yaml::from_str(base).unwrap();
    let cases: Vec<Case> = yaml::from_str(table).unwrap();
    let mut seen = BTreeSet::new();
    for Case {
        name,
        before,
        change,
        refused,
    } in cases
    {
        let object = changed(&base, &change, &schema);
        let before = before.map(|patch| changed(&base, &patch, &schema));
        let by_cel = cel(&schema, &object, before.as_ref());
        let wanted: Vec<_> = refused
            .into_iter()
            .map(|Refused { path, message }| Problem { path, message })
            .collect();
        assert_eq!(by_cel, wanted, "CEL: {name}");
        if before.is_none() {
            let mut problems = validate(object).problems;
            problems.retain(|problem| !problem.message.contains("not supported yet"));
            assert_eq!(problems, wanted, "validate: {name}");
        }
        seen.extend(wanted.into_iter().map(|problem| problem.message));
    }
    let rules = messages(&schema);
    let untested: Vec<_> = rules.difference(&seen).collect();
    assert!(
        untested.is_empty(),
        "rules without a case that breaks them: {untested:#?}"
    );
}

/// The messages of every rule in a schema.
fn messages(schema: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    match schema {
        Value::Object(members) => {
            let rules = members
                .get("x-kubernetes-validations")
                .and_then(Value::as_array);
            found.extend(
                rules
                    .into_iter()
                    .flatten()
                    .map(|rule| rule["message"].as_str().unwrap().to_owned()),
            );
            found.extend(members.values().flat_map(messages));
        }
        Value::Array(items) => found.extend(items.iter().flat_map(messages)),
        _ => {}
    }
    found
}
