//! From signals to the stages of a shutdown.
//!
//! The first signal begins a stop: new sessions are still taken for `stop.lagSeconds`, since clients learn late that
//! this gateway is going; what is under way may finish within `stop.graceSeconds`. The second signal aborts. A gateway
//! that drains takes nobody's mail anyway, so it does not lag.

use std::{sync::Arc, time::Duration};

use posthouse_config::Snapshot;
use tokio::sync::{mpsc, watch};
use tracing::info;

use crate::{clock::Clock, shutdown::Stage};

/// Moves the stage until it is `Aborting`. `ordinal` is this gateway's.
pub(crate) async fn run(
    mut stops: mpsc::UnboundedReceiver<()>,
    stage: watch::Sender<Stage>,
    snapshot: watch::Receiver<Arc<Snapshot>>,
    ordinal: u32,
    clock: Arc<dyn Clock>,
) {
    if stops.recv().await.is_none() {
        // Nobody can stop it any more: it runs for as long as its process does.
        std::future::pending::<()>().await;
    }
    let document = Arc::clone(&snapshot.borrow().document);
    let is_draining = ordinal >= document.replicas;
    let grace_seconds = document.stop.grace_seconds;
    let lag_seconds = if is_draining {
        0
    } else {
        document.stop.lag_seconds
    };
    let (lag, grace) = (
        Duration::from_secs(lag_seconds.into()),
        Duration::from_secs(grace_seconds.into()),
    );
    info!(lag_seconds, grace_seconds, "stopping");
    let start = clock.now();
    for (next, at) in [
        (Stage::Lagging, Duration::ZERO),
        (Stage::Stopping, lag),
        (Stage::Aborting, grace.max(lag)),
    ] {
        tokio::select! {
            () = clock.sleep_until(start.plus(at)) => stage.send_replace(next),
            _ = stops.recv() => break,
        };
    }
    if *stage.borrow() < Stage::Aborting {
        info!("aborting");
    }
    stage.send_replace(Stage::Aborting);
    // The stage must outlive everyone who watches it.
    stage.closed().await;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use posthouse_config::{Document, Senders};

    use super::*;
    use crate::{clock::ManualClock, shutdown::Shutdown};

    const DOCUMENT: &str = r#"{"format":1,"number":1,"generation":1,"relay":{"namespace":"a","name":"b"},"hostname":"h.example","replicas":1,
        "listeners":[{"name":"l","protocol":"Smtp","address":"127.0.0.1:0","tls":"Disabled"}],
        "upstreams":[{"name":"u","transport":{"capture":{}}}],"routes":[{"name":"r","targets":[{"upstream":"u"}]}],
        "reports":{"to":"Nobody"},"stop":{"lagSeconds":10,"graceSeconds":55}}"#;

    fn start(ordinal: u32) -> (mpsc::UnboundedSender<()>, Shutdown, Arc<ManualClock>) {
        let document = Document::parse(DOCUMENT).unwrap();
        let snapshot = Snapshot::new(
            Arc::new(document),
            Arc::new(Senders::default()),
            BTreeMap::new(),
        );
        let (_, snapshot) = watch::channel(Arc::new(snapshot));
        let (stop, stops) = mpsc::unbounded_channel();
        let (stage, shutdown) = Shutdown::channel();
        let clock = Arc::new(ManualClock::new());
        tokio::spawn(run(
            stops,
            stage,
            snapshot,
            ordinal,
            Arc::clone(&clock) as Arc<dyn Clock>,
        ));
        (stop, shutdown, clock)
    }

    /// Waits until somebody sleeps, so that moving the clock moves them.
    async fn asleep(clock: &ManualClock) {
        while clock.next_wake().is_none() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn one_signal_lags_then_stops_then_aborts() {
        let (stop, mut shutdown, clock) = start(0);
        stop.send(()).unwrap();
        shutdown.reached(Stage::Lagging).await;
        asleep(&clock).await;
        clock.advance(Duration::from_secs(9));
        tokio::task::yield_now().await;
        assert_eq!(shutdown.stage(), Stage::Lagging);
        clock.advance(Duration::from_secs(1));
        shutdown.reached(Stage::Stopping).await;
        asleep(&clock).await;
        clock.advance(Duration::from_secs(44));
        tokio::task::yield_now().await;
        assert_eq!(shutdown.stage(), Stage::Stopping);
        clock.advance(Duration::from_secs(1));
        shutdown.reached(Stage::Aborting).await;
    }

    #[tokio::test]
    async fn one_that_drains_does_not_lag() {
        let (stop, mut shutdown, clock) = start(1);
        stop.send(()).unwrap();
        shutdown.reached(Stage::Stopping).await;
        asleep(&clock).await;
        clock.advance(Duration::from_secs(54));
        tokio::task::yield_now().await;
        assert_eq!(shutdown.stage(), Stage::Stopping);
    }

    #[tokio::test]
    async fn a_second_signal_aborts_at_once() {
        let (stop, mut shutdown, _clock) = start(0);
        stop.send(()).unwrap();
        shutdown.reached(Stage::Lagging).await;
        stop.send(()).unwrap();
        shutdown.reached(Stage::Aborting).await;
    }
}
