//! Pods and claims: what restarts a gateway, and what would lose its mail.

use std::{fs, path::Path, sync::Arc};

use posthouse_admin::telemetry::LogFormat;
use posthouse_config::yaml;
use serde_json::{Value, json};

use crate::{
    mail_relay::build::testing::{Cluster, all, json},
    settings::Settings,
};

fn set(cluster: &Cluster) -> Value {
    json(&cluster.children().stateful_set)
}

#[test]
fn no_volume_is_deleted_and_no_pod_restarted_behind_the_operators_back() {
    let set = set(&Cluster::small());
    let spec = &set["spec"];
    assert_eq!(
        spec["persistentVolumeClaimRetentionPolicy"],
        json!({ "whenDeleted": "Retain", "whenScaled": "Retain" })
    );
    assert_eq!(spec["updateStrategy"], json!({ "type": "OnDelete" }));
    assert_eq!(spec["podManagementPolicy"], "Parallel");
    assert_eq!(spec["minReadySeconds"], 10);
    assert_eq!(spec["serviceName"], "outbound-pods");
}

#[test]
fn the_claim_template_is_never_changed() {
    let mut cluster =
        Cluster::patched("{ storage: { volumeClaim: { size: 20Gi, storageClassName: fast } } }");
    let first = cluster.children().stateful_set;
    let claim = json(&first)["spec"]["volumeClaimTemplates"][0].clone();
    assert_eq!(claim["spec"]["resources"]["requests"]["storage"], "20Gi");
    assert_eq!(claim["spec"]["storageClassName"], "fast");
    assert_eq!(
        claim["metadata"]["labels"]["velero.io/exclude-from-backup"],
        "true"
    );
    cluster.live.stateful_set = Some(Arc::new(first.clone()));
    let bigger = "{ storage: { volumeClaim: { size: 30Gi, storageClassName: fast } } }";
    let mut bigger = Cluster::patched(bigger);
    bigger.live = cluster.live.clone();
    bigger.relay.metadata.uid = Some("33333333-3333-4333-8333-333333333333".to_owned());
    assert_eq!(
        json(&bigger.children().stateful_set)["spec"]["volumeClaimTemplates"][0],
        claim
    );
}

