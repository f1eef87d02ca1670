//! Keeps one upstream: probes it when its timetable says so, and closes what was idle for too long.
//!
//! A probe is connect, TLS, EHLO, AUTH and NOOP, without mail. What only mail can show is left to the first message.

use std::{sync::Arc, time::Duration};

use posthouse_smtp::reply::Severity;

use super::{
    health::{Origin, disk_fault},
    opening::OpenError,
    target::{SmtpTarget, Target, Way},
    verdict,
};
use crate::{
    clock::{Clock, Monotonic},
    shutdown::{Shutdown, Stage},
};
use posthouse_config::reason::Phase;

/// How often idle sessions are looked at: they are closed at most so much later than the document says.
const TICK: Duration = Duration::from_secs(30);

/// An upstream that had no mail for so long is probed, so that a dead one is known before mail comes.
const QUIET: Duration = Duration::from_hours(6);

/// A server that is there answers NOOP at once.
const NOOP: Duration = Duration::from_mins(1);

/// Whether this gateway probes upstreams that have no mail; one of a relay's gateways is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WhenQuiet {
    /// It does.
    Probe,
    /// Another one does.
    Leave,
}

/// Runs until the stop.
pub(crate) async fn keep(
    target: Arc<Target>,
    clock: Arc<dyn Clock>,
    when_quiet: WhenQuiet,
    mut stop: Shutdown,
) {
    let mut quiet_since = clock.now();
    let mut stopping = stop.clone();
    loop {
        if clock.now() >= due(&target, when_quiet, &mut quiet_since, &*clock) {
            // It may wait for minutes, and nobody needs what it would find.
            tokio::select! {
                () = run(&target, &stop) => {}
                () = stopping.reached(Stage::Stopping) => return,
            }
            quiet_since = clock.now();
        }
        if let Way::Smtp(smtp) = &target.way {
            smtp.pool.prune().await;
        }
        let due = due(&target, when_quiet, &mut quiet_since, &*clock);
        let tick = clock.now().plus(TICK);
        tokio::select! {
            () = clock.sleep_until(due.min(tick)) => {}
            () = target.wake.notified() => {}
            () = stop.reached(Stage::Stopping) => return,
        }
    }
}

/// When the next probe is due; far off if none is.
fn due(
    target: &Target,
    when_quiet: WhenQuiet,
    quiet_since: &mut Monotonic,
    clock: &dyn Clock,
) -> Monotonic {
    let view = target.health().view().clone();
    if let Some(at) = view.retry_at {
        return at;
    }
    let never = clock.now().plus(QUIET);
    if when_quiet == WhenQuiet::Leave || !matches!(target.way, Way::Smtp(_)) {
        return never;
    }
    // The wall clock tells how long ago the last mail was, as far as it can be believed.
    let quiet = view.last_relayed.map_or(QUIET, |at| clock.wall().since(at));
    if quiet < QUIET && clock.now().since(*quiet_since) > quiet {
        *quiet_since = clock.now();
    }
    quiet_since.plus(QUIET)
}

/// Probes once.
async fn run(target: &Target, stop: &Shutdown) {
    match &target.way {
        Way::Smtp(smtp) => match probe(smtp, stop).await {
            Ok(()) => target.probed(),
            Err(OpenError::Stopped) => {}
            Err(error) => {
                let fault = verdict::opening::of(&error, smtp.dictionary);
                target.failed(&fault, Origin::Probe);
            }
        },
        Way::Capture(capture) => match capture.probe().await {
            Ok(()) => target.probed(),
            Err(error) => target.failed(&disk_fault(&error), Origin::Probe),
        },
        // Only another document or another file mends it, and either makes another target.
        Way::Unusable(error) => {
            let fault = verdict::opening::of(error, target.dictionary());
            target.failed(&fault, Origin::Probe);
        }
    }
}

async fn probe(smtp: &SmtpTarget, stop: &Shutdown) -> Result<(), OpenError> {
    let mut lease = smtp.pool.lease_probe(stop).await?;
    smtp.learn(lease.session.ready.extensions());
    let noop = lease.session.ready.noop();
    let connection = &mut lease.session.connection;
    let lost = |broken| OpenError::broken(Phase::Hello, broken);
    connection.send(noop, NOOP).await.map_err(lost)?;
    let reply = connection.reply(NOOP).await.map_err(lost)?;
    // RFC 5321 §4.1.1.9 knows no refusal of NOOP; who says something else is there all the same, unless it closes.
    if reply.code == 421 {
        return Err(OpenError::Lost(Phase::Hello, reply.to_string()));
    }
    if reply.severity() == Some(Severity::Positive) {
        smtp.pool.give_back(lease).await;
    }
    Ok(())
}
