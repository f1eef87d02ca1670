//! Every reason that a MailRelay's conditions have, and nothing else: they are interface.
//!
//! Within one condition the first that applies is shown; the order here is that of the API's table.

use std::fmt;

use crate::condition::{ConditionStatus, Wanted};

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// Why a condition has its status.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Reason {
            $($(#[$doc])* $name,)+
        }

        impl Reason {
            /// Every reason, in the order of the API's table.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The word in the API.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),+ }
            }
        }
    };
}

reasons! {
    /// The MailRelay can be honoured.
    Accepted,
    /// It cannot: each message is a field path and what must hold.
    InvalidSpec,
    /// The operator serves no relays in this namespace.
    NamespaceNotServed,
    /// Everything referred to is there.
    ResolvedRefs,
    /// No key of a Secret is there.
    SecretNotFound,
    /// Some keys of a Secret are not there, or cannot be used.
    SecretKeyMissing,
    /// A ConfigMap, or its key, is not there.
    ConfigMapNotFound,
    /// A certificate is there and cannot be used.
    InvalidCertificate,
    /// Every gateway that answers goes by this generation.
    Programmed,
    /// A child could not be written.
    ApplyFailed,
    /// The admission policy that keeps us from foreign Secrets was not proved: none is written.
    SecretFenceMissing,
    /// The volumes that live are not those asked for, and cannot become them.
    StorageImmutable,
    /// A volume did not grow.
    StorageNotExpanded,
    /// Gateways of the new revision do not become ready.
    RolloutStalled,
    /// The MailRelay is being deleted and its gateways relay what they have.
    Draining,
    /// Mail can be handed in.
    Ready,
    /// No gateway takes mail.
    NoReadyGateway,
    /// It is not known yet, and will be without anybody's doing.
    Pending,
    /// Every upstream that was tried takes mail.
    Relaying,
    /// A provider refused the credential.
    AuthenticationFailed,
    /// The file with a credential is not there.
    CredentialMissing,
    /// TLS was asked for and could not be had.
    TlsFailed,
    /// No connection.
    Unreachable,
    /// A provider refuses everything.
    Refused,
    /// A quota is used up.
    QuotaExhausted,
    /// No upstream was tried yet.
    Untried,
    /// A gateway does not answer.
    NoReport,
    /// Mail moves on.
    Flowing,
    /// A spool cannot be used.
    SpoolFailed,
    /// A spool has records that cannot be read.
    SpoolDamaged,
    /// A spool is full: new mail is put off.
    SpoolFull,
    /// A machine's clock stepped: nothing expires until it is believed.
    ClockStepped,
    /// Mail is held for another reason than its upstream's state.
    Held,
    /// Mail that is not held waits for more than half an hour.
    Backlogged,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One condition, before it has a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) status: ConditionStatus,
    pub(super) reason: Reason,
    pub(super) message: String,
}

impl Verdict {
    pub(super) fn holds(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            status: ConditionStatus::True,
            reason,
            message: message.into(),
        }
    }

    pub(super) fn fails(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            status: ConditionStatus::False,
            reason,
            message: message.into(),
        }
    }

    pub(super) fn unknown(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            status: ConditionStatus::Unknown,
            reason,
            message: message.into(),
        }
    }

    pub(super) fn is(&self, status: ConditionStatus) -> bool {
        self.status == status
    }

    pub(super) fn wanted(&self, type_: &'static str) -> Wanted {
        Wanted::new(
            type_,
            self.status,
            self.reason.as_str(),
            self.message.clone(),
        )
    }
}
