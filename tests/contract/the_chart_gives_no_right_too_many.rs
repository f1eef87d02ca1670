//! What the chart renders: the rights the operator gets and no other, flags that exist, a fence that has no hole.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    process::{Command, Output},
};

use posthouse_config::yaml;
use posthouse_tests::peer;
use serde_json::Value;

use crate::{kubernetes_program, repository};

fn template(helm: &PathBuf, values: &[&str]) -> (Output, String) {
    let mut command = Command::new(helm);
    command
        .args(["template", "posthouse"])
        .arg(repository("charts/posthouse"))
        .args(["--namespace", "posthouse-system"]);
    for value in values {
        command.args(["--set", value]);
    }
    peer::attempt(&mut command, b"")
}

fn objects(helm: &PathBuf, values: &[&str]) -> Vec<Value> {
    let (output, text) = template(helm, values);
    assert!(output.status.success(), "{values:?}: {text}");
    yaml::documents(&String::from_utf8(output.stdout).unwrap()).unwrap()
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    let found = objects.iter().filter(|object| object["kind"] == kind);
    found.collect()
}

fn named<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    of_kind(objects, kind)
        .into_iter()
        .find(|object| object["metadata"]["name"] == name)
        .unwrap_or_else(|| panic!("no {kind} {name}"))
}

/// The rules of a role as lines, `group/resource[name]: verbs`.
fn rights(role: &Value) -> BTreeSet<String> {
    let words = |rule: &Value, key: &str| -> Vec<String> {
        let words = rule[key].as_array().into_iter().flatten();
        words
            .map(|word| word.as_str().unwrap().to_owned())
            .collect()
    };
    let mut lines = BTreeSet::new();
    for rule in role["rules"].as_array().unwrap() {
        let verbs = words(rule, "verbs").join(" ");
        for path in words(rule, "nonResourceURLs") {
            lines.insert(format!("{path}: {verbs}"));
        }
        for group in words(rule, "apiGroups") {
            for resource in words(rule, "resources") {
                let names = words(rule, "resourceNames").join(",");
                lines.insert(format!("{group}/{resource}[{names}]: {verbs}"));
            }
        }
    }
    lines
}

#[test]
fn to_the_operator() {
    let Some(helm) = kubernetes_program("helm") else {
        return;
    };
    let objects = objects(&helm, &["relayNamespaces={mail,other}"]);
    let all = BTreeSet::from(
        [
            "posthouse.dev/mailrelays[]: get list watch patch",
            "posthouse.dev/mailsenders[]: get list watch",
            "posthouse.dev/mailrelays/status[]: patch",
            "posthouse.dev/mailsenders/status[]: patch",
            "posthouse.dev/mailrelays/finalizers[]: update",
            "posthouse.dev/mailsenders/finalizers[]: update",
            "/namespaces[]: get list watch",
            "/serviceaccounts[]: get list watch",
            "/secrets[]: create update delete",
            "events.k8s.io/events[]: create patch",
            "/openid/v1/jwks: get",
            "/.well-known/openid-configuration: get",
        ]
        .map(str::to_owned),
    );
    assert_eq!(
        rights(named(&objects, "ClusterRole", "posthouse-operator")),
        all
    );
    let own = BTreeSet::from(
        [
            "coordination.k8s.io/leases[]: get create update",
            "/secrets[posthouse-keys]: get",
            "/secrets[]: create",
        ]
        .map(str::to_owned),
    );
    assert_eq!(rights(named(&objects, "Role", "posthouse-operator")), own);
    let children = "get list watch create patch delete";
    let relays = [
        ("apps/statefulsets", children),
        ("/services", children),
        ("/configmaps", children),
        ("/serviceaccounts", children),
        ("networking.k8s.io/networkpolicies", children),
        ("policy/poddisruptionbudgets", children),
        ("monitoring.coreos.com/servicemonitors", children),
        ("monitoring.coreos.com/prometheusrules", children),
        ("/pods", "get list watch delete"),
        ("/persistentvolumeclaims", "get list watch delete patch"),
    ];
    let relays: BTreeSet<_> = relays
        .iter()
        .map(|(resource, verbs)| format!("{resource}[]: {verbs}"))
        .collect();
    assert_eq!(
        rights(named(&objects, "ClusterRole", "posthouse-operator-relays")),
        relays
    );
}

