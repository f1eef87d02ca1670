//! Renderings into temporary folders, through the command line.

use std::{
    collections::BTreeMap,
    fs,
    io::Cursor,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use clap::Parser;
use jiff::{SignedDuration, Timestamp};
use posthouse_config::{AddressPattern, Document, Senders, credential::Key};
use tempfile::TempDir;

use super::*;
use crate::command::CommandLine;

const PROVIDER: &str = include_str!("../../examples/demo-provider.yaml");
const RELAY: &str = include_str!("../../examples/demo-relay.yaml");

fn now() -> Timestamp {
    "2030-01-01T00:00:00Z".parse().unwrap()
}

struct Run {
    out: String,
    err: String,
    exit: Exit,
}

/// Renders what standard input and further files hold.
fn render_at(now: Timestamp, text: &str, folder: &Path, arguments: &[&str]) -> Run {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut environment = Environment {
        input: Box::new(Cursor::new(text.to_owned())),
        out: Box::new(&mut out),
        err: Box::new(&mut err),
        now,
    };
    let folder = folder.display().to_string();
    let mut line = vec![
        "posthouse-operator",
        "render",
        "-f",
        "-",
        "--local",
        &folder,
    ];
    line.extend(arguments);
    let exit = CommandLine::parse_from(line).run(&mut environment);
    drop(environment);
    Run {
        out: String::from_utf8(out).unwrap(),
        err: String::from_utf8(err).unwrap(),
        exit,
    }
}

fn render(text: &str, folder: &Path, arguments: &[&str]) -> Run {
    let run = render_at(now(), text, folder, arguments);
    assert_eq!(run.exit, Exit::Done, "{}", run.err);
    run
}

fn refusal(text: &str, arguments: &[&str]) -> String {
    let folder = TempDir::new().unwrap();
    let below = folder.path().join("out");
    let run = render_at(now(), text, &below, arguments);
    assert_eq!(run.exit, Exit::Failed);
    assert!(
        !below.exists(),
        "nothing is written unless everything is right"
    );
    run.err
}

fn document(folder: &Path) -> Document {
    Document::parse(&fs::read_to_string(folder.join("gateway.yaml")).unwrap()).unwrap()
}

fn senders(folder: &Path) -> Senders {
    Senders::parse(&fs::read_to_string(folder.join("senders.json")).unwrap()).unwrap()
}

/// Every file below a folder, with its content.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        if path.is_dir() {
            assert_eq!(mode, 0o700, "{}", path.display());
            found.extend(files(&path));
        } else {
            assert_eq!(mode, 0o600, "{}", path.display());
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

#[test]
fn one_gateway_becomes_the_provider_of_another() {
    let folder = TempDir::new().unwrap();
    let (provider, relay) = (folder.path().join("provider"), folder.path().join("relay"));
    let run = render(PROVIDER, &provider, &[]);
    assert!(
        run.out
            .contains("account.mail-system at 127.0.0.1 port 2587, tls starttls"),
        "{}",
        run.out
    );
    let bindings = provider.join("bindings.yaml").display().to_string();
    render(RELAY, &relay, &["-f", &bindings]);

    for folder in [&provider, &relay] {
        let document = document(folder);
        assert!(document.loopback_is_trusted);
        assert_eq!((document.replicas, document.number), (1, 1));
        for file in document.files() {
            assert!(folder.join(file).is_file(), "{file}");
        }
    }
    let binding =
        |key: &str| fs::read_to_string(provider.join("bindings/account").join(key)).unwrap();
    let secret =
        |key: &str| fs::read_to_string(relay.join("secrets/provider-account").join(key)).unwrap();
    for key in ["username", "password"] {
        assert_eq!(binding(key), secret(key), "{key}");
    }
    assert_eq!(binding("host"), "127.0.0.1");
    assert_eq!(binding("type"), "smtp");
    let uri = format!(
        "smtp://account.mail-system:{}@127.0.0.1:2587",
        binding("password")
    );
    assert_eq!(binding("uri"), uri);
    assert_eq!(
        binding("certificates"),
        fs::read_to_string(relay.join("configmaps/provider-ca/ca.crt")).unwrap()
    );
}

#[test]
fn the_gateway_can_check_the_password_it_gave() {
    let folder = TempDir::new().unwrap();
    render(PROVIDER, folder.path(), &[]);
    let document = document(folder.path());
    let octets = fs::read(folder.path().join(&document.keys.relay[0].path)).unwrap();
    let key = Key::try_from(octets.as_slice()).unwrap();
    let password = fs::read(folder.path().join("bindings/account/password")).unwrap();
    let senders = senders(folder.path());
    let sender = senders.by_username("account.mail-system").unwrap();
    assert!(key.is_password(&sender.uid, sender.rotations[0], &password));
    assert_eq!(sender.from, [AddressPattern::Any]);
}

#[test]
fn rendering_again_changes_nothing_and_a_change_raises_the_number() {
    let folder = TempDir::new().unwrap();
    render(PROVIDER, folder.path(), &[]);
    let before = files(folder.path());
    render(PROVIDER, folder.path(), &[]);
    assert_eq!(files(folder.path()), before);
    assert_eq!(document(folder.path()).number, 1);

    render(
        &PROVIDER.replace("smtp.provider.example", "smtp2.provider.example"),
        folder.path(),
        &[],
    );
    assert_eq!(
        (
            document(folder.path()).number,
            senders(folder.path()).number
        ),
        (2, 1)
    );
    let renamed = PROVIDER.replace("name: account", "name: other");
    render(&renamed, folder.path(), &[]);
    assert_eq!(
        (
            document(folder.path()).number,
            senders(folder.path()).number
        ),
        (3, 2)
    );
    let password = folder.path().join("bindings/account/password");
    assert_eq!(
        fs::read(&password).unwrap(),
        before[&password],
        "a kept master changes no password"
    );
}

#[test]
fn a_certificate_is_issued_again_when_it_must_be() {
    let folder = TempDir::new().unwrap();
    let certificate = || fs::read(folder.path().join("tls/issued/tls.crt")).unwrap();
    render(PROVIDER, folder.path(), &[]);
    let first = certificate();
    let authority = fs::read(folder.path().join("keys/ca.crt")).unwrap();
    let days = |days: i64| now() + SignedDuration::from_hours(24 * days);
    assert_eq!(
        render_at(days(59), PROVIDER, folder.path(), &[]).exit,
        Exit::Done
    );
    assert_eq!(certificate(), first);
    assert_eq!(
        render_at(days(61), PROVIDER, folder.path(), &[]).exit,
        Exit::Done
    );
    let second = certificate();
    assert_ne!(second, first);
    let renamed = PROVIDER.replace("smtp.provider.example", "smtp2.provider.example");
    assert_eq!(
        render_at(days(61), &renamed, folder.path(), &[]).exit,
        Exit::Done
    );
    assert_ne!(certificate(), second);
    assert_eq!(
        fs::read(folder.path().join("keys/ca.crt")).unwrap(),
        authority
    );
}

#[test]
fn another_address_changes_document_and_bindings_alike() {
    let folder = TempDir::new().unwrap();
    render(
        PROVIDER,
        folder.path(),
        &["--listen", "submission=[::1]:4587"],
    );
    assert_eq!(
        document(folder.path()).listeners[0].address,
        "[::1]:4587".parse().unwrap()
    );
    let binding =
        |key: &str| fs::read_to_string(folder.path().join("bindings/account").join(key)).unwrap();
    assert_eq!(
        (binding("host").as_str(), binding("port").as_str()),
        ("::1", "4587")
    );
    assert!(
        binding("uri").ends_with("@[::1]:4587"),
        "{}",
        binding("uri")
    );
}

#[test]
fn addresses_that_cannot_be_are_refused() {
    for (address, expected) in [
        (
            "other=127.0.0.1:4587",
            "--listen: there is no listener \"other\"",
        ),
        (
            "submission=0.0.0.0:4587",
            "--listen: must be a loopback address",
        ),
    ] {
        let error = refusal(PROVIDER, &["--listen", address]);
        assert!(error.contains(expected), "{error}");
    }
    let two = PROVIDER.replace(
        "listeners:",
        "listeners:\n    - { name: b, protocol: Submission, port: 2588, tls: { selfSigned: true } }",
    );
    let error = refusal(&two, &["--listen", "submission=127.0.0.1:2588"]);
    assert!(
        error.contains("must not both bind 127.0.0.1:2588"),
        "{error}"
    );
    for wrong in [
        "submission",
        "submission=localhost:25",
        "submission=127.0.0.1:0",
    ] {
        let line = [
            "posthouse-operator",
            "render",
            "-f",
            "-",
            "--local",
            "d",
            "--listen",
            wrong,
        ];
        assert_eq!(
            CommandLine::try_parse_from(line).unwrap_err().exit_code(),
            2,
            "{wrong}"
        );
    }
}

#[test]
fn addresses_are_for_this_machine_and_api_versions_for_a_cluster() {
    for wrong in [
        &["--listen", "a=127.0.0.1:2525"][..],
        &[
            "--local",
            "out",
            "--api-versions",
            "monitoring.coreos.com/v1",
        ],
    ] {
        let line = ["posthouse-operator", "render", "-f", "-"];
        let error = CommandLine::try_parse_from(line.iter().chain(wrong)).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("--local <DIR>"), "{error}");
    }
}

