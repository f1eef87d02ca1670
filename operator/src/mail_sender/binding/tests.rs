use std::sync::Arc;

use posthouse_config::{Senders, Status, senders::Sender, yaml};
use serde_json::json;

use super::*;
use crate::{
    grant::Namespace,
    mail_relay::{
        self, Audience,
        facts::{Heard, Report},
        keys::LiveDocument,
    },
    mail_sender,
};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn accepted() -> AcceptedSender {
    let relay = yaml::from_str(
        "{ apiVersion: posthouse.dev/v1alpha1, kind: MailRelay, metadata: { name: outbound, namespace: mail }, spec: {
            hostname: mail.example.com, upstreams: [{ name: a, provider: Capture }],
            clients: { grants: [{ name: a, namespaces: { names: [shop] }, senderDomains: [a.example] }] } } }",
    )
    .unwrap();
    let sender = yaml::from_str(
        "{ apiVersion: posthouse.dev/v1alpha1, kind: MailSender, metadata: { name: s, namespace: shop, uid: u },
            spec: { relayRef: { name: outbound, namespace: mail }, from: [a.example] } }",
    )
    .unwrap();
    let relay = mail_relay::validate(&relay, Audience::Cluster).1.unwrap();
    let sender = mail_sender::validate(&sender).1.unwrap();
    let admitted = mail_sender::admit(&relay, &sender, &Namespace::named("shop"), 0).unwrap();
    AcceptedSender {
        row: mail_sender::build::sender(&admitted),
        admitted,
        absent_accounts: Vec::new(),
    }
}

/// Rotations 1 and 2 with keys 1 and 2: the first ones since number 3, the second ones since number 4.
fn ledger() -> Ledger {
    let row = |rotations: &[u64]| -> Sender {
        yaml::from_value(json!({ "name": "s", "namespace": "shop", "uid": "u", "rotations": rotations, "from": [] })).unwrap()
    };
    let mut ledger = Ledger::default();
    for (number, rotations) in [(3, &[1][..]), (4, &[2, 1])] {
        let senders = Senders {
            number,
            senders: vec![row(rotations)],
            ..Senders::default()
        };
        let document = LiveDocument {
            number,
            rotations: rotations.to_vec(),
        };
        ledger.observe(Some(&senders), Some(&document));
    }
    ledger
}

/// An answer of a gateway with files of a number.
fn says(number: u64, address: &str) -> Heard {
    let status: Status = yaml::from_value(json!({
        "senders": { "number": number }, "document": { "number": number },
        "listeners": [{ "name": "submission", "address": address }],
    }))
    .unwrap();
    Heard::Report(Arc::new(Report {
        status,
        received: at(0),
    }))
}

fn silent(heard: Heard) -> Heard {
    match heard {
        Heard::Report(last) => Heard::Silent { since: at(0), last },
        other => other,
    }
}

fn ready(heard: Option<&Heard>) -> Gateway<'_> {
    Gateway {
        is_ready: true,
        is_leaving: false,
        is_new: false,
        heard,
    }
}

fn coming(heard: Option<&Heard>) -> Gateway<'_> {
    Gateway {
        is_ready: false,
        ..ready(heard)
    }
}

/// A status with a rotation, written at a time.
fn written(rotation: i64, time: i64) -> CredentialStatus {
    CredentialStatus {
        rotation,
        written_time: Some(Time(at(time))),
        previous_valid_until: None,
    }
}

fn keys(current: u64, previous: Option<u64>) -> KeyRotations {
    KeyRotations {
        current,
        previous,
        since: at(100),
    }
}

/// `rotation/key` of what the Secret is to hold, and what it waits for.
fn told(
    wanted: u64,
    status: Option<&CredentialStatus>,
    keys: &KeyRotations,
    gateways: &[Gateway],
) -> String {
    let (accepted, ledger) = (accepted(), ledger());
    let situation = Situation {
        accepted: &accepted,
        status,
        keys,
        ledger: &ledger,
        gateways,
    };
    let Decision { content, waits } = decide(&situation, wanted);
    let content = content.map_or_else(
        || "-".to_owned(),
        |content| format!("{}/{}", content.rotation, content.key_rotation),
    );
    match waits {
        None => content,
        Some(waits) => format!("{content} {waits:?}"),
    }
}

