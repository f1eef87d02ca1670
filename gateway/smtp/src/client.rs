//! The client side of a session: what to send, and what each reply means for it.
//!
//! An [`Opening`] leads from the greeting to a [`Ready`] session; that begins one [`Transaction`] after the other. Each
//! state owns what is valid in it. Replies go in, octets to send and events come out; sockets, TLS and time-outs are
//! the driver's, and what an outcome means for mail is decided elsewhere.
//!
//! ```text
//! greeting ──▶ EHLO ──▶ STARTTLS ──▶ (handshake) ──▶ EHLO ──▶ AUTH ──▶ ready ⇄ transaction
//!                └──────────── TLS from the first octet, or none ──┘
//! ```
//!
//! The driver must check that nothing is left unread when it is told to [`Step::Secure`]: a reply that came before the
//! handshake would otherwise count as one that came under TLS.

mod authentication;
mod greeting;
mod ready;
mod tls;
mod transaction;

pub use authentication::{Authentication, Credentials};
pub use greeting::{Greeting, Hello};
pub use ready::{Body, Envelope, EnvelopeRecipient, Ready, Return};
pub use tls::{Securing, StartTls};
pub use transaction::{Answer, Confirming, End, Ending, Event, Sending, Stage, Then, Transaction};

use crate::{extension::Extensions, reply::Reply};

/// How a session is opened.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Our name, the argument of EHLO.
    pub hostname: String,
    /// Whether and when TLS starts.
    pub security: Security,
    /// What we authenticate with; absent is not at all.
    pub credentials: Option<Credentials>,
}

/// Whether and when TLS starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// Never. Credentials are not sent.
    Clear,
    /// Never, to this machine itself: credentials may be sent.
    ClearToLoopback,
    /// After STARTTLS, which must succeed (RFC 3207).
    StartTls,
    /// Before the first octet (RFC 8314 §3.3): the driver has made the handshake.
    Implicit,
}

/// Where an opening stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpeningStage {
    /// The greeting is awaited.
    Greeting,
    /// The reply to EHLO or HELO is awaited.
    Hello,
    /// The reply to STARTTLS is awaited, or the handshake is under way.
    Tls,
    /// A reply of the AUTH exchange is awaited.
    Authentication,
}

/// A session that is being opened; one reply is awaited.
#[derive(Debug)]
pub enum Opening {
    /// For the greeting.
    Greeting(Greeting),
    /// To EHLO or HELO.
    Hello(Hello),
    /// To STARTTLS.
    StartTls(StartTls),
    /// Of the AUTH exchange.
    Authentication(Authentication),
}

/// What comes next.
#[derive(Debug)]
pub enum Step {
    /// Write these octets and pass on the next reply.
    Send(Opening, Vec<u8>),
    /// Check that nothing is left unread, and make the handshake.
    Secure(Securing),
    /// The session can be used.
    Ready(Ready),
    /// The session cannot be used: close the connection.
    Failed(OpeningFailure),
}

/// Why a session could not be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpeningFailure {
    /// A 4yz or 5yz.
    #[error("{reply}")]
    Refused {
        /// To what.
        stage: OpeningStage,
        /// The reply.
        reply: Reply,
    },
    /// A reply that no server may give there.
    #[error("unexpected reply: {reply}")]
    Unexpected {
        /// To what.
        stage: OpeningStage,
        /// The reply.
        reply: Reply,
    },
    /// STARTTLS is asked for and not offered.
    #[error("STARTTLS is not offered")]
    NoStartTls,
    /// We are to authenticate and no mechanism that we speak is offered.
    #[error("no usable AUTH mechanism is offered ({})", if .offered.is_empty() { "none".to_owned() } else { .offered.join(" ") })]
    NoMechanism {
        /// What is offered instead.
        offered: Vec<String>,
    },
    /// We are to authenticate without TLS.
    #[error("credentials are not sent without TLS")]
    CredentialsInClear,
}

impl OpeningFailure {
    /// Where the opening stood.
    pub const fn stage(&self) -> OpeningStage {
        match self {
            Self::Refused { stage, .. } | Self::Unexpected { stage, .. } => *stage,
            Self::NoStartTls => OpeningStage::Tls,
            Self::NoMechanism { .. } | Self::CredentialsInClear => OpeningStage::Authentication,
        }
    }
}

impl Opening {
    /// A session whose greeting is awaited.
    pub fn new(plan: Plan) -> Self {
        Self::Greeting(Greeting::new(plan))
    }

    /// Where it stands.
    pub const fn stage(&self) -> OpeningStage {
        match self {
            Self::Greeting(_) => OpeningStage::Greeting,
            Self::Hello(_) => OpeningStage::Hello,
            Self::StartTls(_) => OpeningStage::Tls,
            Self::Authentication(_) => OpeningStage::Authentication,
        }
    }

    /// Goes on with a reply.
    pub fn on(self, reply: Reply) -> Step {
        match self {
            Self::Greeting(greeting) => greeting.on(reply),
            Self::Hello(hello) => hello.on(reply),
            Self::StartTls(start) => start.on(reply),
            Self::Authentication(authentication) => authentication.on(reply),
        }
    }
}

/// The step after a reply that is neither success nor what the state goes on with.
fn failed(stage: OpeningStage, reply: Reply) -> Step {
    use crate::reply::Severity;
    Step::Failed(match reply.severity() {
        Some(Severity::Transient | Severity::Permanent) => OpeningFailure::Refused { stage, reply },
        Some(Severity::Positive | Severity::Intermediate) | None => {
            OpeningFailure::Unexpected { stage, reply }
        }
    })
}

/// The step after the last EHLO.
fn authenticate(plan: Plan, extensions: Extensions) -> Step {
    match plan.credentials {
        None => Step::Ready(Ready::new(extensions)),
        Some(_) if plan.security == Security::Clear => {
            Step::Failed(OpeningFailure::CredentialsInClear)
        }
        Some(credentials) => Authentication::begin(&credentials, extensions),
    }
}

#[cfg(test)]
mod tests;
