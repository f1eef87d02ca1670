//! Between transactions: STARTTLS, AUTH and MAIL are possible.

use super::{
    Authentication, Handshake, Hello, Login, LoginPolicy, MailRequest, Rejection, Server, Session,
    Step, replies,
};
use crate::{
    ReversePath,
    command::Command,
    parameter::{MailParameters, Utf8},
};

/// The client has said EHLO and no transaction is open.
#[derive(Debug)]
pub struct Ready {
    /// What holds for the whole session.
    pub session: Session,
    /// What the client called itself last.
    pub hello: Hello,
    /// Who it is.
    pub login: Login,
}

impl Ready {
    pub(super) fn on(self, command: Command<'_>) -> Step {
        match command {
            Command::StartTls => self.start_tls(),
            Command::Auth { mechanism, initial } => self.auth(mechanism, initial),
            Command::Mail(path, parameters) => self.mail(path, parameters),
            _ => Server::Ready(self).out_of_order(),
        }
    }

    fn start_tls(self) -> Step {
        if self.session.offers_tls() {
            return Step::StartTls(Handshake::new(self.session), replies::start_tls());
        }
        Server::Ready(self).refuse(replies::not_offered())
    }

    fn auth(self, mechanism: &str, initial: Option<&str>) -> Step {
        if self.login != Login::Nobody {
            return Server::Ready(self).refuse(replies::already_done());
        }
        if self.session.offers_login() {
            return Authentication::begin(self, mechanism, initial);
        }
        if self.session.needs_tls() {
            return Server::Ready(self).reject(replies::tls_first(), Rejection::TlsRequired);
        }
        if self.session.offers_tls() {
            return Server::Ready(self).reject(replies::encryption_first(), Rejection::TlsRequired);
        }
        Server::Ready(self).refuse(replies::not_offered())
    }

    fn mail(self, reverse_path: ReversePath, parameters: MailParameters) -> Step {
        let terms = &self.session.terms;
        let refusal = if self.session.needs_tls() {
            Some((replies::tls_first(), Rejection::TlsRequired))
        } else if terms.login == LoginPolicy::Required && self.login == Login::Nobody {
            Some((replies::login_first(), Rejection::Authentication))
        } else if parameters.utf8 == Utf8::Absent && !reverse_path.as_str().is_ascii() {
            Some((replies::needs_utf8(), Rejection::AddressInvalid))
        } else if parameters
            .size
            .is_some_and(|size| size > terms.message_octets)
        {
            Some((replies::too_large(), Rejection::TooLarge))
        } else {
            None
        };
        match refusal {
            Some((reply, rejection)) => Server::Ready(self).reject(reply, rejection),
            None => Step::Mail(MailRequest::new(self, reverse_path, parameters)),
        }
    }
}
