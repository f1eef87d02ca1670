//! Rules of the children besides the StatefulSet, each of which prevents a known loss.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{api::core::v1::ConfigMap, jiff::Timestamp as Jiff};
use posthouse_config::{Document, Senders, credential::Key};
use serde_json::{Value, json};

use super::{
    testing::{Cluster, all, file, json, plan},
    *,
};
use crate::{certificate::Certified, labels, secret::SecretType};

const UID: &str = "11111111-1111-4111-8111-111111111111";

/// Everything that may be absent.
fn everything() -> Cluster {
    let mut cluster = Cluster::small();
    cluster.capabilities = Capabilities {
        service_monitor: true,
        prometheus_rule: true,
        openshift: false,
    };
    cluster
}

#[test]
fn every_child_has_our_labels_two_owners_and_nothing_of_the_relays_metadata() {
    let children = all(&everything().children());
    assert_eq!(children.len(), 11);
    for child in &children {
        let metadata = &child["metadata"];
        let mut found = metadata["labels"].clone();
        found.as_object_mut().unwrap().remove(labels::HEADLESS);
        let expected = json!({
            "app.kubernetes.io/name": "posthouse-gateway",
            "app.kubernetes.io/managed-by": "posthouse-operator",
            "posthouse.dev/relay": "outbound",
            "posthouse.dev/owner": UID,
        });
        assert_eq!(found, expected, "{child}");
        assert_eq!(metadata["namespace"], "mail", "{child}");
        let text = child.to_string();
        assert!(!text.contains("argo"), "{text}");
        assert_eq!(
            metadata["ownerReferences"],
            json!([
                { "apiVersion": "posthouse.dev/v1alpha1", "kind": "MailRelay", "name": "outbound", "uid": UID,
                  "controller": true, "blockOwnerDeletion": true },
                { "apiVersion": "v1", "kind": "ConfigMap", "name": "outbound-anchor",
                  "uid": "22222222-2222-4222-8222-222222222222" },
            ]),
            "{child}"
        );
    }
    let mut names: Vec<_> = children
        .iter()
        .map(|child| {
            (
                child["kind"].as_str().unwrap(),
                child["metadata"]["name"].as_str().unwrap(),
            )
        })
        .collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            ("ConfigMap", "outbound-ca"),
            ("ConfigMap", "outbound-config"),
            ("ConfigMap", "outbound-senders"),
            ("NetworkPolicy", "outbound"),
            ("PodDisruptionBudget", "outbound"),
            ("PrometheusRule", "outbound"),
            ("Service", "outbound"),
            ("Service", "outbound-pods"),
            ("ServiceAccount", "outbound-gateway"),
            ("ServiceMonitor", "outbound"),
            ("StatefulSet", "outbound"),
        ]
    );
}

#[test]
fn while_a_relay_is_deleted_the_anchor_alone_owns() {
    let mut cluster = Cluster::small();
    let time = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Jiff::UNIX_EPOCH);
    cluster.relay.metadata.deletion_timestamp = Some(time);
    for child in all(&cluster.children()) {
        let owners = child["metadata"]["ownerReferences"].as_array().unwrap();
        let kinds: Vec<_> = owners.iter().map(|owner| &owner["kind"]).collect();
        assert_eq!(kinds, ["ConfigMap"], "{child}");
    }
    let anchor = json(&anchor(&cluster.relay));
    assert_eq!(anchor["metadata"].get("ownerReferences"), None);
    assert_eq!(anchor["metadata"]["name"], "outbound-anchor");
    assert_eq!(anchor["metadata"]["labels"]["posthouse.dev/owner"], UID);
}

