use std::{collections::HashMap, future::Future};

use posthouse_config::Status;
use serde_json::json;

use super::{question::AskError, *};

/// Gateways by address; one that is not here does not answer.
#[derive(Clone, Default)]
struct Played(Arc<Mutex<HashMap<SocketAddr, Status>>>);

impl Played {
    fn says(&self, host: u8, change: impl FnOnce(&mut Status)) {
        let mut all = self.0.lock().unwrap();
        change(all.entry(address(host)).or_default());
    }

    fn falls_silent(&self, host: u8) {
        self.0.lock().unwrap().remove(&address(host));
    }
}

impl Ask for Played {
    fn ask(&self, question: question::Question) -> impl Future<Output = Answer> + Send {
        let mut all = self.0.lock().unwrap();
        let answer = all.get_mut(&question.address).map(|status| {
            status.sequence += 1;
            status.clone()
        });
        std::future::ready(answer.ok_or(AskError::TimedOut))
    }
}

fn address(host: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, host], 8443))
}

fn target(uid: &str, host: u8) -> Target {
    Target {
        name: "outbound-0".into(),
        uid: uid.into(),
        address: address(host),
    }
}

/// A poller that leads, its gateways, and what it told.
struct Scene {
    gateways: Arc<Gateways>,
    played: Played,
    changes: mpsc::UnboundedReceiver<RelayName>,
    lead: watch::Sender<bool>,
}

impl Scene {
    fn new() -> Self {
        let (gateways, changes) = Gateways::new();
        let played = Played::default();
        let (lead, leading) = watch::channel(true);
        let (poller, ask) = (Arc::clone(&gateways), played.clone());
        tokio::spawn(async move { poller.poll(ask, leading).await });
        Self {
            gateways,
            played,
            changes,
            lead,
        }
    }

    fn watch(&self, targets: Vec<Target>) {
        let key = Key::try_from([1; 32].as_slice()).unwrap();
        self.gateways.watch("mail", "outbound", &[key], targets);
    }

    fn heard(&self) -> Heard {
        self.gateways.of_relay("mail", "outbound")["outbound-0"].clone()
    }

    /// Lets this time pass, and counts how often somebody was told.
    async fn pass(&mut self, seconds: u64) -> usize {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        std::iter::from_fn(|| self.changes.try_recv().ok()).count()
    }
}

#[tokio::test(start_paused = true)]
async fn what_matters_is_told_at_once_and_figures_once_a_minute() {
    let mut scene = Scene::new();
    scene.played.says(1, |s| s.pod_uid = "p1".into());
    scene.watch(vec![target("p1", 1)]);
    assert_eq!(scene.pass(1).await, 1, "the first report");
    assert!(matches!(scene.heard(), Heard::Report(_)));
    assert_eq!(scene.pass(300).await, 0, "at rest");

    scene.played.says(1, |s| s.draining = true);
    assert_eq!(scene.pass(13).await, 1, "a matter");
    scene.played.says(1, |s| s.queue.bytes = 7);
    assert_eq!(scene.pass(30).await, 0, "figures wait");
    assert_eq!(scene.pass(40).await, 1, "figures are told");
    let report = scene.heard();
    assert_eq!(report.report().unwrap().status.queue.bytes, 7);
}

#[tokio::test(start_paused = true)]
async fn three_questions_without_an_answer_are_silence() {
    let mut scene = Scene::new();
    scene.watch(vec![target("p1", 1)]);
    assert_eq!(scene.pass(60).await, 0);
    assert!(matches!(scene.heard(), Heard::Nothing { .. }));
    scene.played.says(1, |s| {
        s.pod_uid = "p1".into();
        s.queue.messages = 4;
    });
    assert_eq!(scene.pass(13).await, 1);
    scene.played.falls_silent(1);
    assert_eq!(scene.pass(15).await, 0);
    assert!(matches!(scene.heard(), Heard::Report(_)));
    assert_eq!(scene.pass(30).await, 1);
    let Heard::Silent { last, .. } = scene.heard() else {
        panic!("{:?}", scene.heard());
    };
    assert_eq!(last.status.queue.messages, 4);
    assert_eq!(scene.gateways.silent().values().sum::<usize>(), 1);
    scene.played.says(1, |s| s.pod_uid = "p1".into());
    // The same process would go on counting; this one began anew, so its first answer does not count.
    assert_eq!(scene.pass(25).await, 1);
    assert!(matches!(scene.heard(), Heard::Report(_)));
}

