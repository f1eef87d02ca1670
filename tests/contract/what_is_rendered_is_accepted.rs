//! Every example renders to a document and senders that the gateway's own types accept, with every file they name.

use std::{fs, path::Path, process::Command};

use posthouse_config::{Document, Senders, document, senders, yaml};
use posthouse_tests::{gateway::executable, peer};
use tempfile::TempDir;

use crate::{changed, example, render, repository};

fn assert_accepted(folder: &Path) -> Document {
    let document =
        Document::parse(&fs::read_to_string(folder.join("gateway.yaml")).unwrap()).unwrap();
    for file in document.files() {
        assert!(folder.join(file).is_file(), "{file}");
    }
    assert!(document.number > 0);
    let senders =
        Senders::parse(&fs::read_to_string(folder.join("senders.json")).unwrap()).unwrap();
    assert!(!senders.senders.is_empty());
    document
}

#[test]
fn the_demonstration() {
    let top = TempDir::with_prefix("posthouse-").unwrap();
    let provider = top.path().join("provider");
    render(&[&example("demo-provider.yaml")], &provider, &[]);
    assert_accepted(&provider);
    let relay = top.path().join("relay");
    let bindings = provider.join("bindings.yaml");
    render(
        &[&example("demo-relay.yaml"), &bindings],
        &relay,
        &["--listen", "submission=127.0.0.1:1588"],
    );
    let document = assert_accepted(&relay);
    assert_eq!(document.listeners[0].address.to_string(), "127.0.0.1:1588");
    assert!(document.loopback_is_trusted);
}

/// As they would be applied: what the operator would write of each, a gateway would take.
#[test]
fn every_example() {
    let folder = repository("operator/examples");
    let files = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut relays = 0;
    for file in files.filter(|file| file.extension().is_some_and(|end| end == "yaml")) {
        let mut check = Command::new(executable("posthouse-operator"));
        peer::run(check.args(["check", "-f"]).arg(&file), b"");
        let mut render = Command::new(executable("posthouse-operator"));
        // What it warns of goes elsewhere.
        let rendered = render.args(["render", "-f"]).arg(&file).output().unwrap();
        assert!(rendered.status.success(), "{}", file.display());
        let text = String::from_utf8(rendered.stdout).unwrap();
        let mut maps = yaml::documents(&text).unwrap();
        maps.retain(|object| object["kind"] == "ConfigMap");
        for data in maps.iter().map(|map| &map["data"]) {
            if let Some(text) = data[document::FILE_NAME].as_str() {
                Document::parse(text).unwrap();
                relays += 1;
            }
            if let Some(text) = data[senders::FILE_NAME].as_str() {
                Senders::parse(text).unwrap();
            }
        }
    }
    assert!(relays >= 9, "{relays}");
}

#[test]
fn rendering_again_changes_no_password_and_grows_the_number() {
    let top = TempDir::with_prefix("posthouse-").unwrap();
    let folder = top.path().join("provider");
    let password = || fs::read_to_string(folder.join("bindings/account/password")).unwrap();
    render(&[&example("demo-provider.yaml")], &folder, &[]);
    let (first, old) = (assert_accepted(&folder), password());
    let other = changed(
        "demo-provider.yaml",
        "smtp.provider.example",
        "mail.provider.example",
        top.path(),
    );
    render(&[&other], &folder, &[]);
    let second = assert_accepted(&folder);
    assert_eq!(password(), old);
    assert!(
        second.number > first.number,
        "{} after {}",
        second.number,
        first.number
    );
    assert_eq!(second.hostname, "mail.provider.example");
}
