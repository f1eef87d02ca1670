use std::{fs, os::unix::fs::symlink};

use posthouse_config::Snapshot;
use tempfile::TempDir;

use super::*;
use crate::mail::redact::AddressStyle;

const DOCUMENT: &str = r#"
format: 1
number: 1
generation: 1
relay: { namespace: mail-system, name: outbound }
hostname: mail.example.com
replicas: 1
listeners:
  - { name: plain, protocol: Smtp, address: "127.0.0.1:0", tls: Disabled }
upstreams:
  - name: isp
    transport: { smtp: { host: smtp.example, port: 465, tls: { mode: Implicit }, auth: { password: { username: isp/username, password: isp/password } } } }
routes:
  - { name: default, targets: [{ upstream: isp }] }
reports: { sender: postmaster@mail.example.com }
"#;

fn write_generation(folder: &std::path::Path, number: u64, password: Option<&str>) {
    fs::create_dir_all(folder.join("isp")).unwrap();
    fs::write(
        folder.join("gateway.yaml"),
        DOCUMENT.replace("number: 1", &format!("number: {number}")),
    )
    .unwrap();
    fs::write(folder.join("isp/username"), "user\n").unwrap();
    match password {
        Some(password) => fs::write(folder.join("isp/password"), password).unwrap(),
        None => {
            let _ = fs::remove_file(folder.join("isp/password"));
        }
    }
}

fn start(folder: &std::path::Path, spool: &std::path::Path) -> Result<Reload, NoDocument> {
    let metrics = Metrics::new("0").unwrap();
    let redactor = Arc::new(Redactor::new(AddressStyle::Redacted));
    Reload::start(
        Folder::new(folder, Vec::new()),
        Stored::new(spool),
        metrics,
        redactor,
    )
}

fn in_use(reload: &Reload) -> Arc<Snapshot> {
    reload.snapshot().borrow().clone()
}

#[test]
fn a_change_of_a_secret_is_published_and_a_lost_file_keeps_its_value() {
    let (folder, spool) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    write_generation(folder.path(), 1, Some("one"));
    let mut reload = start(folder.path(), spool.path()).unwrap();
    assert_eq!(in_use(&reload).text("isp/password"), Some("one"));
    assert_eq!(in_use(&reload).text("isp/username"), Some("user"));
    write_generation(folder.path(), 1, Some("two"));
    reload.read_again();
    assert_eq!(in_use(&reload).text("isp/password"), Some("two"));
    write_generation(folder.path(), 1, None);
    reload.read_again();
    assert_eq!(in_use(&reload).text("isp/password"), Some("two"));
    assert_eq!(
        reload.status.lock().unwrap().files.missing,
        ["isp/password"]
    );
}

#[test]
fn a_refused_document_changes_nothing_and_is_told_once() {
    let (folder, spool) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    write_generation(folder.path(), 1, Some("one"));
    let mut reload = start(folder.path(), spool.path()).unwrap();
    fs::write(
        folder.path().join("gateway.yaml"),
        DOCUMENT.replace("replicas: 1", "replicas: 99"),
    )
    .unwrap();
    reload.read_again();
    reload.read_again();
    assert_eq!(in_use(&reload).document.replicas, 1);
    let problems = reload.status.lock().unwrap().document.problems.clone();
    assert_eq!(problems, ["replicas: must be between 0 and 32, is 99"]);
    assert_eq!(reload.metrics.config_reload_failures.get(), 1);
    assert_eq!(reload.metrics.config_refused.get(), 1);
    write_generation(folder.path(), 1, Some("one"));
    reload.read_again();
    assert_eq!(reload.metrics.config_refused.get(), 0);
    assert!(reload.status.lock().unwrap().document.problems.is_empty());
}

#[test]
fn senders_of_a_later_format_change_nothing() {
    let (folder, spool) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    write_generation(folder.path(), 1, Some("one"));
    let file = folder.path().join("senders.json");
    let one = r#"{"format":1,"number":4,"generation":1,"senders":[]}"#;
    fs::write(&file, one).unwrap();
    let mut reload = start(folder.path(), spool.path()).unwrap();
    fs::write(
        &file,
        r#"{"format":2,"number":5,"generation":1,"senders":[]}"#,
    )
    .unwrap();
    reload.read_again();
    assert_eq!(in_use(&reload).senders.number, 4);
    assert_eq!(
        reload.status.lock().unwrap().document.problems,
        ["senders.json: format: this gateway reads format 1, the file has format 2"]
    );
}

#[test]
fn the_stored_document_is_used_when_the_mounted_one_is_refused_at_start() {
    let (folder, spool) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    fs::create_dir(spool.path().join("state")).unwrap();
    write_generation(folder.path(), 7, Some("one"));
    start(folder.path(), spool.path()).unwrap().keep();
    fs::write(folder.path().join("gateway.yaml"), "format: 2\n").unwrap();
    let mut reload = start(folder.path(), spool.path()).unwrap();
    assert_eq!(reload.metrics.config_refused.get(), 1);
    reload.read_again();
    assert_eq!(reload.metrics.config_refused.get(), 1);
    assert_eq!(in_use(&reload).document.number, 7);
    let status = reload.status.lock().unwrap().clone();
    assert_eq!(status.document.source, Source::Stored);
    assert_eq!(
        status.document.problems,
        ["format: this gateway reads format 1, the file has format 2"]
    );
    let other = TempDir::new().unwrap();
    let error = start(folder.path(), other.path())
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.ends_with("gateway.yaml: format: this gateway reads format 1, the file has format 2"),
        "{error}"
    );
}

#[test]
fn all_files_come_from_one_generation_of_a_projected_folder() {
    let (folder, spool) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    for (generation, number, password) in [("..1", 1, "one"), ("..2", 2, "two")] {
        write_generation(&folder.path().join(generation), number, Some(password));
    }
    symlink("..1", folder.path().join("..data")).unwrap();
    symlink("..data/gateway.yaml", folder.path().join("gateway.yaml")).unwrap();
    let mut reload = start(folder.path(), spool.path()).unwrap();
    assert_eq!(
        (
            in_use(&reload).document.number,
            in_use(&reload).text("isp/password")
        ),
        (1, Some("one"))
    );
    symlink("..2", folder.path().join("..tmp")).unwrap();
    fs::rename(folder.path().join("..tmp"), folder.path().join("..data")).unwrap();
    reload.read_again();
    assert_eq!(
        (
            in_use(&reload).document.number,
            in_use(&reload).text("isp/password")
        ),
        (2, Some("two"))
    );
}

#[test]
fn listeners_are_overridden_by_name() {
    let (folder, spool) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    write_generation(folder.path(), 1, Some("one"));
    let listen = vec!["plain=127.0.0.1:4444".parse::<ListenOverride>().unwrap()];
    let reading = Folder::new(&folder.path().join("gateway.yaml"), listen)
        .read(None)
        .unwrap();
    assert_eq!(reading.snapshot.document.listeners[0].address.port(), 4444);
    let unknown = Folder::new(folder.path(), vec!["x=127.0.0.1:1".parse().unwrap()])
        .read(None)
        .unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "listeners: no listener is named \"x\", as --listen says"
    );
    assert!("plain".parse::<ListenOverride>().is_err());
    drop(spool);
}
