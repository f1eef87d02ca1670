//! The server's side of a session (RFC 5321 §3, §4.1; RFC 3207; RFC 4954; RFC 6409).
//!
//! A line goes in, a [`Step`] comes out: what to say and the state after it, or a question that only the rest of the
//! gateway can answer. A question owns the session until it is answered, so nothing can be asked twice or forgotten.
//! Each state owns exactly what is valid in it: a transaction *has* a reverse-path, content *has* recipients.
//!
//! ```text
//!            EHLO               MAIL ✓          RCPT           DATA ✓
//!  Greeting ─────▶ Ready ─────────────▶ Mail ────────▶ Recipients ─────▶ Content
//!     ▲            │  ▲ ▲                │ RSET, EHLO  │                 │
//!     └─ STARTTLS ─┘  │ └────────────────┴─────────────┴──── end ────────┘
//!                     └─▶ Authentication (AUTH)
//! ```
//!
//! No sockets, clock or time-outs; who may send, and whether there is room, is asked of the caller.

mod authentication;
mod content;
mod greeting;
mod mail;
mod ready;
mod recipients;
pub mod replies;
mod terms;
mod tls;

pub use authentication::{Authentication, Claim};
pub use content::Content;
pub use greeting::Greeting;
pub use mail::{Mail, MailRequest};
pub use ready::Ready;
pub use recipients::{DataRequest, Recipients, Transaction};
pub use terms::{
    BearerLogin, Channel, Hello, HelloKind, Login, LoginPolicy, PlaintextLogin, Session, StartTls,
    Terms,
};
pub use tls::Handshake;

use std::sync::Arc;

use crate::{
    Reply,
    command::{Command, CommandError},
    line::{LineFault, Mode},
};

/// A session that waits for a line.
#[derive(Debug)]
pub enum Server {
    /// The client has not said EHLO, or not yet again after STARTTLS.
    Greeting(Greeting),
    /// Between transactions.
    Ready(Ready),
    /// In a SASL exchange.
    Authentication(Authentication),
    /// A transaction without recipients.
    Mail(Mail),
    /// A transaction with at least one recipient.
    Recipients(Recipients),
}

/// What is to be done after a line.
#[derive(Debug)]
pub enum Step {
    /// Say this and wait for the next line.
    Reply(Server, Reply),
    /// The same, and count it as mail that was refused.
    Refuse(Server, Reply, Rejection),
    /// Say this, make sure that nothing was sent ahead of the handshake, and shake hands.
    StartTls(Handshake, Reply),
    /// Decide about a name and a password, or about a token.
    Authenticate(Claim),
    /// Decide about a transaction by its reverse-path.
    Mail(MailRequest),
    /// Decide whether there is room for content.
    Data(DataRequest),
    /// Say this and close.
    Close(Reply, Ending),
    /// One refusal too many.
    GiveUp(Farewell),
}

/// The last two replies to a client that went on doing wrong. The refusal is an answer of its own: it may be the final
/// word on a message, and the 421 alone would make the client try that again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Farewell {
    /// The answer to what the client asked. Say this …
    pub refusal: Reply,
    /// … count it, if it is mail that was refused …
    pub rejection: Option<Rejection>,
    /// … then say this, a 421, and close.
    pub reply: Reply,
}

/// Why mail is refused by the protocol alone; a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// MAIL before AUTH.
    Authentication,
    /// MAIL or AUTH before STARTTLS.
    TlsRequired,
    /// A path that is no address, or needs SMTPUTF8.
    AddressInvalid,
    /// One recipient more than the limit.
    TooManyRecipients,
    /// More octets announced than the limit.
    TooLarge,
}

/// Why the server closes a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The client said QUIT.
    Quit,
    /// The client speaks another protocol.
    NotSmtp,
}

impl Server {
    /// A new session, and the greeting to say.
    pub fn greet(terms: Arc<Terms>, channel: Channel) -> (Self, Reply) {
        let greeting = replies::greeting(&terms.hostname);
        let session = Session::new(terms, channel);
        (Self::Greeting(Greeting::new(session)), greeting)
    }

    /// How the next line is to be read.
    pub fn mode(&self) -> Mode {
        match self {
            Self::Authentication(_) => Mode::Sasl,
            Self::Greeting(_) | Self::Ready(_) | Self::Mail(_) | Self::Recipients(_) => {
                Mode::Command
            }
        }
    }

