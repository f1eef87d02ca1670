//! Content (RFC 5321 §4.1.1.4): octets are scanned until they end; then the caller says what became of the message.

use super::{Channel, Hello, Login, Ready, Server, Step, Transaction};
use crate::{
    Reply,
    content::{Facts, Scanned, Scanner},
    reply::Severity,
};

/// 354 was said; content comes in.
#[derive(Debug)]
pub struct Content {
    ready: Ready,
    transaction: Transaction,
    scanner: Scanner,
}

impl Content {
    pub(super) fn new(ready: Ready, transaction: Transaction) -> Self {
        let scanner = Scanner::new(ready.session.terms.message_octets);
        Self {
            ready,
            transaction,
            scanner,
        }
    }

    /// Reads a piece and appends what is to be stored.
    pub fn receive(&mut self, input: &[u8], out: &mut Vec<u8>) -> Scanned {
        self.scanner.scan(input, out)
    }

    /// What is known about the content so far.
    pub fn facts(&self) -> &Facts {
        self.scanner.facts()
    }

    /// Whether it is longer than a message may be; then it is only read to its end.
    pub fn is_over_long(&self) -> bool {
        self.scanner.is_over_long()
    }

    /// The envelope it belongs to.
    pub const fn transaction(&self) -> &Transaction {
        &self.transaction
    }

    /// Who the client is.
    pub const fn login(&self) -> &Login {
        &self.ready.login
    }

    /// What the client called itself.
    pub const fn hello(&self) -> &Hello {
        &self.ready.hello
    }

    /// What the session goes over.
    pub const fn channel(&self) -> Channel {
        self.ready.session.channel
    }

    /// Content has ended, and this is what became of the message. A 2yz may only be said of one that is safe.
    pub fn finish(mut self, reply: Reply) -> Step {
        if reply.severity() == Some(Severity::Positive) {
            self.ready.session.proves_itself();
        }
        Server::Ready(self.ready).refuse(reply)
    }
}
