//! The two examples together, as real processes: an application hands mail to the relay with the credentials it was
//! given, and the provider keeps it as a file.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use posthouse_tests::{Gateway, gateway::executable, peer, provider::Absent, wait};
use tempfile::TempDir;

use crate::{changed, example, render};

/// The messages a capturing upstream has kept.
fn captured(spool: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(spool.join("captured/mailbox"))
        .into_iter()
        .flatten()
        .flatten();
    let files = entries.map(|entry| entry.path());
    files
        .filter(|path| path.extension().is_some_and(|extension| extension == "eml"))
        .collect()
}

#[test]
fn from_the_application_to_the_provider() {
    let top = TempDir::with_prefix("posthouse-").unwrap();
    let folder = |name: &str| top.path().join(name);
    let [at_provider, at_relay] = [Absent::reserve(), Absent::reserve()];
    let listen = |at: &Absent| format!("submission=127.0.0.1:{}", at.port());

    render(
        &[&example("demo-provider.yaml")],
        &folder("provider"),
        &["--listen", &listen(&at_provider)],
    );
    let port = format!("port: {}", at_provider.port());
    let relay = changed("demo-relay.yaml", "port: 2587", &port, top.path());
    let bindings = folder("provider").join("bindings.yaml");
    render(
        &[&relay, &bindings],
        &folder("relay"),
        &["--listen", &listen(&at_relay)],
    );

    let _provider = Gateway::start(&folder("provider"), &folder("provider-spool"));
    let _relay = Gateway::start(&folder("relay"), &folder("relay-spool"));
    for subject in ["one", "two", "three"] {
        let mut send = Command::new(executable("posthouse-gateway"));
        send.arg("send")
            .arg("--binding")
            .arg(folder("relay").join("bindings/checkout"));
        send.args([
            "--from",
            "orders@shop.example.com",
            "--to",
            "someone@customer.example",
            "--subject",
            subject,
        ]);
        let said = peer::run(&mut send, b"");
        let password =
            fs::read_to_string(folder("relay").join("bindings/checkout/password")).unwrap();
        assert!(
            said.contains("250") && !said.contains(password.trim()),
            "{said}"
        );
    }
    wait::until_true("the provider has three", || {
        captured(&folder("provider-spool")).len() == 3
    });
    for file in captured(&folder("provider-spool")) {
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("X-Posthouse-Reverse-Path:"), "{text}");
        assert!(
            text.contains("orders@shop.example.com") && text.contains("someone@customer.example"),
            "{text}"
        );
        assert_eq!(
            text.matches("\nReceived: ").count(),
            2,
            "one from each gateway: {text}"
        );
    }
}
