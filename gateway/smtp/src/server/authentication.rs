//! AUTH (RFC 4954): the exchange, and the question whether what the client presents is right.
//!
//! Where the mechanism has it so (OAUTHBEARER, XOAUTH2), a refusal has two steps: an error as a challenge, and the reply
//! after the client's next line, whatever that is.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_STANDARD};

use super::{Farewell, Login, Ready, Server, Step, replies};
use crate::{
    Reply,
    line::LineFault,
    sasl::{Credentials, Presented, SaslError, login, oauth_bearer, plain, xoauth2},
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
    LoginPassword {
        username: String,
    },
    OauthBearer,
    Xoauth2,
    /// Nothing: the client has been told that it failed, and has to take note of it.
    Failed(Failure),
}

/// What a response came to.
enum Progress {
    Ask(Exchange, Reply),
    Complete(Presented, Errors),
    Fail(Failure),
}

/// What is said to a client that is not let in.
#[derive(Debug)]
enum Failure {
    /// What it presents is wrong.
    Refused(Reply),
    /// It cannot be told now.
    Deferred(Reply),
}

/// How a mechanism tells of a failure before the reply.
#[derive(Clone, Copy, Debug)]
enum Errors {
    /// Not at all.
    Reply,
    /// By a challenge that the client answers.
    Challenge {
        invalid: &'static str,
        unavailable: &'static str,
    },
}

/// What a client presents, and the question whether it is right. Answered with [`Claim::accept`], [`Claim::refuse`] or
/// [`Claim::defer`].
#[derive(Debug)]
pub struct Claim {
    ready: Ready,
    presented: Presented,
    errors: Errors,
}

impl Authentication {
    /// AUTH came, with or without an initial response.
    pub(super) fn begin(ready: Ready, mechanism: &str, initial: Option<&str>) -> Step {
        let is = |name: &str| mechanism.eq_ignore_ascii_case(name);
        let takes_bearer = ready.session.takes_bearer();
        let (exchange, prompt) = if is("PLAIN") {
            (Exchange::Plain, "")
        } else if is("LOGIN") {
            (Exchange::LoginUsername, login::USERNAME_PROMPT)
        } else if is("OAUTHBEARER") && takes_bearer {
            (Exchange::OauthBearer, "")
        } else if is("XOAUTH2") && takes_bearer {
            (Exchange::Xoauth2, "")
        } else {
            return Server::Ready(ready).refuse(replies::unknown_mechanism());
        };
        let state = Self { ready, exchange };
        match initial {
            None => Step::Reply(Server::Authentication(state), replies::prompt(prompt)),
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
            Ok(Progress::Complete(presented, errors)) => Step::Authenticate(Claim {
                ready,
                presented,
                errors,
            }),
            Ok(Progress::Ask(exchange, reply)) => {
                Step::Reply(Server::Authentication(Self { ready, exchange }), reply)
            }
            Ok(Progress::Fail(failure)) => failure.end(ready),
            Err(error) => Server::Ready(ready).refuse(replies::sasl_error(error)),
        }
    }
}

impl Exchange {
    fn on(self, line: &[u8]) -> Result<Progress, SaslError> {
        let password = |credentials: Credentials| {
            Progress::Complete(Presented::Password(credentials), Errors::Reply)
        };
        let bearer = |bearer, invalid, unavailable| {
            let errors = Errors::Challenge {
                invalid,
                unavailable,
            };
            Progress::Complete(Presented::Bearer(bearer), errors)
        };
        match self {
            Self::Plain => plain::response(line).map(password),
            Self::LoginUsername => {
                let username = login::username(line)?;
                let reply = replies::prompt(login::PASSWORD_PROMPT);
                Ok(Progress::Ask(Self::LoginPassword { username }, reply))
            }
            Self::LoginPassword { username } => login::password(username, line).map(password),
            Self::OauthBearer => oauth_bearer::response(line)
                .map(|read| bearer(read, oauth_bearer::INVALID, oauth_bearer::UNAVAILABLE)),
            Self::Xoauth2 => xoauth2::response(line)
                .map(|read| bearer(read, xoauth2::INVALID, xoauth2::UNAVAILABLE)),
            // RFC 4954 §4: a client that gives up is answered for that. The failure counts all the same.
            Self::Failed(failure) if line == b"*" => Ok(Progress::Fail(failure.cancelled())),
            // RFC 7628 §3.2.3 has %x01 there, XOAUTH2 nothing; the exchange has failed whatever it is.
            Self::Failed(failure) => Ok(Progress::Fail(failure)),
        }
    }
}

impl Failure {
    fn cancelled(self) -> Self {
        let reply = replies::sasl_error(SaslError::Cancelled);
        match self {
            Self::Refused(_) => Self::Refused(reply),
            Self::Deferred(_) => Self::Deferred(reply),
        }
    }

    /// The exchange is over.
    fn end(self, mut ready: Ready) -> Step {
        let reply = match self {
            Self::Refused(reply) if ready.session.errs_at_login() => {
                return Step::GiveUp(Farewell {
                    refusal: reply,
                    rejection: None,
                    reply: replies::too_many_logins(),
                });
            }
            Self::Refused(reply) | Self::Deferred(reply) => reply,
        };
        Server::Ready(ready).refuse(reply)
    }
}

impl Claim {
    /// What the client presents.
    pub const fn presented(&self) -> &Presented {
        &self.presented
    }

    /// Whether a token of this client may have been overheard, so that it must not be taken, in whatever mechanism it
    /// comes.
    pub fn is_in_clear(&self) -> bool {
        self.ready.session.is_in_clear()
    }

    /// It is right: the client is `username` from now on.
    pub fn accept(self, username: Arc<str>) -> Step {
        let ready = Ready {
            login: Login::As(username),
            ..self.ready
        };
        Step::Reply(Server::Ready(ready), replies::authenticated())
    }

    /// It is not. Too many of these end the session.
    pub fn refuse(self, reply: Reply) -> Step {
        self.fail(Failure::Refused(reply))
    }

    /// It cannot be told now.
    pub fn defer(self, reply: Reply) -> Step {
        self.fail(Failure::Deferred(reply))
    }

    fn fail(self, failure: Failure) -> Step {
        let Errors::Challenge {
            invalid,
            unavailable,
        } = self.errors
        else {
            return failure.end(self.ready);
        };
        let error = match failure {
            Failure::Refused(_) => invalid,
            Failure::Deferred(_) => unavailable,
        };
        let state = Authentication {
            ready: self.ready,
            exchange: Exchange::Failed(failure),
        };
        let challenge = replies::prompt(&BASE64_STANDARD.encode(error));
        Step::Reply(Server::Authentication(state), challenge)
    }
}
