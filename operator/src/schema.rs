//! What a definition's schema says about an object, all of it at once.
//!
//! Walks the structural schema that `crds` prints: unknown fields, types, bounds, enumerations, patterns, required
//! members, duplicates in sets and list-maps. CEL rules are not evaluated here; each has its twin in `validate`.
//! The wording is that of the API server, shortened to what a person needs.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use regex::Regex;
use serde_json::{Map, Value};

use crate::problem::{Problem, quoted};

/// A structural schema, as JSON.
#[derive(Clone, Debug)]
pub struct Schema(Value);

impl Schema {
    /// The schema of a kind of ours, if it is one.
    pub fn of(kind: &str) -> Option<&'static Self> {
        /// Printing the definitions takes much longer than asking them.
        static SCHEMAS: LazyLock<BTreeMap<String, Schema>> = LazyLock::new(schemas);
        SCHEMAS.get(kind)
    }

    /// Whether a field exists; `[]` stands for every item of a list.
    #[cfg(test)]
    pub(crate) fn has(&self, path: &str) -> bool {
        let field = path.split('.').try_fold(&self.0, |schema, part| {
            let name = part.strip_suffix("[]");
            let field = schema.get("properties")?.get(name.unwrap_or(part))?;
            name.map_or(Some(field), |_| field.get("items"))
        });
        field.is_some()
    }

    /// Everything that is wrong with an object, by this schema. `metadata`, `apiVersion` and `kind` are not looked at.
    pub fn problems(&self, object: &Value) -> Vec<Problem> {
        let mut walk = Walk::default();
        for member in ["spec", "status"] {
            let schema = self.0.get("properties").and_then(|p| p.get(member));
            match (schema, object.get(member)) {
                (Some(schema), Some(value)) => walk.value(member, schema, value),
                (Some(_), None) if member == "spec" => walk.add(member, "must be given"),
                _ => {}
            }
        }
        let known = ["apiVersion", "kind", "metadata", "spec", "status"];
        for name in object.as_object().into_iter().flat_map(Map::keys) {
            if !known.contains(&name.as_str()) {
                walk.add(name, "unknown field");
            }
        }
        walk.problems
    }
}

/// Every pattern of our definitions, compiled once: it takes much longer than matching, and there may be thousands of
/// MailSenders to look at.
static PATTERNS: LazyLock<BTreeMap<String, Regex>> = LazyLock::new(|| {
    let mut found = BTreeSet::new();
    for crd in posthouse_api::crds() {
        if let Ok(value) = serde_json::to_value(crd) {
            collect_patterns(&value, &mut found);
        }
    }
    let compiled = found.into_iter().filter_map(|pattern| {
        let regex = Regex::new(&pattern).ok()?;
        Some((pattern, regex))
    });
    compiled.collect()
});

fn collect_patterns(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match value.as_str() {
                    Some(pattern) if name == "pattern" => {
                        found.insert(pattern.to_owned());
                    }
                    _ => collect_patterns(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_patterns(item, found)),
        _ => {}
    }
}

fn schemas() -> BTreeMap<String, Schema> {
    let crds = posthouse_api::crds().into_iter();
    crds.filter_map(|crd| {
        let version = crd.spec.versions.into_iter().next()?;
        let schema = serde_json::to_value(version.schema?.open_api_v3_schema?).ok()?;
        Some((crd.spec.names.kind, Schema(schema)))
    })
    .collect()
}

#[derive(Default)]
struct Walk {
    problems: Vec<Problem>,
}

impl Walk {
    fn add(&mut self, path: &str, message: impl Into<String>) {
        self.problems.push(Problem {
            path: path.to_owned(),
            message: message.into(),
        });
    }

