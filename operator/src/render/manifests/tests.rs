//! Manifests as people read them: each folder of `tests/golden/manifests` has what is given and what is printed.

use std::{
    collections::BTreeSet,
    fs,
    io::Cursor,
    path::{Path, PathBuf},
};

use clap::Parser;
use posthouse_config::{Document, Senders, yaml};
use serde_json::Value;

use super::*;
use crate::command::CommandLine;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/manifests")
}

/// Runs `render` with arguments, on a text; what it printed, what it said, how it ended.
fn render(text: &str, arguments: &[&str]) -> (String, String, Exit) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut environment = Environment {
        input: Box::new(Cursor::new(text.to_owned())),
        out: Box::new(&mut out),
        err: Box::new(&mut err),
        now: "2030-01-01T00:00:00Z".parse().unwrap(),
    };
    let line = ["posthouse-operator", "render", "-f", "-"];
    let line = line.iter().chain(arguments);
    let exit = CommandLine::parse_from(line).run(&mut environment);
    drop(environment);
    let text = |octets| String::from_utf8(octets).unwrap();
    (text(out), text(err), exit)
}

/// The first line of a case may say with which arguments it is printed.
fn arguments(text: &str) -> Vec<&str> {
    let line = text
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("# render "));
    line.map(|line| line.split_whitespace().collect())
        .unwrap_or_default()
}

fn rendered(text: &str, arguments: &[&str]) -> String {
    let (out, err, exit) = render(text, arguments);
    assert_eq!(exit, Exit::Done, "{err}");
    out
}

#[test]
fn manifests_are_those_that_were_reviewed() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut cases = 0;
    for case in fs::read_dir(golden()).unwrap() {
        let folder = case.unwrap().path();
        let given = fs::read_to_string(folder.join("relay.yaml")).unwrap();
        let printed = rendered(&given, &arguments(&given));
        let path = folder.join("children.yaml");
        if update {
            fs::write(&path, &printed).unwrap();
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            printed == expected,
            "{} is not what is printed; UPDATE_GOLDEN=1 rewrites it",
            path.display()
        );
        accepted(&printed);
        cases += 1;
    }
    assert!(cases >= 6, "{cases} cases");
}

/// The gateway reads what is in the ConfigMaps.
fn accepted(printed: &str) {
    let objects = yaml::documents(printed).unwrap();
    let file = |name: &str| {
        let texts = objects
            .iter()
            .filter_map(|object| object["data"][name].as_str());
        texts.map(str::to_owned).collect::<Vec<_>>()
    };
    let documents = file("gateway.yaml");
    assert!(!documents.is_empty());
    for text in documents {
        let document = Document::parse(&text).unwrap();
        assert_eq!((document.number, document.generation), (1, 1));
    }
    for text in file("senders.json") {
        Senders::parse(&text).unwrap();
    }
}

const TWO: &str = include_str!("../../../examples/smallest.yaml");

#[test]
fn programs_get_the_same_as_one_value() {
    let both = format!(
        "{TWO}\n---\n{}",
        include_str!("../../../examples/staging.yaml")
    );
    let value: Value = serde_json::from_str(&rendered(&both, &["--output", "json"])).unwrap();
    let names: BTreeSet<_> = value["objects"]
        .as_array()
        .unwrap()
        .iter()
        .map(|object| {
            (
                object["kind"].as_str().unwrap(),
                object["metadata"]["name"].as_str().unwrap(),
            )
        })
        .collect();
    for expected in [
        ("StatefulSet", "outbound"),
        ("StatefulSet", "staging"),
        ("ConfigMap", "outbound-anchor"),
        ("NetworkPolicy", "staging"),
    ] {
        assert!(names.contains(&expected), "{expected:?} in {names:?}");
    }
    assert!(!names.iter().any(|(kind, _)| *kind == "Secret"));
    let to = &value["destinations"];
    assert_eq!(
        *to,
        serde_json::json!([{ "relay": "mail/outbound", "upstream": "isp", "host": "smtp.isp.example", "port": 587 }])
    );
    let of = |name: &str| {
        let all = value["withheld"].as_array().unwrap().iter();
        all.filter(|object| object["name"] == name).count()
    };
    assert_eq!(
        (of("outbound-keys"), of("staging-keys"), of("orders-smtp")),
        (1, 1, 1)
    );
}

#[test]
fn no_value_of_a_secret_is_printed_and_uids_do_not_matter() {
    let printed = rendered(TWO, &[]);
    assert!(!printed.contains("replace-me"), "{printed}");
    assert!(!printed.contains("kind: Secret"), "{printed}");
    let with_uid = TWO.replace(
        "metadata: { name: outbound, namespace: mail }",
        "metadata: { name: outbound, namespace: mail, uid: 11111111-1111-4111-8111-111111111111, generation: 9 }",
    );
    assert_ne!(with_uid, TWO);
    assert_eq!(rendered(&with_uid, &[]), printed);
}

#[test]
fn monitoring_is_printed_where_the_cluster_has_it() {
    let kinds = |arguments: &[&str]| {
        let printed = rendered(TWO, arguments);
        let has = |kind: &str| printed.contains(&format!("kind: {kind}\n"));
        (
            has("ServiceMonitor"),
            has("PrometheusRule"),
            printed.contains("runAsUser"),
        )
    };
    assert_eq!(kinds(&[]), (false, false, true));
    let all = "monitoring.coreos.com/v1,security.openshift.io/v1";
    assert_eq!(kinds(&["--api-versions", all]), (true, true, false));
    let one = "monitoring.coreos.com/v1/ServiceMonitor";
    assert_eq!(kinds(&["--api-versions", one]), (true, false, true));
}

#[test]
fn what_is_wrong_is_said_and_nothing_is_printed() {
    let (out, err, exit) = render(&TWO.replace("port: 587", "port: 0"), &[]);
    assert_eq!((out.as_str(), exit), ("", Exit::Failed));
    assert!(err.contains("spec.upstreams[0].endpoint.port"), "{err}");
    let (out, err, exit) = render(
        "{ apiVersion: v1, kind: Namespace, metadata: { name: a } }",
        &[],
    );
    assert_eq!((out.as_str(), exit), ("", Exit::Failed));
    assert!(err.contains("takes at least one MailRelay"), "{err}");
}
