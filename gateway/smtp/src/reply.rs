//! Replies (RFC 5321 §4.2): a code, an enhanced status, and text.
//!
//! The value is the same on both sides: what our server says and what an upstream said.

pub mod stream;

use std::fmt::{self, Write};

use crate::enhanced_status::EnhancedStatus;

/// A whole reply, of one line or several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// 200–599.
    pub code: u16,
    /// The enhanced status of its first line, if it had one.
    pub enhanced: Option<EnhancedStatus>,
    /// The text of each line, without code and enhanced status. Never empty; no line holds CR or LF.
    pub lines: Vec<String>,
}

/// What the first digit of a code says (RFC 5321 §4.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// 2yz.
    Positive,
    /// 3yz: go on.
    Intermediate,
    /// 4yz.
    Transient,
    /// 5yz.
    Permanent,
}

impl Reply {
    /// A reply of one line.
    pub fn new(code: u16, enhanced: Option<EnhancedStatus>, text: impl Into<String>) -> Self {
        Self {
            code,
            enhanced,
            lines: vec![text.into()],
        }
    }

    /// The meaning of the first digit; a code outside 200–599 has none.
    pub fn severity(&self) -> Option<Severity> {
        match self.code {
            200..=299 => Some(Severity::Positive),
            300..=399 => Some(Severity::Intermediate),
            400..=499 => Some(Severity::Transient),
            500..=599 => Some(Severity::Permanent),
            _ => None,
        }
    }

    /// Writes the reply as it goes over the wire, the enhanced status on every line (RFC 2034 §4).
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let last = self.lines.len().saturating_sub(1);
        for (i, line) in self.lines.iter().enumerate() {
            let separator = if i == last { ' ' } else { '-' };
            let mut text = format!("{}{separator}", self.code);
            if let Some(enhanced) = self.enhanced {
                // Writing to a String cannot fail.
                let _ = write!(text, "{enhanced} ");
            }
            text.push_str(line);
            out.extend_from_slice(text.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// One line for people: code, enhanced status and all text, joined by spaces.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(enhanced) = self.enhanced {
            write!(f, " {enhanced}")?;
        }
        self.lines
            .iter()
            .filter(|line| !line.is_empty())
            .try_for_each(|line| write!(f, " {line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_carries_code_and_enhanced_status() {
        let reply = Reply {
            code: 550,
            enhanced: Some(EnhancedStatus::new(5, 7, 1)),
            lines: vec!["no".into(), "never".into()],
        };
        let mut out = Vec::new();
        reply.write_to(&mut out);
        assert_eq!(out, b"550-5.7.1 no\r\n550 5.7.1 never\r\n");
        assert_eq!(reply.to_string(), "550 5.7.1 no never");
        assert_eq!(reply.severity(), Some(Severity::Permanent));
    }
}
