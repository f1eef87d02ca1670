//! Documents at both places: what differs, and that the gateway takes them all.

use posthouse_config::document::{Auth, Transport};
use posthouse_config::yaml::from_str;
use serde_json::{Value, json};

use super::*;
use crate::mail_relay::{Audience, validate};

/// Every part that is supported, with the smallest and largest numbers where they are interesting.
const EVERYTHING: &str = "
apiVersion: posthouse.dev/v1alpha1
kind: MailRelay
metadata: { name: outbound, namespace: mail-system, generation: 7 }
spec:
  replicas: 32
  hostname: MAIL.Example.com
  listeners:
    - { name: submission, protocol: Submission, port: 587, tls: { secretRef: { name: cert } }, bareNewlines: Refuse, longLines: Pass }
    - { name: submissions, protocol: Submissions, port: 465, tls: { selfSigned: true } }
    - { name: high, protocol: Submission, port: 65535, tls: { policy: Offered, selfSigned: true }, longLines: Refuse }
    - { name: plain, protocol: Smtp, port: 25, tls: { policy: Disabled }, plaintextAuthentication: Allow }
  clients:
    keyRotation: 3
    anonymous: { networks: [192.0.2.0/24, '2001:db8::/32'], senderDomains: [example.com, '*.example.com'] }
    grants: [{ name: a, namespaces: { names: ['*'] }, senderDomains: ['*'] }]
  upstreams:
    - name: isp
      provider: Custom
      senders: [example.com, noreply@example.net]
      endpoint: { host: smtp.isp.example, port: 465, tls: { mode: Implicit, serverName: other.isp.example, caRef: { kind: ConfigMap, name: isp-ca, key: ca.crt } } }
      auth: { password: { secretRef: { name: isp-account } } }
      limits: { maxConnections: 1000, messagesPerConnection: 100000, connectionSeconds: 10, recipientsPerMessage: 10000, messageBytes: 1024, windows: [] }
    - name: other
      provider: Custom
      endpoint: { host: 192.0.2.1, port: 1, tls: { mode: None } }
      limits: { maxConnections: 32, messagesPerConnection: 1, connectionSeconds: 3600, recipientsPerMessage: 1, messageBytes: 157286400 }
    - { name: capture, provider: Capture }
  routes:
    - name: one
      match: { senderDomains: [example.com], recipientDomains: ['*.example.org'], namespaces: [shop] }
      targets: [{ upstream: isp, priority: 1000, weight: 1000 }, { upstream: other, priority: 0, weight: 1 }]
      spillSeconds: 86400
    - { name: rest, targets: [{ upstream: capture }], spillSeconds: 0 }
  retry: { initialSeconds: 3600, maximumSeconds: 86400, expirySeconds: 60, heldExpirySeconds: 7776000, delayNoticeSeconds: 0 }
  reports: { to: Address, address: admin@example.com }
  limits: { messageBytes: 157286400, recipientsPerMessage: 10000, sessions: 50000 }
  trace: Full
";

fn valid(text: &str, audience: Audience) -> ValidRelay {
    let (findings, valid) = validate(&from_str(text).unwrap(), audience);
    valid.unwrap_or_else(|| panic!("{findings:#?}"))
}

fn places() -> [Place; 2] {
    [Place::Pod, Place::Local(std::collections::BTreeMap::new())]
}

/// The document as each place gets it: a pod's with what the operator knows besides.
fn made(relay: &ValidRelay, place: &Place) -> Document {
    let issuers = [Issuer {
        issuer: "https://kubernetes.default.svc".to_owned(),
        keys: vec![json!({ "kty": "EC" })],
    }];
    let of_pod = Terms {
        number: 9,
        replicas: relay.replicas,
        gateways: 3,
        rotations: vec![relay.key_rotation, relay.key_rotation.saturating_sub(1)],
        issuers: &issuers,
    };
    match place {
        Place::Pod => gateway_config(relay, place, &of_pod),
        Place::Local(_) => gateway_config(relay, place, &Terms::alone(relay, 9)),
    }
}

#[test]
fn the_gateway_takes_every_document_we_can_write() {
    for place in places() {
        let document = made(&valid(EVERYTHING, Audience::Cluster), &place);
        let text = text(&document).unwrap();
        assert!(text.starts_with("format: 1\n"), "{text}");
        assert_eq!(Document::parse(&text).unwrap(), document, "{place:?}");
    }
}