/// What reviewers read is what is rendered: where, what, verbs.
#[test]
fn and_the_page_for_reviewers_says_the_same() {
    let Some(helm) = kubernetes_program("helm") else {
        return;
    };
    let objects = objects(&helm, &["relayNamespaces={mail}"]);
    let mut rendered = BTreeSet::new();
    for (place, kind, name) in [
        ("cluster", "ClusterRole", "posthouse-operator"),
        (
            "namespaces of relays",
            "ClusterRole",
            "posthouse-operator-relays",
        ),
        ("its own namespace", "Role", "posthouse-operator"),
    ] {
        for right in rights(named(&objects, kind, name)) {
            let (what, verbs) = right.split_once(": ").unwrap();
            // A single object by its name, everything else by its resource, without the group.
            let what = match what.strip_suffix(']').and_then(|what| what.split_once('[')) {
                Some((resource, "")) => resource.split_once('/').unwrap().1,
                Some((_, name)) => name,
                None => what,
            };
            rendered.insert(format!("{place} | {what} | {verbs}"));
        }
    }
    let page = std::fs::read_to_string(repository("operator/security.md")).unwrap();
    let mut written = BTreeSet::new();
    for row in page.lines().skip_while(|line| !line.starts_with("|---|")) {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let [_, place, what, verbs, ..] = cells[..] else {
            break;
        };
        let names = what.split('`').skip(1).step_by(2);
        written.extend(names.map(|name| format!("{place} | {name} | {verbs}")));
    }
    assert_eq!(written, rendered);
}

#[test]
fn in_namespaces_of_relays_alone() {
    let Some(helm) = kubernetes_program("helm") else {
        return;
    };
    let bound = |objects: &[Value], kind: &str| -> BTreeSet<String> {
        let bindings = of_kind(objects, kind).into_iter();
        bindings
            .map(|binding| {
                let to = binding["roleRef"]["name"].as_str().unwrap();
                let place = binding["metadata"]["namespace"].as_str().unwrap_or("*");
                assert_eq!(binding["subjects"][0]["name"], "posthouse-operator");
                assert_eq!(binding["subjects"][0]["namespace"], "posthouse-system");
                format!("{to} in {place}")
            })
            .collect()
    };
    let two = objects(&helm, &["relayNamespaces={mail,other}"]);
    assert_eq!(
        bound(&two, "RoleBinding"),
        [
            "posthouse-operator in posthouse-system",
            "posthouse-operator-relays in mail",
            "posthouse-operator-relays in other"
        ]
        .map(str::to_owned)
        .into()
    );
    assert_eq!(
        bound(&two, "ClusterRoleBinding"),
        ["posthouse-operator in *".to_owned()].into()
    );
    let every = objects(&helm, &["relayNamespaces={*}"]);
    assert_eq!(
        bound(&every, "ClusterRoleBinding"),
        ["posthouse-operator in *", "posthouse-operator-relays in *"]
            .map(str::to_owned)
            .into()
    );
}

#[test]
fn and_says_what_it_needs() {
    let Some(helm) = kubernetes_program("helm") else {
        return;
    };
    for (values, says) in [
        (&[][..], "--set 'relayNamespaces={mail-system}'"),
        (&["relayNamespaces={*,mail}"][..], "relayNamespaces"),
        (&["relayNamespaces={Mail}"][..], "relayNamespaces"),
        (
            &["relayNamespaces={mail}", "logFormat=xml"][..],
            "logFormat",
        ),
        (&["relayNamespaces={mail}", "replica=2"][..], "replica"),
        (
            &["relayNamespaces={mail}", "image.digest=abc"][..],
            "digest",
        ),
    ] {
        let (output, text) = template(&helm, values);
        assert!(
            !output.status.success() && text.contains(says),
            "{values:?}: {text}"
        );
    }
}

#[test]
fn and_keeps_the_definitions() {
    let Some(helm) = kubernetes_program("helm") else {
        return;
    };
    let rendered = objects(&helm, &["relayNamespaces={mail}"]);
    for name in ["mailrelays", "mailsenders"] {
        let original = std::fs::read_to_string(repository(&format!("crds/{name}.yaml"))).unwrap();
        let original: Value = yaml::from_str(&original).unwrap();
        let definition = named(
            &rendered,
            "CustomResourceDefinition",
            &format!("{name}.posthouse.dev"),
        );
        assert!(
            in_floats(&definition["spec"]) == in_floats(&original["spec"]),
            "{name}: helm changed the definition"
        );
        let annotations = &definition["metadata"]["annotations"];
        assert_eq!(annotations["helm.sh/resource-policy"], "keep");
    }
    let without = objects(&helm, &["relayNamespaces={mail}", "crds.enabled=false"]);
    assert!(of_kind(&without, "CustomResourceDefinition").is_empty());
}