#[test]
fn services_map_ports_and_let_the_server_speak_first() {
    let cluster = Cluster::patched(
        "{ listeners: [{ name: submission, protocol: Submission, port: 587, tls: { selfSigned: true } },
            { name: metrics, protocol: Smtp, port: 25, tls: { policy: Disabled }, plaintextAuthentication: Allow },
            { name: high, protocol: Submissions, port: 1024, tls: { selfSigned: true } }],
          service: { annotations: { example.com/a: b } } }",
    );
    let children = cluster.children();
    let service = json(&children.service);
    assert_eq!(
        service["spec"]["ports"],
        json!([
            { "name": "metrics", "port": 25, "targetPort": 2025, "protocol": "TCP", "appProtocol": "tcp" },
            { "name": "submission", "port": 587, "targetPort": 2587, "protocol": "TCP", "appProtocol": "tcp" },
            { "name": "high", "port": 1024, "targetPort": 1024, "protocol": "TCP", "appProtocol": "tcp" },
        ])
    );
    assert_eq!(
        service["metadata"]["annotations"],
        json!({ "config.linkerd.io/opaque-ports": "25,587,1024,2025,2587", "example.com/a": "b" })
    );
    let headless = json(&children.headless_service);
    assert_eq!(headless["spec"]["publishNotReadyAddresses"], true);
    assert_eq!(headless["spec"]["clusterIP"], "None");
    assert_eq!(service["spec"]["sessionAffinity"], "None");
    for service in [&service, &headless] {
        assert_eq!(service["spec"]["ipFamilyPolicy"], "PreferDualStack");
        assert_eq!(
            service["spec"]["selector"],
            json!(labels::selector("outbound"))
        );
    }
    // The monitor must not take the listener of that name.
    let mut cluster = cluster;
    cluster.capabilities.service_monitor = true;
    let monitor = json(&cluster.children().service_monitor);
    let wanted = monitor["spec"]["selector"]["matchLabels"]
        .as_object()
        .unwrap();
    let has = |service: &Value| {
        wanted
            .iter()
            .all(|(key, value)| service["metadata"]["labels"].get(key) == Some(value))
    };
    assert!(has(&headless) && !has(&service), "{monitor}");
}

#[test]
fn a_traffic_policy_is_only_for_services_that_reach_outside() {
    for (given, expected) in [
        (
            "{ externalTrafficPolicy: Local }",
            ("ClusterIP", Value::Null),
        ),
        ("{ type: NodePort }", ("NodePort", Value::Null)),
        (
            "{ type: LoadBalancer, externalTrafficPolicy: Local }",
            ("LoadBalancer", json!("Local")),
        ),
    ] {
        let service = json(
            &Cluster::patched(&format!("{{ service: {given} }}"))
                .children()
                .service,
        );
        let spec = &service["spec"];
        assert_eq!(spec["type"], expected.0, "{given}");
        assert_eq!(spec["externalTrafficPolicy"], expected.1, "{given}");
    }
}

#[test]
fn draining_gateways_do_not_count_against_the_budget() {
    let mut cluster = Cluster::small();
    for (draining, expected) in [(0, 1), (2, 3)] {
        cluster.plan.draining = draining;
        let budget = json(&cluster.children().pod_disruption_budget);
        assert_eq!(budget["spec"]["maxUnavailable"], expected);
        assert_eq!(budget["spec"]["unhealthyPodEvictionPolicy"], "AlwaysAllow");
    }
}

fn ingress(patch: &str) -> Vec<Value> {
    let policy = json(&Cluster::patched(patch).children().network_policy);
    assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress"]));
    assert_eq!(policy["spec"].get("egress"), None);
    policy["spec"]["ingress"].as_array().unwrap().clone()
}

/// The rule for a port; a rule without `from` lets everybody in.
fn rule(rules: &[Value], port: u16) -> Option<&Value> {
    let has = |rule: &&Value| {
        rule["ports"]
            .as_array()
            .unwrap()
            .iter()
            .any(|p| p["port"] == port)
    };
    rules.iter().find(has)
}

