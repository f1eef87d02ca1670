//! What a person must change before the gateway can run is one clear message with the path or field, and exit code 1.

use std::{
    fs::{self, Permissions},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Output,
};

use posthouse_config::status::Source;
use posthouse_tests::{Provider, Script, Site, gateway::run_to_the_end};

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// It ended with 1, and all of `words` are in what it said.
fn assert_refusal(output: &Output, words: &[&str]) {
    let said = said(output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} in {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

fn site() -> Site {
    let mut site = Site::relaying_to(9);
    site.write();
    site
}

#[test]
fn a_spool_folder_that_cannot_be_one() {
    let site = site();
    fs::write(site.spool(), "a file is in the way").unwrap();
    assert_refusal(
        &run_to_the_end(&site.folder(), &site.spool(), &[]),
        &[&site.spool().display().to_string()],
    );
}

#[test]
fn a_spool_folder_that_must_not_be_entered() {
    let site = site();
    fs::create_dir(site.spool()).unwrap();
    fs::set_permissions(site.spool(), Permissions::from_mode(0o000)).unwrap();
    // Root may enter anything; it has no such rights over /proc.
    let spool = if rustix::process::geteuid().is_root() {
        Path::new("/proc/1/posthouse").to_owned()
    } else {
        site.spool()
    };
    let output = run_to_the_end(&site.folder(), &spool, &[]);
    assert_refusal(&output, &[&spool.display().to_string()]);
}

#[test]
fn a_port_in_use() {
    let mut site = Site::relaying_to(9);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    site.document.listeners[0].address = address;
    site.write();
    assert_refusal(
        &run_to_the_end(&site.folder(), &site.spool(), &[]),
        &[&address.to_string(), "in use"],
    );
}

#[test]
fn a_spool_that_another_process_has() {
    let mut site = Site::relaying_to(9);
    let _gateway = site.start();
    assert_refusal(
        &run_to_the_end(&site.folder(), &site.spool(), &[]),
        &[&site.spool().display().to_string()],
    );
}

#[test]
fn a_spool_of_a_newer_format() {
    let mut site = Site::relaying_to(9);
    site.start().stop();
    let version = site.spool().join("VERSION");
    let old = fs::read_to_string(&version).unwrap();
    let (format, rest) = old.split_once(' ').unwrap();
    let newer = format.parse::<u32>().unwrap() + 1;
    fs::write(&version, format!("{newer} {rest}")).unwrap();
    assert_refusal(
        &run_to_the_end(&site.folder(), &site.spool(), &[]),
        &[&site.spool().display().to_string(), "format"],
    );
}

#[test]
fn a_document_that_is_refused() {
    for (from, to, words) in [
        ("format: 1", "format: 2", &["gateway.yaml", "format"][..]),
        ("replicas: 1", "replicas: 99", &["gateway.yaml", "replicas"]),
        ("replicas: 1", "replicas: [", &["gateway.yaml"]),
        (
            "format: 1",
            "format: 1\nneeds: [teleportation]",
            &["gateway.yaml", "teleportation"],
        ),
    ] {
        let site = site();
        let file = site.folder().join("gateway.yaml");
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(&file, text.replace(from, to)).unwrap();
        assert_refusal(&run_to_the_end(&site.folder(), &site.spool(), &[]), words);
    }
}

#[test]
fn no_document() {
    let site = Site::new();
    assert_refusal(
        &run_to_the_end(&site.folder(), &site.spool(), &[]),
        &["gateway.yaml"],
    );
}

#[test]
fn wrong_usage() {
    let site = site();
    let output = run_to_the_end(&site.folder(), &site.spool(), &["--no-such-flag"]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
}

#[test]
fn a_stored_document_is_better_than_none() {
    let provider = Provider::start(Script::take());
    let mut site = Site::relaying_to(provider.port());
    site.start().stop();
    fs::write(site.folder().join("gateway.yaml"), "format: 2\n").unwrap();
    let gateway = site.restart();
    let status = gateway.status();
    assert_eq!(status.document.source, Source::Stored);
    assert!(
        status
            .document
            .problems
            .iter()
            .any(|problem| problem.contains("format")),
        "{status:?}"
    );
    let from = "orders@shop.example";
    let content = posthouse_tests::client::message(from, "still");
    assert_eq!(
        gateway
            .client()
            .send(from, &["someone@customer.example"], &content)
            .code,
        250
    );
    provider.wait_for(1);
}
