//! A session that can be used: what the server offers, and the commands of a transaction written accordingly.
//!
//! Parameters are sent only where their extension is offered. With PIPELINING the whole of MAIL, RCPT and DATA is one
//! write (RFC 2920 §3.1); without it one command waits for the other's reply.

use std::fmt::Write;

use super::transaction::{Commands, Transaction};
use crate::{
    Mailbox, ReversePath,
    extension::{Extensions, Keyword},
};

/// A session that can begin a transaction.
#[derive(Clone, Debug)]
pub struct Ready {
    extensions: Extensions,
}

/// What is offered to the server in one transaction.
#[derive(Clone, Debug)]
pub struct Envelope<'a> {
    /// The reverse-path.
    pub reverse_path: &'a ReversePath,
    /// Octets of content, before dot-stuffing (RFC 1870 §3).
    pub size: u64,
    /// What the content is.
    pub body: Body,
    /// Whether SMTPUTF8 is needed (RFC 6531 §3.4).
    pub utf8: bool,
    /// `ENVID`, encoded as it came (RFC 3461 §4.4).
    pub envid: Option<&'a str>,
    /// `RET`, if the message's own client gave it or it shall be `FULL`.
    pub ret: Option<Return>,
    /// At least one.
    pub recipients: Vec<EnvelopeRecipient<'a>>,
}

/// One RCPT.
#[derive(Clone, Debug)]
pub struct EnvelopeRecipient<'a> {
    /// The forward-path.
    pub forward_path: &'a Mailbox,
    /// `NOTIFY` as it came (RFC 3461 §4.1).
    pub notify: Option<&'a str>,
    /// `ORCPT`, encoded as it came (RFC 3461 §4.2).
    pub orcpt: Option<&'a str>,
}

/// What content is (RFC 6152 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// Octets up to 127 only: nothing is said.
    SevenBit,
    /// Octets above 127: `BODY=8BITMIME`, where it is offered.
    EightBit,
}

/// How much of a message a report of the server's shall hold (RFC 3461 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Return {
    /// All of it.
    Full,
    /// Its header section.
    Headers,
}

impl Ready {
    pub(super) const fn new(extensions: Extensions) -> Self {
        Self { extensions }
    }

    /// What the server offers.
    pub const fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// Begins a transaction: the state that awaits its first reply, and what to write.
    pub fn begin(&self, envelope: &Envelope<'_>) -> (Transaction, Vec<u8>) {
        let mail = self.mail(envelope);
        let rcpts = envelope
            .recipients
            .iter()
            .map(|recipient| self.rcpt(recipient));
        if self.extensions.offers(Keyword::Pipelining) {
            let mut out = mail.into_bytes();
            rcpts.for_each(|rcpt| out.extend_from_slice(rcpt.as_bytes()));
            out.extend_from_slice(b"DATA\r\n");
            let recipients = envelope.recipients.len();
            (Transaction::new(recipients, Commands::Pipelined), out)
        } else {
            let commands = Commands::Stepwise(rcpts.map(String::into_bytes).collect());
            let recipients = envelope.recipients.len();
            (Transaction::new(recipients, commands), mail.into_bytes())
        }
    }

    /// Asks whether the server is still there, changing nothing. The reply to await is any 2yz.
    pub const fn noop(&self) -> &'static [u8] {
        b"NOOP\r\n"
    }

    /// Ends a transaction that was left open (RFC 5321 §4.1.1.5). The reply to await is any 2yz.
    pub const fn reset(&self) -> &'static [u8] {
        b"RSET\r\n"
    }

    /// Says good-bye. The connection may be closed without awaiting the reply.
    pub const fn quit(&self) -> &'static [u8] {
        b"QUIT\r\n"
    }

    fn mail(&self, envelope: &Envelope<'_>) -> String {
        let mut line = format!("MAIL FROM:<{}>", envelope.reverse_path);
        if self.extensions.offers(Keyword::Size) {
            // Writing to a String cannot fail.
            let _ = write!(line, " SIZE={}", envelope.size);
        }
        if envelope.body == Body::EightBit && self.extensions.offers(Keyword::EightBitMime) {
            line.push_str(" BODY=8BITMIME");
        }
        if envelope.utf8 && self.extensions.offers(Keyword::SmtpUtf8) {
            line.push_str(" SMTPUTF8");
        }
        if self.extensions.offers(Keyword::Dsn) {
            match envelope.ret {
                Some(Return::Full) => line.push_str(" RET=FULL"),
                Some(Return::Headers) => line.push_str(" RET=HDRS"),
                None => {}
            }
            push_parameter(&mut line, "ENVID", envelope.envid);
        }
        line.push_str("\r\n");
        line
    }

    fn rcpt(&self, recipient: &EnvelopeRecipient<'_>) -> String {
        let mut line = format!("RCPT TO:<{}>", recipient.forward_path);
        if self.extensions.offers(Keyword::Dsn) {
            push_parameter(&mut line, "NOTIFY", recipient.notify);
            push_parameter(&mut line, "ORCPT", recipient.orcpt);
        }
        line.push_str("\r\n");
        line
    }
}

/// Adds a parameter. A value that could end the command line or begin another parameter is left out: it cannot come
/// from a client (RFC 5321 §4.1.2 `esmtp-value`), only from damage.
fn push_parameter(line: &mut String, name: &str, value: Option<&str>) {
    let Some(value) = value else { return };
    let is_safe = |c: char| !c.is_whitespace() && !c.is_control();
    if !value.is_empty() && value.chars().all(is_safe) {
        let _ = write!(line, " {name}={value}");
    }
}
