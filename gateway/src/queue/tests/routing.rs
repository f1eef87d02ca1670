//! Which upstream is used, and what a change of document or upstreams does to mail that is queued.

use super::*;

fn deliver(ready: &[&str], away: &[&str]) -> std::sync::Arc<ScriptedDeliver> {
    let deliver = ScriptedDeliver::new(ready);
    for name in away {
        deliver.set(name, view(UpstreamState::Unreachable, 0));
    }
    deliver
}

const PRIORITIES: &str = "routes: [{ name: d, targets: [{ upstream: a, priority: 1 }, { upstream: b, priority: 2 }] }]\n";

#[tokio::test]
async fn a_changed_document_re_routes_queued_mail() {
    let bench = Bench::new(document(&["dead"], "", ""), deliver(&["live"], &["dead"])).await;
    for _ in 0..50 {
        bench.accept(mail()).await;
    }
    bench
        .until("deferred mail", |figures| figures.by_state[2] == 50)
        .await;
    assert_eq!(bench.deliver.offered(), []);
    bench.reconfigure(document(
        &["dead", "live"],
        "",
        "routes: [{ name: d, targets: [{ upstream: live }] }]\n",
    ));
    bench
        .until("an empty queue", |figures| figures.messages == 0)
        .await;
    assert!(
        bench
            .deliver
            .offered()
            .iter()
            .all(|(upstream, ..)| upstream == "live")
    );
    bench.stop().await;
}

#[tokio::test]
async fn mail_that_waits_for_a_removed_target_goes_to_the_others() {
    let bench = Bench::new(document(&["a", "b"], "", PRIORITIES), deliver(&["b"], &[])).await;
    bench.accept(mail()).await;
    bench
        .until("mail for what is not tried yet", |figures| {
            figures.by_state[1] == 1
        })
        .await;
    bench.reconfigure(document(&["b"], "", ""));
    bench
        .until("an empty queue", |figures| figures.messages == 0)
        .await;
    bench.stop().await;
}

#[tokio::test]
async fn mail_without_an_eligible_target_leaves_when_the_document_gives_it_one() {
    let nothing =
        "routes: [{ name: d, recipientDomains: [other.example], targets: [{ upstream: isp }] }]\n";
    let bench = Bench::new(
        document(&["isp"], "", nothing),
        ScriptedDeliver::new(&["isp"]),
    )
    .await;
    bench.accept(mail()).await;
    bench
        .until("a hold", |figures| figures.by_state[4] == 1)
        .await;
    bench.reconfigure(document(&["isp"], "", ""));
    bench
        .until("an empty queue", |figures| figures.messages == 0)
        .await;
    bench.stop().await;
}

#[tokio::test]
async fn the_next_priority_is_used_while_the_first_is_away() {
    let bench = Bench::new(
        document(&["a", "b"], "", PRIORITIES),
        deliver(&["b"], &["a"]),
    )
    .await;
    bench.accept(mail()).await;
    bench
        .until("an empty queue", |figures| figures.messages == 0)
        .await;
    bench.deliver.set("a", view(UpstreamState::Ready, 20));
    bench.accept(mail()).await;
    bench
        .until("an empty queue", |figures| figures.messages == 0)
        .await;
    let upstreams: Vec<_> = bench
        .deliver
        .offered()
        .into_iter()
        .map(|(upstream, ..)| upstream)
        .collect();
    assert_eq!(upstreams, ["b", "a"]);
    bench.stop().await;
}

#[tokio::test]
async fn a_fallbacks_refusal_sends_it_back_to_the_first() {
    let bench = Bench::new(
        document(&["a", "b"], "", PRIORITIES),
        deliver(&["b"], &["a"]),
    )
    .await;
    bench.deliver.answers(|attempt| {
        if attempt.first_priority {
            all(attempt, relayed)
        } else {
            all(attempt, || deferred(Reason::FallbackRefused))
        }
    });
    bench.accept(mail()).await;
    bench.deliver.attempts(1).await;
    bench
        .until("a deferral", |figures| figures.by_state[2] == 1)
        .await;
    bench.advance(HOUR).await;
    bench
        .until("it to wait", |figures| figures.by_state[0] == 0)
        .await;
    assert_eq!(
        bench.deliver.offered().len(),
        1,
        "the fallback is not asked again"
    );
    bench.deliver.set("a", view(UpstreamState::Ready, 20));
    bench
        .until("an empty queue", |figures| figures.messages == 0)
        .await;
    assert_eq!(bench.deliver.offered()[1].0, "a");
    bench.stop().await;
}

