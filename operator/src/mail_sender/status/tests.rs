use std::{collections::BTreeMap, sync::Arc};

use posthouse_config::yaml;
use serde_json::{Value, json};

use super::*;
use crate::{
    cases::merge,
    grant::Namespace,
    mail_relay::{
        self, Audience,
        facts::{Heard, Report},
    },
    mail_sender::{self, admission, admit::RefusalReason, ledger::Gateway},
};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn sender(change: &str) -> MailSender {
    let mut object: Value = json!({
        "apiVersion": "posthouse.dev/v1alpha1", "kind": "MailSender",
        "metadata": { "name": "s", "namespace": "shop", "uid": "u", "generation": 4 },
        "spec": { "relayRef": { "name": "outbound", "namespace": "mail" }, "from": ["a.example"] },
    });
    merge(&mut object, &yaml::from_str(change).unwrap());
    yaml::from_value(object).unwrap()
}

/// The verdict of a relay that admits it.
fn accepted(sender: &MailSender, absent: &[&str]) -> SenderVerdict {
    let relay = yaml::from_str(
        "{ apiVersion: posthouse.dev/v1alpha1, kind: MailRelay, metadata: { name: outbound, namespace: mail }, spec: {
            hostname: mail.example.com, upstreams: [{ name: a, provider: Capture }],
            clients: { grants: [{ name: a, namespaces: { names: [shop] }, senderDomains: [a.example] }] } } }",
    )
    .unwrap();
    let relay = mail_relay::validate(&relay, Audience::Cluster).1.unwrap();
    let valid = mail_sender::validate(sender).1.unwrap();
    let admitted = mail_sender::admit(&relay, &valid, &Namespace::named("shop"), 0).unwrap();
    let accepted = AcceptedSender {
        row: mail_sender::build::sender(&admitted),
        admitted,
        absent_accounts: absent.iter().map(ToString::to_string).collect(),
    };
    SenderVerdict {
        answer: Answer::Accepted(Arc::new(accepted)),
        ..admission::without_relay(sender)
    }
}

fn refused(sender: &MailSender, reason: RefusalReason) -> SenderVerdict {
    let refusal = Refusal::open(reason, "spec.x", "must be y".to_owned());
    SenderVerdict {
        answer: Answer::Refused(vec![refusal]),
        ..admission::without_relay(sender)
    }
}

fn effect(rotation: Option<i64>, waits: Option<Waits>) -> Effect {
    Effect {
        binding: rotation.map(|_| "s-smtp".to_owned()),
        credential: rotation.map(|rotation| CredentialStatus {
            rotation,
            written_time: Some(Time(at(50))),
            previous_valid_until: None,
        }),
        waits,
        failure: None,
    }
}

fn failing(failure: WriteFailure) -> Effect {
    Effect {
        failure: Some(failure),
        ..effect(None, None)
    }
}

fn observe(
    sender: &MailSender,
    verdict: &SenderVerdict,
    effect: &Effect,
    gateways: &[Gateway],
) -> MailSenderStatus {
    status(&Observed {
        sender,
        verdict,
        effect,
        gateways,
        now: at(100),
    })
}

/// `Accepted/Programmed/Ready` as status and reason, in the letters T, F and U.
fn summary(status: &MailSenderStatus) -> String {
    let conditions = status.conditions.iter().map(|condition| {
        let letter = &condition.status[..1];
        format!("{}={letter} {}", condition.type_, condition.reason)
    });
    conditions.collect::<Vec<_>>().join(", ")
}

