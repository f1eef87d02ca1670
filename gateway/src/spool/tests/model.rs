//! The recovered set is the model's set, whatever is accepted, settled, copied and recycled, and whenever it dies.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// What the caller does.
#[derive(Clone, Debug)]
enum Act {
    Accept {
        recipients: usize,
        octets: usize,
    },
    /// Several at once, so that they share a batch.
    AcceptMany(usize),
    Begin(usize),
    Outcome(usize, u32),
    Finish(usize),
    /// The end of a message with a report of it.
    Report(usize),
    /// Many messages that are removed at once: the log moves on, and segments die.
    Churn(usize),
    Rest,
    Die(Crash),
    Stop,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        6 => (1usize..4, 0usize..6000).prop_map(|(recipients, octets)| Act::Accept { recipients, octets }),
        1 => Just(Act::Accept { recipients: 1, octets: INLINE_CONTENT + 7 }),
        1 => (2usize..12).prop_map(Act::AcceptMany),
        3 => any::<usize>().prop_map(Act::Begin),
        6 => (any::<usize>(), 0u32..3).prop_map(|(n, r)| Act::Outcome(n, r)),
        4 => any::<usize>().prop_map(Act::Finish),
        2 => any::<usize>().prop_map(Act::Report),
        3 => (1usize..40).prop_map(Act::Churn),
        2 => Just(Act::Rest),
        1 => Just(Act::Die(Crash::Kill)),
        1 => any::<u64>().prop_map(|seed| Act::Die(Crash::PowerLoss(seed))),
        1 => Just(Act::Stop),
    ];
    proptest::collection::vec(act, 1..60)
}

/// What is known of one message.
#[derive(Clone, Debug)]
struct Known {
    octets: usize,
    /// For each recipient, every progress since the last sync; the last is the present one.
    recipients: Vec<Vec<Progress>>,
    /// Removed since the last sync.
    removed: bool,
    /// Bounds of the count of deaths.
    deaths: (u8, u8),
    /// An attempt is certainly on the disk, or perhaps.
    in_flight: (bool, bool),
}

#[derive(Default)]
struct Model {
    messages: BTreeMap<QueueId, Known>,
    attempts: u32,
    /// The latest id that was given out.
    last: Option<QueueId>,
}

impl Model {
    fn pick(&self, n: usize) -> Option<QueueId> {
        let alive: Vec<_> = self
            .messages
            .iter()
            .filter(|(_, known)| !known.removed)
            .map(|(id, _)| *id)
            .collect();
        (!alive.is_empty()).then(|| alive[n % alive.len()])
    }

    fn accepted(&mut self, id: QueueId, recipients: usize, octets: usize) {
        assert!(
            self.last < Some(id) || id.is_report(),
            "an id that was used"
        );
        self.last = self.last.max(Some(id));
        self.messages.insert(
            id,
            Known {
                octets,
                recipients: vec![vec![Progress::default()]; recipients],
                removed: false,
                deaths: (0, 0),
                in_flight: (false, false),
            },
        );
    }

    /// Everything so far is on stable storage.
    fn synced(&mut self) {
        self.messages.retain(|_, known| !known.removed);
        for known in self.messages.values_mut() {
            for history in &mut known.recipients {
                history.drain(..history.len() - 1);
            }
        }
        self.written();
    }

    /// The writer has written everything so far.
    fn written(&mut self) {
        for known in self.messages.values_mut() {
            known.in_flight.0 = known.in_flight.1;
        }
    }

    /// Compares with what was found, and takes it for the truth.
    fn recover(&mut self, found: &[Queued], how: Option<Crash>) {
        let power_loss = matches!(how, Some(Crash::PowerLoss(_)));
        let mut found: BTreeMap<_, _> = found.iter().map(|q| (q.message.id, q)).collect();
        for (id, known) in &mut self.messages {
            let Some(queued) = found.remove(id) else {
                assert!(known.removed, "{id} is lost");
                continue;
            };
            assert!(power_loss || !known.removed, "{id} is back");
            known.removed = false;
            for (recipient, history) in queued.message.recipients.iter().zip(&mut known.recipients)
            {
                let known_states = if power_loss {
                    &history[..]
                } else {
                    &history[history.len() - 1..]
                };
                assert!(
                    known_states.contains(&recipient.progress),
                    "{id}: {:?} of {history:?}",
                    recipient.progress
                );
                *history = vec![recipient.progress.clone()];
            }
            if how.is_some() {
                known.deaths.0 += u8::from(known.in_flight.0 && !power_loss);
                known.deaths.1 += u8::from(known.in_flight.1 || power_loss);
            }
            let bounds = known.deaths.0..=known.deaths.1;
            assert!(
                bounds.contains(&queued.deaths),
                "{id}: {} deaths of {bounds:?}",
                queued.deaths
            );
            known.deaths = (queued.deaths, queued.deaths);
            known.in_flight = (false, false);
        }
        assert!(found.is_empty(), "invented: {:?}", found.keys());
        let back: Vec<_> = self
            .messages
            .iter()
            .filter(|(_, k)| k.removed)
            .map(|(id, _)| *id)
            .collect();
        for id in back {
            self.messages.remove(&id);
        }
    }
}

