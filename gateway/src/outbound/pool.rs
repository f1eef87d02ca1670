//! The open sessions with one upstream: used again up to the limits of the document, closed in order beyond them.
//!
//! A session is either leased to one attempt or idle. There are never more than this gateway's share of `maxConnections`
//! of both together: a new one is opened only by a lease that found none idle. When the share shrinks, sessions in use
//! are let finish.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use posthouse_config::document::UpstreamLimits;
use posthouse_smtp::client::Ready;
use prometheus::IntGauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    connection::Connection,
    opening::{AnySocket, OpenError, Opener},
};
use crate::{
    clock::{Clock, Monotonic},
    shutdown::{Shutdown, Stage},
};

/// How long saying good-bye may take: it changes nothing.
const GOODBYE: Duration = Duration::from_secs(5);

/// The sessions of one upstream.
pub(crate) struct Pool {
    opener: Opener,
    idle: Mutex<Vec<Session>>,
    leases: Leases,
    messages: u32,
    age: Duration,
    connections: IntGauge,
    clock: Arc<dyn Clock>,
}

/// An open session.
pub(crate) struct Session {
    /// The connection.
    pub(crate) connection: Connection<AnySocket>,
    /// What the server offers.
    pub(crate) ready: Ready,
    opened: Monotonic,
    /// Transactions so far.
    pub(crate) messages: u32,
    _open: Open,
}

/// A session in use. Dropping it closes the connection; [`Pool::give_back`] keeps it.
pub(crate) struct Lease {
    /// The session.
    pub(crate) session: Session,
    /// Whether it was idle before: the server may have closed it meanwhile.
    pub(crate) is_reused: bool,
    permit: OwnedSemaphorePermit,
}

