//! AUTH (RFC 4954) with PLAIN (RFC 4616), or LOGIN where only that is offered.
//!
//! The encoders of the client side are here too; they are three lines each. A reply that ends the exchange leaves it
//! without what was secret in it: some servers say back the line they refuse, and replies are logged and shown.

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
    secrets: Secrets,
}

/// Of an encoded secret so many first characters are recognised: a server may say back only the start of a line.
const RECOGNISED: usize = 8;

/// What may not be in a reply that is shown. Its `Debug` shows nothing.
struct Secrets {
    password: String,
    /// The Base64 forms sent.
    encoded: [String; 2],
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(…)")
    }
}

impl Secrets {
    fn of(credentials: &Credentials) -> Self {
        let Credentials { username, password } = credentials;
        Self {
            password: password.clone(),
            encoded: [
                BASE64_STANDARD.encode(format!("\0{username}\0{password}")),
                BASE64_STANDARD.encode(password),
            ],
        }
    }

    /// The end of an exchange by a reply, which is shown without them.
    fn failed(&self, mut reply: Reply) -> Step {
        for line in &mut reply.lines {
            for encoded in &self.encoded {
                *line = starred(line, encoded, encoded.len().min(RECOGNISED));
            }
            *line = starred(line, &self.password, self.password.len());
        }
        failed(OpeningStage::Authentication, reply)
    }
}

/// A text with `***` wherever at least `least` first octets of a secret stand, in whatever case.
fn starred(text: &str, secret: &str, least: usize) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let same = rest
            .bytes()
            .zip(secret.bytes())
            .take_while(|(a, b)| a.eq_ignore_ascii_case(b))
            .count();
        let cut = rest.split_at_checked(same);
        if let Some((_, after)) = cut.filter(|_| same > 0 && same >= least) {
            out.push_str("***");
            rest = after;
        } else {
            out.push(first);
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
        }
    }
    out
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
        let secrets = Secrets::of(credentials);
        if extensions.mechanisms.contains(&Mechanism::Plain) {
            let response = BASE64_STANDARD.encode(format!("\0{username}\0{password}"));
            let line = format!("AUTH PLAIN {response}\r\n");
            Self::send(extensions, Exchange::Plain { response }, secrets, line)
        } else if extensions.mechanisms.contains(&Mechanism::Login) {
            let exchange = Exchange::LoginUsername {
                username: BASE64_STANDARD.encode(username),
                password: BASE64_STANDARD.encode(password),
            };
            Self::send(extensions, exchange, secrets, "AUTH LOGIN\r\n".to_owned())
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
            _ => self.secrets.failed(reply),
        }
    }

    fn respond(self, reply: Reply) -> Step {
        let (exchange, response) = match self.exchange {
            Exchange::Plain { response } => (Exchange::Over, response),
            Exchange::LoginUsername { username, password } => {
                (Exchange::LoginPassword { password }, username)
            }
            Exchange::LoginPassword { password } => (Exchange::Over, password),
            Exchange::Over => return self.secrets.failed(reply),
        };
        let line = format!("{response}\r\n");
        Self::send(self.extensions, exchange, self.secrets, line)
    }

    fn send(extensions: Extensions, exchange: Exchange, secrets: Secrets, line: String) -> Step {
        let state = Self {
            extensions,
            exchange,
            secrets,
        };
        Step::Send(Opening::Authentication(state), line.into_bytes())
    }
}