#[test]
fn pods_are_restricted_and_have_no_token() {
    let mut cluster = Cluster::small();
    let template = set(&cluster)["spec"]["template"]["spec"].clone();
    assert_eq!(template["automountServiceAccountToken"], false);
    assert_eq!(template["serviceAccountName"], "outbound-gateway");
    assert_eq!(template["terminationGracePeriodSeconds"], 60);
    let container = &template["containers"][0];
    assert_eq!(
        container["securityContext"],
        json!({ "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "runAsNonRoot": true, "capabilities": { "drop": ["ALL"] } })
    );
    for absent in ["lifecycle", "startupProbe"] {
        assert_eq!(container.get(absent), None);
    }
    assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/livez");
    assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/readyz");
    let security = json!({ "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532,
        "fsGroupChangePolicy": "OnRootMismatch", "seccompProfile": { "type": "RuntimeDefault" } });
    assert_eq!(template["securityContext"], security);
    cluster.capabilities.openshift = true;
    let security = json!({ "runAsNonRoot": true, "fsGroupChangePolicy": "OnRootMismatch", "seccompProfile": { "type": "RuntimeDefault" } });
    assert_eq!(
        set(&cluster)["spec"]["template"]["spec"]["securityContext"],
        security
    );
}

#[test]
fn what_users_refer_to_is_optional_and_what_we_write_is_not() {
    let cluster = Cluster::patched(
        "{ listeners: [{ name: submission, protocol: Submission, port: 587, tls: { selfSigned: true } },
                       { name: own, protocol: Submissions, port: 465, tls: { secretRef: { name: cert } } }],
           upstreams: [{ name: isp, provider: Custom, endpoint: { host: a.example, port: 465, tls: { caRef: { kind: ConfigMap, name: bundle, key: root.pem } } },
                         auth: { password: { secretRef: { name: isp } } } }] }",
    );
    let template = set(&cluster)["spec"]["template"]["spec"].clone();
    let volumes = template["volumes"].as_array().unwrap();
    assert_eq!(volumes.len(), 1);
    assert_eq!(volumes[0]["projected"]["defaultMode"], 0o440);
    let sources = volumes[0]["projected"]["sources"].as_array().unwrap();
    let item = |key: &str, path: &str| json!({ "key": key, "path": path });
    let config = |name: &str, items: &[Value], optional: bool| json!({ "configMap": { "name": name, "items": items, "optional": optional } });
    let secret = |name: &str, items: &[Value], optional: bool| json!({ "secret": { "name": name, "items": items, "optional": optional } });
    assert_eq!(
        *sources,
        [
            config(
                "outbound-config",
                &[item("gateway.yaml", "gateway.yaml")],
                false
            ),
            config(
                "outbound-senders",
                &[item("senders.json", "senders.json")],
                false
            ),
            json!({ "secret": { "name": "outbound-keys", "optional": false } }),
            secret(
                "outbound-tls",
                &[
                    item("tls.crt", "tls/issued/tls.crt"),
                    item("tls.key", "tls/issued/tls.key"),
                    item("ca.crt", "tls/issued/ca.crt")
                ],
                false
            ),
            secret(
                "cert",
                &[
                    item("tls.crt", "tls/own/tls.crt"),
                    item("tls.key", "tls/own/tls.key")
                ],
                true
            ),
            config("bundle", &[item("root.pem", "upstreams/isp/ca.crt")], true),
            secret(
                "isp",
                &[
                    item("username", "upstreams/isp/username"),
                    item("password", "upstreams/isp/password")
                ],
                true
            ),
        ]
    );
    let mounts = template["containers"][0]["volumeMounts"]
        .as_array()
        .unwrap();
    assert_eq!(
        *mounts,
        [
            json!({ "name": "config", "mountPath": "/etc/posthouse", "readOnly": true }),
            json!({ "name": "spool", "mountPath": "/var/spool/posthouse" }),
        ]
    );
}

#[test]
fn every_file_the_document_names_is_in_the_volume() {
    let cluster = Cluster::patched(
        "{ listeners: [{ name: submission, protocol: Submission, port: 587, tls: { selfSigned: true } },
                       { name: own, protocol: Submissions, port: 465, tls: { secretRef: { name: cert } } }],
           upstreams: [{ name: isp, provider: Custom, endpoint: { host: a.example, port: 465, tls: { caRef: { kind: Secret, name: bundle, key: username } } },
                         auth: { password: { secretRef: { name: isp } } } }] }",
    );
    let request = cluster.request();
    let keys = crate::mail_relay::build::keys_secret(
        &request,
        &posthouse_config::credential::Key::try_from([1; 32].as_slice()).unwrap(),
    );
    let children = cluster.children();
    let template = json(&children.stateful_set)["spec"]["template"]["spec"].clone();
    let sources = template["volumes"][0]["projected"]["sources"].clone();
    let mut files: Vec<String> = sources
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|source| source.as_object().unwrap().values())
        .flat_map(|source| source["items"].as_array().cloned().unwrap_or_default())
        .map(|item| item["path"].as_str().unwrap().to_owned())
        .collect();
    files.extend(keys.data.keys().cloned());
    let unique: std::collections::BTreeSet<_> = files.iter().collect();
    assert_eq!(
        unique.len(),
        files.len(),
        "two sources of one file: {files:?}"
    );
    let document = crate::mail_relay::build::testing::file(&children.config);
    let document = posthouse_config::Document::parse(document).unwrap();
    assert!(document.files().len() > 6);
    for file in document.files() {
        assert!(
            files.iter().any(|given| given == file),
            "{file} is not in {files:?}"
        );
    }
}