#[test]
fn every_reason_is_reached() {
    let password = sender("{}");
    let raised = sender("{ spec: { credential: { rotation: 2 } } }");
    let tokens = sender("{ spec: { serviceAccounts: [web] } }");
    let yes = |sender| accepted(sender, &[]);
    let waiting = "Accepted=T Accepted, Programmed=U Pending, Ready=U Pending";
    let done = "Accepted=T Accepted, Programmed=T Programmed, Ready=T Ready";
    for (sender, verdict, effect, expected) in [
        (&password, yes(&password), effect(Some(1), None), done),
        // The relay's key waits: that is not the sender's business.
        (
            &password,
            yes(&password),
            effect(Some(1), Some(Waits::Gateways)),
            done,
        ),
        // Admitted again: the Secret has what no gateway accepts yet.
        (
            &password,
            yes(&password),
            effect(Some(1), Some(Waits::Again)),
            waiting,
        ),
        (
            &password,
            yes(&password),
            effect(None, Some(Waits::NoReadyGateway)),
            waiting,
        ),
        (
            &raised,
            yes(&raised),
            effect(Some(1), Some(Waits::Gateways)),
            waiting,
        ),
        (&raised, yes(&raised), effect(Some(2), None), done),
        (&tokens, yes(&tokens), effect(None, None), done),
        (
            &tokens,
            yes(&tokens),
            effect(None, Some(Waits::Gateways)),
            waiting,
        ),
        (
            &password,
            yes(&password),
            failing(WriteFailure::Conflict),
            "Accepted=T Accepted, Programmed=F SecretConflict, Ready=F SecretConflict",
        ),
        (
            &password,
            yes(&password),
            failing(WriteFailure::Failed("no route to host".to_owned())),
            "Accepted=T Accepted, Programmed=F ApplyFailed, Ready=F ApplyFailed",
        ),
        (
            &password,
            refused(&password, RefusalReason::NotGranted),
            effect(Some(1), None),
            "Accepted=F NotGranted, Programmed=U Pending, Ready=F NotGranted",
        ),
        (
            &password,
            refused(&password, RefusalReason::InvalidSpec),
            effect(None, None),
            "Accepted=F InvalidSpec, Programmed=U Pending, Ready=F InvalidSpec",
        ),
        (
            &password,
            refused(&password, RefusalReason::RelayFull),
            effect(None, None),
            "Accepted=F RelayFull, Programmed=U Pending, Ready=F RelayFull",
        ),
        (
            &tokens,
            refused(&tokens, RefusalReason::TokensWithoutTls),
            effect(None, None),
            "Accepted=F TokensWithoutTls, Programmed=U Pending, Ready=F TokensWithoutTls",
        ),
    ] {
        let status = observe(sender, &verdict, &effect, &[]);
        assert_eq!(summary(&status), expected, "{effect:?}");
        assert_eq!(status.observed_generation, Some(4));
    }
}

#[test]
fn consent_withdrawn_leaves_the_secret_named() {
    let sender = sender("{}");
    let verdict = refused(&sender, RefusalReason::NotGranted);
    let kept = observe(&sender, &verdict, &effect(Some(3), None), &[]);
    assert_eq!(kept.binding.unwrap().name, "s-smtp");
    assert_eq!(kept.credential.unwrap().rotation, 3);
    assert_eq!(kept.conditions[0].message, "spec.x: must be y");
}

#[test]
fn an_audience_is_for_those_with_tokens_whom_the_relay_admits() {
    let tokens = sender("{ spec: { serviceAccounts: [web, gone] } }");
    let password = sender("{}");
    let done = effect(None, None);
    let told = observe(&tokens, &accepted(&tokens, &["gone"]), &done, &[]);
    assert_eq!(
        told.audience.as_deref(),
        Some("posthouse.dev/mail/outbound")
    );
    assert!(told.conditions[1].message.ends_with("do not exist: gone"));
    let refusal = refused(&tokens, RefusalReason::NotGranted);
    assert_eq!(observe(&tokens, &refusal, &done, &[]).audience, None);
    let verdict = accepted(&password, &[]);
    assert_eq!(observe(&password, &verdict, &done, &[]).audience, None);
}

/// An answer with messages that wait, and recipients that failed.
fn says(waiting: &Value, failures: &Value) -> Heard {
    let status = yaml::from_value(json!({ "waiting": waiting, "failures": failures })).unwrap();
    Heard::Report(Arc::new(Report {
        status,
        received: at(0),
    }))
}

