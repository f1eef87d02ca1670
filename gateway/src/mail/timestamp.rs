//! Wall-clock time as it is stored and shown: milliseconds since 1970 in UTC.

use std::{fmt, time::Duration};

/// A moment, to the millisecond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// From milliseconds since 1970-01-01T00:00:00Z.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The moment that much later.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
        )
    }

    /// How long ago `earlier` was; zero if it is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// As `Date:` and `Received:` want it (RFC 5322 §3.3), in UTC.
    pub fn to_rfc5322(self) -> String {
        jiff::fmt::rfc2822::to_string(&self.jiff().to_zoned(jiff::tz::TimeZone::UTC))
            .unwrap_or_default()
    }

    fn jiff(self) -> jiff::Timestamp {
        i64::try_from(self.0)
            .ok()
            .and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok())
            .unwrap_or(jiff::Timestamp::MAX)
    }
}

/// RFC 3339, in UTC.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.jiff())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_written_both_ways() {
        let time = Timestamp::from_millis(1_795_339_446_007);
        assert_eq!(time.to_string(), "2026-11-22T09:24:06.007Z");
        assert_eq!(time.to_rfc5322(), "Sun, 22 Nov 2026 09:24:06 +0000");
        assert_eq!(
            time.since(time.plus(Duration::from_secs(1))),
            Duration::ZERO
        );
    }
}
