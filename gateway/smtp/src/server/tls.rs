//! STARTTLS (RFC 3207): everything learnt before the handshake is forgotten after it.

use super::{Greeting, Server, Session};

/// 220 was said; the handshake comes next. What the client sent ahead of it must not be read as commands: the caller
/// closes the session if there is anything (RFC 3207 §5, command injection).
#[derive(Debug)]
pub struct Handshake {
    session: Session,
}

impl Handshake {
    pub(super) const fn new(session: Session) -> Self {
        Self { session }
    }

    /// The handshake is done. RFC 3207 §4.2: the client starts over with EHLO.
    pub fn done(self) -> Server {
        Server::Greeting(Greeting::new(self.session.encrypted()))
    }
}
