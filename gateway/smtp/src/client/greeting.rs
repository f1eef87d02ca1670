//! The greeting, EHLO, and HELO for servers that know nothing better (RFC 5321 §3.1, §3.2, §4.1.1.1).

use super::{Opening, OpeningStage, Plan, Security, Step, authenticate, failed, tls::StartTls};
use crate::{
    extension::Extensions,
    reply::{Reply, Severity},
};

/// The greeting is awaited.
#[derive(Debug)]
pub struct Greeting {
    plan: Plan,
}

impl Greeting {
    pub(super) const fn new(plan: Plan) -> Self {
        Self { plan }
    }

    pub(super) fn on(self, reply: Reply) -> Step {
        match reply.severity() {
            Some(Severity::Positive) => Hello::ehlo(self.plan, Transport::Fresh),
            _ => failed(OpeningStage::Greeting, reply),
        }
    }
}

/// Whether TLS has been started by STARTTLS on this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    /// As it was when the connection was made.
    Fresh,
    /// After STARTTLS and its handshake: what was offered before is forgotten (RFC 3207 §4.2).
    Secured,
}

/// The reply to EHLO or HELO is awaited.
#[derive(Debug)]
pub struct Hello {
    plan: Plan,
    transport: Transport,
    command: Command,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    Ehlo,
    Helo,
}

impl Hello {
    pub(super) fn ehlo(plan: Plan, transport: Transport) -> Step {
        let line = format!("EHLO {}\r\n", plan.hostname).into_bytes();
        let hello = Self {
            plan,
            transport,
            command: Command::Ehlo,
        };
        Step::Send(Opening::Hello(hello), line)
    }

    pub(super) fn on(self, reply: Reply) -> Step {
        match (reply.severity(), self.command) {
            (Some(Severity::Positive), Command::Ehlo) => self.offered(Extensions::of(&reply)),
            (Some(Severity::Positive), Command::Helo) => self.offered(Extensions::default()),
            (Some(Severity::Permanent), Command::Ehlo) if self.may_do_without() => self.helo(),
            _ => failed(OpeningStage::Hello, reply),
        }
    }

    /// Whether a session without any extension would do: then HELO is worth a try (RFC 5321 §3.2).
    fn may_do_without(&self) -> bool {
        self.plan.credentials.is_none()
            && (self.plan.security != Security::StartTls || self.transport == Transport::Secured)
    }

    fn helo(self) -> Step {
        let line = format!("HELO {}\r\n", self.plan.hostname).into_bytes();
        let hello = Self {
            command: Command::Helo,
            ..self
        };
        Step::Send(Opening::Hello(hello), line)
    }

    fn offered(self, extensions: Extensions) -> Step {
        match (self.plan.security, self.transport) {
            (Security::StartTls, Transport::Fresh) => StartTls::begin(self.plan, &extensions),
            (Security::StartTls, Transport::Secured)
            | (Security::Clear | Security::ClearToLoopback | Security::Implicit, _) => {
                authenticate(self.plan, extensions)
            }
        }
    }
}
