//! The closed sets of words that storage, metrics, logs and status share.
//!
//! Each enumeration has one list of values. `as_str` is the `CamelCase` word shown to people and written to status,
//! `as_label` the same word in `snake_case` for a Prometheus label, `code` the number in the spool. A number, once
//! released, never changes its meaning.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $code:literal, $label:literal;)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$doc])* $variant,)+
        }

        impl $name {
            /// Every value, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word shown to people and written to status.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant)),+ }
            }

            /// The word as a Prometheus label.
            pub const fn as_label(self) -> &'static str {
                match self { $(Self::$variant => $label),+ }
            }

            /// The number in the spool.
            pub const fn code(self) -> u8 {
                match self { $(Self::$variant => $code),+ }
            }

            /// The value of a number in the spool.
            pub const fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)+ _ => None }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// The state of one upstream, as one gateway sees it.
    UpstreamState {
        /// Not tried since the start, or since its part of the document or its credential changed.
        Untried = 0, "untried";
        /// A probe or a message went through.
        Ready = 1, "ready";
        /// No name, no connection, no greeting, or one failure after another.
        Unreachable = 2, "unreachable";
        /// The provider asked us to slow down.
        Throttled = 3, "throttled";
        /// The provider's quota, or our own window, is used up.
        QuotaExhausted = 4, "quota_exhausted";
        /// TLS was asked for and could not be had.
        TlsFailed = 5, "tls_failed";
        /// The provider refused the credential.
        AuthenticationFailed = 6, "authentication_failed";
        /// The file with the credential is not there.
        CredentialMissing = 7, "credential_missing";
        /// The provider refuses everything we send.
        Refused = 8, "refused";
    }
}

impl UpstreamState {
    /// Whether mail of this upstream waits for a person rather than for time.
    pub const fn holds(self) -> bool {
        matches!(
            self,
            Self::TlsFailed | Self::AuthenticationFailed | Self::CredentialMissing | Self::Refused
        )
    }

    /// Whether the upstream can be offered mail now.
    pub const fn is_ready(self) -> bool {
        matches!(self, Self::Ready)
    }
}

words! {
    /// Why a recipient is not relayed yet, or never will be. Stored with it, shown to people, and counted.
    Reason {
        /// Its upstream is `Unreachable`.
        Unreachable = 1, "unreachable";
        /// Its upstream is `Throttled`.
        Throttled = 2, "throttled";
        /// Its upstream is `QuotaExhausted`.
        QuotaExhausted = 3, "quota_exhausted";
        /// Its upstream is `TlsFailed`.
        TlsFailed = 4, "tls_failed";
        /// Its upstream is `AuthenticationFailed`.
        AuthenticationFailed = 5, "authentication_failed";
        /// Its upstream is `CredentialMissing`.
        CredentialMissing = 6, "credential_missing";
        /// Its upstream is `Refused`.
        Refused = 7, "refused";
        /// A transient reply to MAIL, DATA or the content.
        TransactionDeferred = 8, "transaction_deferred";
        /// A transient reply to RCPT.
        RecipientDeferred = 9, "recipient_deferred";
        /// A permanent reply to RCPT.
        RecipientRefused = 10, "recipient_refused";
        /// A permanent reply to the content.
        MessageRefused = 11, "message_refused";
        /// This upstream refuses this reverse-path.
        ReversePathRefused = 12, "reverse_path_refused";
        /// The connection ended before the final dot.
        ConnectionLost = 13, "connection_lost";
        /// A reply that no server may send there.
        ProtocolError = 14, "protocol_error";
        /// A reply that blames our session, such as 503 or 530.
        SessionRefused = 15, "session_refused";
        /// The final dot went out and no reply came.
        Unconfirmed = 16, "unconfirmed";
        /// In flight at several deaths of the process.
        Poison = 17, "poison";
        /// No upstream may send for this message.
        NoEligibleTarget = 18, "no_eligible_target";
        /// Larger than every eligible target takes.
        TooLarge = 19, "too_large";
        /// Needs SMTPUTF8 and no eligible target has it.
        Utf8Needed = 20, "utf8_needed";
        /// Only a target outside the first eligible priority refused it.
        FallbackRefused = 21, "fallback_refused";
        /// A person said so.
        ByHand = 22, "by_hand";
        /// Older than it may become.
        Expired = 23, "expired";
        /// The gateway stopped during the attempt.
        Stopped = 24, "stopped";
        /// Its stored content is not what was accepted: the disk changed it.
        ContentDamaged = 25, "content_damaged";
    }
}

impl From<UpstreamState> for Option<Reason> {
    fn from(state: UpstreamState) -> Self {
        match state {
            UpstreamState::Untried | UpstreamState::Ready => None,
            UpstreamState::Unreachable => Some(Reason::Unreachable),
            UpstreamState::Throttled => Some(Reason::Throttled),
            UpstreamState::QuotaExhausted => Some(Reason::QuotaExhausted),
            UpstreamState::TlsFailed => Some(Reason::TlsFailed),
            UpstreamState::AuthenticationFailed => Some(Reason::AuthenticationFailed),
            UpstreamState::CredentialMissing => Some(Reason::CredentialMissing),
            UpstreamState::Refused => Some(Reason::Refused),
        }
    }
}

words! {
    /// How far an attempt had come.
    Phase {
        /// Resolving the name and opening the connection.
        Connect = 1, "connect";
        /// Waiting for the greeting.
        Greeting = 2, "greeting";
        /// EHLO or HELO.
        Hello = 3, "hello";
        /// STARTTLS and the handshake.
        Tls = 4, "tls";
        /// AUTH.
        Auth = 5, "auth";
        /// MAIL.
        Mail = 6, "mail";
        /// RCPT.
        Rcpt = 7, "rcpt";
        /// DATA.
        Data = 8, "data";
        /// Sending the content, up to the final dot.
        Content = 9, "content";
        /// After the final dot.
        Final = 10, "final";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_the_words_in_snake_case_and_codes_are_unique() {
        fn snake(word: &str) -> String {
            let mut out = String::new();
            for c in word.chars() {
                if c.is_ascii_uppercase() && !out.is_empty() {
                    out.push('_');
                }
                out.push(c.to_ascii_lowercase());
            }
            out
        }
        for &reason in Reason::ALL {
            assert_eq!(snake(reason.as_str()), reason.as_label());
            assert_eq!(Reason::from_code(reason.code()), Some(reason));
        }
        for &state in UpstreamState::ALL {
            assert_eq!(snake(state.as_str()), state.as_label());
            assert_eq!(UpstreamState::from_code(state.code()), Some(state));
        }
        for &phase in Phase::ALL {
            assert_eq!(snake(phase.as_str()), phase.as_label());
            assert_eq!(Phase::from_code(phase.code()), Some(phase));
        }
    }
}