#[tokio::test(start_paused = true)]
async fn one_that_starts_is_asked_more_often_for_a_while() {
    let mut scene = Scene::new();
    scene.watch(vec![target("p1", 1)]);
    assert_eq!(scene.pass(1).await, 0);
    scene.played.says(1, |s| s.pod_uid = "p1".into());
    assert_eq!(scene.pass(2).await, 1, "its first answer is not waited for");

    let mut scene = Scene::new();
    scene.played.says(1, |s| s.pod_uid = "stranger".into());
    scene.watch(vec![target("p1", 1)]);
    assert_eq!(scene.pass(320).await, 0);
    let mut asked = 0;
    scene.played.says(1, |s| asked = s.sequence);
    // Every two seconds at first, then every eight to twelve.
    assert!((35..=50).contains(&asked), "{asked}");
}

#[tokio::test(start_paused = true)]
async fn only_the_watched_pod_counts() {
    let mut scene = Scene::new();
    scene.played.says(1, |s| s.pod_uid = "stranger".into());
    scene.watch(vec![target("p1", 1)]);
    assert_eq!(scene.pass(60).await, 0);
    assert!(matches!(scene.heard(), Heard::Nothing { .. }));

    // The pod got another address, which is asked at once.
    scene.played.says(2, |s| s.pod_uid = "p1".into());
    scene.watch(vec![target("p1", 2)]);
    assert_eq!(scene.pass(1).await, 1);

    // Another pod of that name starts anew.
    scene.watch(vec![target("p2", 3)]);
    assert!(matches!(scene.heard(), Heard::Nothing { .. }));
    scene.played.says(3, |s| s.pod_uid = "p2".into());
    assert_eq!(scene.pass(13).await, 1);
    scene.watch(Vec::new());
    assert!(scene.gateways.of_relay("mail", "outbound").is_empty());
    scene.gateways.forget("mail", "outbound");
    assert!(scene.gateways.silent().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_given_before_does_not_count() {
    let mut scene = Scene::new();
    scene.played.says(1, |s| {
        s.pod_uid = "p1".into();
        s.sequence = 40;
    });
    scene.watch(vec![target("p1", 1)]);
    scene.pass(1).await;
    // Started anew: the count begins at one again.
    scene.played.says(1, |s| {
        s.sequence = 0;
        s.draining = true;
    });
    let before = scene.heard();
    assert_eq!(scene.pass(8).await, 0);
    assert_eq!(scene.heard(), before);
    assert_eq!(scene.pass(18).await, 1);
    assert!(scene.heard().report().unwrap().status.draining);
}

#[tokio::test(start_paused = true)]
async fn only_the_leader_asks() {
    let mut scene = Scene::new();
    scene.lead.send_replace(false);
    scene.played.says(1, |s| s.pod_uid = "p1".into());
    scene.watch(vec![target("p1", 1)]);
    assert_eq!(scene.pass(60).await, 0);
    scene.lead.send_replace(true);
    assert_eq!(scene.pass(1).await, 1);
}

#[test]
fn a_pod_is_asked_where_it_is() {
    let pod = |phase: &str, address: Option<&str>| -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "outbound-0", "uid": "p1"},
            "status": {"phase": phase, "podIP": address},
        }))
        .unwrap()
    };
    let address = |pod| Target::of(&pod, 8443).map(|target| target.address.to_string());
    assert_eq!(
        address(pod("Running", Some("fd00::7"))).unwrap(),
        "[fd00::7]:8443"
    );
    assert_eq!(address(pod("Pending", None)), None);
    assert_eq!(address(pod("Failed", Some("10.0.0.1"))), None);
}