#[test]
fn a_password_is_written_when_every_gateway_that_counts_accepts_it() {
    let (none, old, new) = (
        says(2, "[::]:2587"),
        says(3, "[::]:2587"),
        says(4, "[::]:2587"),
    );
    let elsewhere = says(4, "[::]:2465");
    let (old_silent, new_silent) = (silent(old.clone()), silent(new.clone()));
    let nothing = Heard::Nothing { since: at(0) };
    let one = keys(1, None);
    let at_rest = written(1, 200);
    let leaving = Gateway {
        is_leaving: true,
        ..ready(Some(&none))
    };
    let just_made = Gateway {
        is_new: true,
        ..coming(Some(&nothing))
    };
    for (wanted, status, gateways, expected) in [
        // A new sender.
        (1, None, vec![], "- NoReadyGateway"),
        (1, None, vec![coming(Some(&nothing))], "- NoReadyGateway"),
        (1, None, vec![coming(Some(&old))], "- NoReadyGateway"),
        (1, None, vec![ready(None)], "- Gateways"),
        (1, None, vec![ready(Some(&none))], "- Gateways"),
        (1, None, vec![ready(Some(&old))], "1/1"),
        (
            1,
            None,
            vec![ready(Some(&old)), ready(Some(&none))],
            "- Gateways",
        ),
        (1, None, vec![ready(Some(&old)), leaving], "1/1"),
        // One that is about to become ready may have read the files before they changed.
        (
            1,
            None,
            vec![ready(Some(&old)), coming(Some(&none))],
            "- Gateways",
        ),
        (1, None, vec![ready(Some(&old)), just_made], "- Gateways"),
        (
            1,
            None,
            vec![ready(Some(&old)), coming(Some(&nothing))],
            "1/1",
        ),
        // A silent one has what it had, and clients still reach it.
        (1, None, vec![ready(Some(&old_silent))], "1/1"),
        // A listener that is being rolled out.
        (1, None, vec![ready(Some(&elsewhere))], "- Gateways"),
        // At rest: kept as it is, whoever is away; not where somebody would refuse it.
        (1, Some(&at_rest), vec![ready(Some(&new))], "1/1"),
        (1, Some(&at_rest), vec![], "1/1"),
        (1, Some(&at_rest), vec![ready(Some(&none))], "-"),
        // Raised: the former password stays until the new one is accepted.
        (2, Some(&at_rest), vec![ready(Some(&old))], "1/1 Gateways"),
        (
            2,
            Some(&at_rest),
            vec![ready(Some(&old_silent)), ready(Some(&new))],
            "1/1 Gateways",
        ),
        (2, Some(&at_rest), vec![ready(Some(&new_silent))], "2/1"),
        (2, Some(&at_rest), vec![], "1/1 NoReadyGateway"),
        // Not in any file yet.
        (3, Some(&at_rest), vec![ready(Some(&new))], "1/1 Gateways"),
    ] {
        assert_eq!(
            told(wanted, status, &one, &gateways),
            expected,
            "{wanted} {status:?} {gateways:?}"
        );
    }
}

/// The Secret stays while consent is withdrawn; given again, it is of no use before the gateways know it.
#[test]
fn a_sender_that_comes_back_waits_for_gateways() {
    let (accepted, mut ledger, keys) = (accepted(), ledger(), keys(1, None));
    let document = LiveDocument {
        number: 4,
        rotations: vec![1],
    };
    let gone = Senders {
        number: 5,
        ..Senders::default()
    };
    ledger.observe(Some(&gone), Some(&document));
    let row: Sender = yaml::from_value(
        json!({ "name": "s", "namespace": "shop", "uid": "u", "rotations": [1], "from": [] }),
    )
    .unwrap();
    let back = Senders {
        number: 6,
        senders: vec![row],
        ..Senders::default()
    };
    let status = written(1, 200);
    let decided = |ledger: &Ledger, number: u64| {
        let mut heard = says(number, "[::]:2587");
        if let Heard::Report(report) = &mut heard {
            Arc::make_mut(report).status.document.number = 4;
        }
        let situation = Situation {
            accepted: &accepted,
            status: Some(&status),
            keys: &keys,
            ledger,
            gateways: &[ready(Some(&heard))],
        };
        let Decision { content, waits } = decide(&situation, 1);
        (content.is_some(), waits)
    };
    // Not in the file yet.
    assert_eq!(decided(&ledger, 5), (false, Some(Waits::Again)));
    ledger.observe(Some(&back), Some(&document));
    assert_eq!(decided(&ledger, 5), (false, Some(Waits::Again)));
    assert_eq!(decided(&ledger, 6), (true, None));
    // Another process, which has not seen it go.
    let mut ledger = Ledger::default();
    ledger.observe(Some(&back), Some(&document));
    assert_eq!(decided(&ledger, 5), (false, None));
}

