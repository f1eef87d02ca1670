//! Rows 1–4: a session that could not be opened says something about the upstream, never about mail.

use std::time::Duration;

use posthouse_config::reason::{Phase, UpstreamState};
use posthouse_smtp::{
    Reply,
    client::{OpeningFailure, OpeningStage},
    reply::Severity,
};

use super::{Fault, evidence};
use crate::outbound::{
    dictionary::{Dictionary, Meaning},
    opening::OpenError,
};

/// Microsoft and others lock accounts that try again too soon after a refused AUTH.
const THROTTLED_AUTHENTICATION: Duration = Duration::from_mins(5);

/// The state an upstream is in after a failed opening.
pub(crate) fn of(error: &OpenError, dictionary: Dictionary) -> Fault {
    let phase = error.phase();
    let said = evidence(phase, error);
    let reply = match error {
        OpenError::Session(
            OpeningFailure::Refused { reply, .. } | OpeningFailure::Unexpected { reply, .. },
        ) => Some(reply),
        _ => None,
    };
    if let Some(entry) = reply.and_then(|reply| dictionary.look_up(phase, reply)) {
        let (state, wait) = match entry.meaning {
            Meaning::Rate(wait) => (UpstreamState::Throttled, Some(wait)),
            Meaning::Quota(wait) => (UpstreamState::QuotaExhausted, Some(wait)),
            Meaning::Account(state) => (state, None),
            // Nothing was offered yet: what such a reply says of mail cannot be meant.
            Meaning::Recipient | Meaning::Message | Meaning::Sender => state(error),
        };
        return Fault {
            state,
            wait,
            evidence: said,
            remedy: Some(entry.remedy),
        };
    }
    let (state, wait) = state(error);
    Fault {
        state,
        wait,
        evidence: said,
        remedy: None,
    }
}

fn state(error: &OpenError) -> (UpstreamState, Option<Duration>) {
    match error {
        OpenError::CredentialMissing(_) => (UpstreamState::CredentialMissing, None),
        // row 1
        OpenError::Resolve(_)
        | OpenError::NoAddress
        | OpenError::Connect(_)
        | OpenError::TimedOut(_)
        | OpenError::Lost(..)
        | OpenError::NotAReply(..)
        | OpenError::Stopped => (UpstreamState::Unreachable, None),
        // row 2
        OpenError::Roots(_)
        | OpenError::ServerName(_)
        | OpenError::Handshake(_)
        | OpenError::Injected => (UpstreamState::TlsFailed, None),
        OpenError::Session(failure) => session(failure),
    }
}

fn session(failure: &OpeningFailure) -> (UpstreamState, Option<Duration>) {
    match failure {
        OpeningFailure::Refused { stage, reply } => refused(*stage, reply),
        // row 20, before anything was offered
        OpeningFailure::Unexpected { .. } => (UpstreamState::Unreachable, None),
        OpeningFailure::NoStartTls => (UpstreamState::TlsFailed, None),
        // row 4
        OpeningFailure::NoMechanism { .. } | OpeningFailure::CredentialsInClear => {
            (UpstreamState::AuthenticationFailed, None)
        }
    }
}

fn refused(stage: OpeningStage, reply: &Reply) -> (UpstreamState, Option<Duration>) {
    let is_permanent = reply.severity() == Some(Severity::Permanent);
    match stage {
        OpeningStage::Greeting | OpeningStage::Hello => (UpstreamState::Unreachable, None),
        // row 1: a server that closes says nothing of TLS
        OpeningStage::Tls if reply.code == 421 => (UpstreamState::Unreachable, None),
        OpeningStage::Tls if reply.code == 454 => (UpstreamState::Throttled, None),
        OpeningStage::Tls => (UpstreamState::TlsFailed, None),
        OpeningStage::Authentication if is_permanent => (UpstreamState::AuthenticationFailed, None),
        // row 3
        OpeningStage::Authentication => (UpstreamState::Throttled, Some(THROTTLED_AUTHENTICATION)),
    }
}

