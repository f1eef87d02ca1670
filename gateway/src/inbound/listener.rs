//! Listeners: bound sockets, accepted connections, and how they end.
//!
//! A listener whose certificate cannot be used yet is bound but closed: a connection is refused instead of meeting a
//! server that cannot do what it promises. Each connection gets a task; all of them belong to the listener that took
//! them and end with it.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use posthouse_config::document::{Listener, Protocol};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use super::{
    Inbound, Store,
    deadline::within,
    refusal,
    session::{Ended, Visit},
    sessions::Place,
    tls::{CertificateError, ListenerTls},
};
use crate::shutdown::Stage;

/// Connections the kernel holds for us; bursts of applications starting together are normal.
const BACKLOG: u32 = 1024;

/// How long a connection over the limit waits for a place.
const WAIT_FOR_PLACE: Duration = Duration::from_secs(20);

/// Connections of one listener that wait for a place; more stay with the kernel.
const WAITING: usize = 1024;

/// After an error of `accept`, which is nearly always a lack of file descriptors: trying at once would only spin.
const AFTER_ERROR: Duration = Duration::from_millis(100);

/// Binds an address without listening on it yet.
pub fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A restarted gateway must not wait for connections of its predecessor to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// One listener at work.
struct Listening<S> {
    inbound: Arc<Inbound<S>>,
    name: Arc<str>,
    tls: ListenerTls,
    waiting: Arc<Semaphore>,
    tasks: JoinSet<()>,
}

impl<S: Store> Inbound<S> {
    /// Serves the listener of this name on a bound socket: listens once its certificate can be used, takes connections
    /// until the shutdown reaches [`Stage::Stopping`], and returns when the last session has ended, at
    /// [`Stage::Aborting`] at once.
    pub async fn serve(self: Arc<Self>, name: Arc<str>, socket: TcpSocket) -> io::Result<()> {
        let mut listening = Listening {
            inbound: self,
            name,
            tls: ListenerTls::default(),
            waiting: Arc::new(Semaphore::new(WAITING)),
            tasks: JoinSet::new(),
        };
        if listening.opens().await {
            let listener = socket.listen(BACKLOG)?;
            listening.opened(&listener)?;
            listening.accept(listener).await;
        }
        listening.finish().await;
        Ok(())
    }

    /// One session over any stream, from greeting to close, and its place in the figures.
    pub(super) async fn session<T>(
        self: Arc<Self>,
        stream: T,
        listener: Arc<Listener>,
        address: IpAddr,
        place: Place,
        acceptor: Option<TlsAcceptor>,
    ) where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let name = listener.name.clone();
        let gauge = self.parts.metrics.sessions.with_label_values(&[&name]);
        let counted = Counted::new(gauge);
        let mut shutdown = self.parts.shutdown.clone();
        let visit = Visit::new(&self, listener, address, place);
        let ended = tokio::select! {
            biased;
            ended = visit.run(stream, acceptor) => ended,
            () = shutdown.reached(Stage::Aborting) => Ended::Aborted,
        };
        drop(counted);
        self.ended(&name, ended);
    }

    fn ended(&self, listener: &str, ended: Ended) {
        let total = &self.parts.metrics.sessions_total;
        total.with_label_values(&[listener, ended.as_label()]).inc();
    }
}

/// One session in a gauge.
struct Counted(prometheus::IntGauge);

