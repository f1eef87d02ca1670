//! One client's session: octets from the wire to the protocol's states, and the states' questions to the gateway.
//!
//! Generic over the stream, so that tests play it in memory. The order of what is said is the order of what was asked
//! (RFC 2920): nothing is answered out of turn, and nothing is read while a question is open.

mod content;

use std::{net::IpAddr, ops::Range, sync::Arc, time::Duration};

use posthouse_config::{
    Snapshot,
    document::{Listener, PlaintextAuthentication, Protocol, TlsPolicy},
};
use posthouse_smtp::{
    Reply,
    line::LineFault,
    server::{
        Channel, Claim, DataRequest, Ending, Handshake, Login, LoginPolicy, MailRequest,
        PlaintextLogin, Server, StartTls, Step, Terms,
    },
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tracing::info;

use super::{
    Inbound, Store,
    admission::Admitted,
    authentication::{self, Verdict},
    deadline::within,
    refusal::{self, Cause, Refusal},
    sessions::Place,
    wire::{Line, Wire},
};
use crate::{clock::Monotonic, shutdown::Stage};

/// A client that has neither authenticated nor begun a transaction by then only takes a place.
const UNPROVEN: Duration = Duration::from_mins(1);

/// Between commands (RFC 5321 §4.5.3.2.7).
const IDLE: Duration = Duration::from_mins(5);

/// What a wrong password costs: guessing becomes slow, a mistake stays bearable.
const WRONG_PASSWORD: Duration = Duration::from_secs(1);

/// For the last reply and the close of a session; a client that does not read is not waited for.
const CLOSING: Duration = Duration::from_secs(5);

/// How a session ended: the label `result` of `posthouse_sessions_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Completed,
    TimedOut,
    TooManyErrors,
    OverLimit,
    TlsFailed,
    ClientGone,
    Aborted,
}

impl Ended {
    pub(super) const fn as_label(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::TimedOut => "timed_out",
            Self::TooManyErrors => "too_many_errors",
            Self::OverLimit => "over_limit",
            Self::TlsFailed => "tls_failed",
            Self::ClientGone => "client_gone",
            Self::Aborted => "aborted",
        }
    }
}

/// A client on its visit: everything about a session but its stream.
pub(super) struct Visit<S> {
    pub(super) inbound: Arc<Inbound<S>>,
    /// As it was when the session began; who may send is asked afresh for each transaction.
    pub(super) listener: Arc<Listener>,
    pub(super) address: IpAddr,
    /// Joins the session's log lines.
    pub(super) number: u64,
    pub(super) place: Place,
    pub(super) patience: Patience,
}

/// How long the client is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Patience {
    /// Until then, for AUTH or MAIL.
    Unproven(Monotonic),
    /// From one command to the next.
    Proven,
}

/// A session over a stream.
struct Session<'a, T, S> {
    wire: Wire<T>,
    visit: &'a mut Visit<S>,
}

/// What ends a conversation.
enum Turn {
    Over(Ended),
    StartTls(Handshake),
}

/// What follows a step.
enum Next {
    Listen(Server),
    StartTls(Handshake),
}

/// A line that was heard.
enum Heard {
    Line(Range<usize>),
    Faulty(LineFault),
}

impl<S: Store> Visit<S> {
    /// A client that has just connected.
    pub(super) fn new(
        inbound: &Arc<Inbound<S>>,
        listener: Arc<Listener>,
        address: IpAddr,
        place: Place,
    ) -> Self {
        Self {
            inbound: Arc::clone(inbound),
            listener,
            address: address.to_canonical(),
            number: inbound.number(),
            place,
            patience: Patience::Unproven(inbound.parts.clock.now().plus(UNPROVEN)),
        }
    }