#[tokio::test]
async fn what_one_target_cannot_take_another_gets_at_once() {
    let bench = Bench::new(
        document(&["a", "b"], "", PRIORITIES),
        deliver(&["a", "b"], &[]),
    )
    .await;
    bench.deliver.answers(|attempt| {
        assert_eq!(attempt.eligible.len(), 2);
        if &*attempt.upstream == "a" {
            all(attempt, || {
                Verdict::Unsuitable(Reason::TooLarge, evidence("larger than SIZE"))
            })
        } else {
            all(attempt, relayed)
        }
    });
    bench.accept(mail()).await;
    bench
        .until("an empty queue", |figures| figures.messages == 0)
        .await;
    assert_eq!(bench.deliver.offered().len(), 2);
    bench.stop().await;
}

#[tokio::test]
async fn recipients_of_different_ways_are_one_message() {
    let routes = "routes:\n  - { name: gov, recipientDomains: [gov.example], targets: [{ upstream: a }] }\n  - { name: d, targets: [{ upstream: b }] }\n";
    let bench = Bench::new(document(&["a", "b"], "", routes), deliver(&["b"], &["a"])).await;
    let id = bench
        .accept(message(
            0,
            "s.n",
            "u@x.example",
            &["x@gov.example", "y@c.example", "z@gov.example"],
        ))
        .await;
    bench.deliver.attempts(1).await;
    let figures = bench
        .until("the first part's end", |figures| figures.by_state[0] == 0)
        .await;
    assert_eq!(figures.messages, 1);
    assert_eq!(figures.by_state.iter().sum::<u64>(), 1, "{figures:?}");
    bench.deliver.set("a", view(UpstreamState::Ready, 20));
    bench
        .until("an empty queue", |figures| figures.messages == 0)
        .await;
    let mut offered = bench.deliver.offered();
    offered.sort();
    assert_eq!(
        offered,
        [
            ("a".to_owned(), id, vec![0, 2]),
            ("b".to_owned(), id, vec![1])
        ]
    );
    bench.stop().await;
}

#[tokio::test]
async fn all_parts_of_a_message_are_tried_now_by_hand() {
    let routes = "routes:\n  - { name: gov, recipientDomains: [gov.example], targets: [{ upstream: a }] }\n  - { name: d, targets: [{ upstream: b }] }\n";
    let bench = Bench::new(document(&["a", "b"], "", routes), deliver(&["a", "b"], &[])).await;
    bench
        .deliver
        .answers(|attempt| all(attempt, || deferred(Reason::TransactionDeferred)));
    let id = bench
        .accept(message(
            0,
            "s.n",
            "u@x.example",
            &["x@gov.example", "y@c.example"],
        ))
        .await;
    bench.deliver.attempts(2).await;
    bench
        .until("two parts deferred", |figures| {
            let states = figures.recipients.values();
            states.map(|states| states[2]).sum::<u64>() == 2
        })
        .await;
    bench.deliver.answers(|attempt| all(attempt, relayed));
    bench.handle.retry(id).await.unwrap();
    bench
        .until("an empty queue", |figures| figures.messages == 0)
        .await;
    let mut probed = bench.deliver.probed();
    probed.sort();
    assert_eq!(probed, ["a", "b"]);
    bench.stop().await;
}

#[tokio::test]
async fn all_parts_of_a_message_are_given_up_together() {
    let routes = "routes:\n  - { name: gov, recipientDomains: [gov.example], targets: [{ upstream: a }] }\n  - { name: d, targets: [{ upstream: b }] }\n";
    let bench = Bench::new(document(&["a", "b"], "", routes), deliver(&["b"], &["a"])).await;
    bench.deliver.answers(|attempt| AttemptReport {
        hold_reverse_path: true,
        ..all(attempt, || deferred(Reason::ReversePathRefused))
    });
    let id = bench
        .accept(message(
            0,
            "s.n",
            "u@x.example",
            &["x@gov.example", "y@c.example"],
        ))
        .await;
    bench.deliver.attempts(1).await;
    bench
        .until("a part held and a part away", |figures| {
            figures
                .recipients
                .values()
                .map(|states| states[2] + states[4])
                .sum::<u64>()
                == 2
        })
        .await;
    bench.handle.cancel(id).await.unwrap();
    let figures = bench
        .until("an empty queue", |figures| figures.messages == 0)
        .await;
    assert!(
        figures.recipients.values().all(|states| *states == [0; 5]),
        "{figures:?}"
    );
    bench.advance(HOUR).await;
    bench.deliver.set("a", view(UpstreamState::Ready, 20));
    bench
        .until("still nothing", |figures| figures.messages == 0)
        .await;
    assert_eq!(bench.deliver.offered().len(), 1);
    bench.stop().await;
}
