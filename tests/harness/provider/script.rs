//! What a provider does at each step. The default is to take everything.

use crate::Identity;

/// When a provider speaks TLS.
#[derive(Clone, Debug, Default)]
pub enum ProviderTls {
    /// Never.
    #[default]
    None,
    /// After STARTTLS.
    StartTls(Identity),
    /// From the first octet.
    Implicit(Identity),
}

/// A step of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The greeting.
    Connect,
    /// EHLO.
    Hello,
    /// STARTTLS.
    StartTls,
    /// AUTH, after the credentials came.
    Auth,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA.
    Data,
    /// The first line of content came; the usual thing is to read on. After a reply the rest is read and thrown away.
    Content,
    /// The end of content.
    Final,
    /// RSET, NOOP, QUIT and what nobody knows.
    Other,
}

/// What a script is asked about.
pub struct Exchange<'a> {
    /// The step.
    pub step: Step,
    /// The command line; in the content its first line, at its end the subject.
    pub line: &'a str,
    /// Which connection, counted from 0.
    pub connection: usize,
}

/// What a provider does at a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// What a good server does.
    Usual,
    /// Answers this, with CRLF added. A code of 400 or more undoes the step.
    Reply(String),
    /// Answers this and closes.
    ReplyAndClose(String),
    /// Closes without a word.
    Close,
    /// Never answers.
    Stall,
}

impl Turn {
    /// Answers a line.
    pub fn reply(line: &str) -> Self {
        Self::Reply(line.to_owned())
    }

    /// Whether the far side is told that the step is done.
    pub(super) fn accepts(&self) -> bool {
        match self {
            Self::Usual => true,
            Self::Reply(reply) | Self::ReplyAndClose(reply) => reply.starts_with('2'),
            Self::Close | Self::Stall => false,
        }
    }
}

type Choose = dyn Fn(&Exchange) -> Turn + Send + Sync;

/// A provider's behaviour.
pub struct Script {
    /// TLS.
    pub tls: ProviderTls,
    /// The one user name and password; absent: AUTH is not offered.
    pub user: Option<(String, String)>,
    /// What EHLO offers beside STARTTLS and AUTH.
    pub extensions: Vec<String>,
    /// Octets of each content that are kept.
    pub keep: usize,
    /// Replies are written octet by octet.
    pub drips: bool,
    choose: Box<Choose>,
}

impl Script {
    /// Takes everything, in clear, from anybody.
    pub fn take() -> Self {
        Self::new(|_| Turn::Usual)
    }

    /// As `take`, but where `choose` says otherwise.
    pub fn new(choose: impl Fn(&Exchange) -> Turn + Send + Sync + 'static) -> Self {
        Self {
            tls: ProviderTls::None,
            user: None,
            extensions: [
                "PIPELINING",
                "SIZE 104857600",
                "8BITMIME",
                "SMTPUTF8",
                "DSN",
            ]
            .map(str::to_owned)
            .into(),
            keep: 1 << 20,
            drips: false,
            choose: Box::new(choose),
        }
    }

    /// With TLS.
    #[must_use]
    pub fn tls(self, tls: ProviderTls) -> Self {
        Self { tls, ..self }
    }

    /// With one user, who must authenticate.
    #[must_use]
    pub fn user(self, name: &str, password: &str) -> Self {
        Self {
            user: Some((name.to_owned(), password.to_owned())),
            ..self
        }
    }

    /// Offering these extensions beside STARTTLS and AUTH.
    #[must_use]
    pub fn extensions(self, extensions: &[&str]) -> Self {
        Self {
            extensions: extensions.iter().map(|&name| name.to_owned()).collect(),
            ..self
        }
    }

    /// Keeping only the first octets of each content.
    #[must_use]
    pub fn keep(self, keep: usize) -> Self {
        Self { keep, ..self }
    }

    /// Writing replies octet by octet.
    #[must_use]
    pub fn dripping(self) -> Self {
        Self {
            drips: true,
            ..self
        }
    }

    pub(super) fn turn(&self, exchange: &Exchange) -> Turn {
        (self.choose)(exchange)
    }
}