    /// The whole session. `acceptor` is absent where the listener has no certificate.
    pub(super) async fn run<T>(mut self, stream: T, acceptor: Option<TlsAcceptor>) -> Ended
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let terms = Arc::new(self.terms(&self.inbound.snapshot()));
        let (handshake, stream) = if self.listener.protocol == Protocol::Submissions {
            (None, stream)
        } else {
            let (server, greeting) = Server::greet(Arc::clone(&terms), Channel::Plain);
            let mut session = Session::new(stream, &mut self);
            session.wire.say(&greeting);
            match session.converse(server).await {
                Turn::Over(ended) => return ended,
                Turn::StartTls(handshake) => match session.wire.into_stream() {
                    Some(stream) => (Some(handshake), stream),
                    None => return self.injected(),
                },
            }
        };
        let Some(stream) = self.encrypt(stream, acceptor).await else {
            return Ended::TlsFailed;
        };
        let mut session = Session::new(stream, &mut self);
        let server = if let Some(handshake) = handshake {
            handshake.done()
        } else {
            let (server, greeting) = Server::greet(terms, Channel::Encrypted);
            session.wire.say(&greeting);
            server
        };
        match session.converse(server).await {
            Turn::Over(ended) => ended,
            // Not offered under TLS.
            Turn::StartTls(_) => Ended::TlsFailed,
        }
    }

    /// Commands sent ahead of the handshake: an attack, or a client so wrong that it cannot be told from one.
    fn injected(&self) -> Ended {
        info!(
            session = self.number,
            listener = self.listener.name,
            "octets after STARTTLS before the handshake"
        );
        Ended::TlsFailed
    }

    async fn encrypt<T>(
        &self,
        stream: T,
        acceptor: Option<TlsAcceptor>,
    ) -> Option<tokio_rustls::server::TlsStream<T>>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let clock = &*self.inbound.parts.clock;
        match within(clock, self.until(), acceptor?.accept(stream)).await? {
            Ok(stream) => Some(stream),
            Err(error) => {
                info!(
                    session = self.number,
                    listener = self.listener.name,
                    error = %error.to_string().escape_debug(),
                    "tls handshake failed"
                );
                None
            }
        }
    }

    fn terms(&self, snapshot: &Snapshot) -> Terms {
        let document = &snapshot.document;
        let listener = &self.listener;
        let trusted = document.loopback_is_trusted && self.address.is_loopback();
        Terms {
            hostname: document.hostname.clone(),
            login: match listener.protocol {
                Protocol::Submission | Protocol::Submissions => LoginPolicy::Required,
                Protocol::Smtp => LoginPolicy::Optional,
            },
            start_tls: match listener.tls {
                TlsPolicy::Required => StartTls::Required,
                TlsPolicy::Offered => StartTls::Offered,
                TlsPolicy::Disabled => StartTls::Absent,
            },
            plaintext_login: match listener.plaintext_authentication {
                PlaintextAuthentication::Allow => PlaintextLogin::Allow,
                PlaintextAuthentication::Refuse if trusted => PlaintextLogin::Allow,
                PlaintextAuthentication::Refuse => PlaintextLogin::Refuse,
            },
            message_octets: document.limits.message_bytes,
            recipients: usize::try_from(document.limits.recipients_per_message)
                .unwrap_or(usize::MAX),
        }
    }

    /// Until when the client is waited for.
    fn until(&self) -> Monotonic {
        match self.patience {
            Patience::Unproven(until) => until,
            Patience::Proven => self.inbound.parts.clock.now().plus(IDLE),
        }
    }

    /// Counts and logs a refusal.
    fn refused(&self, cause: Cause, reply: &Reply) {
        let (listener, cause) = (self.listener.name.as_str(), cause.as_label());
        let rejected = &self.inbound.parts.metrics.messages_rejected;
        rejected.with_label_values(&[listener, cause]).inc();
        info!(
            session = self.number,
            listener,
            client = %self.address,
            reason = cause,
            reply = reply.code,
            "refused"
        );
    }
}

impl<'a, T: AsyncRead + AsyncWrite + Unpin, S: Store> Session<'a, T, S> {
    fn new(stream: T, visit: &'a mut Visit<S>) -> Self {
        Self {
            wire: Wire::new(stream),
            visit,
        }
    }

    /// Answers lines until the session ends or changes its stream.
    async fn converse(&mut self, mut server: Server) -> Turn {
        loop {
            let step = match self.hear(&server).await {
                Ok(Heard::Line(line)) => server.on(Ok(self.wire.octets(line))),
                Ok(Heard::Faulty(fault)) => server.on(Err(fault)),
                Err(ended) => return self.close(ended).await,
            };
            match self.act(step).await {
                Ok(Next::Listen(next)) => server = next,
                Ok(Next::StartTls(handshake)) => match self.send().await {
                    Ok(()) => return Turn::StartTls(handshake),
                    Err(ended) => return self.close(ended).await,
                },
                Err(ended) => return self.close(ended).await,
            }
        }
    }

