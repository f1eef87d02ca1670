//! Queue ids: our name for a spooled message.
//!
//! 20 characters of lower-case base32hex (RFC 4648 §7): 48 bits of the spool's UUID, 48 bits of sequence. Unique over
//! gateways, sorts by age within one, and survives lower-casing (VERP). A report's id is its original's, `r`, and the
//! number of the attempt that made it, so a report written twice after a crash is the same message.

use std::fmt;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
/// 96 bits at 5 bits a character.
const CHARACTERS: u32 = 20;
const SEQUENCE_BITS: u32 = 48;
const SEQUENCE_MASK: u64 = (1 << SEQUENCE_BITS) - 1;

/// Our name for a spooled message.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId {
    spool: u64,
    sequence: u64,
    /// 0, or the number of the attempt whose report this is.
    report: u32,
}

/// A text that is no queue id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a queue id is 20 characters of 0-9 and a-v, for a report followed by r and a number")]
pub struct QueueIdError;

impl QueueId {
    /// The id of a sequence number in a spool. Both are cut to 48 bits.
    pub const fn new(spool: u64, sequence: u64) -> Self {
        Self {
            spool: spool & SEQUENCE_MASK,
            sequence: sequence & SEQUENCE_MASK,
            report: 0,
        }
    }

    /// The id of the report that attempt number `attempt` (from 1) of this message makes.
    #[must_use]
    pub const fn report(self, attempt: u32) -> Self {
        Self {
            report: attempt,
            ..self
        }
    }

    /// The message that this report is about; any other message itself.
    #[must_use]
    pub const fn original(self) -> Self {
        Self { report: 0, ..self }
    }

    /// The sequence number, 48 bits.
    pub const fn sequence(self) -> u64 {
        self.sequence
    }

    /// Whether it names a report.
    pub const fn is_report(self) -> bool {
        self.report != 0
    }

    /// 16 octets for a record: 6 of the spool, 6 of the sequence, 4 of the report, big-endian.
    pub fn to_bytes(self) -> [u8; 16] {
        (self.packed() << 32 | u128::from(self.report)).to_be_bytes()
    }

    /// The id of 16 octets of a record.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let all = u128::from_be_bytes(bytes);
        #[allow(clippy::cast_possible_truncation)] // each part is masked to its bits
        Self {
            spool: (all >> 80) as u64 & SEQUENCE_MASK,
            sequence: (all >> 32) as u64 & SEQUENCE_MASK,
            report: (all & u128::from(u32::MAX)) as u32,
        }
    }

    fn packed(self) -> u128 {
        u128::from(self.spool) << SEQUENCE_BITS | u128::from(self.sequence)
    }
}

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // 100 bits are written for 96: the last 4 are zero.
        let padded = self.packed() << 4;
        for i in (0..CHARACTERS).rev() {
            let index = usize::try_from(padded >> (i * 5) & 31).unwrap_or_default();
            f.write_str(
                ALPHABET
                    .get(index..=index)
                    .and_then(|c| std::str::from_utf8(c).ok())
                    .unwrap_or_default(),
            )?;
        }
        if self.is_report() {
            write!(f, "r{}", self.report)
        } else {
            Ok(())
        }
    }
}

impl fmt::Debug for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for QueueId {
    type Err = QueueIdError;

    fn from_str(text: &str) -> Result<Self, QueueIdError> {
        let (id, rest) = text
            .split_at_checked(CHARACTERS as usize)
            .ok_or(QueueIdError)?;
        let mut padded = 0u128;
        for c in id.bytes() {
            let digit = ALPHABET
                .iter()
                .position(|&a| a == c.to_ascii_lowercase())
                .ok_or(QueueIdError)?;
            padded = padded << 5 | digit as u128;
        }
        let report = match rest.strip_prefix(['r', 'R']) {
            Some(number) => number.parse().ok().filter(|&n| n > 0).ok_or(QueueIdError)?,
            None if rest.is_empty() => 0u32,
            None => return Err(QueueIdError),
        };
        Ok(Self::from_bytes(
            ((padded >> 4) << 32 | u128::from(report)).to_be_bytes(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_text_octets_and_lower_casing() {
        for (spool, sequence) in [
            (0, 0),
            (0xffff_ffff_ffff, 0xffff_ffff_ffff),
            (0x1234_5678_9abc, 42),
        ] {
            for id in [
                QueueId::new(spool, sequence),
                QueueId::new(spool, sequence).report(7),
            ] {
                let text = id.to_string();
                assert!(
                    text.len() >= 20
                        && text
                            .bytes()
                            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()),
                    "{text}"
                );
                assert_eq!(text.parse(), Ok(id));
                assert_eq!(text.to_uppercase().parse(), Ok(id));
                assert_eq!(QueueId::from_bytes(id.to_bytes()), id);
            }
        }
        assert!(QueueId::new(1, 1).to_string() < QueueId::new(1, 2).to_string());
    }

    #[test]
    fn what_is_no_queue_id_is_refused() {
        for text in [
            "",
            "0",
            "w0000000000000000000",
            "00000000000000000000x",
            "00000000000000000000r0",
            "ü000000000000000000",
        ] {
            assert!(text.parse::<QueueId>().is_err(), "{text}");
        }
    }
}
