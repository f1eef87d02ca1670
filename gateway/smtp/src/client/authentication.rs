//! AUTH (RFC 4954) with PLAIN (RFC 4616), or LOGIN where only that is offered.
//!
//! The encoders of the client side are here too; they are three lines each.

use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};

use super::{Opening, OpeningFailure, OpeningStage, Ready, Step, failed};
use crate::{
    extension::{Extensions, Mechanism},
    reply::{Reply, Severity},
};

/// A user name and a password. Its `Debug` shows neither.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user name (RFC 4616: the authentication identity).
    pub username: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

/// A reply of the AUTH exchange is awaited.
#[derive(Debug)]
pub struct Authentication {
    extensions: Extensions,
    exchange: Exchange,
}

/// What the server still asks for, encoded.
enum Exchange {
    /// PLAIN's response went with the command; some servers ask for it all the same.
    Plain {
        response: String,
    },
    /// LOGIN asks for the user name, then for the password.
    LoginUsername {
        username: String,
        password: String,
    },
    LoginPassword {
        password: String,
    },
    /// Everything was said.
    Over,
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain { .. } => "Plain",
            Self::LoginUsername { .. } => "LoginUsername",
            Self::LoginPassword { .. } => "LoginPassword",
            Self::Over => "Over",
        })
    }
}

impl Authentication {
    /// PLAIN if it is offered (one round trip), else LOGIN.
    pub(super) fn begin(credentials: &Credentials, extensions: Extensions) -> Step {
        let Credentials { username, password } = credentials;
        if extensions.mechanisms.contains(&Mechanism::Plain) {
            let response = BASE64_STANDARD.encode(format!("\0{username}\0{password}"));
            let line = format!("AUTH PLAIN {response}\r\n");
            Self::send(extensions, Exchange::Plain { response }, line)
        } else if extensions.mechanisms.contains(&Mechanism::Login) {
            let exchange = Exchange::LoginUsername {
                username: BASE64_STANDARD.encode(username),
                password: BASE64_STANDARD.encode(password),
            };
            Self::send(extensions, exchange, "AUTH LOGIN\r\n".to_owned())
        } else {
            Step::Failed(OpeningFailure::NoMechanism {
                offered: extensions.mechanism_names,
            })
        }
    }

    pub(super) fn on(self, reply: Reply) -> Step {
        match reply.severity() {
            Some(Severity::Positive) => Step::Ready(Ready::new(self.extensions)),
            // RFC 4954 §4: 334 is the one code that asks for more.
            Some(Severity::Intermediate) if reply.code == 334 => self.respond(reply),
            _ => failed(OpeningStage::Authentication, reply),
        }
    }

    fn respond(self, reply: Reply) -> Step {
        let (exchange, response) = match self.exchange {
            Exchange::Plain { response } => (Exchange::Over, response),
            Exchange::LoginUsername { username, password } => {
                (Exchange::LoginPassword { password }, username)
            }
            Exchange::LoginPassword { password } => (Exchange::Over, password),
            Exchange::Over => return failed(OpeningStage::Authentication, reply),
        };
        Self::send(self.extensions, exchange, format!("{response}\r\n"))
    }

    fn send(extensions: Extensions, exchange: Exchange, line: String) -> Step {
        let state = Self {
            extensions,
            exchange,
        };
        Step::Send(Opening::Authentication(state), line.into_bytes())
    }
}