    /// Whether a transaction or a SASL exchange is open: a session that stops does so where this is false.
    pub fn is_idle(&self) -> bool {
        matches!(self, Self::Greeting(_) | Self::Ready(_))
    }

    /// Who the client is, as far as that is known.
    pub fn login(&self) -> &Login {
        match self {
            Self::Greeting(_) | Self::Authentication(_) => &Login::Nobody,
            Self::Ready(ready) => &ready.login,
            Self::Mail(mail) => &mail.ready.login,
            Self::Recipients(recipients) => &recipients.ready.login,
        }
    }

    /// Takes a line without its CRLF, or what is wrong with it.
    pub fn on(self, line: Result<&[u8], LineFault>) -> Step {
        match (self, line) {
            (Self::Authentication(state), line) => state.on(line),
            (server, Err(fault)) => server.refuse(replies::line_fault(fault)),
            (server, Ok(line)) => match Command::parse(line) {
                Ok(command) => server.command(command),
                // The body of the request would be read as commands.
                Err(CommandError::Http) => Step::Close(replies::not_http(), Ending::NotSmtp),
                Err(error) => match replies::command_error(error) {
                    (reply, Some(rejection)) => server.reject(reply, rejection),
                    (reply, None) => server.refuse(reply),
                },
            },
        }
    }

    /// What is answered the same in every state, and what each state answers for itself.
    fn command(self, command: Command<'_>) -> Step {
        match (self, command) {
            (_, Command::Quit) => Step::Close(replies::bye(), Ending::Quit),
            (server, Command::Noop) => Step::Reply(server, replies::done()),
            (server, Command::Vrfy) => Step::Reply(server, replies::cannot_verify()),
            (server, Command::Help) => Step::Reply(server, replies::help()),
            (server, Command::Ehlo(name)) => server.hello(name, HelloKind::Ehlo),
            (server, Command::Helo(name)) => server.hello(name, HelloKind::Helo),
            (server, Command::Rset) => Step::Reply(server.reset(), replies::done()),
            (Self::Greeting(state), _) => state.refuse(),
            (Self::Ready(state), command) => state.on(command),
            (Self::Mail(state), command) => state.on(command),
            (Self::Recipients(state), command) => state.on(command),
            (Self::Authentication(state), _) => Self::Authentication(state).out_of_order(),
        }
    }

    /// EHLO at any time begins anew (RFC 5321 §4.1.4); only the login stays.
    fn hello(self, name: &str, kind: HelloKind) -> Step {
        let hello = Hello {
            name: name.into(),
            kind,
        };
        let ready = match self.reset() {
            Self::Greeting(state) => state.greeted(hello),
            Self::Ready(ready) => Ready { hello, ..ready },
            other => return other.out_of_order(),
        };
        let reply = ready.session.hello(kind);
        Step::Reply(Self::Ready(ready), reply)
    }

    /// Ends a transaction.
    fn reset(self) -> Self {
        match self {
            Self::Mail(mail) => Self::Ready(mail.ready),
            Self::Recipients(recipients) => Self::Ready(recipients.ready),
            other => other,
        }
    }

    fn out_of_order(self) -> Step {
        self.refuse(replies::out_of_order())
    }

    /// Says a refusal and counts it.
    fn refuse(mut self, reply: Reply) -> Step {
        if self.session_mut().errs(&reply) {
            return Step::GiveUp(Farewell {
                refusal: reply,
                rejection: None,
                reply: replies::too_many_errors(),
            });
        }
        Step::Reply(self, reply)
    }

    /// The same, where mail is refused.
    fn reject(self, reply: Reply, rejection: Rejection) -> Step {
        match self.refuse(reply) {
            Step::Reply(server, reply) => Step::Refuse(server, reply, rejection),
            Step::GiveUp(farewell) => Step::GiveUp(Farewell {
                rejection: Some(rejection),
                ..farewell
            }),
            other => other,
        }
    }

    fn session_mut(&mut self) -> &mut Session {
        match self {
            Self::Greeting(greeting) => &mut greeting.session,
            Self::Ready(ready) => &mut ready.session,
            Self::Authentication(authentication) => &mut authentication.ready.session,
            Self::Mail(mail) => &mut mail.ready.session,
            Self::Recipients(recipients) => &mut recipients.ready.session,
        }
    }
}

#[cfg(test)]
mod tests;
