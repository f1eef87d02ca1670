//! While the admission policy that keeps the operator from foreign Secrets is not in effect, no Secret is written, and
//! the relay says so; when it comes everything goes on without a restart. What is not the operator's it never touches,
//! and what was left behind it takes over.

use k8s_openapi::{api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::Condition};
use kube::ResourceExt;
use posthouse_api::{MailRelay, MailSender};
use posthouse_tests::{
    Cluster, Installation, Operator, Outbound,
    operator::wait_for_fence,
    outbound::{self, Binding, RELAY, SECRET, SENDER},
    wait,
};
use serde_json::json;

const FENCE: &str = "posthouse-secret-fence";
const VALUES: [&str; 1] = ["relayNamespaces={*}"];

/// Deletes the policy, and waits until the API server goes by that.
fn take_down(installation: &Installation) {
    let policy = "validatingadmissionpolicy";
    let namespace = installation.namespace();
    namespace.kubectl(&["delete", policy, FENCE], "");
    wait_for_fence(namespace.cluster(), false);
}

/// Applies the chart anew, which brings the policy back.
fn put_up(installation: &mut Installation) {
    installation.change(&VALUES);
    wait_for_fence(installation.namespace().cluster(), true);
}

fn is_proved(operator: &Operator) -> bool {
    operator.metric("posthouse_operator_secret_fence", &[]) > 0.5
}

/// Every Secret of a namespace, by name and `resourceVersion`.
fn secrets(outbound: &Outbound) -> Vec<(String, Option<String>)> {
    let secrets = outbound.namespace().list::<Secret>("");
    let version = |secret: &Secret| (secret.name_any(), secret.resource_version());
    secrets.iter().map(version).collect()
}

fn wait_for_reason(outbound: &Outbound, condition: &str, reason: &str) {
    outbound
        .namespace()
        .wait_longer_for::<MailRelay, _>(reason, RELAY, wait::SOON * 3, |relay| {
            outbound::has_reason(relay?, condition, reason).then_some(())
        });
}

#[test]
fn and_goes_on_when_it_stands() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let Some(mut installation) = Installation::install(&cluster, &VALUES) else {
        return;
    };
    take_down(&installation);
    let operator = installation.start();
    let outbound = Outbound::apply(&cluster);
    wait_for_reason(&outbound, "Programmed", "SecretFenceMissing");
    wait_for_reason(&outbound, "Ready", "SecretFenceMissing");
    assert!(!is_proved(&operator));
    assert_eq!(secrets(&outbound), []);
    assert_eq!(installation.namespace().list::<Secret>("").len(), 0);

    put_up(&mut installation);
    outbound.send("the fence stands");
    wait_for_reason(&outbound, "Ready", "Ready");
    assert!(is_proved(&operator));
    operator.stop();

    // Deleted later: whoever leads next proves it anew, and finds that it is gone.
    take_down(&installation);
    let before = secrets(&outbound);
    let former = outbound.binding().password;
    let operator = installation.start();
    let rotate = json!({"spec": {"credential": {"rotation": 2}}});
    outbound
        .namespace()
        .merge::<MailSender>(SENDER, &rotate)
        .unwrap();
    outbound.namespace().apply(&outbound.sender("late"));
    wait_for_reason(&outbound, "Programmed", "SecretFenceMissing");
    assert!(!is_proved(&operator));
    outbound.send("mail does not wait for it");
    assert_eq!(before, secrets(&outbound));

    put_up(&mut installation);
    for (secret, former) in [(SECRET, former.as_str()), ("late-smtp", "")] {
        let namespace = outbound.namespace();
        namespace.wait_longer_for::<Secret, _>("a password", secret, wait::SOON * 3, |secret| {
            (Binding::of(secret?)?.password != former).then_some(())
        });
    }
    operator.stop();
}

#[test]
fn nor_touches_what_is_somebody_elses() {
    let Some(cluster) = Installation::shared() else {
        return;
    };
    let namespace = cluster.namespace();
    // Left behind by a relay and a sender of the same names that are gone: of our types, with the label of an owner.
    for (name, kind) in [
        ("outbound-keys", "posthouse.dev/relay"),
        (SECRET, "servicebinding.io/smtp"),
    ] {
        namespace.apply(&left_behind(name, kind));
    }
    namespace.apply("{apiVersion: v1, kind: Secret, metadata: {name: taken}, stringData: {a: b}}");
    let taken = namespace.get::<Secret>("taken").resource_version();
    let outbound = Outbound::apply_in(namespace);
    let namespace = outbound.namespace();
    outbound.send("what was left behind is taken over");
    let first = namespace.get::<Secret>(SECRET);

    for (sender, secret) in [("one", "taken"), ("other", SECRET)] {
        let spec = outbound.sender(sender) + &format!("  credential: {{ secretName: {secret} }}\n");
        namespace.apply(&spec);
        namespace.wait_for::<MailSender, _>("it says so", sender, |sender| {
            let condition = programmed(sender?)?;
            (condition.reason == "SecretConflict").then(|| {
                assert!(condition.message.contains(secret), "{}", condition.message);
            })
        });
    }
    assert_eq!(taken, namespace.get::<Secret>("taken").resource_version());
    assert_eq!(first, namespace.get::<Secret>(SECRET));

    // Whoever owned it gives it up.
    namespace.delete::<Secret>("taken");
    namespace.wait_for::<MailSender, _>("it has its Secret", "one", |sender| {
        (programmed(sender?)?.status == "True").then_some(())
    });
}

fn programmed(sender: &MailSender) -> Option<&Condition> {
    let conditions = &sender.status.as_ref()?.conditions;
    conditions.iter().find(|known| known.type_ == "Programmed")
}

fn left_behind(name: &str, kind: &str) -> String {
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": kind,
        "metadata": {"name": name, "labels": {"posthouse.dev/owner": "00000000-0000-4000-8000-000000000000"}},
        "stringData": {"password": "of a life before"},
    });
    secret.to_string()
}
