//! Row 22: a message that a target cannot take is not offered to it.
//!
//! It fails only if every eligible target, up or not, is known to lack what it needs; else it waits for one that has it.

use posthouse_config::reason::{Phase, Reason};
use posthouse_smtp::extension::{Extensions, Keyword};

use super::evidence;
use crate::queue::deliver::Verdict;

/// What one message needs of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Needs {
    /// Octets as relayed, before folding and stuffing.
    pub(crate) size: u64,
    /// Octets as accepted: without the fields we add, for which nobody is to fail by a bound of our own.
    pub(crate) stored: u64,
    /// SMTPUTF8.
    pub(crate) utf8: bool,
}

/// What is known of a target. Unknown is not lacking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// Octets of the largest message as it is relayed: the server's own bound, or what it refused.
    pub(crate) largest: Option<u64>,
    /// Octets of the largest message as it is stored: the document's bound, by which it was accepted.
    pub(crate) bound: Option<u64>,
    /// Whether SMTPUTF8 is offered, once EHLO was answered.
    pub(crate) utf8: Option<bool>,
}

impl Known {
    /// What an EHLO reply adds to the bound of the document.
    pub(crate) fn of(extensions: &Extensions, bound: u64) -> Self {
        Self {
            largest: extensions.size,
            bound: Some(bound),
            utf8: Some(extensions.offers(Keyword::SmtpUtf8)),
        }
    }

    /// What is lacking, if it is known that something is.
    pub(crate) fn lacks(self, needs: Needs) -> Option<Reason> {
        if self.largest.is_some_and(|largest| needs.size > largest)
            || self.bound.is_some_and(|bound| needs.stored > bound)
        {
            Some(Reason::TooLarge)
        } else if needs.utf8 && self.utf8 == Some(false) {
            Some(Reason::Utf8Needed)
        } else {
            None
        }
    }
}

/// The verdict on a message that this target lacks something for. `others` is what is known of the other eligible
/// targets.
pub(crate) fn verdict(
    reason: Reason,
    needs: Needs,
    others: impl IntoIterator<Item = Known>,
    said: Option<&str>,
) -> Verdict {
    let text = said.map_or_else(|| describe(reason, needs), str::to_owned);
    let evidence = evidence(Phase::Mail, &text);
    let is_hopeless = others.into_iter().all(|known| known.lacks(needs).is_some());
    if is_hopeless {
        Verdict::Failed(reason, evidence)
    } else {
        Verdict::Unsuitable(reason, evidence)
    }
}

fn describe(reason: Reason, needs: Needs) -> String {
    if reason == Reason::TooLarge {
        format!(
            "5.3.4 {} octets are more than the upstream takes",
            needs.size
        )
    } else {
        "5.6.7 the upstream does not offer SMTPUTF8".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDS: Needs = Needs {
        size: 1000,
        stored: 800,
        utf8: true,
    };

    #[test]
    fn unknown_is_not_lacking() {
        assert_eq!(Known::default().lacks(NEEDS), None);
        let small = Known {
            largest: Some(999),
            ..Known::default()
        };
        assert_eq!(small.lacks(NEEDS), Some(Reason::TooLarge));
        let ascii = Known {
            largest: Some(1000),
            bound: Some(800),
            utf8: Some(false),
        };
        assert_eq!(ascii.lacks(NEEDS), Some(Reason::Utf8Needed));
        assert_eq!(
            ascii.lacks(Needs {
                utf8: false,
                ..NEEDS
            }),
            None
        );
    }

    /// What was accepted up to the document's bound grows by the fields we add, and must not fail for them.
    #[test]
    fn the_document_bounds_what_was_accepted_and_the_server_what_is_relayed() {
        let needs = Needs {
            utf8: false,
            ..NEEDS
        };
        let lacks = |size, bound| {
            let mut extensions = Extensions::default();
            extensions.size = size;
            Known::of(&extensions, bound).lacks(needs)
        };
        assert_eq!(lacks(None, 800), None);
        assert_eq!(lacks(None, 799), Some(Reason::TooLarge));
        assert_eq!(lacks(Some(1000), 800), None);
        assert_eq!(lacks(Some(999), 800), Some(Reason::TooLarge));
        assert_eq!(lacks(Some(1000), 799), Some(Reason::TooLarge));
    }

    /// Row 22.
    #[test]
    fn mail_fails_for_what_is_lacking_only_if_every_eligible_target_lacks_it() {
        let lacking = Known {
            largest: Some(10),
            ..Known::default()
        };
        let of = |others: &[Known]| verdict(Reason::TooLarge, NEEDS, others.to_vec(), None);
        assert!(matches!(of(&[]), Verdict::Failed(Reason::TooLarge, _)));
        assert!(matches!(
            of(&[lacking]),
            Verdict::Failed(Reason::TooLarge, _)
        ));
        assert!(matches!(
            of(&[lacking, Known::default()]),
            Verdict::Unsuitable(Reason::TooLarge, _)
        ));
    }
}