    /// The next line, once it is complete.
    async fn hear(&mut self, server: &Server) -> Result<Heard, Ended> {
        if self.wire.has_much_to_say() {
            self.send().await?;
        }
        loop {
            if server.is_idle() && self.stage() >= Stage::Stopping {
                return self.stop();
            }
            match self.wire.line(server.mode()) {
                Line::Whole(line) => return Ok(Heard::Line(line)),
                Line::Faulty(fault) => return Ok(Heard::Faulty(fault)),
                Line::Endless => {
                    self.wire.say(&refusal::endless_line());
                    return Err(Ended::TooManyErrors);
                }
                Line::Incomplete if server.is_idle() => self.read_or_stop().await?,
                Line::Incomplete => self.read(self.visit.until()).await?,
            }
        }
    }

    /// Reads, unless the gateway stops first.
    async fn read_or_stop(&mut self) -> Result<(), Ended> {
        let mut shutdown = self.visit.inbound.parts.shutdown.clone();
        let until = self.visit.until();
        tokio::select! {
            biased;
            read = self.read(until) => return read,
            () = shutdown.reached(Stage::Stopping) => {}
        }
        self.stop()
    }

    fn stop<R>(&mut self) -> Result<R, Ended> {
        self.wire.say(&refusal::stopping());
        Err(Ended::Completed)
    }

    /// Sends what there is to say, then reads what there is; a client that takes too long is told so.
    async fn read(&mut self, until: Monotonic) -> Result<(), Ended> {
        match self.read_until(until).await? {
            Some(_) => Ok(()),
            None => self.time_out(),
        }
    }

    fn time_out<R>(&mut self) -> Result<R, Ended> {
        self.wire.say(&refusal::timed_out());
        Err(Ended::TimedOut)
    }

    /// The same, with the octets that came; nothing if the time is up.
    async fn read_until(&mut self, until: Monotonic) -> Result<Option<usize>, Ended> {
        let wire = &mut self.wire;
        let exchange = async {
            wire.flush().await?;
            wire.fill().await
        };
        match within(&*self.visit.inbound.parts.clock, until, exchange).await {
            Some(Ok(0) | Err(_)) => Err(Ended::ClientGone),
            Some(Ok(octets)) => Ok(Some(octets)),
            None => Ok(None),
        }
    }

