//! From acceptance to an outcome in the spool.

use super::*;

#[tokio::test]
async fn accepted_mail_goes_straight_out_and_leaves_the_spool() {
    let bench = Bench::new(document(&["isp"], "", ""), ScriptedDeliver::new(&["isp"])).await;
    let id = bench.accept(mail()).await;
    bench.deliver.attempts(1).await;
    let figures = bench
        .until("an empty queue", |figures| figures.messages == 0)
        .await;
    assert_eq!(
        (figures.bytes, figures.oldest, figures.by_state),
        (0, None, [0; 5])
    );
    assert!(bench.stored(id).await.is_none());
    assert_eq!(bench.deliver.offered(), [("isp".to_owned(), id, vec![0])]);
    let (text, _) = bench.metrics.encode();
    assert!(
        text.contains("posthouse_recipients_total{outcome=\"relayed\",upstream=\"isp\"} 1"),
        "{text}"
    );
    assert_eq!(bench.handle.inbox.backlog(&mail().sender), 0);
    bench.stop().await;
}

#[tokio::test]
async fn deferred_mail_waits_its_time_and_is_tried_again() {
    let bench = Bench::new(document(&["isp"], "", ""), ScriptedDeliver::new(&["isp"])).await;
    bench
        .deliver
        .answers(|attempt| all(attempt, || deferred(Reason::TransactionDeferred)));
    let id = bench.accept(mail()).await;
    bench.deliver.attempts(1).await;
    bench
        .until("a deferral", |figures| figures.by_state == [0, 0, 1, 0, 0])
        .await;
    let progress = bench.stored(id).await.unwrap().recipients[0]
        .progress
        .clone();
    assert_eq!(
        (progress.state, progress.reason),
        (State::Deferred, Some(Reason::TransactionDeferred))
    );
    bench.advance(Duration::from_secs(50)).await;
    assert_eq!(bench.deliver.offered().len(), 1);
    bench
        .deliver
        .answers(|attempt| all(attempt, || Verdict::Relayed(evidence("250 ok"))));
    bench.advance(Duration::from_secs(20)).await;
    bench.deliver.attempts(2).await;
    bench
        .until("an empty queue", |figures| figures.messages == 0)
        .await;
    bench.stop().await;
}

#[tokio::test]
async fn recipients_of_one_message_end_each_for_itself() {
    let bench = Bench::new(document(&["isp"], "", ""), ScriptedDeliver::new(&["isp"])).await;
    bench.deliver.answers(|attempt| AttemptReport {
        verdicts: attempt
            .recipients
            .iter()
            .map(|&i| match i {
                0 => (i, Verdict::Relayed(evidence("250 ok"))),
                _ => (i, deferred(Reason::RecipientDeferred)),
            })
            .collect(),
        hold_reverse_path: false,
    });
    let id = bench
        .accept(message(
            0,
            "a.b",
            "u@x.example",
            &["x@c.example", "y@c.example"],
        ))
        .await;
    bench.deliver.attempts(1).await;
    bench
        .until("a deferral", |figures| figures.by_state[2] == 1)
        .await;
    let stored = bench.stored(id).await.unwrap();
    let states: Vec<_> = stored
        .recipients
        .iter()
        .map(|recipient| recipient.progress.state)
        .collect();
    assert_eq!(states, [State::Relayed, State::Deferred]);
    bench.advance(Duration::from_secs(70)).await;
    bench.deliver.attempts(2).await;
    assert_eq!(
        bench.deliver.offered()[1].2,
        [1],
        "who has it is not offered again"
    );
    bench.stop().await;
}

#[tokio::test]
async fn mail_found_at_start_is_read_and_goes_out() {
    let down = ScriptedDeliver::new(&[]);
    let bench = Bench::new(document(&["isp"], "", ""), down).await;
    let id = bench.accept(mail()).await;
    bench
        .until("a message", |figures| figures.messages == 1)
        .await;
    let bench = bench
        .crash(document(&["isp"], "", ""), ScriptedDeliver::new(&["isp"]))
        .await;
    bench.deliver.attempts(1).await;
    bench
        .until("an empty queue", |figures| figures.messages == 0)
        .await;
    assert_eq!(bench.deliver.offered()[0].1, id);
    bench.stop().await;
}

