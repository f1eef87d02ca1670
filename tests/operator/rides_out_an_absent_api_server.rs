//! Mail does not notice that the API server is away, whether it hangs or refuses. The operator asks no more often than
//! makes sense, ends when it cannot know any more whether it leads, and on its return sees what changed without it.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::Secret;
use posthouse_api::MailSender;
use posthouse_tests::{
    Cluster, Installation, Operator, Outbound,
    kubelet::Running,
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

/// A relay whose mail flows, and the operator of it.
struct Scene {
    installation: Installation,
    operator: Operator,
    outbound: Outbound,
    gateway: Arc<Running>,
    pid: Option<u32>,
    binding: Binding,
}

impl Scene {
    fn new() -> Option<Self> {
        let cluster = Cluster::start()?;
        let installation = Installation::install(&cluster, &["relayNamespaces={*}"])?;
        let operator = installation.start();
        let outbound = Outbound::apply(&cluster);
        let gateway = outbound.gateway();
        let scene = Self {
            installation,
            operator,
            pid: gateway.pid(),
            binding: outbound.binding(),
            gateway,
            outbound,
        };
        scene.mail("before");
        Some(scene)
    }

    fn cluster(&self) -> &Cluster {
        self.outbound.namespace().cluster()
    }

    /// Sends a message and waits until the provider has it. The API server is not asked.
    fn mail(&self, subject: &str) {
        Outbound::submit(&self.gateway, &self.binding, subject);
        wait::until_true("mail arrives", || {
            self.outbound.provider().subjects().contains_key(subject)
        });
    }

    fn assert_no_loop_since(&self, before: usize) {
        let said = lines(&self.operator) - before;
        let log = self.operator.log().text();
        assert!(said < LINES, "{said} lines\n{log}");
    }
}

fn wait_for_secret(outbound: &Outbound, name: &str, is: impl Fn(&Binding) -> bool) -> Binding {
    let namespace = outbound.namespace();
    namespace.wait_longer_for::<Secret, _>("the Secret", name, wait::SOON * 3, |secret| {
        Binding::of(secret?).filter(&is)
    })
}

#[test]
fn that_refuses() {
    let Some(scene) = Scene::new() else { return };
    let (outbound, operator) = (&scene.outbound, &scene.operator);
    outbound.namespace().apply(&outbound.sender("billing"));
    let billing = wait_for_secret(outbound, "billing-smtp", |_| true);
    let before = lines(operator);
    scene.cluster().kill_server();
    scene.mail("while it refuses");
    wait_for_warnings(operator, "watch interrupted", 2);

    // It comes back, and something was deleted and something changed while nobody watched.
    operator.freeze();
    scene.cluster().restart_server();
    outbound.namespace().delete::<MailSender>("billing");
    let rotate = json!({"spec": {"credential": {"rotation": 2}}});
    let sender = outbound.namespace().merge::<MailSender>(SENDER, &rotate);
    sender.unwrap();
    operator.thaw();
    let former = &scene.binding.password;
    let renewed = wait_for_secret(outbound, SECRET, |now| now.password != *former);
    wait::until_true("who was deleted is refused", || {
        billing.log_in(&scene.gateway).code == 535
    });
    assert_eq!(renewed.log_in(&scene.gateway).code, 235);
    assert_eq!(scene.gateway.pid(), scene.pid, "nothing was restarted");
    scene.assert_no_loop_since(before);
    scene.operator.stop();
}

/// For so long that another operator could lead.
#[test]
#[ignore = "takes minutes; .ci/run runs it"]
fn that_hangs() {
    let Some(mut scene) = Scene::new() else {
        return;
    };
    let before = lines(&scene.operator);
    scene.cluster().freeze_server();
    scene.mail("while it hangs");
    let status = scene.operator.wait_longer(GIVES_UP);
    scene.mail("while nobody operates");
    scene.cluster().thaw_server();
    assert_eq!(status.code(), Some(1));
    assert_eq!(scene.operator.log().tail(1), "error: the lease was lost");
    scene.assert_no_loop_since(before);

    // As its kubelet would.
    let operator = scene.installation.start();
    let outbound = &scene.outbound;
    outbound.namespace().apply(&outbound.sender("late"));
    wait_for_secret(outbound, "late-smtp", |_| true);
    scene.mail("after");
    assert_eq!(scene.gateway.pid(), scene.pid, "nothing was restarted");
    operator.stop();
}