    fn value(&mut self, path: &str, schema: &Value, value: &Value) {
        if schema.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
            if !value.is_string() && !value.is_number() {
                self.add(
                    path,
                    format!("must be a number or a string, is {}", type_name(value)),
                );
            }
            return;
        }
        let wanted = schema.get("type").and_then(Value::as_str).unwrap_or("");
        match (wanted, value) {
            ("object", Value::Object(members)) => self.object(path, schema, members),
            ("array", Value::Array(items)) => self.array(path, schema, items),
            ("string", Value::String(text)) => self.string(path, schema, text),
            ("integer", Value::Number(number)) if number.is_i64() || number.is_u64() => {
                self.range(path, schema, value);
            }
            ("number", Value::Number(_)) => self.range(path, schema, value),
            ("boolean", Value::Bool(_)) | ("", _) => {}
            _ => self.add(
                path,
                format!("must be {}, is {}", with_article(wanted), type_name(value)),
            ),
        }
    }

    fn object(&mut self, path: &str, schema: &Value, members: &Map<String, Value>) {
        let properties = schema.get("properties").and_then(Value::as_object);
        let values = schema.get("additionalProperties");
        let open = schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
        for (name, value) in members {
            let child = format!("{path}.{name}");
            match (properties.and_then(|p| p.get(name)), values) {
                (Some(property), _) => self.value(&child, property, value),
                (None, Some(values)) => self.value(&format!("{path}[{name}]"), values, value),
                (None, None) if open => {}
                (None, None) => self.add(&child, "unknown field"),
            }
        }
        let required = schema.get("required").and_then(Value::as_array);
        for name in required.into_iter().flatten().filter_map(Value::as_str) {
            if !members.contains_key(name) {
                self.add(&format!("{path}.{name}"), "must be given");
            }
        }
        self.at_most(path, schema, "maxProperties", members.len(), "members");
    }

    fn array(&mut self, path: &str, schema: &Value, items: &[Value]) {
        self.at_most(path, schema, "maxItems", items.len(), "items");
        self.at_least(path, schema, "minItems", items.len(), "items");
        if let Some(item) = schema.get("items") {
            for (i, value) in items.iter().enumerate() {
                self.value(&format!("{path}[{i}]"), item, value);
            }
        }
        match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
            Some("set") => self.distinct(path, items, |item| Some(item.to_string()), ""),
            Some("map") => {
                let keys = schema
                    .get("x-kubernetes-list-map-keys")
                    .and_then(Value::as_array);
                let key = keys
                    .and_then(|k| k.first())
                    .and_then(Value::as_str)
                    .unwrap_or("name");
                self.distinct(path, items, |item| item.get(key).map(Value::to_string), key);
            }
            _ => {}
        }
    }

    /// No two items of a set, or with the same key of a list-map.
    fn distinct(
        &mut self,
        path: &str,
        items: &[Value],
        key_of: impl Fn(&Value) -> Option<String>,
        key: &str,
    ) {
        let mut seen = BTreeSet::new();
        for (i, item) in items.iter().enumerate() {
            let Some(value) = key_of(item) else { continue };
            let separator = if key.is_empty() { "" } else { "." };
            if !seen.insert(value.clone()) {
                self.add(
                    &format!("{path}[{i}]{separator}{key}"),
                    format!("must not be given twice, is {value}"),
                );
            }
        }
    }

    fn string(&mut self, path: &str, schema: &Value, text: &str) {
        let length = text.chars().count();
        if text.is_empty() && schema.get("minLength").is_some() {
            self.add(path, "must not be empty");
            return;
        }
        self.at_least(path, schema, "minLength", length, "characters");
        self.at_most(path, schema, "maxLength", length, "characters");
        if let Some(allowed) = schema.get("enum").and_then(Value::as_array) {
            let allowed: Vec<_> = allowed.iter().filter_map(Value::as_str).collect();
            if !allowed.contains(&text) {
                let list = allowed.join(", ");
                self.add(path, format!("must be one of {list}, is {}", quoted(text)));
            }
        }
        let pattern = schema.get("pattern").and_then(Value::as_str);
        let matches = |pattern: &&str| PATTERNS.get(*pattern).is_some_and(|r| r.is_match(text));
        if let Some(pattern) = pattern.filter(|pattern| !matches(pattern)) {
            self.add(path, format!("must match {pattern}, is {}", quoted(text)));
        }
    }

    fn range(&mut self, path: &str, schema: &Value, value: &Value) {
        let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
        let Some(number) = value.as_f64() else { return };
        let (minimum, maximum) = (bound("minimum"), bound("maximum"));
        let inside = minimum.is_none_or(|m| number >= m) && maximum.is_none_or(|m| number <= m);
        if !inside {
            let message = match (minimum, maximum) {
                (Some(minimum), Some(maximum)) => {
                    format!("must be between {minimum} and {maximum}")
                }
                (Some(minimum), None) => format!("must be at least {minimum}"),
                (None, Some(maximum)) => format!("must be at most {maximum}"),
                (None, None) => return,
            };
            self.add(path, message);
        }
    }

    fn at_most(&mut self, path: &str, schema: &Value, bound: &str, found: usize, of: &str) {
        let maximum = schema.get(bound).and_then(Value::as_u64);
        if let Some(maximum) = maximum.filter(|&maximum| found as u64 > maximum) {
            self.add(
                path,
                format!("must have at most {maximum} {of}, has {found}"),
            );
        }
    }

    fn at_least(&mut self, path: &str, schema: &Value, bound: &str, found: usize, of: &str) {
        let minimum = schema.get(bound).and_then(Value::as_u64);
        if let Some(minimum) = minimum.filter(|&minimum| (found as u64) < minimum) {
            self.add(
                path,
                format!("must have at least {minimum} {of}, has {found}"),
            );
        }
    }
}

fn with_article(type_: &str) -> String {
    match type_ {
        "object" | "array" | "integer" => format!("an {type_}"),
        _ => format!("a {type_}"),
    }
}

fn type_name(value: &Value) -> String {
    match value {
        Value::Null => "empty".to_owned(),
        Value::Bool(value) => format!("the boolean {value}"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("the string {}", quoted(text)),
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

#[cfg(test)]
mod tests;
