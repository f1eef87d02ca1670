//! Mail does not notice that the API server is away, whether it hangs or refuses. The operator asks no more often than
//! makes sense, ends when it cannot know any more whether it leads, and on its return sees what changed without it.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use posthouse_api::MailSender;
use posthouse_tests::{
    Cluster, Installation, Operator, Outbound,
    outbound::{Binding, SECRET, SENDER},
    wait,
};
use serde_json::json;

/// A leader gives up after 45 seconds without a confirmed lease.
const GIVES_UP: Duration = Duration::from_secs(90);

/// More lines of log than this in an outage of a minute would be a loop without a pause: a dozen watches, each with a
/// back-off, and the lease every ten seconds.
const LINES: usize = 150;

/// A warning of the operator about what it could not do.
fn wait_for_warnings(operator: &Operator, word: &str, count: usize) {
    wait::until_true("the operator warns", || {
        operator.log().lines_with(word).len() >= count
    });
}

fn lines(operator: &Operator) -> usize {
    operator.log().text().lines().count()
}

fn wait_for_secret(outbound: &Outbound, name: &str, is: impl Fn(&Binding) -> bool) -> Binding {
    let namespace = outbound.namespace();
    namespace.wait_longer_for::<Secret, _>("the Secret", name, wait::SOON * 3, |secret| {
        Binding::of(secret?).filter(&is)
    })
}

#[test]
fn that_hangs_or_refuses() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let Some(installation) = Installation::install(&cluster, &["relayNamespaces={*}"]) else {
        return;
    };
    let operator = installation.start();
    let outbound = Outbound::apply(&cluster);
    let gateway = outbound.gateway();
    let pid = gateway.pid();
    outbound.namespace().apply(&outbound.sender("billing"));
    let billing = wait_for_secret(&outbound, "billing-smtp", |_| true);
    let binding = outbound.binding();
    let mail = |subject: &str| {
        Outbound::submit(&gateway, &binding, subject);
        wait::until_true("mail arrives", || {
            outbound.provider().subjects().contains_key(subject)
        });
    };
    mail("before");

    // It refuses, comes back, and something was deleted and something changed while nobody watched.
    let before = lines(&operator);
    cluster.kill_server();
    mail("while it refuses");
    wait_for_warnings(&operator, "watch interrupted", 2);
    operator.freeze();
    cluster.restart_server();
    outbound.namespace().delete::<MailSender>("billing");
    let rotate = json!({"spec": {"credential": {"rotation": 2}}});
    outbound
        .namespace()
        .merge::<MailSender>(SENDER, &rotate)
        .unwrap();
    operator.thaw();
    let renewed = wait_for_secret(&outbound, SECRET, |now| now.password != binding.password);
    wait::until_true("who was deleted is refused", || {
        billing.log_in(&gateway).code == 535
    });
    assert_eq!(renewed.log_in(&gateway).code, 235);
    let said = lines(&operator) - before;
    assert!(said < LINES, "{said} lines\n{}", operator.log().text());

    // It hangs, for so long that another operator could lead.
    let mut operator = operator;
    let before = lines(&operator);
    cluster.freeze_server();
    mail("while it hangs");
    let status = operator.wait_longer(GIVES_UP);
    mail("while nobody operates");
    cluster.thaw_server();
    assert_eq!(status.code(), Some(1));
    assert_eq!(operator.log().tail(1), "error: the lease was lost");
    let said = lines(&operator) - before;
    assert!(said < LINES, "{said} lines\n{}", operator.log().text());

    // As its kubelet would.
    let operator = installation.start();
    outbound.namespace().apply(&outbound.sender("late"));
    wait_for_secret(&outbound, "late-smtp", |_| true);
    mail("after");
    assert_eq!(gateway.pid(), pid, "nothing was restarted");
    operator.stop();
}
