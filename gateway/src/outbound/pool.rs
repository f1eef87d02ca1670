//! The open sessions with one upstream: used again up to the limits of the document, closed in order beyond them.
//!
//! A session is either leased to one attempt or idle. There are never more than `maxConnections` of both together: a
//! new one is opened only by a lease that found none idle.

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
    leases: Arc<Semaphore>,
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
    pub(crate) fn new(opener: Opener, limits: &UpstreamLimits, clock: Arc<dyn Clock>) -> Self {
        let connections = opener
            .metrics
            .upstream_connections
            .with_label_values(&[&*opener.upstream]);
        Self {
            opener,
            idle: Mutex::default(),
            leases: Arc::new(Semaphore::new(limits.max_connections.max(1) as usize)),
            messages: limits.messages_per_connection,
            age: Duration::from_secs(limits.connection_seconds.into()),
            connections,
            clock,
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
        if let Ok(permit) = Arc::clone(&self.leases).try_acquire_owned() {
            return Ok(permit);
        }
        let mut stop = stop.clone();
        tokio::select! {
            permit = Arc::clone(&self.leases).acquire_owned() => {
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

impl Session {
    /// Says good-bye and closes. The reply is not waited for.
    async fn leave(mut self) {
        let quit = self.ready.quit();
        if self.connection.send(quit, GOODBYE).await.is_ok() {
            self.connection.close().await;
        }
    }
}
