//! What `check` prints, line by line, through the command line.

use std::io::Cursor;

use clap::Parser;

use super::*;
use crate::command::CommandLine;

const RELAY: &str = "
apiVersion: posthouse.dev/v1alpha1
kind: MailRelay
metadata: { name: outbound, namespace: mail-system }
spec:
  hostname: mail.example.com
  clients:
    grants:
      - { name: shop, namespaces: { selector: { matchLabels: { mail: enabled } } }, senderDomains: [shop.example.com], limits: { senders: 1 } }
  upstreams:
    - name: isp
      provider: Custom
      endpoint: { host: smtp.isp.example, port: 465, tls: { caRef: { kind: ConfigMap, name: isp-ca, key: ca.crt } } }
      auth: { password: { secretRef: { name: isp } } }
---
";

const SECRET: &str = "
apiVersion: v1
kind: Secret
metadata: { name: isp, namespace: mail-system }
data: { username: dXNlcg== }
stringData: { password: secret }
---
";

const AUTHORITY: &str = "
apiVersion: v1
kind: ConfigMap
metadata: { name: isp-ca, namespace: mail-system }
data: { ca.crt: certificate }
---
";

const NAMESPACE: &str = "
apiVersion: v1
kind: Namespace
metadata: { name: shop, labels: { mail: enabled } }
---
";

fn sender(name: &str, from: &str) -> String {
    format!(
        "
apiVersion: posthouse.dev/v1alpha1
kind: MailSender
metadata: {{ name: {name}, namespace: shop }}
spec: {{ relayRef: {{ name: outbound, namespace: mail-system }}, from: [{from}] }}
---
"
    )
}

/// What `check -f -` prints, and its exit code.
fn check_text(text: &str, arguments: &[&str]) -> (String, Exit) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut environment = Environment {
        input: Box::new(Cursor::new(text.to_owned())),
        out: Box::new(&mut out),
        err: Box::new(&mut err),
        now: jiff::Timestamp::UNIX_EPOCH,
    };
    let line = ["posthouse-operator", "check", "-f", "-"]
        .iter()
        .chain(arguments);
    let exit = CommandLine::parse_from(line).run(&mut environment);
    drop(environment);
    assert_eq!(err, b"");
    (String::from_utf8(out).unwrap(), exit)
}

fn lines(text: &str) -> Vec<String> {
    let (out, exit) = check_text(text, &[]);
    let has_errors = out.lines().any(|line| !line.starts_with("warning: "));
    assert_eq!(exit == Exit::Failed, has_errors, "{out}");
    out.lines().map(str::to_owned).collect()
}

#[test]
fn what_is_right_prints_nothing() {
    let all = format!(
        "{RELAY}{SECRET}{AUTHORITY}{NAMESPACE}{}",
        sender("checkout", "shop.example.com")
    );
    assert_eq!(check_text(&all, &[]), (String::new(), Exit::Done));
}

#[test]
fn every_problem_has_its_file_object_and_path() {
    let text = RELAY
        .replace("port: 465", "port: 70000")
        .replace("hostname:", "hostnam:");
    assert_eq!(
        lines(&format!("{text}{SECRET}{AUTHORITY}")),
        [
            "-: MailRelay/outbound.spec.hostnam: unknown field",
            "-: MailRelay/outbound.spec.upstreams[0].endpoint.port: must be between 1 and 65535",
            "-: MailRelay/outbound.spec.hostname: must be given",
        ]
    );
}

#[test]
fn structure_and_meaning_are_checked_at_once() {
    let text = RELAY
        .replace("port: 465", "port: 70000")
        .replace("mail.example.com", "mail");
    assert_eq!(
        lines(&format!("{text}{SECRET}{AUTHORITY}")),
        [
            "-: MailRelay/outbound.spec.upstreams[0].endpoint.port: must be between 1 and 65535",
            "-: MailRelay/outbound.spec.hostname: must be a fully qualified name such as \"mail.example.com\", is \"mail\"",
        ]
    );
}

#[test]
fn what_is_not_given_is_a_warning_and_a_missing_key_is_not() {
    assert_eq!(
        lines(RELAY),
        [
            "warning: -: MailRelay/outbound.spec.upstreams[0].endpoint.tls.caRef: ConfigMap \"isp-ca\" in namespace \"mail-system\" is not given",
            "warning: -: MailRelay/outbound.spec.upstreams[0].auth.password.secretRef: Secret \"isp\" in namespace \"mail-system\" is not given",
        ]
    );
    let secret = SECRET.replace("stringData: { password: secret }", "");
    assert_eq!(
        lines(&format!("{RELAY}{secret}{AUTHORITY}")),
        [
            "-: MailRelay/outbound.spec.upstreams[0].auth.password.secretRef: Secret \"isp\" in namespace \"mail-system\" has no key \"password\""
        ]
    );
    assert_eq!(
        lines(&sender("checkout", "shop.example.com")),
        [
            "warning: -: MailSender/checkout.spec.relayRef: MailRelay \"outbound\" in namespace \"mail-system\" is not given"
        ]
    );
    let accounts = sender("checkout", "shop.example.com")
        .replace("from:", "serviceAccounts: [web, job], from:");
    let web =
        "{ apiVersion: v1, kind: ServiceAccount, metadata: { name: web, namespace: shop } }\n---\n";
    assert_eq!(
        lines(&format!(
            "{RELAY}{SECRET}{AUTHORITY}{NAMESPACE}{web}{accounts}"
        )),
        [
            "warning: -: MailSender/checkout.spec.serviceAccounts[1]: ServiceAccount \"job\" in namespace \"shop\" is not given"
        ]
    );
}

