//! The part of a session between 354 and the reply to the final dot.

use std::{sync::Arc, time::Duration};

use posthouse_config::Snapshot;
use posthouse_smtp::{
    content::{Facts, Scanned},
    server::{Content, Step},
};
use tokio::io::{AsyncRead, AsyncWrite};
use tracing::info;

use super::{Ended, Session, Visit};
use crate::{
    clock::Monotonic,
    inbound::{
        Store,
        admission::Admitted,
        refusal::{self, Refusal},
        transaction::{Beginning, Transaction},
    },
    mail::{Message, Queued},
};

/// Content may be slow, but over this time …
const WINDOW: Duration = Duration::from_mins(1);

/// … as much as this must come: 1 KiB/s.
const WINDOW_OCTETS: usize = 60 << 10;

/// How fast content comes. Only time spent waiting for the client counts, not what our own disk takes.
#[derive(Debug, Default)]
struct Pace {
    waited: Duration,
    octets: usize,
}

impl Pace {
    /// Until when the client is waited for.
    fn until(&self, now: Monotonic) -> Monotonic {
        now.plus(WINDOW.saturating_sub(self.waited))
    }

    /// Something came. Says whether that was enough for the time it took.
    fn came(&mut self, octets: usize, waited: Duration) -> bool {
        self.octets = self.octets.saturating_add(octets);
        self.waited = self.waited.saturating_add(waited);
        if self.waited < WINDOW {
            return true;
        }
        std::mem::take(self).octets >= WINDOW_OCTETS
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin, S: Store> Session<'_, T, S> {
    /// Takes content to its end, and answers for it.
    pub(super) async fn receive(
        &mut self,
        snapshot: &Arc<Snapshot>,
        client: Admitted,
        mut content: Content,
    ) -> Result<Step, Ended> {
        let inbound = Arc::clone(&self.visit.inbound);
        let listener = Arc::clone(&self.visit.listener);
        let beginning = Beginning {
            id: inbound.parts.store.next_id(),
            now: inbound.parts.clock.wall(),
            snapshot,
            listener: &listener,
            address: self.visit.address,
            admitted: client,
        };
        let announced = content.transaction().parameters.size;
        let mut transaction = Transaction::begin(&inbound.parts.store, beginning, announced);
        self.stream(&mut content, &mut transaction).await?;
        let reply = match transaction.finish(&content).await {
            Ok(queued) => self.visit.accepted(queued, content.facts()),
            Err(Refusal { reply, cause }) => {
                self.visit.refused(cause, &reply);
                reply
            }
        };
        Ok(content.finish(reply))
    }

    /// Reads, scans and hands on, until content ends.
    async fn stream(
        &mut self,
        content: &mut Content,
        transaction: &mut Transaction<'_, S>,
    ) -> Result<(), Ended> {
        let mut pace = Pace::default();
        loop {
            if self.wire.unread().is_empty() {
                self.await_octets(&mut pace).await?;
            }
            let unread = self.wire.unread();
            let length = unread.len();
            match content.receive(unread, transaction.buffer()) {
                Scanned::More => {
                    self.wire.consume(length);
                    transaction.advance(content).await;
                }
                Scanned::End(at) => {
                    self.wire.consume(at);
                    return Ok(());
                }
                Scanned::Flood => {
                    let Refusal { reply, cause } = refusal::too_large();
                    self.visit.refused(cause, &reply);
                    self.wire.say(&reply);
                    return Err(Ended::TooManyErrors);
                }
            }
        }
    }

    async fn await_octets(&mut self, pace: &mut Pace) -> Result<(), Ended> {
        loop {
            let begun = self.visit.inbound.parts.clock.now();
            let octets = self.read_until(pace.until(begun)).await?;
            let waited = self.visit.inbound.parts.clock.now().since(begun);
            if !pace.came(octets.unwrap_or(0), waited) {
                return self.time_out();
            }
            if octets.is_some() {
                return Ok(());
            }
        }
    }
}

impl<S: Store> Visit<S> {
    /// The message is on stable storage: counts and logs it, tells the queue, and says what to say.
    fn accepted(&self, queued: Queued, facts: &Facts) -> posthouse_smtp::Reply {
        let parts = &self.inbound.parts;
        let sender = queued.message.sender.to_string();
        let accepted = &parts.metrics.messages_accepted;
        accepted
            .with_label_values(&[self.listener.name.as_str(), &sender])
            .inc();
        let repairs = [
            ("bare_lf", facts.repairs.bare_lf),
            ("bare_cr", facts.repairs.bare_cr),
            ("nul", facts.repairs.nul),
        ];
        for (kind, count) in repairs.into_iter().filter(|(_, count)| *count > 0) {
            let counter = &parts.metrics.content_repairs;
            counter.with_label_values(&[&sender, kind]).inc_by(count);
        }
        self.log(&queued.message, &sender);
        let text = format!("Ok: queued as {}", queued.message.id);
        parts.intake.accepted(queued);
        refusal::reply(250, (2, 0, 0), text)
    }

    fn log(&self, message: &Message, sender: &str) {
        let show = |mailbox| self.inbound.parts.redactor.show(mailbox);
        info!(
            queue_id = %message.id,
            session = self.number,
            listener = self.listener.name,
            sender,
            client = %self.address,
            reverse_path = message.reverse_path.mailbox().map(show),
            from = message.from.first().map(show),
            recipients = message.recipients.len(),
            octets = message.facts.length,
            message_id = %message.message_id.escape_debug(),
            "accepted"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kibibyte_a_second_is_enough_and_less_is_not() {
        let mut pace = Pace::default();
        assert!(pace.came(WINDOW_OCTETS - 1, Duration::from_secs(59)));
        assert!(pace.came(1, Duration::from_secs(1)));
        assert_eq!(pace.octets, 0);
        assert!(pace.came(10, Duration::from_secs(30)));
        let now = Monotonic::default();
        assert_eq!(pace.until(now).since(now), Duration::from_secs(30));
        assert!(!pace.came(10, Duration::from_secs(30)));
    }
}
