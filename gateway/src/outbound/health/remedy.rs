//! What a person can do about an upstream's state, in one sentence each.

use posthouse_config::reason::UpstreamState;

/// The sentence for a state; where a provider's dictionary knows better, that one is used.
pub(crate) const fn of(state: UpstreamState) -> &'static str {
    match state {
        UpstreamState::Untried | UpstreamState::Ready => "Nothing needs to be done.",
        UpstreamState::Unreachable => {
            "Check host and port, DNS, and that network policies and firewalls let the gateway out; mail is sent as soon as the upstream answers."
        }
        UpstreamState::Throttled => {
            "The provider asks us to slow down; mail goes on by itself. Lower the limits of the upstream if this comes often."
        }
        UpstreamState::QuotaExhausted => {
            "The provider's quota is used up; mail goes on when it is renewed. Raise the quota or add another upstream."
        }
        UpstreamState::TlsFailed => {
            "Check port, tls.mode, tls.serverName and the CA of the upstream; mail is never sent without the TLS that was asked for."
        }
        UpstreamState::AuthenticationFailed => {
            "Check user name and password in the Secret of the upstream, and that the account may use SMTP."
        }
        UpstreamState::CredentialMissing => {
            "Create the Secret of the upstream with the keys that are named."
        }
        UpstreamState::Refused => {
            "The provider refuses everything we send: look at its reply, and at the account's status with the provider."
        }
    }
}
