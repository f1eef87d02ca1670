//! STARTTLS (RFC 3207). Asked for, it must succeed: there is no way on in clear.

use super::{
    Opening, OpeningFailure, OpeningStage, Plan, Step, failed,
    greeting::{Hello, Transport},
};
use crate::{
    extension::{Extensions, Keyword},
    reply::{Reply, Severity},
};

/// The reply to STARTTLS is awaited.
#[derive(Debug)]
pub struct StartTls {
    plan: Plan,
}

impl StartTls {
    pub(super) fn begin(plan: Plan, extensions: &Extensions) -> Step {
        if extensions.offers(Keyword::StartTls) {
            Step::Send(Opening::StartTls(Self { plan }), b"STARTTLS\r\n".to_vec())
        } else {
            Step::Failed(OpeningFailure::NoStartTls)
        }
    }

    pub(super) fn on(self, reply: Reply) -> Step {
        match reply.severity() {
            Some(Severity::Positive) => Step::Secure(Securing { plan: self.plan }),
            _ => failed(OpeningStage::Tls, reply),
        }
    }
}

/// The handshake is under way.
#[derive(Debug)]
pub struct Securing {
    plan: Plan,
}

impl Securing {
    /// Goes on under TLS: with EHLO, since nothing that was said in clear counts (RFC 3207 §4.2).
    pub fn done(self) -> Step {
        Hello::ehlo(self.plan, Transport::Secured)
    }
}
