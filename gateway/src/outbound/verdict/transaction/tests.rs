//! One test per row of the table, named after what it promises.

use super::*;
use crate::outbound::{
    dictionary::Dictionary,
    verdict::{Earlier, History},
};

const CODES: [u16; 8] = [450, 451, 452, 471, 499, 432, 454, 422];

/// Everything a case may be varied by.
#[derive(Clone, Copy)]
struct Given {
    another_accepted: bool,
    relayed: bool,
    first_priority: bool,
    earlier: Earlier,
    history: History,
    dictionary: Dictionary,
}

const PLAIN: Given = Given {
    another_accepted: false,
    relayed: false,
    first_priority: true,
    earlier: Earlier {
        refusals: 0,
        first_refusal: None,
        lost: 0,
        unconfirmed: 0,
    },
    history: History {
        relayed_of_reverse_path: None,
        relayed_other: None,
        relayed_since_lost: false,
        others_refused: 0,
        breaker_is_due: false,
    },
    dictionary: Dictionary::CUSTOM,
};

impl Given {
    fn on(self, phase: Phase, event: &Event) -> Ruling {
        of(Case {
            event,
            phase,
            another_accepted: self.another_accepted,
            relayed: self.relayed,
            first_priority: self.first_priority,
            earlier: self.earlier,
            history: self.history,
            dictionary: self.dictionary,
        })
    }

    /// For a reply line such as `550 5.1.1 x`.
    fn reply(self, phase: Phase, line: &str) -> Ruling {
        self.on(phase, &Event::Replied(read(line)))
    }
}

