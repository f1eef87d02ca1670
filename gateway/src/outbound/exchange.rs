//! One attempt at one upstream: as many transactions as its recipients need, over leased sessions.
//!
//! Here is what is done in which order; what it means is asked of `verdict`, what follows for the upstream of `health`.

mod transact;

use posthouse_config::reason::{Phase, Reason};
use posthouse_smtp::client::{Answer, Then};

use self::transact::{Conclusion, Transacted};
use super::{
    content::Unreadable,
    pool::Lease,
    target::{SmtpTarget, Target},
    verdict::{
        Earlier, evidence,
        lacking::{self, Known, Needs},
        ruling::{Blame, Case, Effects, Event, Lack, PathEffect, Ruling},
        transaction, unreadable,
    },
};
use crate::{
    mail::{Message, Recipient},
    queue::deliver::{Attempt, AttemptReport, Evidence, Verdict},
};

/// Surroundings of an attempt that are not the upstream's own.
pub(crate) struct Surroundings<'a> {
    /// What is known of the other eligible targets.
    pub(crate) others: Vec<Known>,
    /// How many senders there are.
    pub(crate) senders: usize,
    /// For the way lines are folded.
    pub(crate) document: &'a posthouse_config::Document,
}

/// An attempt under way.
pub(crate) struct Exchange<'a> {
    target: &'a Target,
    smtp: &'a SmtpTarget,
    attempt: &'a Attempt,
    around: Surroundings<'a>,
    /// What the message needs, whoever it is for.
    needs: Needs,
    verdicts: Vec<(u32, Verdict)>,
    /// How many of the verdicts were looked at for what is to be told early.
    told: usize,
    held_path: bool,
}

/// Whether the session can be used for the next transaction.
type Kept = Option<Lease>;

impl<'a> Exchange<'a> {
    /// An attempt at a target.
    pub(crate) fn new(
        target: &'a Target,
        smtp: &'a SmtpTarget,
        attempt: &'a Attempt,
        around: Surroundings<'a>,
    ) -> Self {
        let message = &attempt.message;
        Self {
            target,
            smtp,
            attempt,
            around,
            needs: Needs {
                size: message.relayed_length(),
                stored: message.facts.length,
                utf8: message.needs_utf8([]),
            },
            verdicts: Vec::with_capacity(attempt.recipients.len()),
            told: 0,
            held_path: false,
        }
    }

    /// Runs it.
    pub(crate) async fn run(mut self) -> AttemptReport {
        let mut waiting = self.attempt.recipients.clone();
        let mut kept = None;
        while !waiting.is_empty() {
            waiting = self.suited(waiting);
            if waiting.is_empty() {
                break;
            }
            let lease = match self.lease(kept.take()).await {
                Ok(lease) => lease,
                Err(said) => {
                    self.not_offered(&waiting, &said);
                    break;
                }
            };
            // What the server offers may have changed since it was last asked.
            if self.smtp.known().lacks(self.needs_of(&waiting)).is_some() {
                kept = Some(lease);
                continue;
            }
            let rest = waiting.split_off(waiting.len().min(self.smtp.recipients));
            let group = std::mem::replace(&mut waiting, rest);
            let (again, lease) = self.transaction(lease, group).await;
            waiting.splice(0..0, again);
            kept = lease;
            if !waiting.is_empty() {
                self.tell_early();
            }
        }
        if let Some(lease) = kept {
            self.smtp.pool.give_back(lease).await;
        }
        self.verdicts.sort_by_key(|(position, _)| *position);
        AttemptReport {
            verdicts: self.verdicts,
            hold_reverse_path: self.held_path,
        }
    }

    /// What is needed to offer the message to some of its recipients.
    fn needs_of(&self, positions: &[u32]) -> Needs {
        let message = &self.attempt.message;
        Needs {
            utf8: message.needs_utf8(recipients(message, positions)),
            ..self.needs
        }
    }

    /// The recipients whose mail the target can take, as far as that is known; the others have their verdict.
    fn suited(&mut self, waiting: Vec<u32>) -> Vec<u32> {
        let known = self.smtp.known();
        if known.lacks(self.needs_of(&waiting)).is_none() {
            return waiting;
        }
        let mut suited = Vec::with_capacity(waiting.len());
        for position in waiting {
            match known.lacks(self.needs_of(&[position])) {
                Some(reason) => self.lacking(&[position], reason, None),
                None => suited.push(position),
            }
        }
        suited
    }

    /// The next transaction may take ten minutes, and a death in it must not make forgotten what the last one brought.
    fn tell_early(&mut self) {
        let new = self.verdicts.get(self.told..).unwrap_or_default();
        let arrived: Vec<(u32, Verdict)> = new
            .iter()
            .filter(|(_, verdict)| verdict.may_have_arrived())
            .cloned()
            .collect();
        self.told = self.verdicts.len();
        if !arrived.is_empty() {
            // Without a receiver nobody waits for the report either.
            let _ = self.attempt.early.send(arrived);
        }
    }

