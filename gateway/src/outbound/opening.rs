//! From nothing to a session that can be used: resolve, connect, greeting, TLS, EHLO, AUTH.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use posthouse_config::reason::Phase;
use posthouse_smtp::{
    client::{Opening, OpeningFailure, OpeningStage, Plan, Ready, Security, Step},
    reply::stream::ReplyError,
};
use tokio::net::TcpStream;

use super::{
    connection::{Broken, Connection, Socket},
    resolve,
    tls::Tls,
    verdict::opening::phase,
};
use crate::{
    clock::Clock,
    metrics::Metrics,
    shutdown::{Shutdown, Stage},
};

/// One address: a host that does not answer a SYN for so long is not there.
const CONNECT: Duration = Duration::from_secs(30);
/// RFC 5321 §4.5.3.2.1.
const GREETING: Duration = Duration::from_mins(5);
/// EHLO has no time-out of its own in RFC 5321; that of MAIL (§4.5.3.2.2).
const HELLO: Duration = Duration::from_mins(5);
/// STARTTLS and the handshake: no server computes longer.
const TLS: Duration = Duration::from_mins(1);
/// Directories behind a login may be slow.
const AUTHENTICATION: Duration = Duration::from_mins(2);

/// What a connection of the pool runs over.
pub(crate) type AnySocket = Box<dyn Socket>;

/// What is needed to open a session with one upstream.
pub(crate) struct Opener {
    /// Its name, for metrics.
    pub(crate) upstream: Arc<str>,
    /// Where it is.
    pub(crate) host: String,
    /// Its port.
    pub(crate) port: u16,
    /// What is said.
    pub(crate) plan: Plan,
    /// TLS, unless it is spoken to in clear.
    pub(crate) tls: Option<Tls>,
    /// For time-outs.
    pub(crate) clock: Arc<dyn Clock>,
    /// For durations.
    pub(crate) metrics: Metrics,
}

/// Why a session could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// A file of the credential is absent or empty.
    #[error("{0} is absent")]
    CredentialMissing(String),
    /// The name could not be resolved.
    #[error("cannot resolve the name: {0}")]
    Resolve(io::Error),
    /// The name has no address.
    #[error("the name has no address")]
    NoAddress,
    /// No address could be connected to; the last one's error.
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    /// Nothing came for too long.
    #[error("timed out")]
    TimedOut(Phase),
    /// The connection was lost.
    #[error("{1}")]
    Lost(Phase, String),
    /// What came is no reply.
    #[error("{1}")]
    NotAReply(Phase, ReplyError),
    /// The upstream's own CA cannot be used.
    #[error("{0}")]
    Roots(String),
    /// The name to verify is none.
    #[error("\"{0}\" is no name that a certificate can have")]
    ServerName(String),
    /// The handshake failed, or the certificate is not to be trusted.
    #[error("TLS: {0}")]
    Handshake(io::Error),
    /// Something was said in clear after the reply to STARTTLS.
    #[error("unexpected data after the reply to STARTTLS")]
    Injected,
    /// A reply.
    #[error(transparent)]
    Session(#[from] OpeningFailure),
    /// We were told to stop at once.
    #[error("the gateway stopped")]
    Stopped,
}

impl OpenError {
    /// How far it came.
    pub(crate) fn phase(&self) -> Phase {
        match self {
            Self::Resolve(_) | Self::NoAddress | Self::Connect(_) | Self::Stopped => Phase::Connect,
            Self::TimedOut(phase) | Self::Lost(phase, _) | Self::NotAReply(phase, _) => *phase,
            Self::Roots(_) | Self::ServerName(_) | Self::Handshake(_) | Self::Injected => {
                Phase::Tls
            }
            Self::CredentialMissing(_) => Phase::Auth,
            Self::Session(failure) => phase(failure.stage()),
        }
    }

    pub(crate) fn broken(phase: Phase, broken: Broken) -> Self {
        match broken {
            Broken::Lost(what) => Self::Lost(phase, what),
            Broken::TimedOut(_) => Self::TimedOut(phase),
            Broken::NotAReply(error) => Self::NotAReply(phase, error),
            Broken::Stopped => Self::Stopped,
        }
    }
}