fn read(line: &str) -> Reply {
    let octets = format!("{line}\r\n");
    posthouse_smtp::reply::stream::ReplyStream::default()
        .next(&mut octets.as_bytes())
        .unwrap()
        .unwrap()
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// A recipient refused once, at 100.
const REFUSED_ONCE: Earlier = Earlier {
    refusals: 1,
    first_refusal: Some(Timestamp::from_millis(100)),
    lost: 0,
    unconfirmed: 0,
};

fn verdict(ruling: &Ruling) -> &Verdict {
    match ruling {
        Ruling::Settled(verdict, _) => verdict,
        other => panic!("{other:?}"),
    }
}

fn effects(ruling: &Ruling) -> &Effects {
    match ruling {
        Ruling::Settled(_, effects) => effects,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn assert_deferred(ruling: &Ruling, expected: Reason) {
    match verdict(ruling) {
        Verdict::Deferred {
            reason,
            refused: false,
            lost: false,
            ..
        } => assert_eq!(*reason, expected),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn assert_second_opinion(ruling: &Ruling, expected: Reason) {
    match verdict(ruling) {
        Verdict::Deferred {
            reason,
            refused: true,
            lost: false,
            wait,
            ..
        } => assert_eq!((*reason, *wait), (expected, SECOND_OPINION)),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn assert_failed(ruling: &Ruling, expected: Reason) {
    match verdict(ruling) {
        Verdict::Failed(reason, _) => assert_eq!(*reason, expected),
        other => panic!("{other:?}"),
    }
}

fn troubles(ruling: &Ruling) -> bool {
    matches!(effects(ruling).upstream, Blame::Trouble(_))
}

/// Row 5, and 11 and 15, which are as it.
#[test]
fn a_transient_reply_to_the_transaction_defers_it_and_troubles_the_upstream() {
    for phase in [Phase::Mail, Phase::Data, Phase::Content, Phase::Final] {
        for code in CODES {
            let ruling = PLAIN.reply(phase, &format!("{code} later"));
            assert_deferred(&ruling, Reason::TransactionDeferred);
            assert!(troubles(&ruling), "{phase} {code}");
        }
    }
}

/// Row 6.
#[test]
fn a_refused_reverse_path_holds_it_at_that_upstream() {
    for line in [
        "550 5.7.1 no",
        "550 no",
        "553 5.1.8 x",
        "501 x",
        "555 5.5.4 x",
    ] {
        let ruling = PLAIN.reply(Phase::Mail, line);
        assert_deferred(&ruling, Reason::ReversePathRefused);
        assert_eq!(effects(&ruling).reverse_path, PathEffect::Held, "{line}");
        assert!(matches!(effects(&ruling).upstream, Blame::Refusal(_)));
    }
}

/// Row 6, first half: as row 22.
#[test]
fn a_target_that_lacks_what_the_message_needs_is_not_the_reverse_paths_fault() {
    for (line, expected, how) in [
        ("552 too big", Reason::TooLarge, Lack::Supposed),
        ("552 5.2.2 full", Reason::TooLarge, Lack::Supposed),
        ("552 5.3.4 too big", Reason::TooLarge, Lack::Known),
        ("554 5.3.4 too big", Reason::TooLarge, Lack::Known),
        ("550 5.6.7 utf8", Reason::Utf8Needed, Lack::Supposed),
    ] {
        match PLAIN.reply(Phase::Mail, line) {
            Ruling::Lacking(reason, _, lack) => assert_eq!((reason, lack), (expected, how)),
            other => panic!("{line}: {other:?}"),
        }
    }
}

/// Row 7.
#[test]
fn a_transient_reply_to_rcpt_defers_that_recipient() {
    for code in CODES {
        let ruling = PLAIN.reply(Phase::Rcpt, &format!("{code} later"));
        assert_deferred(&ruling, Reason::RecipientDeferred);
        assert_eq!(effects(&ruling), &Effects::default());
    }
}

/// Row 7, second half (RFC 5321 §4.5.3.1.10).
#[test]
fn too_many_recipients_are_offered_again_at_once() {
    let after_one = Given {
        another_accepted: true,
        ..PLAIN
    };
    for line in ["452 x", "452 4.5.3 x", "552 x", "552 5.5.3 x"] {
        assert_eq!(after_one.reply(Phase::Rcpt, line), Ruling::Again, "{line}");
        assert_ne!(PLAIN.reply(Phase::Rcpt, line), Ruling::Again, "{line}");
    }
    for line in [
        "452 4.2.2 full",
        "450 4.5.3 x",
        "552 5.2.2 full",
        "552 5.3.4 x",
    ] {
        assert_ne!(after_one.reply(Phase::Rcpt, line), Ruling::Again, "{line}");
    }
}

/// Row 8.
#[test]
fn a_refusal_that_names_the_recipient_fails_it() {
    for detail in [
        "1.1", "1.2", "1.3", "1.4", "1.6", "1.10", "2.0", "2.1", "2.2", "2.999",
    ] {
        let ruling = PLAIN.reply(Phase::Rcpt, &format!("550 5.{detail} x"));
        assert_failed(&ruling, Reason::RecipientRefused);
        assert_eq!(effects(&ruling), &Effects::default());
    }
    for code in [550, 551, 553] {
        let line = format!("{code} no such user");
        let after_one = Given {
            another_accepted: true,
            ..PLAIN
        };
        assert_failed(
            &after_one.reply(Phase::Rcpt, &line),
            Reason::RecipientRefused,
        );
        assert_second_opinion(&PLAIN.reply(Phase::Rcpt, &line), Reason::RecipientRefused);
    }
}

/// Row 8, in brackets: x.1.7 and x.1.8 are about the sender.
#[test]
fn a_refusal_of_rcpt_that_names_the_sender_holds_the_reverse_path() {
    for line in ["550 5.1.7 x", "550 5.1.8 x"] {
        let ruling = PLAIN.reply(Phase::Rcpt, line);
        assert_deferred(&ruling, Reason::ReversePathRefused);
        assert_eq!(effects(&ruling).reverse_path, PathEffect::Held);
        assert_eq!(effects(&ruling).upstream, Blame::Nothing);
    }
}

/// Row 9.
#[test]
fn another_refusal_of_rcpt_is_asked_about_again_before_it_fails_mail() {
    for line in [
        "550 5.7.1 x",
        "550 5.1.0 x",
        "554 x",
        "571 blocked",
        "550 x",
    ] {
        assert_second_opinion(&PLAIN.reply(Phase::Rcpt, line), Reason::RecipientRefused);
        let again = Given {
            earlier: REFUSED_ONCE,
            ..PLAIN
        };
        assert_second_opinion(&again.reply(Phase::Rcpt, line), Reason::RecipientRefused);
        let confirmed = Given {
            history: History {
                relayed_of_reverse_path: Some(at(101)),
                ..History::default()
            },
            ..again
        };
        assert_failed(
            &confirmed.reply(Phase::Rcpt, line),
            Reason::RecipientRefused,
        );
        let before = Given {
            history: History {
                relayed_of_reverse_path: Some(at(100)),
                ..History::default()
            },
            ..again
        };
        assert_second_opinion(&before.reply(Phase::Rcpt, line), Reason::RecipientRefused);
        // Never at the first refusal, whatever went through.
        let first = Given {
            earlier: Earlier::default(),
            ..confirmed
        };
        assert_second_opinion(&first.reply(Phase::Rcpt, line), Reason::RecipientRefused);
    }
}

/// Row 9, in brackets: for these codes other mail of any reverse-path is evidence.
#[test]
fn a_bare_550_is_confirmed_by_any_other_mail() {
    let given = Given {
        earlier: REFUSED_ONCE,
        history: History {
            relayed_other: Some(at(101)),
            ..History::default()
        },
        ..PLAIN
    };
    for code in [550, 551, 553] {
        let ruling = given.reply(Phase::Rcpt, &format!("{code} x"));
        assert_failed(&ruling, Reason::RecipientRefused);
    }
    for line in ["550 5.7.1 x", "554 x"] {
        assert_second_opinion(&given.reply(Phase::Rcpt, line), Reason::RecipientRefused);
    }
}

/// Row 9, last sentence.
#[test]
fn three_refused_messages_in_a_row_hold_their_reverse_path() {
    for (others, expected) in [
        (0, PathEffect::Refused),
        (1, PathEffect::Refused),
        (2, PathEffect::Held),
    ] {
        let given = Given {
            history: History {
                others_refused: others,
                ..History::default()
            },
            ..PLAIN
        };
        for phase in [Phase::Rcpt, Phase::Final] {
            let ruling = given.reply(phase, "550 5.7.1 x");
            assert_eq!(effects(&ruling).reverse_path, expected, "{phase} {others}");
        }
    }
}

/// Row 11 for 5yz, and row 17.
#[test]
fn another_permanent_reply_to_the_message_is_asked_about_again() {
    for phase in [Phase::Data, Phase::Content, Phase::Final] {
        for line in ["550 5.7.1 spam", "554 no", "550 no", "550 5.1.1 who"] {
            let ruling = PLAIN.reply(phase, line);
            assert_second_opinion(&ruling, Reason::MessageRefused);
            assert!(matches!(effects(&ruling).upstream, Blame::Refusal(_)));
            let confirmed = Given {
                earlier: REFUSED_ONCE,
                history: History {
                    relayed_of_reverse_path: Some(at(101)),
                    ..History::default()
                },
                ..PLAIN
            };
            assert_failed(&confirmed.reply(phase, line), Reason::MessageRefused);
        }
    }
}

/// Row 9: three different messages in a row "without a 2yz between".
#[test]
fn a_reverse_path_is_not_held_by_a_transaction_that_was_relayed() {
    let third = Given {
        history: History {
            others_refused: REFUSED_MESSAGES - 1,
            ..History::default()
        },
        ..PLAIN
    };
    let ruling = third.reply(Phase::Rcpt, "550 5.7.1 no");
    assert_eq!(effects(&ruling).reverse_path, PathEffect::Held);
    let relayed = Given {
        another_accepted: true,
        relayed: true,
        ..third
    };
    let ruling = relayed.reply(Phase::Rcpt, "550 5.7.1 no");
    assert_eq!(effects(&ruling).reverse_path, PathEffect::Refused);
    assert_second_opinion(&ruling, Reason::RecipientRefused);
}

/// Row 9: one ruling does not both blame the sender and fail the recipient.
#[test]
fn what_holds_the_reverse_path_fails_no_recipient() {
    let confirmed = |others_refused| Given {
        earlier: REFUSED_ONCE,
        history: History {
            relayed_of_reverse_path: Some(at(101)),
            others_refused,
            ..History::default()
        },
        ..PLAIN
    };
    for phase in [Phase::Rcpt, Phase::Final] {
        let ruling = confirmed(REFUSED_MESSAGES - 1).reply(phase, "550 5.7.1 no");
        assert_eq!(effects(&ruling).reverse_path, PathEffect::Held);
        assert!(
            matches!(verdict(&ruling), Verdict::Deferred { refused: true, .. }),
            "{ruling:?}"
        );
        let ruling = confirmed(REFUSED_MESSAGES - 2).reply(phase, "550 5.7.1 no");
        assert!(matches!(verdict(&ruling), Verdict::Failed(..)));
    }
}

/// Row 12.
#[test]
fn a_connection_lost_before_the_dot_counts_on_the_message_and_troubles_the_upstream() {
    for phase in [Phase::Mail, Phase::Rcpt, Phase::Data, Phase::Content] {
        let ruling = PLAIN.on(phase, &Event::Lost("connection lost".into()));
        assert!(
            matches!(
                verdict(&ruling),
                Verdict::Deferred {
                    reason: Reason::ConnectionLost,
                    lost: true,
                    refused: false,
                    ..
                }
            ),
            "{ruling:?}"
        );
        assert!(troubles(&ruling));
    }
}

/// Row 12, last sentence.
#[test]
fn the_third_loss_holds_the_message_if_other_content_went_through() {
    let given = |lost, relayed_since_lost| Given {
        earlier: Earlier {
            lost,
            ..Earlier::default()
        },
        history: History {
            relayed_since_lost,
            ..History::default()
        },
        ..PLAIN
    };
    let lose = |given: Given| given.on(Phase::Content, &Event::Lost("x".into()));
    assert!(matches!(
        verdict(&lose(given(2, true))),
        Verdict::Held(Reason::ConnectionLost, _)
    ));
    for (lost, since) in [(1, true), (2, false), (9, false)] {
        assert!(matches!(
            verdict(&lose(given(lost, since))),
            Verdict::Deferred { lost: true, .. }
        ));
    }
}

/// Row 13.
#[test]
fn a_refusal_before_the_dot_counts_as_the_final_reply() {
    for line in ["552 5.3.4 big", "554 5.6.0 bad", "550 no", "451 later"] {
        let strip = |ruling: Ruling| match ruling {
            Ruling::Settled(verdict, effects) => (
                std::mem::discriminant(&verdict),
                std::mem::discriminant(&effects.upstream),
                effects.reverse_path,
            ),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            strip(PLAIN.reply(Phase::Content, line)),
            strip(PLAIN.reply(Phase::Final, line)),
            "{line}"
        );
    }
}

/// Row 14.
#[test]
fn any_2yz_after_the_dot_is_relayed_and_its_text_is_kept() {
    let ruling = PLAIN.reply(Phase::Final, "299 5.7.1 not spam? <id@x>");
    assert_eq!(
        verdict(&ruling),
        &Verdict::Relayed(Evidence {
            phase: Phase::Final,
            reply: "299 5.7.1 not spam? <id@x>".into(),
        })
    );
    assert_eq!(effects(&ruling).upstream, Blame::Praise);
    let long = format!("250 {}", "ü".repeat(400));
    let Verdict::Relayed(said) = verdict(&PLAIN.reply(Phase::Final, &long)).clone() else {
        panic!()
    };
    assert!(said.reply.len() <= 512 && said.reply.len() > 500);
}

/// Row 16.
#[test]
fn a_refusal_that_names_the_content_fails_the_message() {
    for (line, reason) in [
        ("552 5.3.4 big", Reason::TooLarge),
        ("550 5.6.0 bad", Reason::MessageRefused),
        ("554 5.6.7 utf8", Reason::MessageRefused),
    ] {
        let ruling = PLAIN.reply(Phase::Final, line);
        assert_failed(&ruling, reason);
        assert!(matches!(effects(&ruling).upstream, Blame::Refusal(_)));
    }
}

/// Row 18.
#[test]
fn no_reply_after_the_dot_is_unconfirmed_and_the_third_time_held() {
    for event in [Event::Lost("x".into()), Event::OutOfPlace("x".into())] {
        for (unconfirmed, held) in [(0, false), (1, false), (2, true), (7, true)] {
            let given = Given {
                earlier: Earlier {
                    unconfirmed,
                    ..Earlier::default()
                },
                ..PLAIN
            };
            let ruling = given.on(Phase::Final, &event);
            match verdict(&ruling) {
                Verdict::Unconfirmed(_) => assert!(!held),
                Verdict::Held(Reason::Unconfirmed, _) => assert!(held),
                other => panic!("{other:?}"),
            }
        }
    }
}

/// Row 19.
#[test]
fn a_421_after_mail_defers_whatever_its_text() {
    for phase in [
        Phase::Mail,
        Phase::Rcpt,
        Phase::Data,
        Phase::Content,
        Phase::Final,
    ] {
        let ruling = PLAIN.reply(phase, "421 4.7.0 bye");
        assert_deferred(&ruling, Reason::TransactionDeferred);
        assert!(troubles(&ruling));
    }
}

/// Row 20.
#[test]
fn a_reply_out_of_place_defers_and_after_the_dot_is_unconfirmed() {
    for phase in [Phase::Mail, Phase::Rcpt, Phase::Data, Phase::Content] {
        let ruling = PLAIN.on(phase, &Event::OutOfPlace("250 early".into()));
        assert_deferred(&ruling, Reason::ProtocolError);
        assert!(troubles(&ruling));
    }
    let ruling = PLAIN.on(Phase::Final, &Event::OutOfPlace("354".into()));
    assert!(matches!(verdict(&ruling), Verdict::Unconfirmed(_)));
    assert!(troubles(&ruling));
    // Nobody can have taken what we have not finished.
    let ruling = PLAIN.reply(Phase::Content, "250 taken");
    assert_deferred(&ruling, Reason::ProtocolError);
    for (phase, line) in [
        (Phase::Mail, "354 x"),
        (Phase::Rcpt, "354 x"),
        (Phase::Data, "250 x"),
    ] {
        assert_deferred(&PLAIN.reply(phase, line), Reason::ProtocolError);
    }
}

/// Row 21.
#[test]
fn replies_that_blame_our_session_never_fail_mail() {
    for code in [500, 502, 503, 504, 530, 534, 535, 538] {
        for phase in [
            Phase::Mail,
            Phase::Rcpt,
            Phase::Data,
            Phase::Content,
            Phase::Final,
        ] {
            let given = Given {
                earlier: REFUSED_ONCE,
                history: History {
                    relayed_of_reverse_path: Some(at(200)),
                    relayed_other: Some(at(200)),
                    ..History::default()
                },
                another_accepted: true,
                ..PLAIN
            };
            let ruling = given.reply(phase, &format!("{code} 5.6.0 x"));
            assert_deferred(&ruling, Reason::SessionRefused);
            assert!(matches!(effects(&ruling).upstream, Blame::Session(_)));
        }
    }
}

/// Row 23.
#[test]
fn a_fallback_never_fails_mail() {
    let given = Given {
        first_priority: false,
        another_accepted: true,
        ..PLAIN
    };
    for (phase, line) in [
        (Phase::Rcpt, "550 5.1.1 x"),
        (Phase::Rcpt, "550 x"),
        (Phase::Final, "554 5.6.0 x"),
    ] {
        assert_deferred(&given.reply(phase, line), Reason::FallbackRefused);
    }
}

#[test]
fn what_the_open_breaker_would_fail_is_held() {
    let given = Given {
        history: History {
            breaker_is_due: true,
            ..History::default()
        },
        ..PLAIN
    };
    let ruling = given.reply(Phase::Final, "554 5.6.0 x");
    assert!(matches!(verdict(&ruling), Verdict::NotOffered(Some(_))));
    assert!(matches!(effects(&ruling).upstream, Blame::Refusal(_)));
    // RCPT is not counted, so it is not held either.
    let ruling = given.reply(Phase::Rcpt, "550 5.1.1 x");
    assert_failed(&ruling, Reason::RecipientRefused);
}

#[test]
fn a_stop_is_nobodys_fault() {
    for phase in [Phase::Mail, Phase::Content] {
        let ruling = PLAIN.on(phase, &Event::Stopped);
        assert_deferred(&ruling, Reason::Stopped);
        assert_eq!(effects(&ruling), &Effects::default());
    }
    assert!(matches!(
        verdict(&PLAIN.on(Phase::Final, &Event::Stopped)),
        Verdict::Unconfirmed(_)
    ));
}

/// No permanent reply fails mail at its first coming, unless it names recipient or content.
#[test]
fn no_permanent_reply_fails_mail_without_a_reason() {
    for code in 500..600 {
        for phase in [
            Phase::Mail,
            Phase::Rcpt,
            Phase::Data,
            Phase::Content,
            Phase::Final,
        ] {
            for enhanced in ["", "5.0.0 ", "5.7.1 ", "5.4.1 ", "5.5.0 ", "5.1.0 "] {
                let ruling = PLAIN.reply(phase, &format!("{code} {enhanced}x"));
                assert!(
                    !matches!(&ruling, Ruling::Settled(Verdict::Failed(..), _)),
                    "{phase} {code} {enhanced}"
                );
            }
        }
    }
}

#[test]
fn the_dictionary_is_asked_before_every_row() {
    const fn entry(text: &'static str, meaning: Meaning) -> Entry {
        Entry {
            phase: None,
            code: None,
            enhanced: None,
            text,
            meaning,
            remedy: "Do something.",
        }
    }
    const ENTRIES: &[Entry] = &[
        entry("who", Meaning::Recipient),
        entry("virus", Meaning::Message),
        entry("fast", Meaning::Rate(Duration::from_mins(1))),
        entry("daily", Meaning::Quota(Duration::from_hours(1))),
        entry("from", Meaning::Sender),
        entry("account", Meaning::Account(UpstreamState::Refused)),
    ];
    let given = Given {
        dictionary: Dictionary::of(ENTRIES),
        ..PLAIN
    };
    assert_failed(
        &given.reply(Phase::Rcpt, "550 5.7.1 Who?"),
        Reason::RecipientRefused,
    );
    assert_second_opinion(
        &given.reply(Phase::Final, "550 5.7.1 Who?"),
        Reason::RecipientRefused,
    );
    assert_failed(
        &given.reply(Phase::Final, "421 virus"),
        Reason::MessageRefused,
    );
    let ruling = given.reply(Phase::Mail, "550 not from you");
    assert_eq!(effects(&ruling).reverse_path, PathEffect::Held);
    for (line, state, wait) in [
        (
            "421 too fast",
            UpstreamState::Throttled,
            Some(Duration::from_mins(1)),
        ),
        (
            "550 daily limit",
            UpstreamState::QuotaExhausted,
            Some(Duration::from_hours(1)),
        ),
        ("535 account off", UpstreamState::Refused, None),
    ] {
        let ruling = given.reply(Phase::Mail, line);
        assert!(matches!(verdict(&ruling), Verdict::NotOffered(Some(_))));
        let Blame::Fault(fault) = &effects(&ruling).upstream else {
            panic!("{ruling:?}")
        };
        assert_eq!((fault.state, fault.wait), (state, wait));
        assert_eq!(fault.remedy, Some("Do something."));
    }
}
