//! The rules on a MailRelay: one table through CEL and `validate`, and tables of what only `validate` can say.

use posthouse_config::yaml;
use serde_json::Value;

use super::*;
use crate::cases;

const BASE: &str = "
apiVersion: posthouse.dev/v1alpha1
kind: MailRelay
metadata: { name: outbound, namespace: mail-system }
spec:
  hostname: mail.example.com
  upstreams: [{ name: isp, provider: Custom, endpoint: { host: smtp.isp.example, port: 465 } }]
";

fn found(object: Value) -> Findings {
    validate(&yaml::from_value(object).unwrap(), Audience::Cluster).0
}

#[test]
fn cel_and_validate_agree() {
    cases::run("MailRelay", BASE, include_str!("tests/rules.yaml"), found);
}

/// The lines found in the base with a changed `spec`.
fn lines(change: &str, audience: Audience) -> Vec<String> {
    let mut object: Value = yaml::from_str(BASE).unwrap();
    cases::merge(&mut object["spec"], &yaml::from_str(change).unwrap());
    let (findings, valid) = validate(&yaml::from_value(object).unwrap(), audience);
    assert_eq!(valid.is_some(), findings.problems.is_empty(), "{change}");
    findings
        .problems
        .into_iter()
        .map(|problem| format!("{}: {}", problem.path, problem.message))
        .collect()
}

/// A change of `spec`, and how the one problem with it begins.
const REFUSED: &[(&str, &str)] = &[
    (
        "{ hostname: mail }",
        "spec.hostname: must be a fully qualified name",
    ),
    (
        "{ hostname: '-.example' }",
        "spec.hostname: must be a fully qualified name",
    ),
    (
        "{ listeners: [{ name: a, protocol: Submission, port: 587, tls: { secretRef: { name: outbound-tls } } }] }",
        "spec.listeners[0].tls.secretRef: must not be \"outbound-tls\": the operator keeps",
    ),
    (
        "{ listeners: [{ name: a, protocol: Submission, port: 587, tls: { secretRef: { name: outbound-keys } } }] }",
        "spec.listeners[0].tls.secretRef: must not be \"outbound-keys\": the operator keeps",
    ),
    (
        "{ podTemplate: { metadata: { labels: { team: a b } } } }",
        "spec.podTemplate.metadata.labels: the value of \"team\" must be",
    ),
    (
        "{ podTemplate: { metadata: { annotations: { 'a b': c } } } }",
        "spec.podTemplate.metadata.annotations: \"a b\" must be",
    ),
    (
        "{ serviceAccount: { annotations: { 'a.example/': c } } }",
        "spec.serviceAccount.annotations: \"a.example/\" must be",
    ),
    (
        "{ replicas: 21 }",
        "spec.replicas: must not be more than spec.upstreams[0].limits.maxConnections (20)",
    ),
    (
        "{ listeners: [{ name: a, protocol: Submission, port: 8080, tls: { selfSigned: true } }] }",
        "spec.listeners[0].port: must not be 8080: port 8080 of the pod is reserved for metrics",
    ),
    (
        "{ listeners: [{ name: a, protocol: Submission, port: 587, tls: { selfSigned: true } }, { name: b, protocol: Submission, port: 2587, tls: { selfSigned: true } }] }",
        "spec.listeners[1].port: must not collide with listeners[0]",
    ),
    (
        "{ listeners: [{ name: a, protocol: Submission, port: 587, tls: { policy: Disabled } }] }",
        "spec.listeners[0]: nobody could ever send here",
    ),
    (
        "{ listeners: [{ name: a, protocol: Smtp, port: 25, tls: { policy: Disabled } }] }",
        "spec.listeners[0]: nobody could ever send here",
    ),
    (
        "{ clients: { grants: [{ name: a, namespaces: { names: [a] }, senderDomains: ['*@a.example'] }] } }",
        "spec.clients.grants[0].senderDomains[0]: must not begin with \"*@\": write \"a.example\"",
    ),
    (
        "{ clients: { grants: [{ name: a, namespaces: { names: [a] }, senderDomains: [u@a.example] }] } }",
        "spec.clients.grants[0].senderDomains[0]: must be a domain such as \"a.example\"",
    ),
    (
        "{ clients: { grants: [{ name: a, namespaces: { selector: { matchExpressions: [{ key: a, operator: Is }] } }, senderDomains: [a.example] }] } }",
        "spec.clients.grants[0].namespaces.selector.matchExpressions[0].operator: must be one of In",
    ),
    (
        "{ clients: { grants: [{ name: a, namespaces: { selector: { matchExpressions: [{ key: a, operator: In }] } }, senderDomains: [a.example] }] } }",
        "spec.clients.grants[0].namespaces.selector.matchExpressions[0].values: must not be empty",
    ),
    (
        "{ listeners: [{ name: a, protocol: Smtp, port: 25, tls: { policy: Disabled } }], clients: { anonymous: { networks: [10.0.0.0/7], senderDomains: [a.example] } } }",
        "spec.clients.anonymous.networks[0]: must have a prefix between /8 and /32",
    ),
    (
        "{ upstreams: [{ name: a, senders: ['a b@c.example'], provider: Custom, endpoint: { host: a.example, port: 465 } }], reports: { to: Nobody } }",
        "spec.upstreams[0].senders[0]: must have a local part without spaces",
    ),
    (
        "{ upstreams: [{ name: a, provider: Custom, endpoint: { host: a_b.example, port: 465 } }] }",
        "spec.upstreams[0].endpoint.host: must be a host name or an address",
    ),
    (
        "{ routes: [{ name: a, targets: [{ upstream: b }] }], reports: { to: Nobody } }",
        "spec.routes[0].targets[0].upstream: must be the name of an upstream, is \"b\"",
    ),
    (
        "{ routes: [{ name: a, targets: [{ upstream: isp }, { upstream: isp }] }] }",
        "spec.routes[0].targets[1].upstream: must not be given twice",
    ),
    (
        "{ routes: [{ name: a, targets: [{ upstream: isp }] }, { name: a, targets: [{ upstream: isp }] }] }",
        "spec.routes[1].name: must not be given twice",
    ),
    (
        "{ retry: { initialSeconds: 100, maximumSeconds: 99 } }",
        "spec.retry.maximumSeconds: must not be less than initialSeconds (100)",
    ),
    (
        "{ reports: { to: Address, address: nobody } }",
        "spec.reports.address: must be an address",
    ),
    (
        "{ clients: { grants: [{ name: a, namespaces: { names: ['shop-*'] }, senderDomains: [a.example] }] } }",
        "spec.clients.grants[0].namespaces.names[0]: must be the name of a namespace",
    ),
    (
        "{ routes: [{ name: a, match: { namespaces: ['*'] }, targets: [{ upstream: isp }] }], reports: { to: Nobody } }",
        "spec.routes[0].match.namespaces[0]: must be the name of a namespace",
    ),
    (
        "{ listeners: [{ name: issued, protocol: Submission, port: 587, tls: { secretRef: { name: cert } } }] }",
        "spec.listeners[0]: name must not be \"issued\" with tls.secretRef",
    ),
    (
        "{ networkPolicy: { from: [10.0.0.0/33] } }",
        "spec.networkPolicy.from[0]: must be a network in CIDR notation",
    ),
    (
        "{ networkPolicy: { from: [10.0.0.1] } }",
        "spec.networkPolicy.from[0]: must be a network in CIDR notation",
    ),
    (
        "{ upstreams: [{ name: a, provider: SendGrid, auth: { password: { secretRef: { name: a } } } }] }",
        "spec.upstreams[0].provider: \"SendGrid\" is not supported yet, only Custom and Capture",
    ),
];

