//! What waits for a cause to be fixed.

use super::*;

fn reverse_path_refused(attempt: &crate::queue::deliver::Attempt) -> AttemptReport {
    AttemptReport {
        hold_reverse_path: true,
        ..all(attempt, || deferred(Reason::ReversePathRefused))
    }
}

#[tokio::test]
async fn a_refused_reverse_path_holds_its_mail_there_and_nobody_elses() {
    let bench = Bench::new(document(&["isp"], "", ""), ScriptedDeliver::new(&["isp"])).await;
    bench.deliver.answers(|attempt| {
        if attempt.message.reverse_path.as_str() == "u@shop.example" {
            reverse_path_refused(attempt)
        } else {
            all(attempt, relayed)
        }
    });
    let first = bench.accept(mail()).await;
    bench
        .until("a hold", |figures| figures.by_state[4] == 1)
        .await;
    let stored = bench.stored(first).await.unwrap().recipients[0]
        .progress
        .clone();
    assert_eq!(
        (stored.state, stored.reason),
        (State::Held, Some(Reason::ReversePathRefused))
    );
    bench.accept(mail()).await;
    let figures = bench
        .until("two held", |figures| figures.by_state[4] == 2)
        .await;
    assert_eq!(figures.held_reasons[0].reason, Reason::ReversePathRefused);
    bench
        .accept(message(
            0,
            "checkout.shop",
            "other@shop.example",
            &["x@c.example"],
        ))
        .await;
    bench
        .until("the other one's end", |figures| figures.messages == 2)
        .await;
    assert_eq!(
        bench.deliver.offered().len(),
        2,
        "the second was not offered"
    );

    bench.advance(HOUR).await;
    bench.deliver.attempts(3).await;
    bench.deliver.answers(|attempt| all(attempt, relayed));
    bench.advance(HOUR).await;
    bench
        .until("an empty queue", |figures| figures.messages == 0)
        .await;
    assert_eq!(
        bench.deliver.offered().len(),
        5,
        "one probe an hour, and after it the rest"
    );
    bench.stop().await;
}

#[tokio::test]
async fn a_restart_rebuilds_the_hold_and_probes_once() {
    let bench = Bench::new(document(&["isp"], "", ""), ScriptedDeliver::new(&["isp"])).await;
    bench.deliver.answers(reverse_path_refused);
    bench.accept(mail()).await;
    bench.accept(mail()).await;
    bench
        .until("held", |figures| figures.by_state[4] == 2)
        .await;
    let deliver = ScriptedDeliver::new(&["isp"]);
    deliver.answers(reverse_path_refused);
    let bench = bench.crash(document(&["isp"], "", ""), deliver).await;
    bench.deliver.attempts(1).await;
    bench
        .until("held", |figures| figures.by_state[4] == 2)
        .await;
    assert_eq!(bench.deliver.offered().len(), 1);
    bench.stop().await;
}

#[tokio::test]
async fn a_change_of_the_upstream_releases_its_reverse_paths() {
    let bench = Bench::new(document(&["isp"], "", ""), ScriptedDeliver::new(&["isp"])).await;
    bench.deliver.answers(reverse_path_refused);
    bench.accept(mail()).await;
    bench
        .until("held", |figures| figures.by_state[4] == 1)
        .await;
    bench.deliver.answers(|attempt| all(attempt, relayed));
    let changed = "  - { name: isp, transport: { smtp: { host: other.example, port: 465, tls: { mode: Implicit } } } }\n";
    bench.reconfigure(document(
        &[],
        changed,
        "routes: [{ name: d, targets: [{ upstream: isp }] }]\n",
    ));
    bench
        .until("an empty queue", |figures| figures.messages == 0)
        .await;
    bench.stop().await;
}

#[tokio::test]
async fn unconfirmed_goes_to_the_same_upstream_then_elsewhere_then_to_a_person() {
    let bench = Bench::new(
        document(&["a", "b"], "", ""),
        ScriptedDeliver::new(&["a", "b"]),
    )
    .await;
    bench.deliver.answers(|attempt| {
        all(attempt, || {
            Verdict::Unconfirmed(evidence("connection lost"))
        })
    });
    let id = bench.accept(mail()).await;
    for attempts in 1..=3 {
        bench.deliver.attempts(attempts).await;
        bench
            .until("the outcome", |figures| {
                figures.by_state[3] + figures.by_state[4] == 1
            })
            .await;
        bench.advance(Duration::from_mins(14)).await;
        assert_eq!(
            bench.deliver.offered().len(),
            attempts,
            "not before 15 minutes"
        );
        bench.advance(Duration::from_mins(2)).await;
    }
    let offered = bench.deliver.offered();
    assert_eq!(offered[0].0, offered[1].0);
    assert_ne!(offered[1].0, offered[2].0);
    let figures = bench
        .until("a hold", |figures| figures.by_state == [0, 0, 0, 0, 1])
        .await;
    assert_eq!(figures.held_reasons[0].reason, Reason::Unconfirmed);
    bench.advance(DAY).await;
    assert_eq!(
        bench.deliver.offered().len(),
        3,
        "only a person may try it again"
    );
    assert!(
        bench
            .metrics
            .encode()
            .0
            .contains("posthouse_unconfirmed_total{upstream")
    );
    bench.deliver.answers(|attempt| all(attempt, relayed));
    bench.handle.retry(id).await.unwrap();
    bench
        .until("an empty queue", |figures| figures.messages == 0)
        .await;
    bench.stop().await;
}

