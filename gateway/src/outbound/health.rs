//! The state of one upstream: what set it, when it is tried again, how much it may be given.
//!
//! Pure: told what happened and when, it knows the state, the timetable and the evidence. It lives in memory and is
//! never written per message: a refused password must not write 100,000 records.
//!
//! ```text
//! Untried ──probe──▶ Ready ⇄ Unreachable · Throttled · QuotaExhausted          mail is deferred
//!                      ⇅
//!                    TlsFailed · AuthenticationFailed · CredentialMissing · Refused   mail is held
//! ```

pub(crate) mod history;
mod remedy;

use std::{collections::BTreeSet, time::Duration};

use posthouse_config::reason::{Phase, UpstreamState};

use self::history::Evidences;
use super::verdict::{
    Fault, History, evidence,
    ruling::{Blame, Effects, PathEffect},
};
use crate::{
    clock::Monotonic,
    mail::{Message, QueueId, SenderIdentity, Timestamp},
    queue::deliver::{Evidence, UpstreamView},
};

/// Different messages in a row that make an upstream `Unreachable` or `Refused`: two may be about themselves.
const IN_A_ROW: usize = 3;

/// Permanent refusals outside RCPT in a row that open the breaker.
const BREAKER_REFUSALS: u32 = 20;

/// Senders these must come from, if there are so many: one sender's bad mail must not switch an upstream off.
const BREAKER_SENDERS: usize = 3;

/// Waits between probes of what is expected to come back by itself; the last one repeats.
const WAITS: [Duration; 3] = [minutes(1), minutes(5), minutes(15)];

/// Wait between probes of what a person has to mend.
const HELD_WAIT: Duration = minutes(15);

const fn minutes(minutes: u64) -> Duration {
    Duration::from_mins(minutes)
}

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// For waiting.
    pub(crate) monotonic: Monotonic,
    /// For showing, and for comparing with what was stored.
    pub(crate) wall: Timestamp,
}

/// Who found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// An attempt with mail.
    Mail,
    /// A probe.
    Probe,
}

/// What changed for those who watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing they see.
    Nothing,
    /// How many attempts it may have.
    Capacity,
    /// Its state.
    State,
}

/// The state of one upstream.
#[derive(Debug)]
pub(crate) struct Health {
    view: UpstreamView,
    /// The most attempts it may have at once.
    maximum: u32,
    /// Messages relayed since the capacity changed.
    successes: u32,
    /// Probes in vain since it left `Ready`.
    failed_probes: usize,
    trust: Trust,
    in_trouble: Vec<QueueId>,
    sessions_refused: Vec<QueueId>,
    refusals: u32,
    refused_senders: BTreeSet<SenderIdentity>,
    evidence: Evidences,
}

/// Whether mail has shown that the upstream works. A probe without mail cannot show it where only mail was refused: then
/// the first message of the same trouble is enough to go back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// It was never lost, or a message brought it back.
    Given,
    /// Mail led out of `Ready`, into this state.
    Withdrawn(UpstreamState),
    /// A probe went through since; no message did.
    OnProbation {
        /// Where mail had led.
        from: UpstreamState,
        /// Probes in vain before that, each undone by mail.
        failed_probes: usize,
    },
}

impl Trust {
    fn is_on_probation_from(self, state: UpstreamState) -> bool {
        matches!(self, Self::OnProbation { from, .. } if from == state)
    }
}

impl Health {
    /// Has another bound on attempts at once from now on.
    pub(crate) fn limit(&mut self, maximum: u32) -> Change {
        self.maximum = maximum.max(1);
        if self.view.capacity <= self.maximum {
            return Change::Nothing;
        }
        self.view.capacity = self.maximum;
        Change::Capacity
    }