#[test]
fn users_words_are_merged_into_the_pod_and_cannot_hide_it() {
    let mut cluster = Cluster::patched(
        "{ podTemplate: { metadata: { labels: { team: mail }, annotations: { config.linkerd.io/opaque-ports: '25', a: b } },
             spec: { nodeSelector: { disk: ssd }, priorityClassName: high, imagePullSecrets: [{ name: registry }],
                     tolerations: [{ key: mail, operator: Exists }], affinity: { nodeAffinity: {} },
                     topologySpreadConstraints: [{ maxSkew: 2, topologyKey: rack, whenUnsatisfiable: DoNotSchedule }] } } }",
    );
    cluster.settings.gateway_pull_policy = Some("Always".to_owned());
    let template = set(&cluster)["spec"]["template"].clone();
    let labels = &template["metadata"]["labels"];
    assert_eq!(
        (&labels["team"], &labels["posthouse.dev/relay"]),
        (&json!("mail"), &json!("outbound"))
    );
    assert_eq!(labels.get("posthouse.dev/owner"), None);
    assert_eq!(
        template["metadata"]["annotations"]["config.linkerd.io/opaque-ports"],
        "25"
    );
    let spec = &template["spec"];
    assert_eq!(spec["affinity"], json!({ "nodeAffinity": {} }));
    assert_eq!(spec["topologySpreadConstraints"][0]["topologyKey"], "rack");
    assert_eq!(spec["nodeSelector"], json!({ "disk": "ssd" }));
    assert_eq!(spec["imagePullSecrets"], json!([{ "name": "registry" }]));
    assert_eq!(spec["priorityClassName"], "high");
    assert_eq!(spec["tolerations"][0]["key"], "mail");
    assert_eq!(spec["containers"][0]["imagePullPolicy"], "Always");
}

/// One row of the table users read.
struct Row {
    path: String,
    value: Value,
    effect: String,
}

/// The rows of `operator/changes.md`: the second cell is an edit, the third begins with what it does.
fn rows() -> Vec<Row> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("changes.md");
    let text = fs::read_to_string(file).unwrap();
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().to_owned())
            .collect()
    };
    let rows = text.lines().filter(|line| line.starts_with('|')).map(cells);
    rows.filter_map(|cells| {
        let edit = cells.get(1)?.strip_prefix('`')?.strip_suffix('`')?;
        let (path, value) = edit.split_once(": ").unwrap_or_else(|| panic!("{edit}"));
        Some(Row {
            path: path.to_owned(),
            value: yaml::from_str(value).unwrap(),
            effect: cells.get(2)?.clone(),
        })
    })
    .collect()
}

/// Sets what is at a path such as `upstreams[0].auth`; null takes it away.
fn edit(object: &mut Value, path: &str, value: Value) {
    let (parent, last) = path.rsplit_once('.').unwrap_or(("", path));
    let mut at = object;
    for part in parent.split('.').filter(|part| !part.is_empty()) {
        at = step(at, part);
    }
    if value.is_null() {
        at.as_object_mut().unwrap().remove(last).unwrap();
    } else {
        *step(at, last) = value;
    }
}

fn step<'a>(value: &'a mut Value, part: &str) -> &'a mut Value {
    let Some((name, index)) = part.trim_end_matches(']').split_once('[') else {
        return value
            .as_object_mut()
            .unwrap()
            .entry(part)
            .or_insert(json!({}));
    };
    let index: usize = index.parse().unwrap();
    let list = value[name].as_array_mut().unwrap();
    if index == list.len() {
        list.push(json!({}));
    }
    &mut list[index]
}

/// The relay the table is about.
const BASE: &str = "
apiVersion: posthouse.dev/v1alpha1
kind: MailRelay
metadata: { name: outbound, namespace: mail, uid: 11111111-1111-4111-8111-111111111111, generation: 1 }
spec:
  replicas: 2
  hostname: mail.example.com
  listeners:
    - { name: submission, protocol: Submission, port: 587, tls: { selfSigned: true } }
    - { name: plain, protocol: Smtp, port: 25, tls: { policy: Disabled }, plaintextAuthentication: Allow }
  clients: { grants: [{ name: shop, namespaces: { names: [shop] }, senderDomains: [shop.example.com] }] }
  upstreams:
    - { name: isp, provider: Custom, endpoint: { host: smtp.isp.example, port: 587 }, auth: { password: { secretRef: { name: isp } } } }
    - { name: lan, provider: Custom, endpoint: { host: 192.0.2.1, port: 25, tls: { mode: None } } }
  routes: [{ name: all, targets: [{ upstream: isp }, { upstream: lan, priority: 10 }] }]
  storage: { volumeClaim: { size: 10Gi } }