#[tokio::test]
async fn by_hand_mail_is_shown_tried_now_and_given_up() {
    let bench = Bench::new(document(&["isp"], "", ""), ScriptedDeliver::new(&["isp"])).await;
    bench
        .deliver
        .answers(|attempt| all(attempt, || deferred(Reason::TransactionDeferred)));
    let (first, second) = (bench.accept(mail()).await, bench.accept(mail()).await);
    bench
        .until("two deferrals", |figures| figures.by_state[2] == 2)
        .await;
    let filter = crate::queue::Filter {
        recipient_domain: Some("C.example".into()),
        ..Default::default()
    };
    let listed = bench.handle.list(&filter).await.unwrap();
    assert_eq!(
        listed
            .iter()
            .map(|message| message.id.clone())
            .collect::<Vec<_>>(),
        [first.to_string(), second.to_string()]
    );
    let filter = crate::queue::Filter {
        reason: Some(Reason::Poison),
        ..Default::default()
    };
    assert_eq!(bench.handle.list(&filter).await.unwrap(), []);
    let shown = bench.handle.show(first).await.unwrap();
    assert_eq!(
        (
            shown.state,
            shown.sender.as_str(),
            shown.recipients[0].attempts
        ),
        ("deferred", "checkout.shop", 1)
    );
    assert_eq!(
        shown.recipients[0].reply.as_deref(),
        Some("451 4.3.0 later")
    );

    bench.deliver.answers(|attempt| all(attempt, relayed));
    bench.handle.retry(first).await.unwrap();
    bench
        .until("its end", |figures| figures.messages == 1)
        .await;
    assert_eq!(bench.deliver.probed(), ["isp"]);
    bench.handle.cancel(second).await.unwrap();
    assert!(bench.stored(second).await.is_none());
    let figures = bench
        .until("an empty queue", |figures| figures.messages == 0)
        .await;
    assert_eq!(figures.bytes, 0);
    assert_eq!(
        bench.handle.cancel(second).await,
        Err(crate::queue::Refusal::NotFound)
    );
    assert_eq!(bench.deliver.offered().len(), 3);
    assert!(
        bench
            .metrics
            .encode()
            .0
            .contains("posthouse_recipients_total{outcome=\"cancelled\",upstream=\"isp\"} 1")
    );
    bench.stop().await;
}

#[tokio::test]
async fn mail_of_a_throttled_upstream_is_deferred_however_soon_it_is_asked_again() {
    let bench = Bench::new(document(&["isp"], "", ""), ScriptedDeliver::new(&["isp"])).await;
    let soon = crate::clock::Clock::now(&*bench.clock).plus(Duration::from_mins(1));
    bench.deliver.set(
        "isp",
        UpstreamView {
            retry_at: Some(soon),
            ..view(UpstreamState::Throttled, 0)
        },
    );
    let id = bench.accept(mail()).await;
    bench
        .until("a deferral", |figures| figures.by_state[2] == 1)
        .await;
    let shown = bench.handle.show(id).await.unwrap();
    assert_eq!(
        (shown.state, shown.reason),
        ("deferred", Some(Reason::Throttled))
    );
    bench.stop().await;
}

#[tokio::test]
async fn a_message_whose_content_is_damaged_is_held_and_kept_for_a_person() {
    let bench = Bench::new(document(&["isp"], "", ""), ScriptedDeliver::new(&["isp"])).await;
    bench.deliver.answers(|attempt| {
        all(attempt, || {
            Verdict::Held(Reason::ContentDamaged, evidence("its checksum is wrong"))
        })
    });
    let id = bench.accept_with(mail(), vec![b'x'; 100_000]).await;
    let figures = bench
        .until("a held message", |figures| {
            figures.by_state == [0, 0, 0, 0, 1]
        })
        .await;
    assert_eq!(figures.held_reasons[0].reason, Reason::ContentDamaged);
    assert_eq!(bench.spool.status().damaged_records, 1);
    let spool = bench.spool.state_dir();
    let kept = spool
        .with_file_name("quarantine")
        .join(format!("{id}.damaged"));
    assert_eq!(std::fs::read(kept).unwrap().len(), 100_000);
    bench.stop().await;
}
