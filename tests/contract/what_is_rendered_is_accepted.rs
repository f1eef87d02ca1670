//! Every example renders to a document and senders that the gateway's own types accept, with every file they name.

use std::{fs, path::Path};

use posthouse_config::{Document, Senders};
use tempfile::TempDir;

use crate::{changed, example, render};

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
