//! What one provider means by its replies, where that differs from what the codes say.
//!
//! A dictionary belongs to a preset and is asked before every rule of `verdict`. `Custom` upstreams have the empty one:
//! nothing is known of them but the standards.

use std::time::Duration;

use posthouse_config::reason::{Phase, UpstreamState};
use posthouse_smtp::{EnhancedStatus, Reply};

/// The replies of one provider.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Dictionary {
    entries: &'static [Entry],
}

/// One kind of reply: everything given must fit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// Where it comes.
    pub(crate) phase: Option<Phase>,
    /// Its code.
    pub(crate) code: Option<u16>,
    /// Its enhanced status.
    pub(crate) enhanced: Option<EnhancedStatus>,
    /// A part of its text, in lower case; compared without regard to case.
    pub(crate) text: &'static str,
    /// What it means.
    pub(crate) meaning: Meaning,
    /// What a person can do, in one sentence.
    pub(crate) remedy: &'static str,
}

/// What a provider means.
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "only the dictionaries of presets have entries")
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// This recipient can never get it.
    Recipient,
    /// This message can never be sent.
    Message,
    /// We are too fast: back off for this long.
    Rate(Duration),
    /// A quota is used up; it is renewed within this time.
    Quota(Duration),
    /// This reverse-path may not be used.
    Sender,
    /// Our account: `AuthenticationFailed` or `Refused`.
    Account(UpstreamState),
}

impl Dictionary {
    /// The dictionary of an upstream about which only the standards are known.
    pub(crate) const CUSTOM: Self = Self { entries: &[] };

    /// A dictionary of these entries; the first that fits counts.
    #[cfg(test)]
    pub(crate) const fn of(entries: &'static [Entry]) -> Self {
        Self { entries }
    }

    /// What a reply means here, if the provider is known to mean something special.
    pub(crate) fn look_up(&self, phase: Phase, reply: &Reply) -> Option<&'static Entry> {
        if self.entries.is_empty() {
            return None;
        }
        let text = reply.to_string().to_lowercase();
        self.entries.iter().find(|entry| {
            entry.phase.is_none_or(|expected| expected == phase)
                && entry.code.is_none_or(|code| code == reply.code)
                && entry
                    .enhanced
                    .is_none_or(|status| Some(status) == reply.enhanced)
                && text.contains(entry.text)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_given_must_fit() {
        const ENTRIES: &[Entry] = &[Entry {
            phase: Some(Phase::Mail),
            code: Some(550),
            enhanced: Some(EnhancedStatus::new(5, 7, 1)),
            text: "daily",
            meaning: Meaning::Quota(Duration::from_mins(1)),
            remedy: "Wait.",
        }];
        let dictionary = Dictionary::of(ENTRIES);
        let status = Some(EnhancedStatus::new(5, 7, 1));
        let reply = Reply::new(550, status, "Daily limit");
        assert!(dictionary.look_up(Phase::Mail, &reply).is_some());
        assert!(dictionary.look_up(Phase::Rcpt, &reply).is_none());
        for other in [
            Reply::new(551, status, "Daily limit"),
            Reply::new(550, None, "Daily limit"),
            Reply::new(550, status, "limit"),
        ] {
            assert!(dictionary.look_up(Phase::Mail, &other).is_none());
        }
        assert!(Dictionary::CUSTOM.look_up(Phase::Mail, &reply).is_none());
    }
}