#[test]
fn what_no_schema_can_say() {
    for (change, expected) in REFUSED {
        let found = lines(change, Audience::Cluster);
        assert!(
            found.len() == 1 && found[0].starts_with(expected),
            "{change}\n{found:#?}\n{expected}"
        );
    }
}

#[test]
fn a_gateway_here_may_do_without_tls_to_this_machine_only() {
    let upstream = |host: &str| {
        format!(
            "{{ upstreams: [{{ name: a, provider: Custom, endpoint: {{ host: {host}, port: 25, tls: {{ mode: None }} }}, auth: {{ password: {{ secretRef: {{ name: a }} }} }} }}] }}"
        )
    };
    for (host, audience, accepted) in [
        ("127.0.0.1", Audience::Local, true),
        ("localhost", Audience::Local, true),
        ("\"::1\"", Audience::Local, true),
        ("127.0.0.1", Audience::Cluster, false),
        ("192.0.2.1", Audience::Local, false),
    ] {
        assert_eq!(
            lines(&upstream(host), audience).is_empty(),
            accepted,
            "{host} {audience:?}"
        );
    }
    let plain =
        "{ listeners: [{ name: a, protocol: Submission, port: 587, tls: { policy: Disabled } }] }";
    assert_eq!(lines(plain, Audience::Local), Vec::<String>::new());
}

/// The address reports come from, or the problem with it.
fn reports_from(change: &str) -> Result<Option<String>, String> {
    let mut object: Value = yaml::from_str(BASE).unwrap();
    cases::merge(&mut object["spec"], &yaml::from_str(change).unwrap());
    let (findings, valid) = validate(&yaml::from_value(object).unwrap(), Audience::Cluster);
    valid
        .map(|valid| valid.reports.sender)
        .ok_or_else(|| findings.problems[0].path.clone())
}

