//! AUTH (RFC 4954): the exchange, and the question whether name and password belong together.

use std::sync::Arc;

use super::{Farewell, Login, Ready, Server, Step, replies};
use crate::{
    Reply,
    line::LineFault,
    sasl::{Credentials, SaslError, login, plain},
};

/// A SASL exchange that waits for the client's next response.
#[derive(Debug)]
pub struct Authentication {
    pub(super) ready: Ready,
    exchange: Exchange,
}

/// What was asked for last.
#[derive(Debug)]
enum Exchange {
    Plain,
    LoginUsername,
    LoginPassword { username: String },
}

/// What a response came to.
enum Progress {
    Ask(Exchange, Reply),
    Complete(Credentials),
}

/// Name and password, and the question whether they belong together. Answered with [`Claim::accept`],
/// [`Claim::refuse`] or [`Claim::defer`].
#[derive(Debug)]
pub struct Claim {
    ready: Ready,
    credentials: Credentials,
}

impl Authentication {
    /// AUTH came, with or without an initial response.
    pub(super) fn begin(ready: Ready, mechanism: &str, initial: Option<&str>) -> Step {
        let (exchange, reply) = if mechanism.eq_ignore_ascii_case("PLAIN") {
            (Exchange::Plain, replies::prompt(""))
        } else if mechanism.eq_ignore_ascii_case("LOGIN") {
            let reply = replies::prompt(login::USERNAME_PROMPT);
            (Exchange::LoginUsername, reply)
        } else {
            return Server::Ready(ready).refuse(replies::unknown_mechanism());
        };
        let state = Self { ready, exchange };
        match initial {
            None => Step::Reply(Server::Authentication(state), reply),
            // RFC 4954 §4: a lone "=" is an empty initial response.
            Some("=") => state.on(Ok(b"")),
            Some(response) => state.on(Ok(response.as_bytes())),
        }
    }

    pub(super) fn on(self, line: Result<&[u8], LineFault>) -> Step {
        let Self { ready, exchange } = self;
        let line = match line {
            Ok(line) => line,
            Err(fault) => return Server::Ready(ready).refuse(replies::sasl_fault(fault)),
        };
        match exchange.on(line) {
            Ok(Progress::Complete(credentials)) => Step::Authenticate(Claim { ready, credentials }),
            Ok(Progress::Ask(exchange, reply)) => {
                Step::Reply(Server::Authentication(Self { ready, exchange }), reply)
            }
            Err(error) => Server::Ready(ready).refuse(replies::sasl_error(error)),
        }
    }
}

impl Exchange {
    fn on(self, line: &[u8]) -> Result<Progress, SaslError> {
        match self {
            Self::Plain => plain::response(line).map(Progress::Complete),
            Self::LoginUsername => {
                let username = login::username(line)?;
                let reply = replies::prompt(login::PASSWORD_PROMPT);
                Ok(Progress::Ask(Self::LoginPassword { username }, reply))
            }
            Self::LoginPassword { username } => {
                login::password(username, line).map(Progress::Complete)
            }
        }
    }
}

impl Claim {
    /// What the client says.
    pub const fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// They belong together: the client is `username` from now on.
    pub fn accept(self, username: Arc<str>) -> Step {
        let ready = Ready {
            login: Login::As(username),
            ..self.ready
        };
        Step::Reply(Server::Ready(ready), replies::authenticated())
    }

    /// They do not. Too many of these end the session.
    pub fn refuse(mut self, reply: Reply) -> Step {
        if self.ready.session.errs_at_login() {
            return Step::GiveUp(Farewell {
                refusal: reply,
                rejection: None,
                reply: replies::too_many_logins(),
            });
        }
        Server::Ready(self.ready).refuse(reply)
    }

    /// It cannot be told now.
    pub fn defer(self, reply: Reply) -> Step {
        Server::Ready(self.ready).refuse(reply)
    }
}
