//! Every metric and label that an alert, a dashboard or a page names is one that our processes export.
//!
//! What they export is read from the two tables of metrics in their sources: a series of a label that was not touched yet
//! is in no answer of a running process.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
};

use posthouse_tests::peer;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{kubernetes_program, repository};

/// What Prometheus adds to a series, from the pod it scraped or for a histogram.
const ADDED: [&str; 3] = ["namespace", "pod", "le"];

/// The labels of each metric.
type Exported = BTreeMap<String, BTreeSet<String>>;

#[test]
fn by_alerts_and_dashboard() {
    let exported = exported();
    assert!(exported.len() > 25, "{exported:?}");
    for file in [
        "charts/posthouse/rules/operator.yaml",
        "operator/src/mail_relay/build/prometheus_rule/rules.yaml",
        "charts/posthouse/dashboards/posthouse.json",
    ] {
        let text = fs::read_to_string(repository(file)).unwrap();
        // In JSON quotes are escaped.
        let named = named(&text.replace("\\\"", "\""));
        assert!(named.len() > 5, "{file}: {named:?}");
        for (metric, labels) in named {
            if !has_table(&metric) {
                continue;
            }
            let has = exported
                .get(&metric)
                .unwrap_or_else(|| panic!("{file} names {metric}, which nobody exports"));
            for label in labels {
                assert!(
                    has.contains(&label) || ADDED.contains(&&*label),
                    "{file}: {metric} has no label {label}"
                );
            }
        }
    }
}

/// Each question of the dashboard is one that Prometheus understands: as a rule of its own, promtool reads it.
#[test]
fn and_the_dashboard_asks_in_its_language() {
    let Some(promtool) = kubernetes_program("promtool") else {
        return;
    };
    let text =
        fs::read_to_string(repository("charts/posthouse/dashboards/posthouse.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let rules: Vec<_> = targets
        .enumerate()
        .map(|(i, target)| {
            let expression = target["expr"].as_str().unwrap();
            let expression = expression
                .replace("$__rate_interval", "5m")
                .replace("$namespace", "mail")
                .replace("$relay", "outbound");
            assert!(!expression.contains('$'), "{expression}");
            json!({ "record": format!("question_{i}"), "expr": expression })
        })
        .collect();
    assert!(rules.len() > 25, "{rules:?}");
    let folder = TempDir::with_prefix("posthouse-").unwrap();
    let file = folder.path().join("questions.yaml");
    // JSON is YAML.
    let groups = json!({ "groups": [{ "name": "dashboard", "rules": rules }] });
    fs::write(&file, groups.to_string()).unwrap();
    peer::run(
        Command::new(promtool).args(["check", "rules"]).arg(file),
        b"",
    );
}

#[test]
fn by_the_pages() {
    let exported = exported();
    for file in ["README.md", "operator/alerts.md", "operator/guide.md"] {
        let named = named(&fs::read_to_string(repository(file)).unwrap());
        for metric in named.into_keys().filter(|metric| has_table(metric)) {
            assert!(exported.contains_key(&metric), "{file} names {metric}");
        }
    }
}

/// The tables: the prefix of their names, and their file.
const TABLES: [(&str, &str); 2] = [
    ("posthouse_operator_", "operator/src/metrics.rs"),
    ("posthouse_", "gateway/src/metrics.rs"),
];

/// Whether the process that a metric belongs to has its table in this repository.
fn has_table(metric: &str) -> bool {
    let table = TABLES.iter().find(|(prefix, _)| metric.starts_with(prefix));
    table.is_some_and(|(_, file)| repository(file).is_file())
}

/// The metrics of all tables.
fn exported() -> Exported {
    let mut exported = Exported::new();
    for (_, file) in TABLES.iter().filter(|(prefix, _)| has_table(prefix)) {
        let source = fs::read_to_string(repository(file)).unwrap();
        let (table, _) = source.split_once("#[cfg(test)]").unwrap();
        collect(&literals(table), &mut exported);
    }
    exported
}

/// In the tables a name is followed by its help, a sentence, and that by its labels.
fn collect(literals: &[&str], exported: &mut Exported) {
    let is_help = |text: Option<&&str>| text.is_some_and(|text| text.ends_with('.'));
    let mut last = None;
    for (i, literal) in literals.iter().enumerate() {
        if is_help(literals.get(i + 1)) {
            let name = literal.strip_prefix("posthouse_").unwrap_or(literal);
            let labels = exported.entry(format!("posthouse_{name}")).or_default();
            last = Some(labels);
        } else if let Some(labels) = last.as_mut().filter(|_| !is_help(Some(literal))) {
            labels.insert((*literal).to_owned());
        }
    }
}

/// The strings of a Rust source without escapes, comments left out.
fn literals(source: &str) -> Vec<&str> {
    let code = source.lines().filter(|line| {
        let line = line.trim_start();
        !line.starts_with("//") && !line.starts_with("#[")
    });
    code.flat_map(|line| line.split('"').skip(1).step_by(2))
        .collect()
}

/// Our metrics in a text, each with the labels it is asked for.
fn named(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut named = BTreeMap::<String, BTreeSet<String>>::new();
    for (at, _) in text.match_indices("posthouse_") {
        let rest = &text[at..];
        let end = rest
            .find(|c: char| !(c.is_ascii_lowercase() || c == '_'))
            .unwrap_or(rest.len());
        let name = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|suffix| rest[..end].strip_suffix(suffix))
            .unwrap_or(&rest[..end]);
        let labels = named.entry(name.to_owned()).or_default();
        if let Some(selector) = rest[end..].strip_prefix('{') {
            let selector = &selector[..selector.find('}').unwrap()];
            // Every second part lies outside the quotes.
            let keys = selector.split('"').step_by(2);
            labels.extend(
                keys.flat_map(|keys| keys.split(','))
                    .map(|key| key.trim_matches([' ', '=', '~', '!']).to_owned())
                    .filter(|key| !key.is_empty()),
            );
        }
    }
    named
}

#[test]
fn a_selector_is_read_to_its_end() {
    let named = named(r#"rate(posthouse_a_seconds_bucket{b="x,y", c=~"p|q"}[5m]) > posthouse_d"#);
    let labels = |name: &str| named[name].iter().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(labels("posthouse_a_seconds"), ["b", "c"]);
    assert!(labels("posthouse_d").is_empty());
}
