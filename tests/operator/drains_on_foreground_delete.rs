//! Deleting a MailRelay loses no mail, however it is deleted: its gateways go on until they are empty, or for as long as
//! they were given, and volumes with mail stay for a successor of the same name.
//!
//! Foreground deletion is Argo CD's default; there the garbage collector deletes what the MailRelay alone owns, whatever
//! finalizers say.

use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{self as core, ConfigMap, PersistentVolumeClaim},
};
use kube::{Api, ResourceExt, api::DeleteParams};
use posthouse_api::{MailRelay, mail_relay::status::DrainState};
use posthouse_tests::{Cluster, Installation};
use serde_json::json;

use crate::relays::{LONG, Relays};

/// Relays that are deleted while the provider takes nothing, each in its own way.
const WAITING: [&str; 3] = ["foreground", "background", "invalid"];

/// The one whose namespace is deleted.
const DOOMED: &str = "doomed";

fn bring_up(relays: &Relays) {
    for name in WAITING {
        relays.apply(name, &json!({}));
    }
    relays.apply("late", &json!({"drain": {"timeoutSeconds": 1}}));
    relays.apply("skipped", &json!({"storage": {"onDelete": "Delete"}}));
    relays.apply("tidy", &json!({"storage": {"onDelete": "Delete"}}));
    for name in WAITING.into_iter().chain(["late", "skipped"]) {
        let gateway = relays.gateway(name, 0);
        relays.send(name, &gateway, 0..2);
        assert_eq!(Relays::messages(&gateway), Some(2), "{name}");
    }
    relays.gateway("tidy", 0);
}

#[test]
fn and_in_every_other_way() {
    let Some(cluster) = Installation::shared() else {
        return;
    };
    let (relays, doomed) = (Relays::of(&cluster), Relays::of(&cluster));
    let namespace = &relays.namespace;
    doomed.apply(DOOMED, &json!({}));
    bring_up(&relays);
    doomed.send(DOOMED, &doomed.gateway(DOOMED, 0), 0..1);
    delete_namespace(&doomed);
    // It names an upstream that is not there.
    let routes = json!([{"name": "away", "targets": [{"upstream": "nowhere"}]}]);
    relays.change("invalid", &json!({"routes": routes}));
    relays.wait_condition("invalid", "Accepted", "False", "InvalidSpec");
    namespace.delete_as::<MailRelay>("foreground", &DeleteParams::foreground());
    for name in ["background", "invalid", "late", "skipped", "tidy"] {
        namespace.delete::<MailRelay>(name);
    }
    let counted = |relay: &MailRelay| {
        let drain = relay.status.as_ref()?.drain.as_ref()?;
        (drain.state == DrainState::Draining && drain.messages == Some(2)).then_some(())
    };
    relays.wait_status("it drains", "skipped", counted);
    let skip = json!({"metadata": {"annotations": {"posthouse.dev/skip-drain": "true"}}});
    namespace.merge::<MailRelay>("skipped", &skip).unwrap();

    // Mail is left behind only where somebody said so, and never without a word.
    for name in ["late", "skipped", "tidy"] {
        relays.wait_gone(name);
    }
    let left = "2 messages of late-0 stay on claim spool-late-0";
    let told = relays.wait_events("late", "MailLeft");
    assert!(told.len() == 1 && told[0].starts_with(left), "{told:?}");
    let left = "2 messages of skipped-0 stay on claim spool-skipped-0";
    let told = relays.wait_events("skipped", "DrainSkipped");
    assert!(told.len() == 1 && told[0].starts_with(left), "{told:?}");
    namespace.wait_gone::<PersistentVolumeClaim>("spool-tidy-0");
    for claim in ["spool-late-0", "spool-skipped-0"] {
        let claim = namespace.get::<PersistentVolumeClaim>(claim);
        assert_eq!(claim.metadata.deletion_timestamp, None);
    }

    wait_emptied(&doomed);

    // The others wait. The anchor is what keeps the first from the garbage collector.
    for name in WAITING {
        let gateway = relays.running(name, 0);
        Relays::wait_greeting(&gateway, 421);
        assert_eq!(Relays::messages(&gateway), Some(2), "{name}");
        let relay = namespace.get::<MailRelay>(name);
        assert!(relay.metadata.deletion_timestamp.is_some());
        relays.wait_condition(name, "Programmed", "False", "Draining");
    }
    namespace.wait_for::<StatefulSet, _>("only the anchor owns it", "foreground", |set| {
        (owners(set?) == ["ConfigMap"]).then_some(())
    });

    // The provider is back: first the mail, then everything but the claims.
    relays.mend();
    relays.provider.wait_longer_for(6, LONG);
    for name in WAITING {
        relays.wait_gone(name);
        relays.wait_events(name, "Drained");
        namespace.get::<PersistentVolumeClaim>(&format!("spool-{name}-0"));
    }

    // Who comes after goes on with what was left.
    relays.apply("late", &json!({}));
    relays.apply("skipped", &json!({}));
    relays.provider.wait_longer_for(10, LONG);
    let subjects = relays.provider.subjects();
    assert!(
        subjects.len() == 10 && subjects.values().all(|count| *count == 1),
        "{subjects:?}"
    );
}

/// Deletes a whole namespace with a relay that has mail.
fn delete_namespace(relays: &Relays) {
    let cluster = relays.namespace.cluster();
    let api = Api::<core::Namespace>::all(cluster.client());
    let parameters = DeleteParams::default();
    let deleted = api.delete(relays.namespace.name(), &parameters);
    cluster.run(deleted).unwrap();
}

/// Nothing of ours is left that the namespace could wait for; when it looks again is its controller's affair.
fn wait_emptied(relays: &Relays) {
    relays.wait_gone(DOOMED);
    let claim = format!("spool-{DOOMED}-0");
    relays.namespace.wait_gone::<PersistentVolumeClaim>(&claim);
    assert_eq!(relays.provider.count(), 0);
}

#[test]
fn and_with_the_operator_gone_the_gateways_go_on() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let Some(installation) = Installation::install(&cluster, &["relayNamespaces={*}"]) else {
        return;
    };
    let operator = installation.start();
    let relays = Relays::of(&cluster);
    let namespace = &relays.namespace;
    relays.apply("relay", &json!({}));
    let gateway = relays.gateway("relay", 0);
    relays.send("relay", &gateway, 0..1);
    operator.stop();

    namespace.delete_as::<MailRelay>("relay", &DeleteParams::foreground());
    let finalizers = json!({"metadata": {"finalizers": null}});
    namespace.merge::<MailRelay>("relay", &finalizers).unwrap();
    namespace.wait_gone::<MailRelay>("relay");
    namespace.wait_for::<StatefulSet, _>("only the anchor owns it", "relay", |set| {
        (owners(set?) == ["ConfigMap"]).then_some(())
    });
    relays.send("relay", &gateway, 1..2);
    relays.mend();
    relays.provider.wait_for(2);
    namespace.delete::<ConfigMap>("relay-anchor");
    relays.wait_childless("relay");
    namespace.get::<PersistentVolumeClaim>("spool-relay-0");
}

/// The kinds of what owns it.
fn owners(set: &StatefulSet) -> Vec<&str> {
    let owners = set.owner_references().iter();
    owners.map(|owner| owner.kind.as_str()).collect()
}
