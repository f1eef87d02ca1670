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
    /// SMTPUTF8.
    pub(crate) utf8: bool,
}

/// What is known of a target. Unknown is not lacking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// Octets of the largest message: the document's bound, the server's own, or what it refused.
    pub(crate) largest: Option<u64>,
    /// Whether SMTPUTF8 is offered, once EHLO was answered.
    pub(crate) utf8: Option<bool>,
}

impl Known {
    /// What an EHLO reply adds to the bound of the document.
    pub(crate) fn of(extensions: &Extensions, bound: u64) -> Self {
        Self {
            largest: Some(extensions.size.map_or(bound, |size| size.min(bound))),
            utf8: Some(extensions.offers(Keyword::SmtpUtf8)),
        }
    }

    /// What is lacking, if it is known that something is.
    pub(crate) fn lacks(self, needs: Needs) -> Option<Reason> {
        if self.largest.is_some_and(|largest| needs.size > largest) {
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
        utf8: true,
    };

    #[test]
    fn unknown_is_not_lacking() {
        assert_eq!(Known::default().lacks(NEEDS), None);
        let small = Known {
            largest: Some(999),
            utf8: None,
        };
        assert_eq!(small.lacks(NEEDS), Some(Reason::TooLarge));
        let ascii = Known {
            largest: Some(1000),
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

    #[test]
    fn the_smaller_of_document_and_server_counts() {
        let mut extensions = Extensions::default();
        extensions.size = Some(500);
        assert_eq!(Known::of(&extensions, 400).largest, Some(400));
        assert_eq!(Known::of(&extensions, 600).largest, Some(500));
        assert_eq!(Known::of(&Extensions::default(), 600).largest, Some(600));
    }

    /// Row 22.
    #[test]
    fn mail_fails_for_what_is_lacking_only_if_every_eligible_target_lacks_it() {
        let lacking = Known {
            largest: Some(10),
            utf8: None,
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