#[tokio::test]
async fn an_upstream_that_fails_as_a_whole_costs_the_mail_nothing() {
    let bench = Bench::new(document(&["isp"], "", ""), ScriptedDeliver::new(&["isp"])).await;
    bench
        .deliver
        .answers(|attempt| all(attempt, || Verdict::NotOffered(None)));
    bench.deliver.set("isp", view(UpstreamState::Ready, 1));
    let id = bench.accept(mail()).await;
    bench.deliver.attempts(1).await;
    bench.deliver.set(
        "isp",
        UpstreamView {
            reply: Some("535 5.7.8 no".into()),
            ..view(UpstreamState::AuthenticationFailed, 0)
        },
    );
    let figures = bench
        .until("a held lane", |figures| figures.by_state == [0, 0, 0, 0, 1])
        .await;
    assert_eq!(figures.held_reasons.len(), 1);
    assert_eq!(figures.held_reasons[0].reason, Reason::AuthenticationFailed);
    assert_eq!(
        (
            figures.held_reasons[0].upstream.as_str(),
            figures.held_reasons[0].reply.as_deref()
        ),
        ("isp", Some("535 5.7.8 no"))
    );
    let progress = bench.stored(id).await.unwrap().recipients[0]
        .progress
        .clone();
    assert_eq!(progress, crate::mail::Progress::default());
    bench
        .deliver
        .answers(|attempt| all(attempt, || Verdict::Relayed(evidence("250 ok"))));
    bench.deliver.set("isp", view(UpstreamState::Ready, 1));
    bench.advance(Duration::from_secs(2)).await;
    bench
        .until("an empty queue", |figures| figures.messages == 0)
        .await;
    bench.stop().await;
}

#[tokio::test]
async fn a_panic_ends_one_attempt_and_the_mail_is_tried_again() {
    let bench = Bench::new(document(&["isp"], "", ""), ScriptedDeliver::new(&["isp"])).await;
    let mut first = true;
    bench.deliver.answers(move |attempt| {
        assert!(!std::mem::take(&mut first), "the attempt's own panic");
        all(attempt, relayed)
    });
    bench.accept(mail()).await;
    let waits = |figures: &crate::queue::Figures| figures.by_state == [0, 1, 0, 0, 0];
    bench.until("the end of the attempt", waits).await;
    bench.advance(Duration::from_mins(2)).await;
    bench
        .until("an empty queue", |figures| figures.messages == 0)
        .await;
    assert_eq!(bench.deliver.offered().len(), 1);
    bench.stop().await;
}

#[tokio::test]
async fn what_the_first_transactions_of_an_attempt_brought_is_stored_before_it_is_over() {
    let bench = Bench::new(document(&["isp"], "", ""), ScriptedDeliver::new(&["isp"])).await;
    bench.deliver.ends(false);
    let unconfirmed = || Verdict::Unconfirmed(evidence("lost"));
    bench.deliver.answers(move |attempt| {
        if attempt.message.kind == crate::mail::Kind::Report {
            return all(attempt, relayed);
        }
        let early = vec![(0, relayed()), (1, unconfirmed()), (2, failed())];
        attempt.early.send(early).unwrap();
        AttemptReport {
            verdicts: vec![
                (0, relayed()),
                (1, unconfirmed()),
                (2, failed()),
                (3, relayed()),
            ],
            hold_reverse_path: false,
        }
    });
    let recipients = ["a@c.example", "b@c.example", "c@c.example", "d@c.example"];
    let id = bench
        .accept(message(0, "a.b", "u@x.example", &recipients))
        .await;
    let states = async || {
        let stored = bench.stored(id).await.unwrap();
        let progress = stored
            .recipients
            .iter()
            .map(|recipient| &recipient.progress);
        progress
            .map(|progress| (progress.state, progress.attempts))
            .collect::<Vec<_>>()
    };
    bench.deliver.attempts(1).await;
    in_time("the early outcomes", async {
        while states().await[0].0 != State::Relayed {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let untouched = (State::Pending, 0);
    let early = [
        (State::Relayed, 1),
        (State::Unconfirmed, 1),
        untouched,
        untouched,
    ];
    assert_eq!(states().await, early);
    bench.deliver.ends(true);
    bench
        .until("the end of the attempt", |figures| figures.by_state[3] == 1)
        .await;
    let all = [
        (State::Relayed, 1),
        (State::Unconfirmed, 1),
        (State::Failed, 1),
        (State::Relayed, 1),
    ];
    assert_eq!(states().await, all);
    bench.stop().await;
}
