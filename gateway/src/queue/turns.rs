//! Whose turn it is at one upstream: lanes in a ring for each rank, and ranks by weight.
//!
//! Stride scheduling: each turn moves its rank's pass on by the inverse of its weight, and the lowest pass is next. A
//! rank that had nothing to do does not save up turns.

use std::collections::VecDeque;

use posthouse_config::{Senders, senders::Class};

use super::lane::LaneId;
use crate::mail::SenderIdentity;

/// The order in which lanes are served: the sender's class, and reports last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// Somebody waits for it.
    Interactive,
    /// Most mail.
    Normal,
    /// Nobody waits for it.
    Bulk,
    /// Our own reports.
    Reports,
}

/// The order of service and the rate of a sender's lanes.
pub(crate) fn rank_and_rate(senders: &Senders, sender: &SenderIdentity) -> (Rank, Option<u32>) {
    match sender {
        SenderIdentity::Posthouse => (Rank::Reports, None),
        SenderIdentity::Anonymous => (Rank::Normal, None),
        SenderIdentity::Sender { namespace, name } => {
            let found = senders
                .senders
                .iter()
                .find(|sender| *sender.name == **name && *sender.namespace == **namespace);
            let rank = match found.map(|sender| sender.class).unwrap_or_default() {
                Class::Interactive => Rank::Interactive,
                Class::Normal => Rank::Normal,
                Class::Bulk => Rank::Bulk,
            };
            (
                rank,
                found.and_then(|sender| sender.limits.messages_per_minute),
            )
        }
    }
}

/// What a turn costs each rank: while all have work, of 20 turns 12 are for `Interactive`, 5 for `Normal`, 2 for
/// `Bulk` and one for reports, which may have at most 10 %.
const STRIDES: [u64; 4] = [5, 12, 30, 60];

/// The turns at one upstream.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    rings: [VecDeque<LaneId>; 4],
    passes: [u64; 4],
}

impl Turns {
    /// Puts a lane at the end of its rank's ring.
    pub(crate) fn push(&mut self, rank: Rank, lane: LaneId) {
        let floor = self.floor();
        let (Some(ring), Some(pass)) = (
            self.rings.get_mut(rank as usize),
            self.passes.get_mut(rank as usize),
        ) else {
            return;
        };
        if ring.is_empty() {
            *pass = (*pass).max(floor);
        }
        ring.push_back(lane);
    }

    /// The lane whose turn it is.
    pub(crate) fn take(&mut self) -> Option<LaneId> {
        let with_work = self
            .rings
            .iter_mut()
            .zip(&self.passes)
            .filter(|(ring, _)| !ring.is_empty());
        let (ring, _) = with_work.min_by_key(|(_, pass)| **pass)?;
        ring.pop_front()
    }

    /// A lane of this rank used its turn.
    pub(crate) fn spend(&mut self, rank: Rank) {
        if let (Some(pass), Some(stride)) = (
            self.passes.get_mut(rank as usize),
            STRIDES.get(rank as usize),
        ) {
            *pass += stride;
        }
    }

    /// The lowest pass of those with work; without any, the highest of all.
    fn floor(&self) -> u64 {
        let with_work = self
            .rings
            .iter()
            .zip(&self.passes)
            .filter(|(ring, _)| !ring.is_empty());
        let lowest = with_work.map(|(_, pass)| *pass).min();
        lowest.unwrap_or_else(|| self.passes.iter().copied().max().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANKS: [Rank; 4] = [Rank::Interactive, Rank::Normal, Rank::Bulk, Rank::Reports];

    #[test]
    fn ranks_share_by_weight_and_lanes_of_a_rank_alternate() {
        let mut turns = Turns::default();
        for (i, rank) in (0..).zip(RANKS) {
            turns.push(rank, 2 * i);
            turns.push(rank, 2 * i + 1);
        }
        let mut count = [0; 8];
        for _ in 0..2000 {
            let lane = turns.take().unwrap();
            let rank = RANKS[lane as usize / 2];
            turns.spend(rank);
            turns.push(rank, lane);
            count[lane as usize] += 1;
        }
        let ranks: Vec<i32> = count.chunks(2).map(|pair| pair[0] + pair[1]).collect();
        for (rank, expected) in ranks.iter().zip([1200, 500, 200, 100]) {
            assert!((rank - expected).abs() <= 5, "{ranks:?}");
        }
        assert!(
            count.chunks(2).all(|pair| i32::abs(pair[0] - pair[1]) <= 1),
            "{count:?}"
        );
    }

    #[test]
    fn who_had_nothing_to_do_does_not_save_up() {
        let mut turns = Turns::default();
        turns.push(Rank::Bulk, 1);
        for _ in 0..1000 {
            assert_eq!(turns.take(), Some(1));
            turns.spend(Rank::Bulk);
            turns.push(Rank::Bulk, 1);
        }
        turns.push(Rank::Reports, 2);
        let first: Vec<_> = (0..6)
            .map(|_| {
                let lane = turns.take().unwrap();
                let rank = if lane == 1 { Rank::Bulk } else { Rank::Reports };
                turns.spend(rank);
                turns.push(rank, lane);
                lane
            })
            .collect();
        assert_eq!(
            first.iter().filter(|&&lane| lane == 2).count(),
            2,
            "{first:?}"
        );
        assert_eq!(Turns::default().take(), None);
    }
}