/// Counts an open connection for as long as it lives.
struct Open(IntGauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Pool {
    /// An empty pool.
    pub(crate) fn new(
        opener: Opener,
        limits: &UpstreamLimits,
        share: u32,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let connections = opener
            .metrics
            .upstream_connections
            .with_label_values(&[&*opener.upstream]);
        Self {
            opener,
            idle: Mutex::default(),
            leases: Leases::new(share),
            messages: limits.messages_per_connection,
            age: Duration::from_secs(limits.connection_seconds.into()),
            connections,
            clock,
        }
    }

    /// Allows so many sessions from now on. Those in use beyond that end with their attempt.
    pub(crate) fn resize(&self, share: u32) {
        if self.leases.resize(share) {
            self.clear();
        }
    }

    /// An idle session, or a new one.
    pub(crate) async fn lease(&self, stop: &Shutdown) -> Result<Lease, OpenError> {
        let permit = self.permit(stop).await?;
        while let Some(mut session) = self.take_idle() {
            session.connection.stop = stop.clone();
            if self.is_fresh(&session) && session.connection.is_quiet().await {
                return Ok(Lease {
                    session,
                    is_reused: true,
                    permit,
                });
            }
        }
        self.open(permit, stop).await
    }

    /// A new session, after one that was idle turned out to be dead: the others are no better.
    pub(crate) async fn lease_new(&self, dead: Lease, stop: &Shutdown) -> Result<Lease, OpenError> {
        let Lease {
            session, permit, ..
        } = dead;
        drop(session);
        self.clear();
        self.open(permit, stop).await
    }

    /// A new session, whatever is idle: for a probe.
    pub(crate) async fn lease_probe(&self, stop: &Shutdown) -> Result<Lease, OpenError> {
        let permit = self.permit(stop).await?;
        self.clear();
        self.open(permit, stop).await
    }

    /// Whether a session may serve another transaction.
    pub(crate) fn may_serve(&self, lease: &Lease) -> bool {
        lease.session.messages < self.messages && self.is_fresh(&lease.session)
    }

    /// Keeps a session for the next attempt, or closes it if it has served long enough.
    pub(crate) async fn give_back(&self, lease: Lease) {
        let may_serve = self.may_serve(&lease);
        let Lease {
            session, permit, ..
        } = lease;
        if may_serve {
            self.idle().push(session);
            drop(permit);
        } else {
            drop(permit);
            session.leave().await;
        }
    }

    /// Closes idle sessions that are too old.
    pub(crate) async fn prune(&self) {
        let old: Vec<Session> = {
            let mut idle = self.idle();
            let (kept, old) = std::mem::take(&mut *idle)
                .into_iter()
                .partition(|session| self.is_fresh(session));
            *idle = kept;
            old
        };
        for session in old {
            session.leave().await;
        }
    }

    /// Closes every idle session.
    pub(crate) fn clear(&self) {
        self.idle().clear();
    }

    async fn open(
        &self,
        permit: OwnedSemaphorePermit,
        stop: &Shutdown,
    ) -> Result<Lease, OpenError> {
        self.connections.inc();
        let open = Open(self.connections.clone());
        let opened = self.clock.now();
        let (connection, ready) = self.opener.open(stop).await?;
        Ok(Lease {
            session: Session {
                connection,
                ready,
                opened,
                messages: 0,
                _open: open,
            },
            is_reused: false,
            permit,
        })
    }

    async fn permit(&self, stop: &Shutdown) -> Result<OwnedSemaphorePermit, OpenError> {
        let leases = &self.leases.permits;
        if let Ok(permit) = Arc::clone(leases).try_acquire_owned() {
            return Ok(permit);
        }
        let mut stop = stop.clone();
        tokio::select! {
            permit = Arc::clone(leases).acquire_owned() => {
                permit.map_err(|_| OpenError::Stopped)
            }
            () = stop.reached(Stage::Aborting) => Err(OpenError::Stopped),
        }
    }

    fn is_fresh(&self, session: &Session) -> bool {
        self.clock.now().since(session.opened) < self.age
    }

    fn take_idle(&self) -> Option<Session> {
        self.idle().pop()
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Session>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many sessions there may be at once; the number can change while they are in use.
struct Leases {
    permits: Arc<Semaphore>,
    size: Mutex<u32>,
}

impl Leases {
    fn new(size: u32) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(size as usize)),
            size: Mutex::new(size),
        }
    }

    /// Allows so many from now on; the answer is whether that is fewer. What is in use beyond that is taken back when it
    /// is returned, ahead of everybody who waits for one then.
    fn resize(&self, wanted: u32) -> bool {
        let mut size = self.size.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *size, wanted);
        self.permits
            .add_permits(wanted.saturating_sub(before) as usize);
        let too_many = before.saturating_sub(wanted);
        let free = self.permits.forget_permits(too_many as usize);
        let in_use = too_many.saturating_sub(u32::try_from(free).unwrap_or(too_many));
        if in_use > 0 {
            let permits = Arc::clone(&self.permits);
            tokio::spawn(async move {
                if let Ok(permits) = permits.acquire_many_owned(in_use).await {
                    permits.forget();
                }
            });
        }
        too_many > 0
    }
}

impl Session {
    /// Says good-bye and closes. The reply is not waited for.
    async fn leave(mut self) {
        let quit = self.ready.quit();
        if self.connection.send(quit, GOODBYE).await.is_ok() {
            self.connection.close().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_smaller_share_lets_what_is_in_use_finish_and_a_larger_one_counts_at_once() {
        let leases = Leases::new(4);
        let lease = || Arc::clone(&leases.permits).try_acquire_owned();
        let mut in_use: Vec<_> = (0..3).map(|_| lease().unwrap()).collect();
        assert!(leases.resize(1));
        // The one that takes back waits before whoever comes now.
        tokio::task::yield_now().await;
        assert!(lease().is_err());
        in_use.pop();
        in_use.pop();
        tokio::task::yield_now().await;
        assert!(
            lease().is_err(),
            "one is still in use, and one is all there is"
        );
        in_use.pop();
        let one = lease().unwrap();
        assert!(lease().is_err());
        assert!(!leases.resize(2));
        let other = lease().unwrap();
        drop((one, other));
        assert_eq!(leases.permits.available_permits(), 2);
    }
}
