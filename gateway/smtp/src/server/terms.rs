//! What holds for a whole session: the listener's terms, the channel, and how often the client was wrong.

use std::sync::Arc;

use super::replies;
use crate::Reply;

/// Refusals in a session before it is closed. An accepted message sets the count back: a client that sends mail all day
/// over one connection may meet a bad recipient now and then.
const MAXIMUM_ERRORS: u8 = 20;

/// Wrong passwords in a session before it is closed.
const MAXIMUM_REFUSED_LOGINS: u8 = 3;

/// On what terms a listener takes mail.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Our name, in the greeting and the answer to EHLO.
    pub hostname: String,
    /// Whether MAIL needs AUTH.
    pub login: LoginPolicy,
    /// Whether there is STARTTLS.
    pub start_tls: StartTls,
    /// Whether AUTH is taken without TLS.
    pub plaintext_login: PlaintextLogin,
    /// Whether tokens are taken.
    pub bearer_login: BearerLogin,
    /// Octets of one message, for SIZE and the scanner.
    pub message_octets: u64,
    /// Recipients of one message.
    pub recipients: usize,
}

/// Whether MAIL needs AUTH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginPolicy {
    /// As submission asks (RFC 6409 §4.3).
    Required,
    /// The caller decides about clients that do not authenticate.
    Optional,
}

/// Whether there is STARTTLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartTls {
    /// Without TLS there is no MAIL and no AUTH.
    Required,
    /// A client may do without.
    Offered,
    /// There is no certificate.
    Absent,
}

/// Whether AUTH is taken without TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaintextLogin {
    /// Only under TLS.
    Refuse,
    /// Also without.
    Allow,
}

/// Whether tokens are taken. One that is overheard is as good as one's own until it expires, so a listener that takes
/// passwords without TLS does not take tokens for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BearerLogin {
    /// Never: no issuer is believed.
    Absent,
    /// Under TLS (RFC 7628 §4).
    UnderTls,
    /// Also without: nobody can overhear this client.
    Anywhere,
}

/// What the session goes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Plain TCP.
    Plain,
    /// TLS.
    Encrypted,
}

/// What a client called itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The argument, as it came: any printable text.
    pub name: String,
    /// With which command.
    pub kind: HelloKind,
}

/// EHLO or HELO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HelloKind {
    /// ESMTP.
    Ehlo,
    /// SMTP without extensions.
    Helo,
}

/// Who a client is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// It has not authenticated.
    Nobody,
    /// It has, under this name.
    As(Arc<str>),
}

/// What a session carries from state to state.
#[derive(Debug)]
pub struct Session {
    /// The listener's terms.
    pub terms: Arc<Terms>,
    /// What it goes over.
    pub channel: Channel,
    errors: u8,
    refused_logins: u8,
}

impl Session {
    pub(super) const fn new(terms: Arc<Terms>, channel: Channel) -> Self {
        Self {
            terms,
            channel,
            errors: 0,
            refused_logins: 0,
        }
    }

    /// The same client after the handshake; what it did wrong before still counts.
    pub(super) fn encrypted(self) -> Self {
        Self {
            channel: Channel::Encrypted,
            ..self
        }
    }

    /// Whether STARTTLS is on offer now.
    pub(super) fn offers_tls(&self) -> bool {
        self.channel == Channel::Plain && self.terms.start_tls != StartTls::Absent
    }

    /// Whether nothing but STARTTLS is of use now.
    pub(super) fn needs_tls(&self) -> bool {
        self.channel == Channel::Plain && self.terms.start_tls == StartTls::Required
    }

    /// Whether AUTH is on offer now.
    pub(super) fn offers_login(&self) -> bool {
        match self.channel {
            Channel::Encrypted => true,
            Channel::Plain => {
                !self.needs_tls() && self.terms.plaintext_login == PlaintextLogin::Allow
            }
        }
    }

    /// Whether a token is taken now, where AUTH is on offer.
    pub(super) fn takes_bearer(&self) -> bool {
        self.terms.bearer_login != BearerLogin::Absent && !self.is_in_clear()
    }

    /// Whether what the client sends may be overheard.
    pub(super) fn is_in_clear(&self) -> bool {
        self.channel == Channel::Plain && self.terms.bearer_login != BearerLogin::Anywhere
    }

    /// The answer to EHLO or HELO.
    pub(super) fn hello(&self, kind: HelloKind) -> Reply {
        let mut lines = vec![self.terms.hostname.clone()];
        if kind == HelloKind::Ehlo {
            lines.push("PIPELINING".into());
            lines.push(format!("SIZE {}", self.terms.message_octets));
            lines.push("8BITMIME".into());
            lines.push("SMTPUTF8".into());
            lines.push("ENHANCEDSTATUSCODES".into());
            if self.offers_tls() {
                lines.push("STARTTLS".into());
            }
            if self.offers_login() {
                let bearer = " OAUTHBEARER XOAUTH2".repeat(usize::from(self.takes_bearer()));
                lines.push(format!("AUTH PLAIN LOGIN{bearer}"));
            }
        }
        replies::hello(lines)
    }

    /// Counts a permanent refusal, and says whether it is one too many. "Later" is our doing, not the client's.
    pub(super) fn errs(&mut self, reply: &Reply) -> bool {
        if reply.code >= 500 {
            self.errors = self.errors.saturating_add(1);
        }
        self.errors >= MAXIMUM_ERRORS
    }

    /// Counts a refused login, and says whether it is one too many.
    pub(super) fn errs_at_login(&mut self) -> bool {
        self.refused_logins = self.refused_logins.saturating_add(1);
        self.refused_logins >= MAXIMUM_REFUSED_LOGINS
    }

    /// A message was accepted.
    pub(super) fn proves_itself(&mut self) {
        self.errors = 0;
    }
}