#[test]
fn reports_come_from_an_address_that_can_be_sent_for() {
    let with_senders = |senders: &str, more: &str| {
        format!("{{ upstreams: [{{ name: a, provider: Capture, senders: {senders} }}]{more} }}")
    };
    let refused = Err("spec.reports.sender".to_owned());
    let from = |address: &str| Ok(Some(address.to_owned()));
    for (change, expected) in [
        ("{}".to_owned(), from("postmaster@mail.example.com")),
        (
            with_senders("['*.example.com']", ""),
            from("postmaster@mail.example.com"),
        ),
        (
            with_senders("[noreply@a.example, b.example]", ""),
            from("postmaster@b.example"),
        ),
        (
            with_senders("[noreply@a.example]", ""),
            from("noreply@a.example"),
        ),
        (with_senders("['*.a.example']", ""), refused.clone()),
        (
            with_senders("['*.a.example']", ", reports: { to: Nobody }"),
            Ok(None),
        ),
        (
            with_senders("['*.a.example']", ", reports: { sender: x@b.a.example }"),
            from("x@b.a.example"),
        ),
        (
            with_senders("['*.a.example']", ", reports: { sender: x@a.example }"),
            refused.clone(),
        ),
        // A route for some recipients or one namespace is not one that reports can rely on.
        (
            with_senders(
                "[a.example]",
                ", routes: [{ name: a, match: { namespaces: [a] }, targets: [{ upstream: a }] }]",
            ),
            refused.clone(),
        ),
        (
            with_senders(
                "[a.example]",
                ", routes: [{ name: a, match: { senderDomains: [a.example] }, targets: [{ upstream: a }] }]",
            ),
            from("postmaster@a.example"),
        ),
    ] {
        assert_eq!(reports_from(&change), expected, "{change}");
    }
}

#[test]
fn harmless_mistakes_are_warnings() {
    let change = "{ upstreams: [{ name: a, provider: Capture }, { name: b, provider: Capture }],
        routes: [{ name: all, targets: [{ upstream: a }] }, { name: late, targets: [{ upstream: a }] }],
        listeners: [{ name: a, protocol: Submission, port: 25, plaintextAuthentication: Allow, tls: { policy: Disabled } }] }";
    let mut object: Value = yaml::from_str(BASE).unwrap();
    cases::merge(&mut object["spec"], &yaml::from_str(change).unwrap());
    let findings = found(object);
    assert_eq!(findings.problems, []);
    let paths: Vec<_> = findings
        .warnings
        .iter()
        .map(|warning| warning.path.as_str())
        .collect();
    assert_eq!(
        paths,
        [
            "spec.listeners[0].plaintextAuthentication",
            "spec.upstreams[1]",
            "spec.routes[1]",
            "spec.clients",
        ]
    );
}

#[test]
fn mail_that_nobody_may_send_is_warned_about() {
    let warnings = |senders: &str, domains: &str| {
        let mut object: Value = yaml::from_str(BASE).unwrap();
        let change = format!(
            "{{ upstreams: [{{ name: a, provider: Capture, senders: {senders} }}], reports: {{ to: Nobody }},
                clients: {{ grants: [{{ name: a, namespaces: {{ names: [a] }}, senderDomains: {domains} }}] }} }}"
        );
        cases::merge(&mut object["spec"], &yaml::from_str(&change).unwrap());
        let findings = found(object);
        assert_eq!(findings.problems, []);
        findings.warnings.len()
    };
    for (senders, domains, expected) in [
        ("[a.example]", "[a.example]", 0),
        ("[u@a.example]", "[a.example]", 0),
        ("['*.example']", "[a.example, '*.b.example']", 0),
        ("[a.example]", "['*']", 0),
        ("[a.example]", "[b.example, c.example, a.example]", 2),
        ("['*.a.example']", "[a.example]", 1),
    ] {
        assert_eq!(warnings(senders, domains), expected, "{senders} {domains}");
    }
}

#[test]
fn an_empty_relay_has_every_default() {
    let (_, valid) = validate(&yaml::from_str(BASE).unwrap(), Audience::Cluster);
    let valid = valid.unwrap();
    assert_eq!((valid.replicas, valid.key_rotation), (2, 1));
    assert_eq!(valid.routes.len(), 1);
    assert_eq!(valid.routes[0].name, "default");
    assert_eq!(valid.listeners[0].container_port(), 2587);
    assert_eq!(
        valid.listeners[0].certificate,
        Some(CertificateSource::Issued)
    );
    assert_eq!(valid.retry, Retry::default());
    assert!(valid.grants.is_empty() && valid.anonymous.is_none());
}