/// Helm writes 1.0 as 1, which is the same number to an API server.
fn in_floats(value: &Value) -> Value {
    match value {
        Value::Number(number) => number.as_f64().into(),
        Value::Array(items) => items.iter().map(in_floats).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(key, value)| (key.clone(), in_floats(value)))
            .collect(),
        Value::Null | Value::Bool(_) | Value::String(_) => value.clone(),
    }
}

#[test]
fn and_passes_every_value_on() {
    let Some(helm) = kubernetes_program("helm") else {
        return;
    };
    let digest = format!("sha256:{}", "a".repeat(64));
    let objects = objects(
        &helm,
        &[
            "relayNamespaces={mail,other}",
            "replicas=3",
            "image.repository=r.example/operator",
            "image.tag=1.2.3",
            "gatewayImage.repository=r.example/gateway",
            &format!("gatewayImage.digest={digest}"),
            "gatewayImage.pullPolicy=Always",
            "imagePullSecrets[0].name=registry",
            "clusterDomain=cluster.example",
            "serviceAccountIssuers={https://a.example,https://b.example}",
            "aggregateRoles=false",
            "networkPolicy.enabled=false",
            "monitoring.serviceMonitor=true",
            "monitoring.prometheusRule=true",
            "monitoring.dashboard=true",
            "monitoring.labels.release=kps",
            "logFormat=text",
        ],
    );
    let deployment = named(&objects, "Deployment", "posthouse-operator");
    assert_eq!(deployment["spec"]["replicas"], 3);
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["imagePullSecrets"][0]["name"], "registry");
    let container = &pod["containers"][0];
    assert_eq!(container["image"], "r.example/operator:1.2.3");
    let arguments: Vec<_> = container["args"].as_array().unwrap().iter().collect();
    assert_eq!(
        arguments,
        [
            "run",
            "--namespace=$(NAMESPACE)",
            "--relay-namespaces=mail,other",
            &format!("--gateway-image=r.example/gateway@{digest}"),
            "--gateway-pull-policy=Always",
            "--cluster-domain=cluster.example",
            "--service-account-issuer=https://a.example",
            "--service-account-issuer=https://b.example",
            "--admin=[::]:8080",
            "--log-format=text",
        ]
    );
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    assert!(of_kind(&objects, "NetworkPolicy").is_empty());
    assert_eq!(of_kind(&objects, "ClusterRole").len(), 2);
    for (kind, name) in [
        ("ServiceMonitor", "posthouse-operator"),
        ("PrometheusRule", "posthouse-operator"),
        ("ConfigMap", "posthouse-dashboard"),
    ] {
        let object = named(&objects, kind, name);
        assert_eq!(object["metadata"]["labels"]["release"], "kps", "{kind}");
    }
    let dashboard = &named(&objects, "ConfigMap", "posthouse-dashboard")["data"]["posthouse.json"];
    let dashboard: Value = serde_json::from_str(dashboard.as_str().unwrap()).unwrap();
    assert_eq!(dashboard["uid"], "posthouse");
}

/// The Deployment starts the operator with flags it has.
#[test]
fn and_uses_flags_that_exist() {
    let Some(helm) = kubernetes_program("helm") else {
        return;
    };
    let objects = objects(
        &helm,
        &[
            "relayNamespaces={mail}",
            "serviceAccountIssuers={https://a.example}",
        ],
    );
    let deployment = named(&objects, "Deployment", "posthouse-operator");
    let arguments = &deployment["spec"]["template"]["spec"]["containers"][0]["args"];
    let mut operator = Command::new(posthouse_tests::gateway::executable("posthouse-operator"));
    let usage = peer::run(operator.args(["run", "--help"]), b"");
    let flags = arguments.as_array().unwrap().iter().skip(1);
    for flag in flags.map(|flag| flag.as_str().unwrap().split('=').next().unwrap()) {
        assert!(usage.contains(&format!("{flag} <")), "{flag} in {usage}");
    }
}
