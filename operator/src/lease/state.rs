//! Who may act, decided without a clock of anybody else's.
//!
//! ```text
//!            nobody's, or ours             another's, or no answer for 45 s
//! Candidate ───────────────────▶ Leader ──────────────────────────────────▶ Lost
//!            or unchanged for 60 s, and the write went through
//! ```
//!
//! Times in the record are for people. A candidate waits for the whole term from when *it* first saw the record as it
//! is; the leader counts from *before* it asked for the write that was confirmed. So whatever the machines' clocks say,
//! a leader has stopped 15 seconds before anybody may follow it. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// For how long a record must not have changed before another takes it. A fail-over in a minute costs no mail, and an
/// API server that is upgraded for half a minute costs no fail-over.
pub(super) const TERM: Duration = Duration::from_mins(1);

/// After how long without a confirmed write a leader is none any more. What it has under way ends in the rest of the
/// term: every call is bounded by less.
pub(super) const DEADLINE: Duration = Duration::from_secs(45);

/// How often the record is looked at.
pub(super) const RETRY: Duration = Duration::from_secs(10);

/// The longest term of another's record that is believed.
const LONGEST_TERM: Duration = Duration::from_mins(10);

/// What the record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// The `resourceVersion`: another one means that somebody wrote.
    pub(super) version: String,
    /// Whose it is; empty is nobody's.
    pub(super) holder: String,
    /// The term it asks for.
    pub(super) term: Duration,
}

/// What this process is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It waits for its turn.
    Candidate {
        /// The record as it is, and since when it is known to be so.
        seen: Option<(String, Instant)>,
    },
    /// It may act.
    Leader {
        /// When it asked for the last write that was confirmed.
        renewed: Instant,
    },
    /// It may not act any more, and will not again.
    Lost,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Write a record where there is none.
    Create,
    /// Write our name over what was read.
    Write,
    /// Nothing.
    Wait,
}

/// What follows from a look at the record; `None` is no record.
pub(super) fn next(
    state: State,
    record: Option<&Record>,
    identity: &str,
    now: Instant,
) -> (State, Step) {
    match (state, record) {
        (State::Lost, _) => (State::Lost, Step::Wait),
        (State::Leader { renewed }, _) if now >= renewed + DEADLINE => (State::Lost, Step::Wait),
        (state, None) => (state, Step::Create),
        // A candidate's own name is there if the answer to its write was lost.
        (state, Some(record)) if record.holder == identity => (state, Step::Write),
        (State::Leader { .. }, Some(_)) => (State::Lost, Step::Wait),
        (State::Candidate { seen }, Some(record)) => candidate(seen, record, now),
    }
}

fn candidate(seen: Option<(String, Instant)>, record: &Record, now: Instant) -> (State, Step) {
    let since = match seen {
        Some((version, since)) if version == record.version => since,
        _ => now,
    };
    let term = record.term.clamp(TERM, LONGEST_TERM);
    let is_free = record.holder.is_empty() || now.duration_since(since) >= term;
    let step = if is_free { Step::Write } else { Step::Wait };
    let seen = Some((record.version.clone(), since));
    (State::Candidate { seen }, step)
}

/// What follows from a write that was asked for at `asked` and confirmed.
pub(super) fn written(state: &State, asked: Instant) -> State {
    match state {
        State::Lost => State::Lost,
        State::Candidate { .. } | State::Leader { .. } => State::Leader { renewed: asked },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(version: &str, holder: &str) -> Record {
        Record {
            version: version.to_owned(),
            holder: holder.to_owned(),
            term: TERM,
        }
    }

    fn candidate_since(version: &str, since: Instant) -> State {
        State::Candidate {
            seen: Some((version.to_owned(), since)),
        }
    }

    #[tokio::test]
    async fn every_arrow() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let leader = || State::Leader { renewed: start };
        let unseen = || State::Candidate { seen: None };
        let rows = [
            // A candidate: no record, nobody's, its own, another's.
            (unseen(), None, at(0), unseen(), Step::Create),
            (
                unseen(),
                Some(record("1", "")),
                at(0),
                candidate_since("1", at(0)),
                Step::Write,
            ),
            (
                unseen(),
                Some(record("1", "me")),
                at(0),
                unseen(),
                Step::Write,
            ),
            (
                unseen(),
                Some(record("1", "you")),
                at(0),
                candidate_since("1", at(0)),
                Step::Wait,
            ),
            // Another's that does not change; that does.
            (
                candidate_since("1", at(0)),
                Some(record("1", "you")),
                at(59),
                candidate_since("1", at(0)),
                Step::Wait,
            ),
            (
                candidate_since("1", at(0)),
                Some(record("1", "you")),
                at(60),
                candidate_since("1", at(0)),
                Step::Write,
            ),
            (
                candidate_since("1", at(0)),
                Some(record("2", "you")),
                at(60),
                candidate_since("2", at(60)),
                Step::Wait,
            ),
            // The leader: its own, gone, another's, too late.
            (
                leader(),
                Some(record("1", "me")),
                at(44),
                leader(),
                Step::Write,
            ),
            (leader(), None, at(44), leader(), Step::Create),
            (
                leader(),
                Some(record("1", "you")),
                at(1),
                State::Lost,
                Step::Wait,
            ),
            (
                leader(),
                Some(record("1", "")),
                at(1),
                State::Lost,
                Step::Wait,
            ),
            (
                leader(),
                Some(record("1", "me")),
                at(45),
                State::Lost,
                Step::Wait,
            ),
            // Never again.
            (State::Lost, None, at(0), State::Lost, Step::Wait),
            (
                State::Lost,
                Some(record("1", "me")),
                at(0),
                State::Lost,
                Step::Wait,
            ),
        ];
        for (row, (state, record, now, expected, step)) in rows.into_iter().enumerate() {
            assert_eq!(
                next(state, record.as_ref(), "me", now),
                (expected, step),
                "row {row}"
            );
        }
        assert_eq!(written(&unseen(), at(3)), State::Leader { renewed: at(3) });
        assert_eq!(written(&leader(), at(3)), State::Leader { renewed: at(3) });
        assert_eq!(written(&State::Lost, at(3)), State::Lost);
    }

    #[tokio::test]
    async fn a_longer_term_is_waited_for_and_a_shorter_one_not_believed() {
        let start = Instant::now();
        for (term, takes) in [(1, 60), (120, 120), (100_000, 600)] {
            let mut record = record("1", "you");
            record.term = Duration::from_secs(term);
            for (seconds, step) in [(takes - 1, Step::Wait), (takes, Step::Write)] {
                let now = start + Duration::from_secs(seconds);
                let state = candidate_since("1", start);
                assert_eq!(
                    next(state, Some(&record), "me", now).1,
                    step,
                    "{term}, {seconds}"
                );
            }
        }
    }
}