#[test]
fn figures_are_summed_over_gateways_and_the_last_known_ones_of_silent_ones() {
    let own = |messages, held| json!({ "sender": "s.shop", "messages": messages, "held": held });
    let other = json!({ "sender": "s.other", "messages": 50, "held": 50 });
    let failed = |count, time| json!({ "sender": "s.shop", "count": count, "lastTime": time });
    let first = says(
        &json!([own(3, 1), other]),
        &json!([failed(2, "2026-11-22T10:00:00.9Z")]),
    );
    let second = says(
        &json!([own(4, 2)]),
        &json!([failed(5, "2026-11-22T09:00:00Z")]),
    );
    let Heard::Report(last) = second else {
        panic!("it answers")
    };
    let second = Heard::Silent { since: at(0), last };
    let heard = BTreeMap::from([("a".to_owned(), first), ("b".to_owned(), second)]);
    let pods: BTreeMap<_, _> = ["a", "b", "c"]
        .map(|name| (name.to_owned(), Arc::default()))
        .into();
    let gateways = Gateway::of(&pods, &heard, at(100));
    let sender = sender("{ status: { queue: { messages: 9, held: 9 }, failures: { count: 9 } } }");
    let verdict = accepted(&sender, &[]);
    let told = observe(&sender, &verdict, &effect(Some(1), None), &gateways);
    let queue = told.queue.unwrap();
    assert_eq!((queue.messages, queue.held), (7, 3));
    let failures = told.failures.unwrap();
    assert_eq!(failures.count, 7);
    assert_eq!(
        failures.last_time.unwrap().0,
        "2026-11-22T10:00:00Z".parse::<Timestamp>().unwrap()
    );
    // Before any gateway was heard: what was known.
    let told = observe(&sender, &verdict, &effect(Some(1), None), &[]);
    assert_eq!(told.queue.unwrap().messages, 9);
    assert_eq!(told.failures.unwrap().count, 9);
}

#[test]
fn states_are_written_at_once_and_figures_once_a_minute() {
    let object = sender("{}");
    let verdict = accepted(&object, &[]);
    let base = observe(&object, &verdict, &effect(Some(1), None), &[]);
    let with = |change: fn(&mut MailSenderStatus)| {
        let mut status = base.clone();
        change(&mut status);
        status
    };
    let queue = |status: &mut MailSenderStatus| {
        status.queue = Some(SenderQueueStatus {
            messages: 1,
            held: 0,
        });
    };
    let failure_time = |status: &mut MailSenderStatus| {
        status.failures = Some(FailuresStatus {
            last_time: Some(Time(at(7))),
            count: 0,
        });
    };
    let transition = |status: &mut MailSenderStatus| {
        status.conditions[0].last_transition_time = Time(at(7));
    };
    let reason = |status: &mut MailSenderStatus| status.conditions[0].reason = "X".to_owned();
    let until = |status: &mut MailSenderStatus| {
        status.credential.as_mut().unwrap().previous_valid_until = Some(Time(at(7)));
    };
    assert!(worth_writing(None, &base, at(0), at(1)));
    for (new, within_the_minute, after_it) in [
        (base.clone(), false, false),
        (with(transition), false, false),
        (with(queue), false, true),
        (with(reason), true, true),
        (with(until), true, true),
    ] {
        assert_eq!(
            worth_writing(Some(&base), &new, at(0), at(59)),
            within_the_minute,
            "{new:?}"
        );
        assert_eq!(
            worth_writing(Some(&base), &new, at(0), at(60)),
            after_it,
            "{new:?}"
        );
    }
    // A time alone is no figure.
    let old = with(|status| status.failures = Some(FailuresStatus::default()));
    assert!(!worth_writing(
        Some(&old),
        &with(failure_time),
        at(0),
        at(60)
    ));
}