    async fn send(&mut self) -> Result<(), Ended> {
        let clock = &*self.visit.inbound.parts.clock;
        match within(clock, self.visit.until(), self.wire.flush()).await {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) => Err(Ended::ClientGone),
            None => Err(Ended::TimedOut),
        }
    }

    async fn close(&mut self, ended: Ended) -> Turn {
        let clock = &*self.visit.inbound.parts.clock;
        let until = clock.now().plus(CLOSING);
        let _ = within(clock, until, self.wire.close()).await;
        Turn::Over(ended)
    }

    /// Does what a step asks for, until the next line is due.
    async fn act(&mut self, mut step: Step) -> Result<Next, Ended> {
        loop {
            step = match step {
                Step::Reply(server, reply) => {
                    self.wire.say(&reply);
                    return Ok(Next::Listen(server));
                }
                Step::Refuse(server, reply, rejection) => {
                    self.visit.refused(rejection.into(), &reply);
                    self.wire.say(&reply);
                    return Ok(Next::Listen(server));
                }
                Step::StartTls(handshake, reply) => {
                    self.wire.say(&reply);
                    return Ok(Next::StartTls(handshake));
                }
                Step::Authenticate(claim) => self.authenticate(claim).await?,
                Step::Mail(request) => self.admit(request)?,
                Step::Data(request) => self.take_content(request).await?,
                Step::Close(reply, ending) => {
                    self.wire.say(&reply);
                    return Err(match ending {
                        Ending::Quit => Ended::Completed,
                        Ending::TooManyErrors => Ended::TooManyErrors,
                    });
                }
            }
        }
    }

    async fn authenticate(&mut self, claim: Claim) -> Result<Step, Ended> {
        let snapshot = self.visit.inbound.snapshot();
        match authentication::judge(&snapshot, claim.credentials()) {
            Verdict::Right => {
                let username: Arc<str> = claim.credentials().username.as_str().into();
                let login = Login::As(Arc::clone(&username));
                match self.identify(&snapshot, &login)? {
                    Ok(_) => {
                        self.visit.patience = Patience::Proven;
                        Ok(claim.accept(username))
                    }
                    Err(refusal) => Ok(claim.defer(refusal.reply)),
                }
            }
            Verdict::Wrong => {
                let refusal = refusal::wrong_password();
                self.visit.refused(refusal.cause, &refusal.reply);
                self.visit.inbound.parts.clock.sleep(WRONG_PASSWORD).await;
                Ok(claim.refuse(refusal.reply))
            }
            Verdict::KeyMissing => {
                let refusal = refusal::key_missing();
                self.visit.refused(refusal.cause, &refusal.reply);
                Ok(claim.defer(refusal.reply))
            }
        }
    }

    /// Finds out who the client is, and gives it its place among that sender's sessions.
    fn identify(
        &mut self,
        snapshot: &Arc<Snapshot>,
        login: &Login,
    ) -> Result<Result<Admitted, Refusal>, Ended> {
        let visit = &mut *self.visit;
        let admitted = Admitted::identify(snapshot, &visit.listener, login, visit.address);
        let Ok(client) = &admitted else {
            return Ok(admitted);
        };
        let limit = usize::try_from(snapshot.document.limits.sessions).unwrap_or(usize::MAX);
        if visit.place.belongs_to(&client.identity(), limit) {
            return Ok(admitted);
        }
        self.wire.say(&refusal::too_many_sessions());
        Err(Ended::OverLimit)
    }

    fn admit(&mut self, request: MailRequest) -> Result<Step, Ended> {
        let snapshot = self.visit.inbound.snapshot();
        if self.visit.inbound.is_draining(&snapshot) {
            return self.drain();
        }
        let identified = self.identify(&snapshot, request.login())?;
        let admitted = identified.and_then(|client| {
            client.may_use(request.reverse_path())?;
            self.backlog(&client)
        });
        match admitted {
            Ok(()) => {
                self.visit.patience = Patience::Proven;
                Ok(request.accept())
            }
            Err(refusal) => {
                self.visit.refused(refusal.cause, &refusal.reply);
                Ok(request.refuse(refusal.reply))
            }
        }
    }

    /// Mail over a sender's rate waits in the queue; only when too much waits is more refused.
    fn backlog(&self, client: &Admitted) -> Result<(), Refusal> {
        let Some(limit) = client.queued_limit() else {
            return Ok(());
        };
        let waiting = self.visit.inbound.parts.intake.backlog(&client.identity());
        if waiting < u64::from(limit) {
            Ok(())
        } else {
            Err(refusal::backlog())
        }
    }

    fn drain<R>(&mut self) -> Result<R, Ended> {
        let refusal = refusal::draining();
        self.visit.refused(refusal.cause, &refusal.reply);
        self.wire.say(&refusal.reply);
        Err(Ended::Completed)
    }

    fn stage(&self) -> Stage {
        self.visit.inbound.parts.shutdown.stage()
    }

    /// Asks for room, then takes content and answers for it.
    async fn take_content(&mut self, request: DataRequest) -> Result<Step, Ended> {
        let snapshot = self.visit.inbound.snapshot();
        let admitted = self
            .identify(&snapshot, request.login())?
            .and_then(|client| {
                if self.visit.inbound.parts.store.has_room() {
                    Ok(client)
                } else {
                    Err(refusal::not_stored(super::StoreError::Full))
                }
            });
        match admitted {
            Ok(client) => {
                let (content, reply) = request.accept();
                self.wire.say(&reply);
                self.receive(&snapshot, client, content).await
            }
            Err(refusal) => {
                self.visit.refused(refusal.cause, &refusal.reply);
                Ok(request.refuse(refusal.reply))
            }
        }
    }
}