#[test]
fn everything_must_be_given_and_right() {
    let error = refusal(RELAY, &[]);
    assert_eq!(
        error.lines().collect::<Vec<_>>(),
        [
            "-: MailRelay/outbound.spec.upstreams[0].endpoint.tls.caRef: ConfigMap \"provider-ca\" in namespace \"mail-system\" is not given",
            "-: MailRelay/outbound.spec.upstreams[0].auth.password.secretRef: Secret \"provider-account\" in namespace \"mail-system\" is not given",
        ]
    );
    let error = refusal(&format!("{PROVIDER}---\n{RELAY}"), &[]);
    assert!(
        error.contains("render --local: takes exactly one MailRelay, 2 were given"),
        "{error}"
    );
    let error = refusal(
        &PROVIDER.replace("names: [mail-system]", "names: [other]"),
        &[],
    );
    assert!(
        error.contains("no grant of MailRelay provider admits namespace \"mail-system\""),
        "{error}"
    );
    let error = refusal(
        &PROVIDER.replace("senderDomains: [\"*\"]", "senderDomains: [a.example]"),
        &[],
    );
    assert!(
        error.contains("spec.from[0]: \"*\" is not granted to namespace \"mail-system\""),
        "{error}"
    );
    let error = refusal(
        &PROVIDER.replace("protocol: Submission", "protocol: Pop3"),
        &[],
    );
    assert!(
        error.contains("spec.listeners[0].protocol: must be one of"),
        "{error}"
    );
}

