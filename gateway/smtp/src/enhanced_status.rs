//! Enhanced status codes, `class.subject.detail` (RFC 3463, RFC 2034).

use std::fmt;

/// One enhanced status code. Providers use details of up to three digits, such as `5.7.708`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EnhancedStatus {
    /// 2 success, 4 persistent transient failure, 5 permanent failure.
    pub class: u8,
    /// 0–999.
    pub subject: u16,
    /// 0–999.
    pub detail: u16,
}

impl EnhancedStatus {
    /// A code by its three numbers.
    pub const fn new(class: u8, subject: u16, detail: u16) -> Self {
        Self {
            class,
            subject,
            detail,
        }
    }

    /// Reads a code at the start of a reply's text: the code and what follows its space.
    pub fn split(text: &str) -> Option<(Self, &str)> {
        let end = text.find(' ').unwrap_or(text.len());
        let (code, rest) = text.split_at_checked(end)?;
        Some((code.parse().ok()?, rest.strip_prefix(' ').unwrap_or(rest)))
    }
}

impl std::str::FromStr for EnhancedStatus {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('.');
        let (Some(class), Some(subject), Some(detail), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(());
        };
        let class = match class {
            "2" => 2,
            "4" => 4,
            "5" => 5,
            _ => return Err(()),
        };
        Ok(Self {
            class,
            subject: number(subject)?,
            detail: number(detail)?,
        })
    }
}

/// One to three digits.
fn number(text: &str) -> Result<u16, ()> {
    if (1..=3).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit()) {
        text.parse().map_err(|_| ())
    } else {
        Err(())
    }
}

impl fmt::Display for EnhancedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_providers_are_read_whole() {
        assert_eq!(
            EnhancedStatus::split("5.7.708 Access denied"),
            Some((EnhancedStatus::new(5, 7, 708), "Access denied"))
        );
        assert_eq!(
            EnhancedStatus::split("2.0.0"),
            Some((EnhancedStatus::new(2, 0, 0), ""))
        );
        for text in [
            "",
            "OK",
            "3.0.0 x",
            "5.7",
            "5.7.1.2 x",
            "5.7.1000 x",
            "5..1 x",
            "5.-1.1",
            "192.0.2.1",
        ] {
            assert_eq!(EnhancedStatus::split(text), None, "{text}");
        }
    }
}