#[test]
fn a_new_relay_key_renews_a_password_in_the_same_way() {
    let (old, new) = (says(3, "[::]:2587"), says(4, "[::]:2587"));
    let both = keys(2, Some(1));
    for (status, heard, keys, expected) in [
        // Written before the key was in the document, and after.
        (written(1, 99), &old, &both, "1/1 Gateways"),
        (written(1, 99), &new, &both, "1/2"),
        (written(1, 100), &new, &both, "1/2"),
        (written(1, 100), &old, &both, "-"),
        // The previous key is gone: nothing but the current one is of use.
        (written(1, 99), &new, &keys(2, None), "1/2"),
    ] {
        let gateways = [ready(Some(heard))];
        assert_eq!(
            told(1, Some(&status), keys, &gateways),
            expected,
            "{status:?}"
        );
    }
}

/// Rotation, when it was written, and until when the previous one is valid.
fn after(
    status: Option<&CredentialStatus>,
    rotation: u64,
    key_rotation: u64,
) -> (i64, i64, Option<i64>) {
    let content = Content {
        rotation,
        key_rotation,
    };
    let now = at(500) + jiff::SignedDuration::from_millis(700);
    let status = remembered(status, &keys(2, Some(1)), content, 60, now);
    let second = |time: &Time| time.0.as_second();
    assert_eq!(
        status.written_time.as_ref().unwrap().0.subsec_nanosecond(),
        0
    );
    (
        status.rotation,
        status.written_time.as_ref().map(second).unwrap(),
        status.previous_valid_until.as_ref().map(second),
    )
}

#[test]
fn what_is_remembered_changes_with_the_password_alone() {
    let overlapping = CredentialStatus {
        previous_valid_until: Some(Time(at(540))),
        ..written(1, 99)
    };
    for (status, rotation, key_rotation, expected) in [
        // First, or lost: nobody knows of a previous one.
        (None, 1, 2, (1, 500, None)),
        // Kept as it was.
        (Some(&written(1, 99)), 1, 1, (1, 99, None)),
        (Some(&written(1, 100)), 1, 2, (1, 100, None)),
        (Some(&overlapping), 1, 1, (1, 99, Some(540))),
        // A new rotation: the former is valid for a while from now on.
        (Some(&written(1, 100)), 2, 2, (2, 500, Some(560))),
        (Some(&overlapping), 2, 2, (2, 500, Some(560))),
        // A new key only: the previous rotation ends when it was to.
        (Some(&written(1, 99)), 1, 2, (1, 500, None)),
        (Some(&overlapping), 1, 2, (1, 500, Some(540))),
    ] {
        assert_eq!(
            after(status, rotation, key_rotation),
            expected,
            "{status:?} {rotation} {key_rotation}"
        );
    }
}

#[test]
fn tokens_wait_for_gateways_that_know_the_sender() {
    let (none, old) = (says(2, ""), says(3, ""));
    let (accepted, ledger, keys) = (accepted(), ledger(), keys(1, None));
    for (gateways, expected) in [
        (vec![], Some(Waits::NoReadyGateway)),
        (vec![ready(None)], Some(Waits::NoReadyGateway)),
        (vec![ready(Some(&none))], Some(Waits::Gateways)),
        (
            vec![ready(Some(&old)), ready(Some(&none))],
            Some(Waits::Gateways),
        ),
        (vec![ready(Some(&old)), ready(None)], None),
    ] {
        let situation = Situation {
            accepted: &accepted,
            status: None,
            keys: &keys,
            ledger: &ledger,
            gateways: &gateways,
        };
        assert_eq!(tokens_wait(&situation), expected, "{gateways:?}");
    }
}