#[test]
fn who_may_send_may_connect_and_nobody_else() {
    let rules = ingress(
        "{ listeners: [{ name: plain, protocol: Smtp, port: 25, tls: { policy: Disabled } }],
           clients: { anonymous: { networks: [192.0.2.0/24], senderDomains: [a.example] },
             grants: [{ name: a, namespaces: { names: [shop, till] }, senderDomains: ['*'] },
                      { name: b, namespaces: { names: [shop, till] }, senderDomains: ['*'] },
                      { name: c, namespaces: { selector: { matchLabels: { mail: on }, matchExpressions: [{ key: x, operator: Exists }] } }, senderDomains: ['*'] }] },
           networkPolicy: { from: ['2001:db8::/32'] } }",
    );
    let expected = json!([
        { "namespaceSelector": { "matchExpressions": [{ "key": "kubernetes.io/metadata.name", "operator": "In", "values": ["shop", "till"] }] } },
        { "namespaceSelector": { "matchExpressions": [{ "key": "mail", "operator": "In", "values": ["on"] }, { "key": "x", "operator": "Exists" }] } },
        { "ipBlock": { "cidr": "192.0.2.0/24" } },
        { "ipBlock": { "cidr": "2001:db8::/32" } },
    ]);
    assert_eq!(rule(&rules, 2025).unwrap()["from"], expected);
    assert_eq!(
        rule(&rules, 8025).unwrap()["from"],
        json!([{ "podSelector": { "matchLabels": labels::selector("outbound") } }])
    );
    assert_eq!(
        rule(&rules, 8443).unwrap()["from"],
        json!([{ "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "posthouse-system" } },
                 "podSelector": { "matchLabels": { "app.kubernetes.io/name": "posthouse-operator" } } }])
    );
    assert_eq!(rule(&rules, 8080).unwrap().get("from"), None);
    let everybody = ingress(
        "{ clients: { grants: [{ name: a, namespaces: { names: ['*', shop] }, senderDomains: ['*'] }] } }",
    );
    assert_eq!(
        rule(&everybody, 2587).unwrap()["from"],
        json!([{ "namespaceSelector": {} }])
    );
}

#[test]
fn with_nobody_to_let_in_there_is_no_rule_that_lets_everybody_in() {
    let rules =
        ingress("{ clients: { grants: [] }, networkPolicy: { metricsFrom: [monitoring] } }");
    assert_eq!(rule(&rules, 2587), None);
    let from = &rule(&rules, 8080).unwrap()["from"];
    assert_eq!(
        *from,
        json!([{ "namespaceSelector": { "matchExpressions": [{ "key": "kubernetes.io/metadata.name", "operator": "In", "values": ["monitoring"] }] } }])
    );
    assert_eq!(rules.len(), 3);
    let none = Cluster::patched("{ networkPolicy: { policy: None } }")
        .children()
        .network_policy;
    assert_eq!(none, None);
}

