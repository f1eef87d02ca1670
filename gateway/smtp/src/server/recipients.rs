//! RCPT and DATA (RFC 5321 §4.1.1.3, §4.1.1.4): a transaction with recipients.

use super::{Content, Login, Mail, Ready, Rejection, Server, Step, mail::is_sendable, replies};
use crate::{Mailbox, Reply, ReversePath, command::Command, parameter::MailParameters};

/// A transaction's envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Where failures are reported.
    pub reverse_path: ReversePath,
    /// What the client said about the message.
    pub parameters: MailParameters,
    /// At least one, in the order they came.
    pub recipients: Vec<Mailbox>,
}

/// A transaction with at least one recipient.
#[derive(Debug)]
pub struct Recipients {
    pub(super) ready: Ready,
    transaction: Transaction,
}

/// A client wants to send content. Answered with [`DataRequest::accept`] or [`DataRequest::refuse`].
#[derive(Debug)]
pub struct DataRequest {
    ready: Ready,
    transaction: Transaction,
}

impl Recipients {
    /// The first RCPT of a transaction.
    pub(super) fn first(mail: Mail, mailbox: Mailbox) -> Step {
        if !is_sendable(&mailbox, &mail.parameters) {
            return Server::Mail(mail).reject(replies::needs_utf8(), Rejection::AddressInvalid);
        }
        let state = Self {
            ready: mail.ready,
            transaction: Transaction {
                reverse_path: mail.reverse_path,
                parameters: mail.parameters,
                recipients: vec![mailbox],
            },
        };
        Step::Reply(Server::Recipients(state), replies::recipient_ok())
    }

    pub(super) fn on(self, command: Command<'_>) -> Step {
        match command {
            Command::Rcpt(mailbox) => self.add(mailbox),
            Command::Data => Step::Data(DataRequest {
                ready: self.ready,
                transaction: self.transaction,
            }),
            _ => Server::Recipients(self).out_of_order(),
        }
    }

    fn add(mut self, mailbox: Mailbox) -> Step {
        if !is_sendable(&mailbox, &self.transaction.parameters) {
            return Server::Recipients(self)
                .reject(replies::needs_utf8(), Rejection::AddressInvalid);
        }
        if self.transaction.recipients.len() >= self.ready.session.terms.recipients {
            return Server::Recipients(self)
                .reject(replies::too_many_recipients(), Rejection::TooManyRecipients);
        }
        self.transaction.recipients.push(mailbox);
        Step::Reply(Server::Recipients(self), replies::recipient_ok())
    }
}

impl DataRequest {
    /// The envelope.
    pub const fn transaction(&self) -> &Transaction {
        &self.transaction
    }

    /// Who the client is.
    pub const fn login(&self) -> &Login {
        &self.ready.login
    }

    /// There is room: content comes next. Returns what to say.
    pub fn accept(self) -> (Content, Reply) {
        let content = Content::new(self.ready, self.transaction);
        (content, replies::send_content())
    }

    /// There is none; the transaction is over.
    pub fn refuse(self, reply: Reply) -> Step {
        Server::Ready(self.ready).refuse(reply)
    }
}