impl Opener {
    /// Opens a session.
    pub(crate) async fn open(
        &self,
        stop: &Shutdown,
    ) -> Result<(Connection<AnySocket>, Ready), OpenError> {
        let start = self.clock.now();
        let socket = self.connect(stop).await?;
        self.observe(Phase::Connect, start);
        let socket: AnySocket = match (&self.tls, self.plan.security) {
            (Some(tls), Security::Implicit) => self.secure(tls, Box::new(socket), stop).await?,
            _ => Box::new(socket),
        };
        let connection = Connection::new(socket, Arc::clone(&self.clock), stop.clone());
        self.negotiate(connection, stop).await
    }

    /// Runs the opening over a connection.
    pub(crate) async fn negotiate(
        &self,
        mut connection: Connection<AnySocket>,
        stop: &Shutdown,
    ) -> Result<(Connection<AnySocket>, Ready), OpenError> {
        let mut opening = Opening::new(self.plan.clone());
        let mut auth_start = None;
        loop {
            let stage = opening.stage();
            let limit = limit(stage);
            let lost = |broken| OpenError::broken(phase(stage), broken);
            let reply = connection.reply(limit).await.map_err(lost)?;
            let mut then = opening.on(reply);
            if let Step::Secure(securing) = then {
                let tls = self.tls.as_ref().ok_or(OpeningFailure::NoStartTls)?;
                let socket = connection.into_unread().ok_or(OpenError::Injected)?;
                let socket = self.secure(tls, socket, stop).await?;
                connection = Connection::new(socket, Arc::clone(&self.clock), stop.clone());
                then = securing.done();
            }
            match then {
                Step::Send(next, octets) => {
                    connection.send(&octets, limit).await.map_err(lost)?;
                    opening = next;
                    if opening.stage() == OpeningStage::Authentication {
                        auth_start.get_or_insert_with(|| self.clock.now());
                    }
                }
                Step::Ready(ready) => {
                    if let Some(start) = auth_start {
                        self.observe(Phase::Auth, start);
                    }
                    return Ok((connection, ready));
                }
                Step::Failed(failure) => return Err(failure.into()),
                // Only the reply to STARTTLS leads there, and it was taken above.
                Step::Secure(_) => return Err(OpenError::Injected),
            }
        }
    }

    /// Tries every address in turn.
    async fn connect(&self, stop: &Shutdown) -> Result<TcpStream, OpenError> {
        let addresses = self
            .bounded(Phase::Connect, CONNECT, stop, async {
                resolve::addresses(&self.host, self.port)
                    .await
                    .map_err(OpenError::Resolve)
            })
            .await?;
        let mut last = OpenError::NoAddress;
        for address in addresses {
            let attempt = self.bounded(Phase::Connect, CONNECT, stop, connect(address));
            match attempt.await {
                Ok(socket) => return Ok(socket),
                Err(OpenError::Stopped) => return Err(OpenError::Stopped),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn secure(
        &self,
        tls: &Tls,
        socket: AnySocket,
        stop: &Shutdown,
    ) -> Result<AnySocket, OpenError> {
        let start = self.clock.now();
        let stream = self
            .bounded(Phase::Tls, TLS, stop, async {
                tls.connect(socket).await.map_err(OpenError::Handshake)
            })
            .await?;
        self.observe(Phase::Tls, start);
        Ok(Box::new(stream))
    }

    async fn bounded<T>(
        &self,
        phase: Phase,
        limit: Duration,
        stop: &Shutdown,
        work: impl Future<Output = Result<T, OpenError>>,
    ) -> Result<T, OpenError> {
        let mut stop = stop.clone();
        tokio::select! {
            biased;
            done = work => done,
            () = stop.reached(Stage::Aborting) => Err(OpenError::Stopped),
            () = self.clock.sleep(limit) => Err(OpenError::TimedOut(phase)),
        }
    }

    fn observe(&self, phase: Phase, start: crate::clock::Monotonic) {
        self.metrics
            .upstream_phase_duration_seconds
            .with_label_values(&[&*self.upstream, phase.as_label()])
            .observe(self.clock.now().since(start).as_secs_f64());
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream, OpenError> {
    let socket = TcpStream::connect(address)
        .await
        .map_err(OpenError::Connect)?;
    // Commands are written whole; waiting for more only costs round trips.
    socket.set_nodelay(true).map_err(OpenError::Connect)?;
    Ok(socket)
}

const fn limit(stage: OpeningStage) -> Duration {
    match stage {
        OpeningStage::Greeting => GREETING,
        OpeningStage::Hello => HELLO,
        OpeningStage::Tls => TLS,
        OpeningStage::Authentication => AUTHENTICATION,
    }
}