#[test]
fn grants_are_followed() {
    let granted = format!("{RELAY}{SECRET}{AUTHORITY}{NAMESPACE}");
    assert_eq!(
        lines(&format!(
            "{granted}{}",
            sender("checkout", "shop.example.com, other.example")
        )),
        [
            "-: MailSender/checkout.spec.from[1]: \"other.example\" is not granted to namespace \"shop\" by MailRelay outbound, only shop.example.com"
        ]
    );
    assert_eq!(
        lines(&format!(
            "{granted}{}{}",
            sender("b", "shop.example.com"),
            sender("a", "shop.example.com")
        )),
        [
            "-: MailSender/b.spec.relayRef: namespace \"shop\" may have 1 MailSenders, and older ones stay (clients.grants[].limits.senders)"
        ]
    );
    let unlabelled = granted.replace(", labels: { mail: enabled }", "");
    assert_eq!(
        lines(&format!(
            "{unlabelled}{}",
            sender("checkout", "shop.example.com")
        )),
        [
            "-: MailSender/checkout.spec.relayRef: no grant of MailRelay outbound admits namespace \"shop\" (clients.grants[].namespaces)"
        ]
    );
    // In a cluster the Namespace may have the label.
    let unknown = format!(
        "{RELAY}{SECRET}{AUTHORITY}{}",
        sender("checkout", "shop.example.com")
    );
    let found = lines(&unknown);
    assert!(
        found.len() == 1
            && found[0].starts_with("warning: ")
            && found[0].ends_with("its Namespace is not given"),
        "{found:#?}"
    );
}

#[test]
fn a_sender_must_fit_its_relay() {
    let granted = format!("{RELAY}{SECRET}{AUTHORITY}{NAMESPACE}");
    for (member, expected) in [
        (
            "relayRef: { name: outbound, namespace: mail-system, listener: x }",
            "spec.relayRef.listener: there is no listener \"x\"; MailRelay outbound has submission",
        ),
        (
            "expirySeconds: 432001",
            "spec.expirySeconds: must not be more than MailRelay outbound's retry.expirySeconds (432000)",
        ),
        (
            "reports: { to: Address }",
            "spec.reports.to: must not be Address: MailRelay outbound has no reports.address",
        ),
        (
            "recipients: { redirectTo: a@b.example }",
            "spec.recipients.redirectTo: not supported yet",
        ),
    ] {
        let mut object =
            posthouse_config::yaml::from_str(&sender("checkout", "shop.example.com")).unwrap();
        let change =
            posthouse_config::yaml::from_str(&format!("{{ spec: {{ {member} }} }}")).unwrap();
        crate::cases::merge(&mut object, &change);
        let found = lines(&format!("{granted}{object}"));
        assert_eq!(
            found,
            [format!("-: MailSender/checkout.{expected}")],
            "{member}"
        );
    }
}

#[test]
fn text_that_is_no_object_is_named() {
    for (text, expected) in [
        ("", "-: has no objects"),
        ("a: 1\na: 2\n", "-: duplicate entry with key \"a\""),
        ("a: [", "-: "),
        (
            "a: 1",
            "-: object.kind: must be given: one of MailRelay, MailSender, Secret, ConfigMap, Namespace",
        ),
        (
            "{ kind: Pod, metadata: { name: a } }",
            "warning: -: Pod/a.kind: is not looked at; only MailRelay",
        ),
        (
            "{ kind: Secret, apiVersion: v1, metadata: { name: a }, data: { a: '?' } }",
            "-: Secret/a.data.a: must be base64",
        ),
        (
            "{ kind: MailRelay, apiVersion: v1, metadata: { name: a }, spec: {} }",
            "-: MailRelay/a.apiVersion: must be posthouse.dev/v1alpha1, is \"v1\"",
        ),
    ] {
        let found = lines(text);
        assert!(
            found.iter().any(|line| line.starts_with(expected)),
            "{text}\n{found:#?}"
        );
    }
    let twice = format!("{SECRET}{SECRET}");
    assert_eq!(
        lines(&twice),
        ["-: Secret/isp.metadata.name: must not be given twice, is in - too"]
    );
}

#[test]
fn a_list_is_its_items() {
    let item = posthouse_config::yaml::from_str::<serde_json::Value>(SECRET).unwrap();
    let list = serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": [item, item] });
    assert_eq!(lines(&list.to_string()).len(), 1);
}

#[test]
fn programs_get_json() {
    let (out, exit) = check_text(
        &RELAY.replace("port: 465", "port: 0"),
        &["--output", "json"],
    );
    assert_eq!(exit, Exit::Failed);
    let value: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        value["problems"][0],
        serde_json::json!({
            "severity": "error",
            "file": "-",
            "object": "MailRelay/outbound",
            "path": "spec.upstreams[0].endpoint.port",
            "message": "must be between 1 and 65535",
        })
    );
}

#[test]
fn the_examples_are_right() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let input = Input::read(&[folder], &mut std::io::empty());
    let checked = check(&input, Audience::Cluster);
    assert!(!checked.report.has_errors(), "{:#?}", checked.report);
    assert!(checked.relays.len() >= 5 && checked.admitted.len() >= 3);
}