    /// An upstream not tried yet: it is probed at once.
    pub(crate) fn new(maximum: u32, now: Now) -> Self {
        Self {
            view: UpstreamView {
                state: UpstreamState::Untried,
                since: now.wall,
                retry_at: Some(now.monotonic),
                capacity: 0,
                reply: None,
                remedy: None,
                last_relayed: None,
                last_failure: None,
            },
            maximum: maximum.max(1),
            successes: 0,
            failed_probes: 0,
            trust: Trust::Given,
            in_trouble: Vec::new(),
            sessions_refused: Vec::new(),
            refusals: 0,
            refused_senders: BTreeSet::new(),
            evidence: Evidences::default(),
        }
    }

    /// What is shown of it.
    pub(crate) const fn view(&self) -> &UpstreamView {
        &self.view
    }

    /// What bears on the verdict for a message; `senders` is how many there are.
    pub(crate) fn history(&self, message: &Message, senders: usize) -> History {
        let others = self
            .refused_senders
            .iter()
            .filter(|sender| **sender != message.sender)
            .count();
        History {
            breaker_is_due: self.is_refusal_enough(others + 1, senders),
            ..self.evidence.of(message)
        }
    }

    /// A probe went through.
    pub(crate) fn probed(&mut self, now: Now) -> Change {
        let before = self.view.state;
        if before == UpstreamState::Ready {
            return Change::Nothing;
        }
        if let Trust::Withdrawn(from) = self.trust {
            self.trust = Trust::OnProbation {
                from,
                failed_probes: self.failed_probes,
            };
        }
        self.ready(now);
        Change::State
    }

    /// The upstream as a whole cannot be used.
    pub(crate) fn fault(&mut self, fault: &Fault, origin: Origin, now: Now) -> Change {
        let was_ready = matches!(
            self.view.state,
            UpstreamState::Ready | UpstreamState::Untried
        );
        self.view.last_failure = Some(now.wall);
        // Attempts under way when it failed say the same once more; only probes move the timetable on.
        if !was_ready && origin == Origin::Mail && fault.state == self.view.state {
            return Change::Nothing;
        }
        if was_ready {
            self.failed_probes = match self.trust {
                Trust::Given | Trust::Withdrawn(_) => 0,
                Trust::OnProbation { failed_probes, .. } => failed_probes + 1,
            };
        } else {
            self.failed_probes += 1;
        }
        let wait = wait(fault, self.failed_probes);
        let is_news = fault.state != self.view.state;
        self.view.retry_at = Some(now.monotonic.plus(wait));
        self.view.reply = Some(format!(
            "{}: {}",
            fault.evidence.phase, fault.evidence.reply
        ));
        self.view.remedy = Some(
            fault
                .remedy
                .unwrap_or_else(|| remedy::of(fault.state))
                .to_owned(),
        );
        self.view.capacity = 0;
        self.forget_rows();
        if is_news {
            self.view.state = fault.state;
            self.view.since = now.wall;
        }
        Change::State
    }

    /// What one transaction brought, once per message.
    pub(crate) fn apply(
        &mut self,
        message: &Message,
        effects: &Effects,
        senders: usize,
        now: Now,
    ) -> Change {
        match effects.reverse_path {
            PathEffect::Nothing => {}
            PathEffect::Refused => self.evidence.refused(message),
            PathEffect::Held => self.evidence.held(message),
        }
        match &effects.upstream {
            Blame::Nothing => Change::Nothing,
            Blame::Praise => self.relayed(message, now),
            Blame::Trouble(said) => {
                self.view.last_failure = Some(now.wall);
                let state = UpstreamState::Unreachable;
                let is_row = note(&mut self.in_trouble, message.id);
                if is_row || self.trust.is_on_probation_from(state) {
                    self.row(state, said, now)
                } else {
                    Change::Nothing
                }
            }
            Blame::Session(said) => {
                self.view.last_failure = Some(now.wall);
                let state = UpstreamState::Refused;
                let is_row = note(&mut self.sessions_refused, message.id);
                if is_row || self.trust.is_on_probation_from(state) {
                    self.row(state, said, now)
                } else {
                    Change::Nothing
                }
            }
            Blame::Refusal(said) => self.refused(message, said, senders, now),
            Blame::Fault(fault) => self.fault(fault, Origin::Mail, now),
        }
    }

