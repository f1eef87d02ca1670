//! Before EHLO: only what needs no session is answered (RFC 5321 §4.1.4).

use super::{Hello, Login, Ready, Server, Session, Step, replies};

/// The client has not said EHLO, or not yet again after STARTTLS.
#[derive(Debug)]
pub struct Greeting {
    pub(super) session: Session,
}

impl Greeting {
    pub(super) const fn new(session: Session) -> Self {
        Self { session }
    }

    /// EHLO came.
    pub(super) fn greeted(self, hello: Hello) -> Ready {
        Ready {
            session: self.session,
            hello,
            login: Login::Nobody,
        }
    }

    /// Anything else came.
    pub(super) fn refuse(self) -> Step {
        Server::Greeting(self).refuse(replies::say_hello_first())
    }
}
