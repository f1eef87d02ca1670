//! MAIL (RFC 5321 §4.1.1.2): the question whether a transaction may begin, and a transaction without recipients.

use super::{Login, Ready, Recipients, Server, Step, replies};
use crate::{
    Mailbox, Reply, ReversePath,
    command::Command,
    parameter::{MailParameters, Utf8},
};

/// A client wants to begin a transaction. Answered with [`MailRequest::accept`] or [`MailRequest::refuse`].
#[derive(Debug)]
pub struct MailRequest {
    ready: Ready,
    reverse_path: ReversePath,
    parameters: MailParameters,
}

/// A transaction without recipients.
#[derive(Debug)]
pub struct Mail {
    pub(super) ready: Ready,
    pub(super) reverse_path: ReversePath,
    pub(super) parameters: MailParameters,
}

impl MailRequest {
    pub(super) const fn new(
        ready: Ready,
        reverse_path: ReversePath,
        parameters: MailParameters,
    ) -> Self {
        Self {
            ready,
            reverse_path,
            parameters,
        }
    }

    /// Where the client wants failures reported.
    pub const fn reverse_path(&self) -> &ReversePath {
        &self.reverse_path
    }

    /// What it says about the message.
    pub const fn parameters(&self) -> &MailParameters {
        &self.parameters
    }

    /// Who it is.
    pub const fn login(&self) -> &Login {
        &self.ready.login
    }

    /// It may.
    pub fn accept(self) -> Step {
        let mail = Mail {
            ready: self.ready,
            reverse_path: self.reverse_path,
            parameters: self.parameters,
        };
        Step::Reply(Server::Mail(mail), replies::sender_ok())
    }

    /// It may not.
    pub fn refuse(self, reply: Reply) -> Step {
        Server::Ready(self.ready).refuse(reply)
    }
}

impl Mail {
    pub(super) fn on(self, command: Command<'_>) -> Step {
        match command {
            Command::Rcpt(mailbox) => Recipients::first(self, mailbox),
            // RFC 5321 §3.3: DATA after nothing but refused recipients.
            Command::Data => Server::Mail(self).refuse(replies::no_recipients()),
            _ => Server::Mail(self).out_of_order(),
        }
    }
}

/// Whether an address may be used with the parameters of its MAIL (RFC 6531 §3.5).
pub(super) fn is_sendable(mailbox: &Mailbox, parameters: &MailParameters) -> bool {
    mailbox.is_ascii() || parameters.utf8 == Utf8::Given
}
