//! A client's visit: everything about a session but its stream, which changes with STARTTLS.

use std::{net::IpAddr, sync::Arc, time::Duration};

use posthouse_config::{
    Snapshot,
    document::{Listener, PlaintextAuthentication, Protocol, TlsPolicy},
};
use posthouse_smtp::{
    Reply,
    server::{BearerLogin, Channel, LoginPolicy, PlaintextLogin, Server, StartTls, Terms},
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tracing::info;

use super::{Ended, Session, Turn};
use crate::{
    clock::Monotonic,
    inbound::{
        Inbound, Store, authentication::Proof, deadline::within, refusal::Cause, sessions::Place,
    },
};

/// A client that has neither authenticated nor begun a transaction by then only takes a place.
const UNPROVEN: Duration = Duration::from_mins(1);

/// Between commands (RFC 5321 §4.5.3.2.7).
const IDLE: Duration = Duration::from_mins(5);

/// A client on its visit: everything about a session but its stream.
pub(in crate::inbound) struct Visit<S> {
    pub(super) inbound: Arc<Inbound<S>>,
    /// As it was when the session began; who may send is asked afresh for each transaction.
    pub(super) listener: Arc<Listener>,
    pub(super) address: IpAddr,
    /// Joins the session's log lines.
    pub(super) number: u64,
    pub(super) place: Place,
    pub(super) patience: Patience,
    /// What the client has proved when it logged in.
    pub(super) proof: Option<Proof>,
    /// When that ends by itself.
    pub(super) login_ends: Option<Monotonic>,
}

/// How long the client is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Patience {
    /// Until then, for AUTH or MAIL.
    Unproven(Monotonic),
    /// From one command to the next.
    Proven,
}

impl<S: Store> Visit<S> {
    /// A client that has just connected.
    pub(in crate::inbound) fn new(
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
            proof: None,
            login_ends: None,
        }
    }

    /// The whole session. `acceptor` is absent where the listener has no certificate.
    pub(in crate::inbound) async fn run<T>(
        mut self,
        stream: T,
        acceptor: Option<TlsAcceptor>,
    ) -> Ended
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
            bearer_login: match &document.tokens {
                Some(tokens) if !tokens.issuers.is_empty() && trusted => BearerLogin::Anywhere,
                Some(tokens) if !tokens.issuers.is_empty() => BearerLogin::UnderTls,
                Some(_) | None => BearerLogin::Absent,
            },
            message_octets: document.limits.message_bytes,
            recipients: usize::try_from(document.limits.recipients_per_message)
                .unwrap_or(usize::MAX),
        }
    }

    /// Whether what the client has proved has ended by itself.
    pub(super) fn is_login_over(&self) -> bool {
        let now = self.inbound.parts.clock.now();
        self.login_ends.is_some_and(|ends| ends <= now)
    }

    /// Until when the client is waited for.
    pub(super) fn until(&self) -> Monotonic {
        match self.patience {
            Patience::Unproven(until) => until,
            Patience::Proven => self.inbound.parts.clock.now().plus(IDLE),
        }
    }

    /// Counts and logs a refusal.
    pub(super) fn refused(&self, cause: Cause, reply: &Reply) {
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
