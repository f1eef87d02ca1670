//! With the chart's rights and nothing else an operator serves the namespaces of relays that the chart names, and those
//! alone; another rendering over the first changes which they are. An operator that asks for more than it may fails the
//! harness.

use kube::ResourceExt;
use posthouse_api::MailRelay;
use posthouse_tests::{
    Cluster, Installation, Namespace, Outbound,
    operator::NAMESPACE,
    outbound::{self, RELAY},
    peer, wait,
};

/// Whether somebody may do something, as `kubectl auth can-i` takes it.
fn may(cluster: &Cluster, who: &str, namespace: &str, what: &[&str]) -> bool {
    let question = ["auth", "can-i", "--as", who, "--namespace", namespace];
    let command = [&question[..], what].concat();
    let (output, said) = peer::attempt(&mut cluster.kubectl(&command), b"");
    match said.trim() {
        "yes" => true,
        said => {
            assert!(said.ends_with("no") && !output.status.success(), "{said}");
            false
        }
    }
}

fn wait_for_reason(namespace: &Namespace, condition: &str, reason: &str) {
    namespace.wait_longer_for::<MailRelay, _>(reason, RELAY, wait::SOON * 3, |relay| {
        outbound::has_reason(relay?, condition, reason).then_some(())
    });
}

#[test]
fn in_the_namespaces_it_names() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let mail = cluster.namespace_named("mail");
    let late = cluster.namespace_named("late");
    let Some(mut installation) = Installation::install(&cluster, &["relayNamespaces={mail}"])
    else {
        return;
    };
    let operator = installation.start();
    let served = Outbound::apply_in(mail);
    let other = Outbound::apply_in(late);
    served.send("served");
    wait_for_reason(served.namespace(), "Ready", "Ready");
    wait_for_reason(other.namespace(), "Accepted", "NamespaceNotServed");
    // Nothing that was made counts as drifted, nothing that is at rest is written again.
    let relay = served.namespace().get::<MailRelay>(RELAY);
    assert_eq!(relay.finalizers().len(), 1, "{:?}", relay.finalizers());
    operator.stop();

    let account = format!("system:serviceaccount:{NAMESPACE}:posthouse-operator");
    let makes = ["create", "statefulsets.apps"];
    let may_make = |namespace: &str| may(&cluster, &account, namespace, &makes);
    assert!(may_make("mail") && !may_make("late") && !may_make(NAMESPACE));
    installation.change(&["relayNamespaces={mail,late}", "replicas=1"]);
    wait::until_true("the other namespace is served", || may_make("late"));
    assert!(may_make("mail") && !may_make(NAMESPACE));
    let operator = installation.start();
    other.send("served now");
    served.send("still served");

    // To the end of both: deleting needs rights, too.
    for ended in [&served, &other] {
        ended.namespace().delete::<MailRelay>(RELAY);
    }
    for ended in [&served, &other] {
        ended.namespace().wait_gone::<MailRelay>(RELAY);
    }
    operator.stop();
}

#[test]
fn and_gives_people_what_they_need() {
    let Some(cluster) = Installation::shared() else {
        return;
    };
    let shop = cluster.namespace();
    let dev = format!("system:serviceaccount:{}:dev", shop.name());
    let bind = |role: &str| {
        let whom = ["--clusterrole", role, "--user", &dev];
        shop.kubectl(&[&["create", "rolebinding", role], &whom[..]].concat(), "");
    };
    let may = |what: &[&str]| may(&cluster, &dev, shop.name(), what);
    bind("edit");
    wait::until_true("who edits may ask", || {
        may(&["create", "mailsenders.posthouse.dev"])
    });
    assert!(!may(&["create", "mailrelays.posthouse.dev"]));
    let status = ["--subresource", "status"];
    assert!(!may(&[
        &["patch", "mailsenders.posthouse.dev"],
        &status[..]
    ]
    .concat()));
    bind("admin");
    wait::until_true("who administers may write relays", || {
        may(&["create", "mailrelays.posthouse.dev"])
    });
}
