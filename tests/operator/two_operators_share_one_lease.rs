//! Of two operators one acts and the other stands by, ready to: one that is asked to stop hands over at once, one that
//! vanishes is followed when its lease has run out, and should it come back it acts no more.

use std::time::Duration;

use k8s_openapi::api::{coordination::v1::Lease, core::v1::Secret};
use posthouse_tests::{
    Cluster, Installation, Operator, Outbound,
    outbound::{Binding, SECRET},
    wait,
};

/// The lease's own term is a minute, and a candidate looks every ten seconds.
const RUN_OUT: Duration = Duration::from_mins(2);

fn leads(operator: &Operator) -> bool {
    operator.metric("posthouse_operator_leader", &[]) > 0.5
}

/// How often it looked at anything.
fn reconciles(operator: &Operator) -> f64 {
    operator.metric("posthouse_operator_reconciles_total", &[])
}

fn holder(installation: &Installation) -> Option<String> {
    let lease = installation.namespace().find::<Lease>("posthouse-operator");
    lease?.spec?.holder_identity
}

fn wait_until_leads(operator: &Operator, deadline: Duration) {
    wait::until("it leads", deadline, || leads(operator).then_some(()));
}

/// Waits until a sender's Secret says that somebody acts.
fn wait_until_served(outbound: &Outbound, secret: &str) {
    let namespace = outbound.namespace();
    namespace.wait_longer_for::<Secret, _>("a Secret", secret, wait::SOON * 3, |secret| {
        Binding::of(secret?)
    });
}

/// Two operators, of which the first leads.
fn two(cluster: &std::sync::Arc<Cluster>) -> Option<(Installation, Operator, Operator)> {
    let installation = Installation::install(cluster, &["relayNamespaces={*}"])?;
    let first = installation.start_as("first");
    wait_until_leads(&first, wait::SOON);
    let second = installation.start_as("second");
    assert_eq!(holder(&installation).as_deref(), Some("first"));
    Some((installation, first, second))
}

#[test]
fn which_is_handed_over_by_who_stops() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let Some((installation, first, second)) = two(&cluster) else {
        return;
    };
    let outbound = Outbound::apply(&cluster);
    outbound.send("the first acts");
    assert!(!leads(&second) && second.ready(), "the second is ready");
    assert!(reconciles(&second) < 0.5, "and looks at nothing");
    first.stop();
    // Far less than the term.
    wait_until_leads(&second, wait::SOON);
    assert_eq!(holder(&installation).as_deref(), Some("second"));
    outbound.namespace().apply(&outbound.sender("late"));
    wait_until_served(&outbound, "late-smtp");
    second.stop();
}

#[test]
#[ignore = "takes minutes; .ci/run runs it"]
fn which_runs_out_when_its_holder_vanishes() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let Some((installation, mut first, second)) = two(&cluster) else {
        return;
    };
    let outbound = Outbound::apply(&cluster);
    wait_until_served(&outbound, SECRET);
    first.freeze();
    outbound.namespace().apply(&outbound.sender("late"));
    wait_until_leads(&second, RUN_OUT);
    wait_until_served(&outbound, "late-smtp");
    assert_eq!(holder(&installation).as_deref(), Some("second"));

    first.thaw();
    let status = first.wait();
    assert_eq!(status.code(), Some(1), "{}", first.log().text());
    let said = first.log().tail(1);
    assert_eq!(said, "error: the lease was lost");
    assert!(leads(&second));
    assert_eq!(holder(&installation).as_deref(), Some("second"));
    outbound.send("the second acts");
    second.stop();
}
