//! A message that the spool cannot read any more stays visible.

use super::*;
use crate::queue::{Figures, Filter, Refusal};

fn held_as_damaged(figures: &Figures) -> bool {
    let held: Vec<_> = figures
        .held_reasons
        .iter()
        .map(|held| (held.reason, held.messages))
        .collect();
    figures.by_state == [0, 0, 0, 0, 1] && held == [(Reason::Damaged, 1)]
}

#[tokio::test]
async fn damaged_mail_is_held_and_shown() {
    let deliver = ScriptedDeliver::new(&["isp"]);
    deliver.set("isp", view(UpstreamState::Unreachable, 0));
    let bench = Bench::new(document(&["isp"], "", ""), deliver).await;
    let id = bench.accept(mail()).await;
    let other = bench.accept(mail()).await;
    bench
        .until("it to wait", |figures| figures.by_state[2] == 2)
        .await;
    bench.damage(id);
    bench.deliver.set("isp", view(UpstreamState::Ready, 20));
    let figures = bench.until("it to be held", held_as_damaged).await;
    assert_eq!(figures.messages, 1, "the other one went");
    assert_eq!(figures.recipients["none"][4], 1);
    assert_eq!(bench.deliver.offered()[0].1, other);

    let listed = bench.handle.list(&Filter::default()).await.unwrap();
    let shown: Vec<_> = listed
        .iter()
        .map(|shown| (&*shown.id, shown.state, shown.reason, &*shown.sender))
        .collect();
    let reason = Some(Reason::Damaged);
    assert_eq!(shown, [(&*id.to_string(), "held", reason, "checkout.shop")]);
    let others = Filter {
        sender: Some("other.shop".into()),
        ..Filter::default()
    };
    assert_eq!(bench.handle.list(&others).await.unwrap(), []);
    assert_eq!(bench.handle.show(id).await.unwrap().state, "held");

    assert_eq!(bench.handle.retry(id).await, Err(Refusal::Unreadable));
    bench.until("it to be held", held_as_damaged).await;
    bench.advance(DAY * 30).await;
    bench.reconfigure(document(&["isp", "b"], "", ""));
    bench.until("it to be held", held_as_damaged).await;
    bench.stop().await;
}

#[tokio::test]
async fn a_damaged_message_is_one_message_whatever_its_parts() {
    let routes = "routes:\n  - { name: gov, recipientDomains: [gov.example], targets: [{ upstream: a }] }\n  - { name: d, targets: [{ upstream: b }] }\n";
    let deliver = ScriptedDeliver::new(&[]);
    let bench = Bench::new(document(&["a", "b"], "", routes), deliver).await;
    let to = ["x@gov.example", "y@c.example"];
    let id = bench.accept(message(0, "s.n", "u@x.example", &to)).await;
    bench
        .until("it to wait", |figures| figures.by_state[1] == 1)
        .await;
    bench.damage(id);
    bench.deliver.set("a", view(UpstreamState::Ready, 20));
    bench.deliver.set("b", view(UpstreamState::Ready, 20));
    let figures = bench.until("it to be held", held_as_damaged).await;
    assert_eq!(figures.messages, 1);
    assert_eq!(figures.recipients["none"][4], 2);
    assert_eq!(bench.deliver.offered(), []);
    bench.stop().await;
}