    /// A connection was lost with a message.
    pub(crate) fn lost(&mut self, message: &Message, now: Now) {
        self.evidence.lost(message, now.wall);
    }

    /// Asks for a probe now.
    pub(crate) fn hurry(&mut self, now: Now) {
        if self.view.state != UpstreamState::Ready {
            self.view.retry_at = Some(now.monotonic);
        }
    }

    fn relayed(&mut self, message: &Message, now: Now) -> Change {
        self.evidence.relayed(message, now.wall);
        self.view.last_relayed = Some(now.wall);
        self.trust = Trust::Given;
        self.forget_rows();
        if self.view.state != UpstreamState::Ready {
            self.ready(now);
            return Change::State;
        }
        self.successes += 1;
        if self.view.capacity < self.maximum && self.successes >= self.view.capacity {
            self.successes = 0;
            self.view.capacity = self.view.capacity.saturating_mul(2).min(self.maximum);
            return Change::Capacity;
        }
        Change::Nothing
    }

    fn refused(&mut self, message: &Message, said: &Evidence, senders: usize, now: Now) -> Change {
        self.refusals = self.refusals.saturating_add(1);
        if self.refused_senders.len() < BREAKER_SENDERS {
            self.refused_senders.insert(message.sender.clone());
        }
        let state = UpstreamState::Refused;
        let is_enough = self.refusals >= BREAKER_REFUSALS
            && self.refused_senders.len() >= senders.clamp(1, BREAKER_SENDERS);
        if is_enough || self.trust.is_on_probation_from(state) {
            self.row(state, said, now)
        } else {
            Change::Nothing
        }
    }

    /// Whether one more refusal opens the breaker, with so many of so many senders refused.
    fn is_refusal_enough(&self, refused: usize, senders: usize) -> bool {
        self.trust.is_on_probation_from(UpstreamState::Refused)
            || (self.refusals + 1 >= BREAKER_REFUSALS
                && refused >= senders.clamp(1, BREAKER_SENDERS))
    }

    fn row(&mut self, state: UpstreamState, said: &Evidence, now: Now) -> Change {
        let fault = Fault {
            state,
            wait: None,
            evidence: said.clone(),
            remedy: None,
        };
        let change = self.fault(&fault, Origin::Mail, now);
        if change == Change::State {
            self.trust = Trust::Withdrawn(state);
        }
        change
    }

    fn ready(&mut self, now: Now) {
        self.view.state = UpstreamState::Ready;
        self.view.since = now.wall;
        self.view.retry_at = None;
        self.view.capacity = 1;
        self.view.reply = None;
        self.view.remedy = None;
        self.successes = 0;
        self.failed_probes = 0;
        self.forget_rows();
    }

    fn forget_rows(&mut self) {
        self.in_trouble.clear();
        self.sessions_refused.clear();
        self.refusals = 0;
        self.refused_senders.clear();
    }
}

/// Notes a message in a row of different ones; whether the row is long enough.
fn note(row: &mut Vec<QueueId>, id: QueueId) -> bool {
    if !row.contains(&id) {
        row.push(id);
    }
    row.len() >= IN_A_ROW
}

/// How long until the next probe.
fn wait(fault: &Fault, failed_probes: usize) -> Duration {
    if fault.state.holds() {
        return HELD_WAIT;
    }
    let timetable = WAITS
        .get(failed_probes)
        .or(WAITS.last())
        .copied()
        .unwrap_or(HELD_WAIT);
    match fault.wait {
        None => timetable,
        Some(own) if failed_probes == 0 => own,
        Some(own) => own.max(timetable),
    }
}

/// The fault of an upstream whose transport is this machine's own disk.
pub(crate) fn disk_fault(error: &std::io::Error) -> Fault {
    Fault {
        state: UpstreamState::Unreachable,
        wait: None,
        evidence: evidence(Phase::Content, error),
        remedy: Some("Make room on the spool's volume, or check its permissions."),
    }
}

#[cfg(test)]
mod tests;
