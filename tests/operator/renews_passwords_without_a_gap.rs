//! A password is renewed while its application logs in all the time with whatever its Secret holds, and is never
//! refused: the gateways know the new one before the Secret has it, and the old one for as long as was promised. The
//! same for all of a relay at once, with the keys that gateway and operator know each other by, and whoever dies.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use posthouse_api::{MailRelay, MailSender};
use posthouse_tests::{
    Cluster, Installation, Outbound,
    kubelet::Running,
    outbound::{Binding, RELAY, SECRET, SENDER},
    wait,
};
use serde_json::json;

/// Another sender of the relay, and its Secret.
const OTHER: (&str, &str) = ("billing", "billing-smtp");

/// An application that logs in again and again with what its Secret holds.
struct Application {
    ends: Arc<AtomicBool>,
    log_ins: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

impl Application {
    fn start(outbound: &Arc<Outbound>, pod: &Arc<Running>, secret: &'static str) -> Self {
        let (ends, log_ins) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let (outbound, pod) = (Arc::clone(outbound), Arc::clone(pod));
        let (stop, count) = (Arc::clone(&ends), Arc::clone(&log_ins));
        let thread = thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                let held = outbound.namespace().get::<Secret>(secret);
                let reply = Binding::of(&held).unwrap().log_in(&pod);
                assert_eq!(reply.code, 235, "{secret}: {}", reply.text());
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self {
            ends,
            log_ins,
            thread,
        }
    }

    /// Waits for one log-in more, all of it after now.
    fn logs_in(&self) {
        let before = self.log_ins.load(Ordering::SeqCst);
        wait::until_true("the application logs in", || {
            // One may have been under way.
            self.thread.is_finished() || self.log_ins.load(Ordering::SeqCst) > before + 1
        });
        assert!(!self.thread.is_finished(), "it was refused");
    }

    fn stop(self) {
        self.ends.store(true, Ordering::SeqCst);
        self.thread.join().expect("it was never refused");
    }
}

/// Waits until a Secret holds another password than before.
fn renewed(outbound: &Outbound, secret: &str, former: &Binding) -> Binding {
    let namespace = outbound.namespace();
    namespace.wait_longer_for::<Secret, _>("a new password", secret, wait::SOON * 3, |secret| {
        Binding::of(secret?).filter(|binding| binding.password != former.password)
    })
}

fn held(outbound: &Outbound, secret: &str) -> Binding {
    let namespace = outbound.namespace();
    namespace.wait_longer_for::<Secret, _>("the Secret", secret, wait::SOON * 3, |secret| {
        Binding::of(secret?)
    })
}

#[test]
fn of_a_sender_and_of_all() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let Some(installation) = Installation::install(&cluster, &["relayNamespaces={*}"]) else {
        return;
    };
    let operator = installation.start();
    let outbound = Arc::new(Outbound::apply(&cluster));
    outbound.namespace().apply(&outbound.sender(OTHER.0));
    let pod = outbound.gateway();
    let pid = pod.pid();
    let first = held(&outbound, SECRET);
    let other = held(&outbound, OTHER.1);
    let applications = [SECRET, OTHER.1].map(|secret| Application::start(&outbound, &pod, secret));

    // One sender.
    rotate_sender(&outbound, 2);
    let second = renewed(&outbound, SECRET, &first);
    assert_eq!(first.log_in(&pod).code, 235, "the old one still serves");
    assert_eq!(held(&outbound, OTHER.1).password, other.password);
    wait_until_refused(&outbound, &pod, &first);
    applications.iter().for_each(Application::logs_in);

    // All of them, by leaving numbers out, and the operator dies once the new key is in the document.
    rotate_relay(&outbound, 5);
    outbound.namespace().wait_for::<ConfigMap, _>(
        "the key is named",
        "outbound-config",
        |config| {
            config?
                .data
                .as_ref()?
                .get("gateway.yaml")?
                .contains("relay-5.key")
                .then_some(())
        },
    );
    operator.kill();
    applications.iter().for_each(Application::logs_in);
    let operator = installation.start();
    let third = renewed(&outbound, SECRET, &second);
    let others = renewed(&outbound, OTHER.1, &other);
    for old in [&second, &other, &third, &others] {
        assert_eq!(old.log_in(&pod).code, 235, "{}", old.username);
    }
    applications.iter().for_each(Application::logs_in);

    // Once more at once: that waits, since the keys before are still in use, and keeps nothing else from going on. What
    // a Secret holds follows what is heard of the gateway, so this also says that it and the operator still know each
    // other.
    rotate_relay(&outbound, 9);
    rotate_sender(&outbound, 3);
    let fourth = renewed(&outbound, SECRET, &third);
    assert_eq!(fourth.log_in(&pod).code, 235);
    applications.iter().for_each(Application::logs_in);
    applications.into_iter().for_each(Application::stop);
    assert_eq!(pod.pid(), pid, "nothing was restarted");
    outbound.send("and mail arrives");
    operator.stop();
}

fn rotate_relay(outbound: &Outbound, rotation: i64) {
    let rotate = json!({"spec": {"clients": {"keyRotation": rotation}}});
    let relay = outbound.namespace().merge::<MailRelay>(RELAY, &rotate);
    relay.unwrap();
}

fn rotate_sender(outbound: &Outbound, rotation: i64) {
    let rotate = json!({"spec": {"credential": {"rotation": rotation, "overlapSeconds": 10}}});
    let sender = outbound.namespace().merge::<MailSender>(SENDER, &rotate);
    sender.unwrap();
}

/// Waits until a gateway refuses what it accepted during the overlap, and not before that is over.
fn wait_until_refused(outbound: &Outbound, pod: &Running, old: &Binding) {
    let namespace = outbound.namespace();
    let until =
        namespace.wait_for::<MailSender, _>("the status says until when", SENDER, |sender| {
            let credential = sender?.status.as_ref()?.credential.as_ref()?;
            (credential.rotation == 2).then(|| credential.previous_valid_until.clone().unwrap().0)
        });
    wait::until_true("the old password is refused", || {
        let asked = Timestamp::now();
        let code = old.log_in(pod).code;
        assert!(code == 235 || asked >= until, "{asked} is before {until}");
        code == 535
    });
}
