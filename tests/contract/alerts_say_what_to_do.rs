//! Every alert fires when it must and only then, says what to do, and has its place in the page about alerts.

use std::{collections::BTreeSet, fs, process::Command};

use posthouse_config::yaml;
use posthouse_tests::peer;
use serde_json::Value;
use tempfile::TempDir;

use crate::{kubernetes_program, repository};

const OPERATOR: &str = "charts/posthouse/rules/operator.yaml";
const RELAY: &str = "operator/src/mail_relay/build/prometheus_rule/rules.yaml";

/// The rules of a file; those of a relay are for mail/outbound.
fn rules(file: &str) -> String {
    let text = fs::read_to_string(repository(file)).unwrap();
    text.replace("@NAMESPACE@", "mail")
        .replace("@RELAY@", "outbound")
}

#[test]
fn when_they_must_and_only_then() {
    let Some(promtool) = kubernetes_program("promtool") else {
        return;
    };
    let folder = TempDir::with_prefix("posthouse-").unwrap();
    let tests = folder.path().join("tests");
    fs::create_dir(&tests).unwrap();
    for (name, file) in [("operator.yaml", OPERATOR), ("relay.yaml", RELAY)] {
        fs::write(folder.path().join(name), rules(file)).unwrap();
        let cases = repository("charts/posthouse/rules/tests").join(name);
        fs::copy(cases, tests.join(name)).unwrap();
        peer::run(
            Command::new(&promtool)
                .args(["check", "rules"])
                .arg(folder.path().join(name)),
            b"",
        );
        let mut test = Command::new(&promtool);
        peer::run(test.args(["test", "rules"]).arg(tests.join(name)), b"");
        // A case for each: an alert nobody tested might never fire.
        let cases = fs::read_to_string(tests.join(name)).unwrap();
        for alert in alerts(file) {
            let name = alert["alert"].as_str().unwrap();
            assert!(cases.contains(&format!("\"{name}\"")), "{name} has no case");
        }
    }
}

fn alerts(file: &str) -> Vec<Value> {
    let document: Value = yaml::from_str(&rules(file)).unwrap();
    let groups = document["groups"].as_array().unwrap();
    groups
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap().clone())
        .collect()
}

#[test]
fn with_a_command_and_a_page() {
    let page = fs::read_to_string(repository("operator/alerts.md")).unwrap();
    let mut headings: BTreeSet<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .collect();
    for alert in [alerts(OPERATOR), alerts(RELAY)].concat() {
        let name = alert["alert"].as_str().unwrap();
        let annotation = |key: &str| alert["annotations"][key].as_str().unwrap_or_default();
        assert!(headings.remove(name), "{name} is not in operator/alerts.md");
        assert!(!annotation("summary").is_empty(), "{name}");
        assert!(
            annotation("description").contains("kubectl")
                || annotation("description").contains("helm"),
            "{name} says no command"
        );
        let runbook = format!("operator/alerts.md#{}", name.to_lowercase());
        assert_eq!(annotation("runbook"), runbook);
        assert!(
            ["critical", "warning"].contains(&alert["labels"]["severity"].as_str().unwrap()),
            "{name}"
        );
        // Text that was meant for somebody else's relay would send people to the wrong place.
        assert!(!alert.to_string().contains('@'), "{name}");
    }
    assert!(headings.is_empty(), "no alert of these names: {headings:?}");
}
