//! Each kind of mistake in structure: where it is found, and in which words.

use posthouse_config::yaml;

use super::*;

const RELAY: &str = "
apiVersion: posthouse.dev/v1alpha1
kind: MailRelay
metadata: { name: outbound }
spec:
  hostname: mail.example.com
  listeners: [{ name: a, protocol: Smtp, port: 25, tls: { policy: Disabled } }]
  upstreams: [{ name: a, provider: Capture }]
";

fn lines(text: &str) -> Vec<String> {
    let object: Value = yaml::from_str(text).unwrap();
    let problems = Schema::of("MailRelay").unwrap().problems(&object);
    problems
        .into_iter()
        .map(|Problem { path, message }| format!("{path}: {message}"))
        .collect()
}

/// What is found when `spec` gets another member, or another value for one.
fn with(change: &str) -> Vec<String> {
    let mut object: Value = yaml::from_str(RELAY).unwrap();
    crate::cases::merge(&mut object["spec"], &yaml::from_str(change).unwrap());
    lines(&object.to_string())
}

#[test]
fn one_line_for_each_kind_of_mistake() {
    for (change, expected) in [
        ("{}", vec![]),
        ("{ replica: 1 }", vec!["spec.replica: unknown field"]),
        (
            "{ limits: { mesageBytes: 1 } }",
            vec!["spec.limits.mesageBytes: unknown field"],
        ),
        (
            "{ replicas: two }",
            vec!["spec.replicas: must be an integer, is the string \"two\""],
        ),
        (
            "{ replicas: 1.5 }",
            vec!["spec.replicas: must be an integer, is the number 1.5"],
        ),
        (
            "{ replicas: 33 }",
            vec!["spec.replicas: must be between 1 and 32"],
        ),
        (
            "{ replicas: 0 }",
            vec!["spec.replicas: must be between 1 and 32"],
        ),
        (
            "{ hostname: 1 }",
            vec!["spec.hostname: must be a string, is the number 1"],
        ),
        ("{ hostname: '' }", vec!["spec.hostname: must not be empty"]),
        ("{ hostname: null }", vec!["spec.hostname: must be given"]),
        (
            "{ retry: [] }",
            vec!["spec.retry: must be an object, is an array"],
        ),
        (
            "{ upstreams: {} }",
            vec!["spec.upstreams: must be an array, is an object"],
        ),
        (
            "{ trace: full }",
            vec!["spec.trace: must be one of Minimal, Full, is \"full\""],
        ),
        (
            "{ upstreams: [] }",
            vec!["spec.upstreams: must have at least 1 items, has 0"],
        ),
        (
            "{ upstreams: [{ name: A, provider: Capture }] }",
            vec!["spec.upstreams[0].name: must match ^[a-z0-9]([-a-z0-9]*[a-z0-9])?$, is \"A\""],
        ),
        (
            "{ upstreams: [{ name: a, provider: Capture }, { name: b, provider: Capture }, { name: a, provider: Capture }] }",
            vec!["spec.upstreams[2].name: must not be given twice, is \"a\""],
        ),
        (
            "{ upstreams: [{ name: a, provider: Capture, senders: [a.example, b.example, a.example] }] }",
            vec!["spec.upstreams[0].senders[2]: must not be given twice, is \"a.example\""],
        ),
        (
            "{ serviceAccount: { annotations: { a: 1 } } }",
            vec!["spec.serviceAccount.annotations[a]: must be a string, is the number 1"],
        ),
        ("{ resources: { limits: { cpu: 2, memory: 1Gi } } }", vec![]),
        (
            "{ resources: { limits: { cpu: [] } } }",
            vec!["spec.resources.limits[cpu]: must be a number or a string, is an array"],
        ),
    ] {
        assert_eq!(with(change), expected, "{change}");
    }
}

#[test]
fn every_mistake_is_found_at_once() {
    let text = RELAY
        .replace("port: 25", "port: 70000")
        .replace("protocol: Smtp", "protocol: Pop3")
        .replace("metadata", "status: { selector: 3 }\nextra: 1\nmetadata");
    assert_eq!(
        lines(&text),
        [
            "spec.listeners[0].protocol: must be one of Submission, Submissions, Smtp, is \"Pop3\"",
            "spec.listeners[0].port: must be between 1 and 65535",
            "status.selector: must be a string, is the number 3",
            "extra: unknown field",
        ]
    );
    assert_eq!(lines("kind: MailRelay"), ["spec: must be given"]);
}

#[test]
fn an_empty_member_is_no_value() {
    let text = RELAY.replace("spec:", "spec:\n  retry:");
    assert_eq!(lines(&text), ["spec.retry: must be an object, is empty"]);
}

#[test]
fn too_many_and_too_long() {
    let long = format!("{{ hostname: {} }}", "a".repeat(254));
    assert_eq!(
        with(&long),
        ["spec.hostname: must have at most 253 characters, has 254"]
    );
    let many = (0..33)
        .map(|i| format!("a{i}: b"))
        .collect::<Vec<_>>()
        .join(", ");
    let many = format!("{{ serviceAccount: {{ annotations: {{ {many} }} }} }}");
    assert_eq!(
        with(&many),
        ["spec.serviceAccount.annotations: must have at most 32 members, has 33"]
    );
}