/// The phase of a stage.
pub(crate) const fn phase(stage: OpeningStage) -> Phase {
    match stage {
        OpeningStage::Greeting => Phase::Greeting,
        OpeningStage::Hello => Phase::Hello,
        OpeningStage::Tls => Phase::Tls,
        OpeningStage::Authentication => Phase::Auth,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use posthouse_smtp::EnhancedStatus;

    use super::*;
    use crate::outbound::dictionary::Entry;

    fn state_of(error: &OpenError) -> (UpstreamState, Option<Duration>) {
        let fault = of(error, Dictionary::CUSTOM);
        (fault.state, fault.wait)
    }

    fn refused_at(stage: OpeningStage, code: u16) -> OpenError {
        OpenError::Session(OpeningFailure::Refused {
            stage,
            reply: Reply::new(code, None, "x"),
        })
    }

    /// Row 1.
    #[test]
    fn an_upstream_that_cannot_be_reached_is_unreachable() {
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        for error in [
            OpenError::Resolve(refused()),
            OpenError::NoAddress,
            OpenError::Connect(refused()),
            OpenError::TimedOut(Phase::Greeting),
            OpenError::Lost(Phase::Greeting, "closed".into()),
            refused_at(OpeningStage::Greeting, 421),
            refused_at(OpeningStage::Greeting, 450),
            refused_at(OpeningStage::Greeting, 554),
            refused_at(OpeningStage::Hello, 550),
            refused_at(OpeningStage::Tls, 421),
        ] {
            assert_eq!(
                state_of(&error),
                (UpstreamState::Unreachable, None),
                "{error}"
            );
        }
    }

    /// Row 2.
    #[test]
    fn tls_that_cannot_be_had_holds() {
        for error in [
            OpenError::Session(OpeningFailure::NoStartTls),
            refused_at(OpeningStage::Tls, 501),
            refused_at(OpeningStage::Tls, 450),
            OpenError::Injected,
            OpenError::Roots("ca.pem is absent".into()),
            OpenError::Handshake(io::Error::from(io::ErrorKind::InvalidData)),
        ] {
            assert_eq!(
                state_of(&error),
                (UpstreamState::TlsFailed, None),
                "{error}"
            );
        }
        assert_eq!(
            state_of(&refused_at(OpeningStage::Tls, 454)),
            (UpstreamState::Throttled, None)
        );
    }

    /// Row 3.
    #[test]
    fn a_transient_refusal_of_auth_throttles_from_five_minutes() {
        for code in [421, 432, 454] {
            assert_eq!(
                state_of(&refused_at(OpeningStage::Authentication, code)),
                (UpstreamState::Throttled, Some(Duration::from_mins(5)))
            );
        }
    }

    /// Row 4.
    #[test]
    fn a_refused_credential_holds() {
        for error in [
            refused_at(OpeningStage::Authentication, 535),
            refused_at(OpeningStage::Authentication, 550),
            OpenError::Session(OpeningFailure::NoMechanism {
                offered: Vec::new(),
            }),
        ] {
            assert_eq!(
                state_of(&error),
                (UpstreamState::AuthenticationFailed, None),
                "{error}"
            );
        }
        assert_eq!(
            state_of(&OpenError::CredentialMissing("secrets/p".into())),
            (UpstreamState::CredentialMissing, None)
        );
    }

    #[test]
    fn the_dictionary_is_asked_first() {
        const ENTRIES: &[Entry] = &[Entry {
            phase: Some(Phase::Auth),
            code: None,
            enhanced: Some(EnhancedStatus::new(5, 7, 139)),
            text: "",
            meaning: Meaning::Account(UpstreamState::Refused),
            remedy: "Enable SMTP AUTH.",
        }];
        let error = OpenError::Session(OpeningFailure::Refused {
            stage: OpeningStage::Authentication,
            reply: Reply::new(535, Some(EnhancedStatus::new(5, 7, 139)), "disabled"),
        });
        let fault = of(&error, Dictionary::of(ENTRIES));
        assert_eq!(fault.state, UpstreamState::Refused);
        assert_eq!(fault.remedy, Some("Enable SMTP AUTH."));
    }
}
