//! No mail is lost or relayed twice, whatever happens: random verdicts, documents, upstreams, commands and deaths
//! against a model that only counts ends.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use super::*;
use crate::{mail::Kind, queue::deliver::Attempt};

/// xorshift64*: the tests' own randomness.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }
}

/// The ends of recipients, by message and position.
#[derive(Default)]
struct Ends {
    relayed: BTreeMap<(QueueId, u32), u32>,
    failed: BTreeMap<(QueueId, u32), u32>,
    reports: u32,
}

fn verdict(random: &mut Random) -> Verdict {
    match random.below(12) {
        0 => failed(),
        1 => Verdict::Unconfirmed(evidence("lost")),
        2 => Verdict::NotOffered(None),
        3 => Verdict::Unsuitable(Reason::TooLarge, evidence("larger")),
        4 => Verdict::Held(Reason::ConnectionLost, evidence("lost again")),
        5 => deferred(Reason::FallbackRefused),
        6 => deferred(Reason::ReversePathRefused),
        7..10 => deferred(Reason::TransactionDeferred),
        _ => relayed(),
    }
}

fn script(deliver: &ScriptedDeliver, ends: &Arc<Mutex<Ends>>, seed: u64) {
    let (ends, mut random) = (ends.clone(), Random(seed));
    deliver.answers(move |attempt| {
        answer(attempt, &mut ends.lock().unwrap(), || verdict(&mut random))
    });
}

fn answer(
    attempt: &Attempt,
    ends: &mut Ends,
    mut verdict: impl FnMut() -> Verdict,
) -> AttemptReport {
    let mut hold_reverse_path = false;
    let verdicts = attempt.recipients.iter().map(|&position| {
        let verdict = if attempt.message.kind == Kind::Report {
            relayed()
        } else {
            verdict()
        };
        let key = (attempt.message.id, position);
        match &verdict {
            Verdict::Relayed(_) if attempt.message.kind == Kind::Report => ends.reports += 1,
            Verdict::Relayed(_) => *ends.relayed.entry(key).or_default() += 1,
            Verdict::Failed(..) => *ends.failed.entry(key).or_default() += 1,
            Verdict::Deferred {
                reason: Reason::ReversePathRefused,
                ..
            } => hold_reverse_path = true,
            _ => {}
        }
        (position, verdict)
    });
    AttemptReport {
        verdicts: verdicts.collect(),
        hold_reverse_path,
    }
}

fn random_document(random: &mut Random) -> Arc<posthouse_config::Document> {
    let routes = [
        "routes: [{ name: d, targets: [{ upstream: a }, { upstream: b }] }]\n",
        "routes: [{ name: d, targets: [{ upstream: a, priority: 1 }, { upstream: b, priority: 2 }] }]\n",
        "routes:\n  - { name: c, recipientDomains: [c.example], targets: [{ upstream: a }] }\n  - { name: d, targets: [{ upstream: b }] }\n",
        "routes: [{ name: c, recipientDomains: [c.example, x.example], targets: [{ upstream: b }] }]\n",
    ];
    document(
        &["a", "b"],
        "",
        routes[usize::try_from(random.below(4)).unwrap()],
    )
}

async fn run(seed: u64) {
    let mut random = Random(seed);
    let ends = Arc::new(Mutex::new(Ends::default()));
    let mut accepted: Vec<(QueueId, u32)> = Vec::new();
    let deliver = ScriptedDeliver::new(&["a", "b"]);
    script(&deliver, &ends, seed + 1);
    let mut bench = Bench::new(random_document(&mut random), deliver).await;
    for step in 0..60 {
        match random.below(10) {
            0..4 => {
                let sender = ["s.one", "s.two"][usize::try_from(random.below(2)).unwrap()];
                let recipients = ["p@c.example", "q@d.example", "r@c.example"];
                let count = u32::try_from(random.below(3)).unwrap() + 1;
                let id = bench
                    .accept(message(
                        0,
                        sender,
                        "u@x.example",
                        &recipients[..count as usize],
                    ))
                    .await;
                accepted.extend((0..count).map(|position| (id, position)));
            }
            4 => bench.reconfigure(random_document(&mut random)),
            5 => {
                let name = ["a", "b"][usize::try_from(random.below(2)).unwrap()];
                let states = [
                    UpstreamState::Ready,
                    UpstreamState::Ready,
                    UpstreamState::Unreachable,
                    UpstreamState::Refused,
                ];
                bench.deliver.set(
                    name,
                    view(states[usize::try_from(random.below(4)).unwrap()], 3),
                );
            }
            6 => {
                let deliver = ScriptedDeliver::new(&["a", "b"]);
                script(&deliver, &ends, seed + 100 + step);
                bench = bench.crash(random_document(&mut random), deliver).await;
            }
            7 if !accepted.is_empty() => {
                let at = usize::try_from(random.below(accepted.len() as u64)).unwrap();
                // It may be settled, or busy.
                let _ = bench.handle.retry(accepted[at].0).await;
            }
            _ => bench.advance(Duration::from_mins(random.below(90))).await,
        }
    }
    drain(&bench, &ends).await;
    bench.stop().await;
    let ends = ends.lock().unwrap();
    for key in &accepted {
        let (relayed, failed) = (
            ends.relayed.get(key).copied().unwrap_or(0),
            ends.failed.get(key).copied().unwrap_or(0),
        );
        assert_eq!(
            relayed + failed,
            1,
            "seed {seed}: {key:?} was relayed {relayed} and failed {failed} times"
        );
    }
    assert_eq!(
        ends.relayed.len() + ends.failed.len(),
        accepted.len(),
        "seed {seed}"
    );
    assert!(
        ends.failed.is_empty() || ends.reports > 0,
        "seed {seed}: nobody was told"
    );
}

/// Lets everything go out: all upstreams are ready and relay, and a person tries what is held.
async fn drain(bench: &Bench, ends: &Arc<Mutex<Ends>>) {
    let ends = ends.clone();
    bench
        .deliver
        .answers(move |attempt| answer(attempt, &mut ends.lock().unwrap(), relayed));
    bench.reconfigure(document(&["a", "b"], "", ""));
    for name in ["a", "b"] {
        bench.deliver.set(name, view(UpstreamState::Ready, 3));
    }
    in_time("an empty queue", async {
        loop {
            bench.advance(HOUR).await;
            for message in bench
                .handle
                .list(&crate::queue::Filter::default())
                .await
                .unwrap()
            {
                let _ = bench.handle.retry(message.id.parse().unwrap()).await;
            }
            if bench.handle.figures().await.unwrap().messages == 0 {
                return;
            }
        }
    })
    .await;
    let figures = bench.handle.figures().await.unwrap();
    assert_eq!(
        (figures.by_state, figures.bytes, figures.oldest),
        ([0; 5], 0, None)
    );
}

#[tokio::test]
async fn every_accepted_recipient_ends_exactly_once() {
    for seed in 1..=8 {
        run(seed * 7919).await;
    }
}
