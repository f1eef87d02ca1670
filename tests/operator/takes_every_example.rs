//! Every object of ours in the examples and the pages is taken by a real API server as it stands, under the strictest
//! validation there is; so is every whole object of Kubernetes' own kinds beside them. `check` and `render` take the
//! examples in their contract tests.

use std::{fs, path::Path};

use posthouse_config::yaml;
use posthouse_tests::{Cluster, Installation, peer};
use serde_json::Value;

/// Kinds of others, whose definitions are not installed here.
const FOREIGN: [&str; 3] = [
    "cert-manager.io",
    "external-secrets.io",
    "trust.cert-manager.io",
];

/// The files of a folder of the repository that end so.
fn texts(folder: &str, end: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(folder);
    let files = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let files = files.filter(|file| file.extension().is_some_and(|extension| extension == end));
    files
        .map(|file| {
            (
                file.display().to_string(),
                fs::read_to_string(file).unwrap(),
            )
        })
        .collect()
}

/// The blocks of YAML in a page.
fn blocks(page: &str) -> impl Iterator<Item = &str> {
    let blocks = page.split("```yaml\n").skip(1);
    blocks.map(|rest| rest.split_once("```").map_or(rest, |(block, _)| block))
}

/// The objects of a text: what has no kind is a part of one, and what is of a foreign kind nobody here knows.
fn objects(text: &str) -> Vec<Value> {
    let mut documents = yaml::documents(text).unwrap();
    documents.retain(|object| {
        let version = object["apiVersion"].as_str().unwrap_or_default();
        let (group, _) = version.split_once('/').unwrap_or_default();
        object["kind"].is_string() && !FOREIGN.contains(&group)
    });
    documents
}

/// Namespaces that the examples are in. They stay, and nobody else uses these names.
fn namespaces(cluster: &Cluster, objects: &[(String, Value)]) {
    let mut names: Vec<_> = objects
        .iter()
        .filter_map(|(_, object)| object["metadata"]["namespace"].as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        peer::run(&mut cluster.kubectl(&["create", "namespace", name]), b"");
    }
}

#[test]
fn as_it_stands() {
    let Some(cluster) = Installation::shared() else {
        return;
    };
    let mut all = Vec::new();
    for (file, text) in texts("operator/examples", "yaml") {
        let found = objects(&text);
        assert!(!found.is_empty(), "{file}");
        all.extend(found.into_iter().map(|object| (file.clone(), object)));
    }
    let examples = all.len();
    for (file, text) in [texts("operator", "md"), texts(".", "md")].concat() {
        let found = blocks(&text).flat_map(objects);
        all.extend(found.map(|object| (file.clone(), object)));
    }
    assert!(
        examples >= 15 && all.len() >= examples + 2,
        "{examples} {}",
        all.len()
    );
    namespaces(&cluster, &all);
    for (file, object) in &all {
        let arguments = ["create", "--dry-run=server", "--validate=strict", "-f", "-"];
        let mut create = cluster.kubectl(&arguments);
        let (output, said) = peer::attempt(&mut create, object.to_string().as_bytes());
        assert!(output.status.success(), "{file}: {said}\n{object}");
    }
}
