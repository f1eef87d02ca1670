//! Asks every gateway how it is, and remembers what was heard.
//!
//! Each pod is asked every ten seconds or so over the link ([`question`]), by the leading operator alone. An answer counts
//! only if it is of the very pod that is watched ([`board`]): a recycled address must never say "empty". Whoever reconciles
//! is told at once when something changed that [`matters`], and once a minute when only figures did.

pub mod board;
mod matters;
pub mod question;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aws_lc_rs::rand;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use posthouse_config::credential::Key;
use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep_until},
};

use self::{
    board::{Asked, Board},
    question::{Answer, Ask},
};
use crate::mail_relay::facts::Heard;

/// Questions under way at once: a bound for sockets and memory (each answer may have 256 KiB).
const AT_ONCE: usize = 32;

/// Between two questions to one pod, without its part of [`SPREAD`].
const SHORTEST: Duration = Duration::from_secs(8);

/// So that pods are not all asked together: a pause is ten seconds ± 20 %.
const SPREAD: Duration = Duration::from_secs(4);

/// A namespace and a relay's name.
pub type RelayName = (String, String);

/// A pod to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// Its uid; an answer must be of this pod.
    pub uid: String,
    /// Where it tells its status.
    pub address: SocketAddr,
}

impl Target {
    /// A pod, if it has an address. One that ended keeps the address it had, which may be another pod's by now.
    pub fn of(pod: &Pod, port: u16) -> Option<Self> {
        let status = pod.status.as_ref()?;
        if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
            return None;
        }
        let address: IpAddr = status.pod_ip.as_deref()?.parse().ok()?;
        Some(Self {
            name: pod.metadata.name.clone()?,
            uid: pod.metadata.uid.clone()?,
            address: SocketAddr::new(address, port),
        })
    }
}

/// Who is asked, and what was heard.
#[derive(Debug)]
pub struct Gateways {
    board: Mutex<Board>,
    /// Somebody is to be asked now.
    due: Notify,
    /// Relays that have to be looked at.
    changed: mpsc::UnboundedSender<RelayName>,
}

impl Gateways {
    /// Nobody to ask yet; and the relays of which something new was heard.
    pub fn new() -> (Arc<Self>, mpsc::UnboundedReceiver<RelayName>) {
        let (changed, receiver) = mpsc::unbounded_channel();
        let gateways = Self {
            board: Mutex::default(),
            due: Notify::new(),
            changed,
        };
        (Arc::new(gateways), receiver)
    }

    /// From now on exactly these pods of a relay are asked; with the link keys in this order, the current one first. What
    /// was heard of a pod stays while its uid does.
    pub fn watch(&self, namespace: &str, relay: &str, keys: &[Key], pods: Vec<Target>) {
        let name = (namespace.to_owned(), relay.to_owned());
        self.board()
            .set(name, keys, pods, Timestamp::now(), Instant::now());
        self.due.notify_one();
    }

    /// A relay is gone: nobody of it is asked, and nothing is remembered.
    pub fn forget(&self, namespace: &str, relay: &str) {
        self.board()
            .forget(&(namespace.to_owned(), relay.to_owned()));
    }

    /// What was heard of each gateway of a relay, by its pod's name.
    pub fn of_relay(&self, namespace: &str, relay: &str) -> BTreeMap<String, Heard> {
        self.board()
            .heard(&(namespace.to_owned(), relay.to_owned()))
    }

    /// How many gateways of each relay are silent, for metrics; relays without one are there, too.
    pub fn silent(&self) -> BTreeMap<RelayName, usize> {
        self.board().silent()
    }

    /// Asks, for as long as this operator leads. Ends only with the channel that says so.
    pub async fn poll(&self, ask: impl Ask, mut leading: watch::Receiver<bool>) {
        let mut questions = JoinSet::new();
        while leading.wait_for(|leads| *leads).await.is_ok() {
            self.start(&ask, &mut questions);
            let next = self.board().next_due();
            let has_room = questions.len() < AT_ONCE;
            tokio::select! {
                Some(answered) = questions.join_next() => {
                    // A question that panicked is asked again after a while.
                    if let Ok((asked, answer)) = answered {
                        self.record(&asked, answer);
                    }
                }
                () = until(next), if has_room => {}
                () = self.due.notified() => {}
                changed = leading.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Asks whoever is due, as far as there is room.
    fn start<A: Ask>(&self, ask: &A, questions: &mut JoinSet<(Asked, Answer)>) {
        while questions.len() < AT_ONCE {
            let Some((asked, question)) = self.board().take_due(Instant::now()) else {
                return;
            };
            let ask = ask.clone();
            questions.spawn(async move { (asked, ask.ask(question).await) });
        }
    }

    fn record(&self, asked: &Asked, answer: Answer) {
        let now = Instant::now();
        let next = now + pause();
        let news = self
            .board()
            .record(asked, answer, Timestamp::now(), now, next);
        if news {
            // Nobody listens any more only when the process ends.
            let _ = self.changed.send(asked.relay.clone());
        }
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn until(next: Option<Instant>) {
    match next {
        Some(next) => sleep_until(next).await,
        None => std::future::pending().await,
    }
}

fn pause() -> Duration {
    let mut octet = [0];
    // Without randomness pauses are short and equal, which does no harm.
    let _ = rand::fill(&mut octet);
    SHORTEST + SPREAD.mul_f64(f64::from(octet[0]) / 255.0)
}
