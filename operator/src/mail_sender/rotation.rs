//! Which rotations of a sender's password are accepted now: make before break.
//!
//! ```text
//! spec n+1 → rows {n+1, n} → every ready gateway has them → Secret n+1 → status n+1 → overlap over → rows {n+1}
//! ```
//! Pure. What was written is known from `status.credential` alone, the number of the previous rotation from the senders
//! file in use. Both are memory: without the first the previous password counts as expired, but what was accepted stays
//! so until the Secret is written anew, since nobody can tell which of them is in it.

use jiff::Timestamp;
use posthouse_api::mail_sender::status::CredentialStatus;

/// At most this many rotations stand in a row while nothing is known of the Secret: somebody could raise the number for
/// ever while no gateway is ready.
const MOST: usize = 8;

/// The rotations to accept, the wanted one first. `live` are those in the senders file in use.
pub fn accepted(
    wanted: u64,
    status: Option<&CredentialStatus>,
    live: &[u64],
    now: Timestamp,
) -> Vec<u64> {
    let mut rotations = vec![wanted];
    if let Some(status) = status {
        rotations.push(written(status));
        rotations.extend(previous(status, live, now));
    } else {
        let mut live = live.to_vec();
        // The Secret's is among the oldest: younger ones were never written.
        live.sort_unstable();
        rotations.extend(live.into_iter().filter(|&rotation| rotation != wanted));
    }
    rotations.truncate(MOST);
    rotations.sort_unstable_by(|a, b| b.cmp(a));
    rotations.dedup();
    rotations
}

/// What a sender that cannot be honoured any more keeps of what is accepted.
pub fn kept(status: Option<&CredentialStatus>, live: &[u64], now: Timestamp) -> Vec<u64> {
    let Some(status) = status else {
        return live.to_vec();
    };
    let (written, previous) = (written(status), previous(status, live, now));
    let is_kept = |rotation: &u64| *rotation >= written || Some(*rotation) == previous;
    live.iter().copied().filter(is_kept).collect()
}

/// The least rotation that may be wanted: a lower one would bring back a password that was taken out of use.
pub fn least(status: Option<&CredentialStatus>, live: &[u64]) -> u64 {
    let newest = || live.iter().copied().max().unwrap_or_default();
    status.map_or_else(newest, written)
}

/// When a previous password ends by itself.
pub fn end(status: Option<&CredentialStatus>, now: Timestamp) -> Option<Timestamp> {
    let until = status?.previous_valid_until.as_ref()?.0;
    (until > now).then_some(until)
}

/// The rotation whose password is in the Secret.
pub fn written(status: &CredentialStatus) -> u64 {
    u64::try_from(status.rotation).unwrap_or_default()
}

/// The rotation before the written one, while its password is valid. Where the senders file is lost it is the number
/// before: if that was never written, nobody has its password.
fn previous(status: &CredentialStatus, live: &[u64], now: Timestamp) -> Option<u64> {
    end(Some(status), now)?;
    let written = written(status);
    let remembered = live.iter().copied().filter(|&rotation| rotation < written);
    let before = || written.checked_sub(1).filter(|&rotation| rotation > 0);
    remembered.max().or_else(before)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    /// A status with a rotation, and its predecessor valid until a second.
    fn status(rotation: i64, until: Option<i64>) -> CredentialStatus {
        CredentialStatus {
            rotation,
            written_time: None,
            previous_valid_until: until.map(|until| Time(at(until))),
        }
    }

    #[test]
    fn the_new_password_is_accepted_before_it_is_written_and_the_old_one_after() {
        for (wanted, written, live, expected) in [
            // A new sender.
            (1, None, &[][..], &[1][..]),
            // At rest.
            (1, Some(status(1, None)), &[1], &[1]),
            // Raised, not yet written.
            (2, Some(status(1, None)), &[1], &[2, 1]),
            (2, Some(status(1, None)), &[2, 1], &[2, 1]),
            (7, Some(status(1, None)), &[1], &[7, 1]),
            // Written: the previous one until its time.
            (2, Some(status(2, Some(101))), &[2, 1], &[2, 1]),
            (2, Some(status(2, Some(100))), &[2, 1], &[2]),
            (2, Some(status(2, None)), &[2, 1], &[2]),
            (7, Some(status(7, Some(101))), &[7, 1], &[7, 1]),
            // Raised again within the overlap.
            (3, Some(status(2, Some(101))), &[2, 1], &[3, 2, 1]),
            (3, Some(status(3, Some(101))), &[3, 2, 1], &[3, 2]),
            // The senders file is lost.
            (2, Some(status(2, Some(101))), &[], &[2, 1]),
            (1, Some(status(1, Some(101))), &[], &[1]),
            // The status is lost: whatever the Secret holds stays valid until it is written anew.
            (2, None, &[2, 1], &[2, 1]),
            (3, None, &[2, 1], &[3, 2, 1]),
            (
                20,
                None,
                &[9, 8, 7, 6, 5, 4, 3, 2, 1],
                &[20, 7, 6, 5, 4, 3, 2, 1],
            ),
        ] {
            assert_eq!(
                accepted(wanted, written.as_ref(), live, at(100)),
                expected,
                "{wanted} {written:?} {live:?}"
            );
        }
    }

    #[test]
    fn a_sender_that_became_invalid_keeps_what_works() {
        for (status, live, expected) in [
            (Some(status(2, Some(101))), &[2, 1][..], &[2, 1][..]),
            (Some(status(2, Some(100))), &[2, 1], &[2]),
            (Some(status(2, None)), &[3, 2], &[3, 2]),
            (None, &[2, 1], &[2, 1]),
        ] {
            assert_eq!(
                kept(status.as_ref(), live, at(100)),
                expected,
                "{status:?} {live:?}"
            );
        }
    }

    #[test]
    fn a_rotation_never_goes_below_what_was_written() {
        assert_eq!(least(Some(&status(4, None)), &[5, 4]), 4);
        assert_eq!(least(None, &[5, 4]), 5);
        assert_eq!(least(None, &[]), 0);
    }
}
