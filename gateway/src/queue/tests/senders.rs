//! Whose mail waits, and how much of it is held.

use super::*;

/// Name, messages and held messages of those whose mail waits.
async fn waiting(bench: &Bench) -> Vec<(String, u64, u64)> {
    let account = bench.handle.account().await.unwrap();
    let waiting = account.waiting.into_iter();
    waiting
        .map(|waiting| (waiting.sender, waiting.messages, waiting.held))
        .collect()
}

fn of(sender: &str, from: &str) -> Message {
    message(0, sender, from, &["x@c.example"])
}

fn told(sender: &str, messages: u64, held: u64) -> (String, u64, u64) {
    (sender.to_owned(), messages, held)
}

#[tokio::test]
async fn an_upstream_that_holds_holds_everybodys_mail() {
    let bench = Bench::new(document(&["isp"], "", ""), ScriptedDeliver::new(&["isp"])).await;
    let refused = view(UpstreamState::AuthenticationFailed, 0);
    bench.deliver.set("isp", refused);
    bench.accept(of("a.shop", "u@shop.example")).await;
    bench.accept(of("b.shop", "u@shop.example")).await;
    bench.accept(of("b.shop", "u@shop.example")).await;
    bench
        .until("three held", |figures| figures.by_state[4] == 3)
        .await;
    assert_eq!(
        waiting(&bench).await,
        [told("b.shop", 2, 2), told("a.shop", 1, 1)]
    );
    bench.deliver.answers(|attempt| all(attempt, relayed));
    bench.deliver.set("isp", view(UpstreamState::Ready, 1));
    bench
        .until("an empty queue", |figures| figures.messages == 0)
        .await;
    assert_eq!(waiting(&bench).await, []);
    bench.stop().await;
}

#[tokio::test]
async fn a_refused_reverse_path_holds_its_senders_mail_alone() {
    let bench = Bench::new(document(&["isp"], "", ""), ScriptedDeliver::new(&["isp"])).await;
    bench.deliver.answers(|attempt| {
        let hold = attempt.message.reverse_path.as_str() == "u@shop.example";
        if !hold {
            return all(attempt, || deferred(Reason::TransactionDeferred));
        }
        AttemptReport {
            hold_reverse_path: true,
            ..all(attempt, || deferred(Reason::ReversePathRefused))
        }
    });
    bench.accept(of("a.shop", "u@shop.example")).await;
    bench
        .until("a hold", |figures| figures.by_state[4] == 1)
        .await;
    bench.accept(of("a.shop", "u@shop.example")).await;
    bench.accept(of("b.shop", "other@shop.example")).await;
    bench
        .until("two held and one deferred", |figures| {
            figures.by_state[4] == 2 && figures.by_state[2] == 1
        })
        .await;
    assert_eq!(
        waiting(&bench).await,
        [told("a.shop", 2, 2), told("b.shop", 1, 0)]
    );
    bench.deliver.answers(|attempt| all(attempt, relayed));
    bench.advance(HOUR).await;
    bench
        .until("nothing held", |figures| figures.by_state[4] == 0)
        .await;
    let waiting = waiting(&bench).await;
    assert!(waiting.iter().all(|(_, _, held)| *held == 0), "{waiting:?}");
    bench.stop().await;
}

#[tokio::test]
async fn no_more_than_an_answer_holds_are_told() {
    let bench = Bench::new(document(&["isp"], "", ""), ScriptedDeliver::new(&["isp"])).await;
    bench
        .deliver
        .set("isp", view(UpstreamState::Unreachable, 0));
    for n in 0..501 {
        let sender = format!("s{n:03}.shop");
        bench.accept(of(&sender, "u@shop.example")).await;
    }
    bench
        .until("all deferred", |figures| figures.messages == 501)
        .await;
    let waiting = waiting(&bench).await;
    assert_eq!(waiting.len(), 500);
    assert_eq!(waiting[0], told("s000.shop", 1, 0));
    bench.stop().await;
}