#[test]
fn a_pod_reads_a_projected_volume_and_a_local_run_a_folder() {
    let relay = valid(EVERYTHING, Audience::Cluster);
    let [pod, local] = [
        vec![
            "relay-3.key",
            "relay-2.key",
            "link.key",
            "tls/submission/tls.crt",
            "tls/submission/tls.key",
            "tls/issued/tls.crt",
            "tls/issued/tls.key",
            "tls/issued/tls.crt",
            "tls/issued/tls.key",
            "upstreams/isp/ca.crt",
            "upstreams/isp/username",
            "upstreams/isp/password",
        ],
        vec![
            "keys/relay/3",
            "secrets/cert/tls.crt",
            "secrets/cert/tls.key",
            "tls/issued/tls.crt",
            "tls/issued/tls.key",
            "tls/issued/tls.crt",
            "tls/issued/tls.key",
            "configmaps/isp-ca/ca.crt",
            "secrets/isp-account/username",
            "secrets/isp-account/password",
        ],
    ];
    for (place, files) in places().iter().zip([pod, local]) {
        assert_eq!(made(&relay, place).files(), files);
    }
}

#[test]
fn a_pod_and_a_local_run_differ_in_little_else() {
    let relay = valid(EVERYTHING, Audience::Cluster);
    let [pod, local] = places().map(|place| made(&relay, &place));
    assert_eq!((pod.replicas, local.replicas), (32, 1));
    assert_eq!(
        (pod.loopback_is_trusted, local.loopback_is_trusted),
        (false, true)
    );
    assert_eq!((pod.stop.lag_seconds, local.stop.lag_seconds), (10, 0));
    let addresses = |document: &Document| {
        document
            .listeners
            .iter()
            .map(|listener| listener.address.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        addresses(&pod),
        ["[::]:2587", "[::]:2465", "[::]:65535", "[::]:2025"]
    );
    assert_eq!(
        addresses(&local),
        [
            "127.0.0.1:2587",
            "127.0.0.1:2465",
            "127.0.0.1:65535",
            "127.0.0.1:2025"
        ]
    );
    assert_eq!(
        pod.tokens.unwrap().audience,
        "posthouse.dev/mail-system/outbound"
    );
    assert_eq!(local.tokens, None);
    assert_eq!(pod.routes, local.routes);
    assert_eq!(
        (pod.generation, pod.hostname.as_str()),
        (7, "mail.example.com")
    );
}

#[test]
fn a_password_goes_in_clear_to_this_machine_only_from_this_machine() {
    let text = "{ apiVersion: posthouse.dev/v1alpha1, kind: MailRelay, metadata: { name: a, namespace: b }, spec: { hostname: a.example,
        upstreams: [{ name: a, provider: Custom, endpoint: { host: localhost, port: 25, tls: { mode: None } }, auth: { password: { secretRef: { name: p } } } }] } }";
    let [_, local] = places();
    let document = made(&valid(text, Audience::Local), &local);
    assert_eq!(document.problems(), []);
    let Transport::Smtp(smtp) = &document.upstreams[0].transport else {
        panic!("not a server")
    };
    let Some(Auth::Password { username, .. }) = &smtp.auth else {
        panic!("no password")
    };
    assert_eq!(username, "secrets/p/username");
}

/// Every place in a value, as a JSON pointer.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let name = name.replace('~', "~0").replace('/', "~1");
                pointers(member, &format!("{at}/{name}"), found);
            }
        }
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                pointers(item, &format!("{at}/{i}"), found);
            }
        }
        _ => {}
    }
}

/// Whatever stands in a field, it is refused by name, or the gateway takes the document.
#[test]
fn no_value_gets_past_us_that_the_gateway_refuses() {
    let whole: Value = from_str(EVERYTHING).unwrap();
    let mut places_to_change = Vec::new();
    pointers(&whole["spec"], "/spec", &mut places_to_change);
    let odd = json!([
        null,
        "",
        "*",
        "*@x",
        "..",
        "none",
        "a b",
        "127.0.0.1",
        -1,
        0,
        1,
        65536,
        i64::MAX,
        0.5,
        true,
        [],
        {},
        ["*"]
    ]);
    let mut taken = 0;
    for pointer in &places_to_change {
        for value in odd.as_array().unwrap() {
            let mut object = whole.clone();
            *object.pointer_mut(pointer).unwrap() = value.clone();
            let Ok(relay) = posthouse_config::yaml::from_value(object) else {
                continue;
            };
            for (audience, place) in [Audience::Cluster, Audience::Local]
                .into_iter()
                .zip(places())
            {
                let (findings, valid) = validate(&relay, audience);
                assert_eq!(findings.problems.is_empty(), valid.is_some());
                let problems = valid.map(|valid| made(&valid, &place).problems());
                taken += usize::from(problems.is_some());
                assert_eq!(
                    problems.unwrap_or_default(),
                    [],
                    "{pointer} = {value}, {place:?}"
                );
            }
        }
    }
    assert!(taken > 100, "only {taken} documents were tried");
}