";

fn base() -> Value {
    yaml::from_str(BASE).unwrap()
}

#[test]
fn pods_restart_for_what_the_table_says_and_for_nothing_else() {
    let rows = rows();
    let before = Cluster::with(yaml::from_value(base()).unwrap());
    let mut seen = [0, 0];
    for Row {
        path,
        value,
        effect,
    } in rows
    {
        let mut object = base();
        edit(&mut object["spec"], &path, value.clone());
        let after = Cluster::with(yaml::from_value(object).unwrap());
        let restarts = match effect.split(';').next().unwrap() {
            "one gateway at a time" => true,
            "no restart" => false,
            other => panic!("{path}: {other:?} is no effect"),
        };
        let template = |cluster: &Cluster| set(cluster)["spec"]["template"].clone();
        let changed = template(&before) != template(&after);
        assert_eq!(changed, restarts, "{path}: {value}");
        assert!(
            all(&before.children()) != all(&after.children()),
            "{path}: {value} changes nothing"
        );
        seen[usize::from(restarts)] += 1;
    }
    assert!(seen[0] > 10 && seen[1] > 8, "{seen:?}");
}

#[test]
fn an_installation_restarts_pods_for_what_is_in_them() {
    type Change = fn(&mut Settings);
    let table: [(Change, bool); 6] = [
        (|settings| settings.gateway_image = "other".to_owned(), true),
        (
            |settings| settings.gateway_pull_policy = Some("Always".to_owned()),
            true,
        ),
        (
            |settings| settings.gateway_log_format = LogFormat::Text,
            true,
        ),
        (
            |settings| settings.namespace = "elsewhere".to_owned(),
            false,
        ),
        (
            |settings| settings.cluster_domain = "example".to_owned(),
            false,
        ),
        (
            |settings| settings.service_account_issuers = vec!["a".to_owned()],
            false,
        ),
    ];
    let template = |cluster: &Cluster| set(cluster)["spec"]["template"].clone();
    let before = template(&Cluster::small());
    for (i, (change, expected)) in table.into_iter().enumerate() {
        let mut cluster = Cluster::small();
        change(&mut cluster.settings);
        assert_eq!(template(&cluster) != before, expected, "row {i}");
    }
}

#[test]
fn pods_do_not_restart_for_anything_the_operator_does_by_itself() {
    let mut cluster = Cluster::with(yaml::from_value(base()).unwrap());
    let before = cluster.children();
    cluster.live.config = Some(Arc::new(before.config.clone()));
    cluster.live.stateful_set = Some(Arc::new(before.stateful_set.clone()));
    cluster.keys.current = 2;
    cluster.keys.previous = Some(1);
    cluster.plan.document_replicas = 1;
    cluster.plan.draining = 1;
    cluster.relay.metadata.uid = Some("33333333-3333-4333-8333-333333333333".to_owned());
    cluster.valid.upstreams.reverse();
    cluster.valid.listeners.reverse();
    let after = cluster.children();
    let template = |set| json(set)["spec"]["template"].clone();
    assert_eq!(
        template(&before.stateful_set),
        template(&after.stateful_set)
    );
    assert_ne!(before.config.data, after.config.data);
}

#[test]
fn upgrades_are_told_apart_from_edits() {
    let digest = |cluster: &Cluster| {
        let template = cluster.children().stateful_set.spec.unwrap().template;
        let annotations = template.metadata.unwrap().annotations.unwrap();
        annotations[crate::labels::UPGRADE_DIGEST].clone()
    };
    let small = digest(&Cluster::small());
    let edited = "{ resources: { requests: { cpu: 2 } }, podTemplate: { spec: { affinity: {}, priorityClassName: high } } }";
    assert_eq!(digest(&Cluster::patched(edited)), small);
    let mut upgraded = Cluster::small();
    upgraded.settings.gateway_log_format = LogFormat::Text;
    assert_ne!(digest(&upgraded), small, "the same image, other arguments");
}
