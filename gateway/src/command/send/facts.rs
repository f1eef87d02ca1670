//! What a given message asks of its way, found by looking at all of it: it never went through the spool.
//!
//! The rules are those of relaying, so that a test message is treated as mail would be.

use posthouse_smtp::{
    client::Body,
    fold::{Lines, MAXIMUM_LINE},
    header::HeaderSection,
};

/// What is to be known before a message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) lines: Lines,
    pub(super) body: Body,
    /// The header section is UTF-8 and not ASCII (RFC 6532 §3.2).
    pub(super) header_utf8: bool,
}

impl Facts {
    pub(super) fn of(content: &[u8]) -> Self {
        // What has no header section that can be read is all body: it is the server's to judge.
        let section = HeaderSection::parse(content).unwrap_or_default();
        let header = content.get(..section.end.length()).unwrap_or_default();
        // Folding would break a signature.
        let is_signed = section.named(content, "DKIM-Signature").next().is_some();
        Self {
            lines: if longest_line(content) > MAXIMUM_LINE && !is_signed {
                Lines::Folded
            } else {
                Lines::AsTheyAre
            },
            body: if content.is_ascii() {
                Body::SevenBit
            } else {
                Body::EightBit
            },
            header_utf8: !header.is_ascii() && std::str::from_utf8(header).is_ok(),
        }
    }
}

/// Octets of the longest line, without its CRLF.
fn longest_line(content: &[u8]) -> usize {
    content
        .split(|&octet| octet == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line).len())
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_treated_as_mail_would_be() {
        let plain = Facts {
            lines: Lines::AsTheyAre,
            body: Body::SevenBit,
            header_utf8: false,
        };
        let eight_bit = Facts {
            body: Body::EightBit,
            ..plain
        };
        let folded = Facts {
            lines: Lines::Folded,
            ..plain
        };
        let just = [b"A: b\r\n\r\n".as_slice(), &[b'x'; MAXIMUM_LINE], b"\r\n"].concat();
        let long = [b"A: b\r\n\r\n".as_slice(), &[b'x'; 999], b"\r\n"].concat();
        let signed = [b"DKIM-Signature: v=1\r\n".as_slice(), &long].concat();
        for (content, expected) in [
            (b"".as_slice(), plain),
            (b"A: b\r\n\r\nc\r\n", plain),
            (b"A: b\r\n\r\n\xc3\xb6\r\n", eight_bit),
            (b"A: \xf6\r\n\r\nc\r\n", eight_bit),
            (
                b"A: \xc3\xb6\r\n\r\nc\r\n",
                Facts {
                    header_utf8: true,
                    ..eight_bit
                },
            ),
            (&just, plain),
            (&long, folded),
            (&signed, plain),
        ] {
            assert_eq!(Facts::of(content), expected, "{}", content.escape_ascii());
        }
    }
}