#[test]
fn a_certificate_of_a_secret_is_used_as_it_is() {
    let folder = TempDir::new().unwrap();
    let text = format!(
        "{}\n---\n{}",
        PROVIDER.replace("selfSigned: true", "secretRef: { name: cert }"),
        "{ apiVersion: v1, kind: Secret, metadata: { name: cert, namespace: mail-system }, stringData: { tls.crt: a, tls.key: b } }"
    );
    render(&text, folder.path(), &[]);
    let certificate = document(folder.path()).listeners[0]
        .certificate
        .clone()
        .unwrap();
    assert_eq!(
        fs::read(folder.path().join(certificate.chain)).unwrap(),
        b"a"
    );
    assert_eq!(fs::read(folder.path().join(certificate.key)).unwrap(), b"b");
    assert!(!folder.path().join("keys/ca.crt").exists());
    assert!(!folder.path().join("bindings/account/certificates").exists());
}

#[test]
fn names_from_objects_cannot_leave_the_folder() {
    let secret = |name: &str, key: &str| {
        format!(
            "{}\n---\n{{ apiVersion: v1, kind: Secret, metadata: {{ name: {name}, namespace: mail-system }}, stringData: {{ tls.crt: a, tls.key: b, {key}: c }} }}",
            PROVIDER.replace(
                "selfSigned: true",
                &format!("secretRef: {{ name: {name} }}")
            ),
        )
    };
    for (text, expected) in [
        (
            secret("..", "a"),
            "spec.listeners[0].tls.secretRef.name: must match",
        ),
        (
            secret("cert", "../../escaped"),
            "escaped: must be the name of a file",
        ),
    ] {
        let folder = TempDir::new().unwrap();
        let run = render_at(now(), &text, &folder.path().join("out"), &[]);
        assert_eq!(run.exit, Exit::Failed);
        assert!(run.err.contains(expected), "{}", run.err);
        assert!(!folder.path().join("out/escaped").exists());
        assert!(!folder.path().join("out/gateway.yaml").exists());
    }
}

#[test]
fn namesakes_of_other_namespaces_have_folders_of_their_own() {
    let folder = TempDir::new().unwrap();
    let second = PROVIDER.split("---").nth(1).unwrap().replace(
        "name: account, namespace: mail-system",
        "name: account, namespace: shop",
    );
    let text = format!(
        "{}---{second}",
        PROVIDER.replace("names: [mail-system]", "names: [mail-system, shop]")
    );
    render(&text, folder.path(), &[]);
    for name in ["account.mail-system", "account.shop"] {
        let username =
            fs::read_to_string(folder.path().join("bindings").join(name).join("username")).unwrap();
        assert_eq!(username, name);
    }
}

#[test]
fn programs_get_json() {
    let folder = TempDir::new().unwrap();
    let run = render(PROVIDER, folder.path(), &["--output", "json"]);
    let value: serde_json::Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(value["number"], 1);
    assert_eq!(value["bindings"][0]["port"], "2587");
}