    async fn lease(&self, kept: Kept) -> Result<Lease, Evidence> {
        if let Some(lease) = kept {
            return Ok(lease);
        }
        let leased = self.smtp.pool.lease(&self.attempt.shutdown).await;
        leased
            .inspect(|lease| self.learn(lease))
            .map_err(|error| self.target.failed_to_open(&error))
    }

    fn learn(&self, lease: &Lease) {
        if !lease.is_reused {
            self.smtp.learn(lease.session.ready.extensions());
        }
    }

    /// Offers a group of recipients; gives those to offer again at once, and the session if it can be used on.
    async fn transaction(&mut self, mut lease: Lease, group: Vec<u32>) -> (Vec<u32>, Kept) {
        let message = &self.attempt.message;
        let recipients = recipients(message, &group);
        let start = self.target.now();
        let mut done = transact::run(&mut lease, self.attempt, &recipients, &self.around).await;
        if lease.is_reused && done.is_stale() {
            match self
                .smtp
                .pool
                .lease_new(lease, &self.attempt.shutdown)
                .await
            {
                Ok(new) => {
                    self.learn(&new);
                    lease = new;
                }
                Err(error) => {
                    let said = self.target.failed_to_open(&error);
                    self.not_offered(&group, &said);
                    return (Vec::new(), None);
                }
            }
            done = transact::run(&mut lease, self.attempt, &recipients, &self.around).await;
        }
        lease.is_reused = false;
        self.target.observe_transaction(start);
        let again = self.settle(&group, &done);
        (again, self.keep(lease, &done.conclusion).await)
    }

    async fn keep(&self, mut lease: Lease, conclusion: &Conclusion) -> Kept {
        lease.session.messages += 1;
        let is_usable = match conclusion.then() {
            Then::Reuse => true,
            Then::Reset => transact::reset(&mut lease).await,
            Then::Close => false,
        };
        if is_usable && !self.smtp.pool.may_serve(&lease) {
            self.smtp.pool.give_back(lease).await;
            return None;
        }
        is_usable.then_some(lease)
    }

    /// Asks for the verdict of each recipient of a transaction, and tells the upstream's health of it.
    fn settle(&mut self, group: &[u32], done: &Transacted) -> Vec<u32> {
        let message = &self.attempt.message;
        if let Conclusion::Unreadable(error) = &done.conclusion {
            self.unreadable(group, error);
            return Vec::new();
        }
        if done.was_lost() {
            self.target.health().lost(message, self.target.now());
        }
        let history = self.target.health().history(message, self.around.senders);
        let accepted = done
            .answers
            .iter()
            .filter(|answer| **answer == Answer::Accepted)
            .count();
        let mut effects = Effects::default();
        let mut again = Vec::new();
        for (&position, answer) in group.iter().zip(&done.answers) {
            let (phase, event) = done.event(answer);
            let ruling = transaction::of(Case {
                event: &event,
                phase,
                another_accepted: accepted > usize::from(*answer == Answer::Accepted),
                relayed: done.was_relayed(),
                first_priority: self.attempt.first_priority,
                earlier: earlier(message, position, &self.target.name),
                history,
                dictionary: self.smtp.dictionary,
            });
            match ruling {
                Ruling::Settled(verdict, own) => {
                    self.verdicts.push((position, verdict));
                    effects = joined(effects, own);
                }
                Ruling::Lacking(reason, said, lack) => {
                    if lack == Lack::Known {
                        self.smtp.refused_size(self.needs.size);
                    }
                    self.lacking(&[position], reason, Some(&said));
                }
                Ruling::Again if done.was_relayed() => again.push(position),
                Ruling::Again => self.deferred(position, &event, phase),
            }
        }
        self.held_path |= effects.reverse_path == PathEffect::Held;
        self.target.apply(message, &effects, self.around.senders);
        again
    }

    fn lacking(&mut self, positions: &[u32], reason: Reason, said: Option<&Evidence>) {
        let said = said.map(|said| &*said.reply);
        let others = self.around.others.iter().copied();
        let mut verdict = lacking::verdict(reason, self.needs_of(positions), others, said);
        // Row 23: only a target of the first eligible priority fails mail.
        if let (Verdict::Failed(reason, said), false) = (&verdict, self.attempt.first_priority) {
            verdict = Verdict::Unsuitable(*reason, said.clone());
        }
        for &position in positions {
            self.verdicts.push((position, verdict.clone()));
        }
    }

