//! What a pod's container is told to run, the gateway understands: a wrong flag would show in a cluster only.

use std::process::Command;

use posthouse_tests::{gateway::executable, peer};
use serde_json::Value;
use tempfile::TempDir;

use crate::example;

#[test]
fn as_the_operator_renders_it() {
    let mut render = Command::new(executable("posthouse-operator"));
    render.args(["render", "--output", "json", "-f"]);
    let text = peer::run(render.arg(example("smallest.yaml")), b"");
    let value: Value = serde_json::from_str(&text).unwrap();
    let mut objects = value["objects"].as_array().unwrap().iter();
    let set = objects
        .find(|object| object["kind"] == "StatefulSet")
        .unwrap();
    let container = &set["spec"]["template"]["spec"]["containers"][0];
    let here = TempDir::with_prefix("posthouse-").unwrap();
    let arguments: Vec<_> = container["args"]
        .as_array()
        .unwrap()
        .iter()
        .map(|argument| argument.as_str().unwrap())
        .map(|argument| {
            // As the kubelet fills them in, and below a folder without a document.
            let filled = argument
                .replace("$(ORDINAL)", "1")
                .replace("$(POD_UID)", "a-b");
            if filled.starts_with('/') {
                format!("{}{filled}", here.path().display())
            } else {
                filled
            }
        })
        .collect();
    let output = Command::new(executable("posthouse-gateway"))
        .args(&arguments)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "2 is wrong usage: {said}");
    assert!(said.contains("etc/posthouse"), "{said}");
}