impl Counted {
    fn new(gauge: prometheus::IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl<S: Store> Listening<S> {
    /// Waits for a certificate that can be used, if one is needed; says whether there is anything to open.
    async fn opens(&mut self) -> bool {
        let mut snapshots = self.inbound.parts.snapshot.clone();
        let mut shutdown = self.inbound.parts.shutdown.clone();
        loop {
            if self.refresh() {
                return true;
            }
            tokio::select! {
                () = shutdown.reached(Stage::Stopping) => return false,
                changed = snapshots.changed() => if changed.is_err() { return false },
            }
        }
    }

    fn opened(&self, listener: &TcpListener) -> io::Result<()> {
        let address = listener.local_addr()?;
        self.inbound
            .view(&self.name, |view| view.address = Some(address));
        info!(listener = %self.name, %address, "listening");
        Ok(())
    }

    /// The listener's settings now; absent once the document has it no more.
    fn settings(&self) -> Option<Arc<Listener>> {
        let snapshot = self.inbound.snapshot();
        let mut listeners = snapshot.document.listeners.iter();
        let found = listeners.find(|listener| *listener.name == *self.name)?;
        Some(Arc::new(found.clone()))
    }

    /// Looks at the certificate again; says whether the listener can keep its promises.
    fn refresh(&mut self) -> bool {
        let Some(settings) = self.settings() else {
            return false;
        };
        let Some(certificate) = &settings.certificate else {
            self.forget_certificate();
            return true;
        };
        let snapshot = self.inbound.snapshot();
        let error = self.tls.refresh(&snapshot, certificate).err();
        if let Some(error) = &error {
            warn!(listener = %self.name, %error, "certificate cannot be used");
        }
        // A file that is missing is told as missing, not as one that is bad.
        let invalid = error.filter(|error| !matches!(error, CertificateError::Missing(_)));
        let invalid = invalid.map(|error| error.to_string());
        if let Some(not_after) = self.tls.not_after() {
            let expiry = &self
                .inbound
                .parts
                .metrics
                .certificate_expiry_timestamp_seconds;
            #[allow(clippy::cast_precision_loss)] // seconds of this millennium fit
            expiry
                .with_label_values(&[&*self.name])
                .set(not_after as f64);
        }
        let status = self.tls.status().cloned();
        self.inbound.view(&self.name, |view| {
            view.certificate = status;
            view.invalid = invalid;
        });
        self.tls.acceptor().is_some()
    }

    /// The listener does without one now: what was told of it must not grow old, and end, before everybody's eyes.
    fn forget_certificate(&mut self) {
        self.tls = ListenerTls::default();
        let metrics = &self.inbound.parts.metrics;
        let expiry = &metrics.certificate_expiry_timestamp_seconds;
        // It may never have had one.
        let _ = expiry.remove_label_values(&[&*self.name]);
        self.inbound.view(&self.name, |view| {
            view.certificate = None;
            view.invalid = None;
        });
    }

    /// Takes connections until the shutdown.
    async fn accept(&mut self, listener: TcpListener) {
        let mut shutdown = self.inbound.parts.shutdown.clone();
        let mut snapshots: watch::Receiver<_> = self.inbound.parts.snapshot.clone();
        let waiting = Arc::clone(&self.waiting);
        loop {
            let accepted = async {
                let turn = Arc::clone(&waiting).acquire_owned().await;
                (turn, listener.accept().await)
            };
            tokio::select! {
                () = shutdown.reached(Stage::Stopping) => return,
                Ok(()) = snapshots.changed() => {
                    self.refresh();
                }
                // Ended sessions are forgotten as they go.
                Some(_) = self.tasks.join_next() => {}
                (turn, accepted) = accepted => match accepted {
                    Ok((stream, peer)) => self.welcome(stream, peer, turn.ok()),
                    Err(error) => {
                        warn!(listener = %self.name, %error, "connection not accepted");
                        self.inbound.parts.clock.sleep(AFTER_ERROR).await;
                    }
                },
            }
        }
    }

    /// Gives a connection its task.
    fn welcome(
        &mut self,
        stream: TcpStream,
        peer: SocketAddr,
        turn: Option<tokio::sync::OwnedSemaphorePermit>,
    ) {
        let Some(settings) = self.settings() else {
            return;
        };
        let inbound = Arc::clone(&self.inbound);
        let acceptor = self.tls.acceptor().cloned();
        self.tasks.spawn(async move {
            // Replies are gathered into one write each; waiting for more would only delay them.
            let _ = stream.set_nodelay(true);
            let place = inbound.place().await;
            drop(turn);
            match place {
                Ok(place) => {
                    let address = peer.ip();
                    let session = inbound.session(stream, settings, address, place, acceptor);
                    session.await;
                }
                Err(away) => inbound.turn_away(stream, &settings, away).await,
            }
        });
    }

    /// Waits for the sessions; they watch the shutdown themselves.
    async fn finish(&mut self) {
        self.inbound.view(&self.name, |view| view.address = None);
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Why a connection gets no session.
#[derive(Clone, Copy)]
enum Away {
    Draining,
    OverLimit,
    Stopping,
}

impl<S: Store> Inbound<S> {
    /// Waits for a place among the sessions, for a while.
    async fn place(&self) -> Result<Place, Away> {
        if self.is_draining(&self.snapshot()) {
            return Err(Away::Draining);
        }
        let limit = || {
            let limit = self.parts.snapshot.borrow().document.limits.sessions;
            usize::try_from(limit).unwrap_or(usize::MAX)
        };
        let clock = &*self.parts.clock;
        let until = clock.now().plus(WAIT_FOR_PLACE);
        let mut shutdown = self.parts.shutdown.clone();
        tokio::select! {
            biased;
            place = within(clock, until, self.sessions.enter(limit)) => place.ok_or(Away::OverLimit),
            () = shutdown.reached(Stage::Stopping) => Err(Away::Stopping),
        }
    }

    /// Says why there is no session, where that can be said: under TLS from the first octet the close must do.
    async fn turn_away(&self, mut stream: TcpStream, listener: &Listener, away: Away) {
        let (reply, ended) = match away {
            Away::Draining => {
                let refusal = refusal::draining();
                let labels = [listener.name.as_str(), refusal.cause.as_label()];
                let rejected = &self.parts.metrics.messages_rejected;
                rejected.with_label_values(&labels).inc();
                (refusal.reply, Ended::Completed)
            }
            Away::OverLimit => (refusal::too_many_sessions(), Ended::OverLimit),
            Away::Stopping => (refusal::stopping(), Ended::Completed),
        };
        if listener.protocol != Protocol::Submissions {
            let mut octets = Vec::new();
            reply.write_to(&mut octets);
            // It fits any socket buffer; a client that is gone does not matter.
            let _ = stream.write_all(&octets).await;
        }
        self.ended(&listener.name, ended);
    }
}