#[test]
fn monitoring_is_there_when_its_kinds_are_and_nobody_said_never() {
    let mut cluster = everything();
    let rule = json(&cluster.children().prometheus_rule).to_string();
    assert!(
        rule.contains(r#"{namespace=\"mail\", pod=~\"outbound-[0-9]+\""#),
        "{rule}"
    );
    assert!(!rule.contains('@'), "{rule}");
    cluster.relay.spec.monitoring =
        posthouse_config::yaml::from_str("{ serviceMonitor: Never, prometheusRule: Never }")
            .unwrap();
    let children = cluster.children();
    assert_eq!(
        (children.service_monitor, children.prometheus_rule),
        (None, None)
    );
    let children = Cluster::small().children();
    assert_eq!(
        (children.service_monitor, children.prometheus_rule),
        (None, None)
    );
}

/// An object as the API server would have it.
fn stored(map: &ConfigMap, version: &str) -> Arc<ConfigMap> {
    let mut map = map.clone();
    map.metadata.resource_version = Some(version.to_owned());
    Arc::new(map)
}

fn document(map: &ConfigMap) -> Document {
    Document::parse(file(map)).unwrap()
}

#[test]
fn the_number_grows_with_every_change_and_only_then() {
    let mut cluster = Cluster::small();
    let first = cluster.children();
    assert_eq!(first.config.metadata.resource_version, None);
    assert_eq!(document(&first.config).number, 1);
    cluster.live.config = Some(stored(&first.config, "70"));
    cluster.live.senders = Some(stored(&first.senders, "71"));

    let same = cluster.children();
    assert_eq!(file(&same.config), file(&first.config));
    assert_eq!(same.config.metadata.resource_version.as_deref(), Some("70"));
    assert_eq!(
        same.senders.metadata.resource_version.as_deref(),
        Some("71")
    );

    cluster.plan.document_replicas = 1;
    cluster.keys.previous = Some(0);
    let changed = cluster.children();
    let document = document(&changed.config);
    assert_eq!((document.number, document.replicas), (2, 1));
    assert_eq!(document.keys.relay.len(), 2);
    let senders = Senders::parse(file(&changed.senders)).unwrap();
    assert_eq!(senders.number, 1, "senders have a number of their own");

    // Somebody edited it by hand: what is put back is a change.
    let mut edited = first.config.clone();
    for text in edited.data.as_mut().unwrap().values_mut() {
        *text = text.replace("mail.example.com", "other.example.com");
    }
    cluster = Cluster::small();
    cluster.live.config = Some(stored(&edited, "80"));
    assert_eq!(document_of(&cluster).number, 2);
}

fn document_of(cluster: &Cluster) -> Document {
    document(&cluster.children().config)
}

#[test]
fn the_document_says_since_when_its_keys_count_and_the_senders_file_is_compact() {
    let children = Cluster::small().children();
    let annotations = children.config.metadata.annotations.unwrap();
    assert_eq!(
        annotations[labels::KEY_ROTATION_TIME],
        "2030-01-01T00:00:00Z"
    );
    let text = children.senders.data.unwrap()["senders.json"].clone();
    assert_eq!(
        text,
        r#"{"format":1,"number":1,"generation":4,"senders":[]}"#
    );
}

/// The number of the document and of the senders file.
fn numbers(cluster: &Cluster) -> (u64, u64) {
    let children = cluster.children();
    let number = super::config_map::number_of;
    (number(&children.config), number(&children.senders))
}

#[test]
fn numbers_grow_past_what_gateways_go_by() {
    let mut cluster = Cluster::small();
    assert_eq!(numbers(&cluster), (1, 1));
    // Somebody deleted both ConfigMaps.
    cluster.reported = Reported {
        document: 7,
        senders: 9,
    };
    assert_eq!(numbers(&cluster), (8, 10));
    cluster.live.config = Some(stored(&cluster.children().config, "70"));
    cluster.live.senders = Some(stored(&cluster.children().senders, "71"));
    assert_eq!(numbers(&cluster), (8, 10), "nothing changed since");
    cluster.reported.document = 8;
    assert_eq!(numbers(&cluster), (8, 10), "the gateways have it");
}

#[test]
fn a_file_that_somebody_deleted_has_the_number_it_had_unless_it_is_another() {
    let mut cluster = Cluster::small();
    cluster.reported = Reported {
        document: 7,
        senders: 9,
    };
    let children = cluster.children();
    cluster.written = Written {
        config: Some(children.config.into()),
        senders: Some(children.senders.into()),
    };
    assert_eq!(numbers(&cluster), (8, 10));
    cluster.plan.document_replicas += 1;
    assert_eq!(numbers(&cluster), (9, 10), "8 may be in use unreported");
    let metadata = cluster.children().config.metadata;
    assert_eq!(metadata.resource_version, None, "nothing is there");
}

#[test]
fn a_deletion_lowers_replicas_and_leaves_the_rest_of_the_document() {
    let mut live = (*stored(&Cluster::small().children().config, "70")).clone();
    for text in live.data.as_mut().unwrap().values_mut() {
        text.push_str("ofALaterRelease: 1\n");
    }
    live.metadata
        .labels
        .as_mut()
        .unwrap()
        .insert("other".to_owned(), "theirs".to_owned());
    let lowered = with_replicas(&live, 0).unwrap();
    let before = document(&live);
    assert_eq!(
        document(&lowered),
        Document {
            replicas: 0,
            number: 2,
            ..before
        }
    );
    assert!(
        file(&lowered).contains("ofALaterRelease: 1") && file(&lowered).starts_with("format: 1\n")
    );
    let metadata = &lowered.metadata;
    assert_eq!(metadata.resource_version.as_deref(), Some("70"));
    assert_eq!(metadata.labels.as_ref().unwrap().len(), 4);
    assert!(
        metadata
            .annotations
            .as_ref()
            .unwrap()
            .contains_key(labels::KEY_ROTATION_TIME)
    );
    let owners: Vec<_> = metadata
        .owner_references
        .iter()
        .flatten()
        .map(|o| o.kind.as_str())
        .collect();
    assert_eq!(owners, ["ConfigMap"]);
    let again = with_replicas(&lowered, 0).unwrap();
    assert_eq!(document(&again).number, 2);
    live.data = Some(BTreeMap::new());
    assert_eq!(with_replicas(&live, 0), None);
}

#[test]
fn the_authority_is_published_only_where_a_listener_has_a_certificate_of_it() {
    assert!(Cluster::small().children().authority.is_some());
    let own = "{ listeners: [{ name: a, protocol: Submission, port: 587, tls: { secretRef: { name: cert } } }] }";
    assert_eq!(Cluster::patched(own).children().authority, None);
}

#[test]
fn secrets_hold_the_keys_of_every_rotation_that_counts() {
    let mut cluster = Cluster::small();
    cluster.keys = KeyRotations {
        current: 3,
        previous: Some(2),
        ..cluster.keys
    };
    let master = Key::try_from([7; 32].as_slice()).unwrap();
    let draft = keys_secret(&cluster.request(), &master);
    let expected = BTreeMap::from([
        (
            "relay-3.key".to_owned(),
            master.relay("mail", "outbound", 3).as_bytes().to_vec(),
        ),
        (
            "relay-2.key".to_owned(),
            master.relay("mail", "outbound", 2).as_bytes().to_vec(),
        ),
        (
            "link.key".to_owned(),
            master.link("mail", "outbound", 3).as_bytes().to_vec(),
        ),
    ]);
    assert_eq!(draft.data, expected);
    assert_eq!(
        (draft.name.as_str(), draft.secret_type),
        ("outbound-keys", SecretType::Relay)
    );
    assert_eq!(draft.labels[labels::OWNER], UID);
    assert_eq!(draft.owners.len(), 2);

    let leaf = Certified {
        certificate: "c".to_owned(),
        key: "k".to_owned(),
    };
    let draft = issued_secret(&cluster.request(), &leaf, "ca");
    assert_eq!(draft.name, "outbound-tls");
    assert_eq!(draft.data["ca.crt"], b"ca");
    assert_eq!(
        issued_names(&cluster.valid, &cluster.settings),
        [
            "outbound.mail",
            "outbound.mail.svc.cluster.local",
            "outbound.mail.svc"
        ]
    );
}

#[test]
fn the_service_account_has_no_token_and_the_users_annotations() {
    let children =
        Cluster::patched("{ serviceAccount: { annotations: { eks.amazonaws.com/role-arn: x } } }")
            .children();
    let account = json(&children.service_account);
    assert_eq!(account["automountServiceAccountToken"], false);
    assert_eq!(
        account["metadata"]["annotations"],
        json!({ "eks.amazonaws.com/role-arn": "x" })
    );
}

#[test]
fn a_document_the_gateways_would_refuse_is_not_written() {
    let mut cluster = Cluster::small();
    cluster.plan = plan(33);
    let error = children(&cluster.request()).unwrap_err();
    assert!(matches!(error, BuildError::Refused(_)), "{error}");
}

#[test]
fn who_is_gone_has_no_row_though_the_spec_is_invalid() {
    let cluster = Cluster::small();
    let mut live = cluster.children().senders;
    live.metadata.resource_version = Some("7".to_owned());
    let text = r#"{"format":1,"number":5,"new":[1],"senders":[{"uid":"a","x":1},{"uid":"b"}]}"#;
    live.data = Some(BTreeMap::from([(
        "senders.json".to_owned(),
        text.to_owned(),
    )]));
    let pruned = without_senders(&live, |uid| uid == "b").unwrap();
    let expected = r#"{"format":1,"number":6,"new":[1],"senders":[{"uid":"a","x":1}]}"#;
    assert_eq!(file(&pruned), expected);
    assert_eq!(pruned.metadata.resource_version.as_deref(), Some("7"));
    assert_eq!(
        pruned.metadata.owner_references,
        live.metadata.owner_references
    );
    assert_eq!(pruned.metadata.labels, live.metadata.labels);
    assert_eq!(without_senders(&live, |_| false), None);
}