    fn not_offered(&mut self, positions: &[u32], said: &Evidence) {
        for &position in positions {
            let verdict = Verdict::NotOffered(Some(said.clone()));
            self.verdicts.push((position, verdict));
        }
    }

    fn deferred(&mut self, position: u32, event: &Event, phase: Phase) {
        let evidence = match event {
            Event::Replied(reply) => evidence(phase, reply),
            Event::OutOfPlace(what) | Event::Lost(what) => evidence(phase, what),
            Event::Stopped => evidence(phase, &"the gateway stopped"),
        };
        let verdict = Verdict::Deferred {
            reason: Reason::RecipientDeferred,
            evidence,
            wait: std::time::Duration::ZERO,
            refused: false,
            lost: false,
        };
        self.verdicts.push((position, verdict));
    }

    /// Our own content file could not be read: nobody's fault but ours, and nothing that a retry at once would mend.
    fn unreadable(&mut self, group: &[u32], error: &Unreadable) {
        tracing::error!(queue_id = %self.attempt.message.id, %error, "stored content cannot be relayed");
        let verdict = unreadable(error);
        let verdicts = group.iter().map(|&position| (position, verdict.clone()));
        self.verdicts.extend(verdicts);
    }
}

fn recipients<'m>(message: &'m Message, positions: &[u32]) -> Vec<&'m Recipient> {
    positions
        .iter()
        .filter_map(|&position| recipient(message, position))
        .collect()
}

fn recipient(message: &Message, position: u32) -> Option<&Recipient> {
    message.recipients.get(usize::try_from(position).ok()?)
}

/// What earlier attempts brought. Refusals are evidence only at the upstream they came from.
fn earlier(message: &Message, position: u32, upstream: &str) -> Earlier {
    recipient(message, position).map_or_else(Earlier::default, |recipient| {
        let progress = &recipient.progress;
        let is_same = progress.upstream.as_deref() == Some(upstream);
        Earlier {
            refusals: if is_same { progress.refusals } else { 0 },
            first_refusal: progress.first_refusal.filter(|_| is_same),
            lost: progress.lost,
            unconfirmed: progress.unconfirmed,
        }
    })
}

/// The effects of one transaction: health counts messages, not recipients. What ends the upstream's turn outweighs the
/// rest, then praise: a 2yz ends every row.
fn joined(all: Effects, own: Effects) -> Effects {
    let upstream = match (all.upstream, own.upstream) {
        (Blame::Nothing, other) | (other, Blame::Nothing) => other,
        (Blame::Fault(fault), _) | (_, Blame::Fault(fault)) => Blame::Fault(fault),
        (Blame::Praise, _) | (_, Blame::Praise) => Blame::Praise,
        (first, _) => first,
    };
    let reverse_path = match (all.reverse_path, own.reverse_path) {
        (PathEffect::Held, _) | (_, PathEffect::Held) => PathEffect::Held,
        (PathEffect::Refused, _) | (_, PathEffect::Refused) => PathEffect::Refused,
        (PathEffect::Nothing, PathEffect::Nothing) => PathEffect::Nothing,
    };
    Effects {
        upstream,
        reverse_path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbound::verdict::Fault;

    fn of(upstream: Blame) -> Effects {
        Effects {
            upstream,
            reverse_path: PathEffect::Nothing,
        }
    }

    #[test]
    fn refusals_of_another_upstream_are_no_evidence() {
        let mut message = crate::outbound::tests::fixture::message(1, 1);
        let progress = &mut message.recipients[0].progress;
        progress.upstream = Some("a".into());
        progress.refusals = 1;
        progress.first_refusal = Some(crate::mail::Timestamp::from_millis(1));
        progress.lost = 2;
        let here = earlier(&message, 0, "a");
        assert_eq!(
            (here.refusals, here.first_refusal.is_some(), here.lost),
            (1, true, 2)
        );
        let there = earlier(&message, 0, "b");
        assert_eq!(
            (there.refusals, there.first_refusal, there.lost),
            (0, None, 2)
        );
    }

    #[test]
    fn the_weightiest_effect_of_a_transaction_counts() {
        let said = evidence(Phase::Rcpt, &"x");
        let fault = Blame::Fault(Box::new(Fault {
            state: posthouse_config::reason::UpstreamState::Throttled,
            wait: None,
            evidence: said.clone(),
            remedy: None,
        }));
        let ascending = [Blame::Nothing, Blame::Trouble(said), Blame::Praise, fault];
        for (i, lighter) in ascending.iter().enumerate() {
            for heavier in ascending.iter().skip(i) {
                for pair in [(lighter, heavier), (heavier, lighter)] {
                    let all = joined(of(pair.0.clone()), of(pair.1.clone()));
                    assert_eq!(all.upstream, *heavier);
                }
            }
        }
    }
}