async fn commit(spool: &Spool, id: QueueId, recipients: usize, octets: usize) {
    let content = Content::Inline(Bytes::from(vec![b'x'; octets]));
    spool
        .commit(message(id, recipients), content)
        .await
        .unwrap();
}

/// A spool and its model, side by side.
struct Play {
    disk: Disk,
    spool: Spool,
    model: Model,
}

impl Play {
    async fn act(mut self, act: Act) -> Self {
        match act {
            Act::Accept { recipients, octets } => self.accept(recipients, octets).await,
            Act::AcceptMany(count) => self.accept_many(count).await,
            Act::Churn(count) => {
                for _ in 0..count {
                    self.accept(1, 4000).await;
                    self.finish(self.model.last.unwrap()).await;
                }
            }
            Act::Begin(n) => {
                if let Some(id) = self.model.pick(n) {
                    self.spool.begin(id);
                    self.model.messages.get_mut(&id).unwrap().in_flight.1 = true;
                }
            }
            Act::Outcome(n, recipient) => self.outcome(n, recipient as usize).await,
            Act::Finish(n) => {
                if let Some(id) = self.model.pick(n) {
                    self.finish(id).await;
                }
            }
            Act::Report(n) => self.report(n).await,
            Act::Rest => self.spool.rest(),
            Act::Die(how) => {
                self.disk = crash(self.spool, &self.disk, how);
                let (spool, found) = boot(&self.disk);
                self.spool = spool;
                self.model.recover(&found, Some(how));
            }
            Act::Stop => {
                self.spool.close().await;
                drop(self.spool);
                let (spool, found) = boot(&self.disk);
                self.spool = spool;
                self.model.synced();
                self.model.recover(&found, None);
            }
        }
        self
    }

    async fn accept(&mut self, recipients: usize, octets: usize) {
        let id = self.spool.next_id();
        commit(&self.spool, id, recipients, octets).await;
        self.model.accepted(id, recipients, octets);
        self.model.synced();
    }

    async fn accept_many(&mut self, count: usize) {
        let tasks: Vec<_> = (0..count)
            .map(|_| {
                let (spool, id) = (self.spool.clone(), self.spool.next_id());
                (
                    id,
                    tokio::spawn(async move { commit(&spool, id, 1, 100).await }),
                )
            })
            .collect();
        for (id, task) in tasks {
            task.await.unwrap();
            self.model.accepted(id, 1, 100);
        }
        self.model.synced();
    }

    async fn outcome(&mut self, n: usize, recipient: usize) {
        let Some(id) = self.model.pick(n) else { return };
        self.model.attempts += 1;
        let known = self.model.messages.get_mut(&id).unwrap();
        let recipient = recipient % known.recipients.len();
        let position = u32::try_from(recipient).unwrap();
        let settlement = outcome(id, position, State::Deferred, self.model.attempts);
        known.recipients[recipient].push(settlement.outcomes[0].progress.clone());
        known.in_flight = (false, false);
        self.spool.settle(settlement).await.unwrap();
        self.model.written();
    }

    async fn finish(&mut self, id: QueueId) {
        self.spool.settle(finished(id)).await.unwrap();
        self.model.messages.get_mut(&id).unwrap().removed = true;
        self.model.written();
    }

    async fn report(&mut self, n: usize) {
        let Some(id) = self.model.pick(n) else { return };
        self.model.attempts += 1;
        let mut report = message(id.report(self.model.attempts), 1);
        report.kind = Kind::Report;
        let report_id = report.id;
        let content = Content::Inline(Bytes::from(vec![b'x'; 300]));
        let settlement = Settlement {
            report: Some((report, content)),
            ..finished(id)
        };
        let queued = self.spool.settle(settlement).await.unwrap().unwrap();
        assert_eq!(queued.message.id, report_id);
        self.model.messages.get_mut(&id).unwrap().removed = true;
        self.model.accepted(report_id, 1, 300);
        self.model.synced();
    }
}

async fn play(acts: Vec<Act>) {
    let disk = Disk::new();
    let (spool, found) = boot(&disk);
    let mut model = Model::default();
    model.recover(&found, None);
    let mut play = Play { disk, spool, model };
    for act in acts {
        play = play.act(act).await;
        check_readable(&play.spool, &play.model).await;
    }
}

async fn check_readable(spool: &Spool, model: &Model) {
    for (id, known) in &model.messages {
        let stored = spool.read(*id).await;
        if known.removed {
            assert!(matches!(stored, Err(ReadError::NotFound)));
            continue;
        }
        let stored = stored.unwrap();
        assert_eq!(stored.content.len(), known.octets as u64);
        for (recipient, history) in stored.message.recipients.iter().zip(&known.recipients) {
            assert_eq!(Some(&recipient.progress), history.last());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn recovers_exactly_what_was_promised(acts in acts()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(play(acts));
    }
}
