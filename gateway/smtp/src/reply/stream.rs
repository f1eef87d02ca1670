//! Reads replies from octets that come in pieces (RFC 5321 §4.2, RFC 2034).
//!
//! Any split of the same octets gives the same replies, and memory is bounded whatever comes. Lenient where servers in
//! use are: no text after the code, a bare LF as line end, octets that are not UTF-8, lines longer than 512. Strict
//! where leniency would put replies out of step with commands: a code outside 200–599, an unknown separator, or lines of
//! one reply with different codes are errors, after which the stream must not be read on.
//!
//! What is kept is safe to show: control characters and octets that are not UTF-8 are escaped here, once.

use std::fmt::Write;

use crate::{enhanced_status::EnhancedStatus, reply::Reply};

/// Octets of one line that are kept. RFC 5321 §4.5.3.1.5 allows 512 in all; providers exceed it.
pub const KEPT_LINE: usize = 1024;

/// Octets of one line that are read: longer than anything in use, and no reason to read for ever.
pub const MAXIMUM_LINE: usize = 65_536;

/// Lines of one reply. EHLO replies in use have about twenty.
pub const MAXIMUM_LINES: usize = 256;

/// Octets of text kept of one reply: what is beyond is read and dropped.
pub const KEPT_TEXT: usize = 16_384;

/// What came is no reply. The connection is of no use any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// A line without a code from 200 to 599 and a space or hyphen after it.
    #[error("\"{0}\" is not a reply")]
    NotAReply(String),
    /// Lines of one reply with different codes.
    #[error("a reply began with {first} and went on with {then}")]
    MixedCodes {
        /// Of its first line.
        first: u16,
        /// Of a later one.
        then: u16,
    },
    /// A line or a reply without end.
    #[error("a reply is too long")]
    TooLong,
}

/// The state between two pieces.
#[derive(Debug, Default)]
pub struct ReplyStream {
    /// The line that has begun, at most [`KEPT_LINE`] octets of it.
    line: Vec<u8>,
    /// Octets of that line, including those not kept.
    line_length: usize,
    /// The reply that has begun, and the octets of text in it.
    reply: Option<(Reply, usize)>,
    /// Lines of it, including those not kept.
    lines: usize,
}

impl ReplyStream {
    /// Whether nothing has been read since the last whole reply.
    pub fn is_between_replies(&self) -> bool {
        self.line_length == 0 && self.reply.is_none()
    }

    /// Takes octets from the front of `input` up to the end of one reply; the rest stays in `input`.
    /// `None`: all was taken, and the reply is not whole yet.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Reply>, ReplyError> {
        while let Some(end) = memchr::memchr(b'\n', input) {
            let (line, rest) = input.split_at(end);
            *input = rest.get(1..).unwrap_or_default();
            self.append(line)?;
            if let Some(reply) = self.end_line()? {
                return Ok(Some(reply));
            }
        }
        let rest = std::mem::take(input);
        self.append(rest)?;
        Ok(None)
    }

    fn append(&mut self, octets: &[u8]) -> Result<(), ReplyError> {
        self.line_length = self.line_length.saturating_add(octets.len());
        if self.line_length > MAXIMUM_LINE {
            return Err(ReplyError::TooLong);
        }
        let room = KEPT_LINE.saturating_sub(self.line.len());
        self.line
            .extend_from_slice(octets.get(..room).unwrap_or(octets));
        Ok(())
    }

    fn end_line(&mut self) -> Result<Option<Reply>, ReplyError> {
        let line = std::mem::take(&mut self.line);
        self.line_length = 0;
        let (code, is_last, text) = split(line.strip_suffix(b"\r").unwrap_or(&line))?;
        self.lines += 1;
        if self.lines > MAXIMUM_LINES {
            return Err(ReplyError::TooLong);
        }
        let (mut reply, length) = match self.reply.take() {
            Some((reply, length)) => (reply, length),
            None => (first(code, text), 0),
        };
        if reply.code != code {
            return Err(ReplyError::MixedCodes {
                first: reply.code,
                then: code,
            });
        }
        let text = shown(without_status(reply.enhanced, text));
        let length = length + text.len();
        if length <= KEPT_TEXT {
            reply.lines.push(text);
        }
        // The buffer is kept for the next line.
        self.line = line;
        self.line.clear();
        if is_last {
            self.lines = 0;
            return Ok(Some(reply));
        }
        self.reply = Some((reply, length));
        Ok(None)
    }
}

/// An empty reply with the code and enhanced status of its first line.
fn first(code: u16, text: &[u8]) -> Reply {
    let start = text.split(|&b| b == b' ').next().unwrap_or_default();
    let enhanced = std::str::from_utf8(start)
        .ok()
        .and_then(|start| start.parse().ok());
    Reply {
        code,
        enhanced,
        lines: Vec::new(),
    }
}

/// The text of a line without its enhanced status: where the first line has one, each line has (RFC 2034 §4).
fn without_status(enhanced: Option<EnhancedStatus>, text: &[u8]) -> &[u8] {
    if enhanced.is_none() {
        return text;
    }
    let end = memchr::memchr(b' ', text).unwrap_or(text.len());
    let (start, rest) = text.split_at(end);
    let is_status =
        std::str::from_utf8(start).is_ok_and(|start| start.parse::<EnhancedStatus>().is_ok());
    if is_status {
        rest.strip_prefix(b" ").unwrap_or(rest)
    } else {
        text
    }
}

/// Code, whether this is the last line, and text.
fn split(line: &[u8]) -> Result<(u16, bool, &[u8]), ReplyError> {
    let bad = || ReplyError::NotAReply(shown(line.get(..80).unwrap_or(line)));
    let (&[a @ b'2'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9'], rest) =
        line.split_first_chunk::<3>().ok_or_else(bad)?
    else {
        return Err(bad());
    };
    let digit = |octet: u8| u16::from(octet - b'0');
    let code = digit(a) * 100 + digit(b) * 10 + digit(c);
    match rest.split_first() {
        // RFC 5321 §4.2: a client must accept a code without text.
        None => Ok((code, true, rest)),
        Some((b' ', text)) => Ok((code, true, text)),
        Some((b'-', text)) => Ok((code, false, text)),
        Some(_) => Err(bad()),
    }
}

/// Octets from outside as text that is safe to show.
fn shown(octets: &[u8]) -> String {
    let mut out = String::with_capacity(octets.len());
    for chunk in octets.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\t' => out.push(' '),
                c if c.is_control() => out.extend(c.escape_default()),
                c => out.push(c),
            }
        }
        for octet in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\x{octet:02x}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(mut input: &[u8]) -> Vec<Result<Reply, ReplyError>> {
        let mut stream = ReplyStream::default();
        let mut out = Vec::new();
        loop {
            match stream.next(&mut input) {
                Ok(Some(reply)) => out.push(Ok(reply)),
                Ok(None) => return out,
                Err(error) => {
                    out.push(Err(error));
                    return out;
                }
            }
        }
    }

    fn one(input: &[u8]) -> Reply {
        let mut replies = read(input);
        assert_eq!(replies.len(), 1);
        replies.remove(0).unwrap()
    }

    #[test]
    fn replies_of_servers_in_use() {
        for (input, code, enhanced, lines) in [
            (&b"250 ok\r\n"[..], 250, None, &["ok"][..]),
            (b"250\r\n", 250, None, &[""]),
            (b"250 \r\n", 250, None, &[""]),
            (b"250 ok\n", 250, None, &["ok"]),
            (b"571 blocked\r\n", 571, None, &["blocked"]),
            (b"299 odd\r\n", 299, None, &["odd"]),
            (
                b"550 5.7.708 Access denied\r\n",
                550,
                Some(EnhancedStatus::new(5, 7, 708)),
                &["Access denied"],
            ),
            (
                b"250 2.0.0\r\n",
                250,
                Some(EnhancedStatus::new(2, 0, 0)),
                &[""],
            ),
            (
                b"550-5.1.1 no such user\r\n550-see https://x\r\n550 5.1.1 really\r\n",
                550,
                Some(EnhancedStatus::new(5, 1, 1)),
                &["no such user", "see https://x", "really"],
            ),
            (b"250-mx.example\r\n250\r\n", 250, None, &["mx.example", ""]),
            (
                b"220 caf\xe9 \x1b[31m\tx\r\n",
                220,
                None,
                &["caf\\xe9 \\u{1b}[31m x"],
            ),
            ("550 gr\u{fc}n\r\n".as_bytes(), 550, None, &["gr\u{fc}n"]),
        ] {
            let reply = one(input);
            assert_eq!((reply.code, reply.enhanced), (code, enhanced));
            assert_eq!(reply.lines, lines);
        }
    }

    #[test]
    fn what_is_no_reply() {
        for input in [
            &b"\r\n"[..],
            b"25\r\n",
            b"100 go on\r\n",
            b"600 x\r\n",
            b"250x\r\n",
            b"HTTP/1.1 400 Bad Request\r\n",
            b" 250 ok\r\n",
            b"2 0 ok\r\n",
        ] {
            assert!(
                matches!(read(input).as_slice(), [Err(ReplyError::NotAReply(_))]),
                "{input:?}"
            );
        }
        assert_eq!(
            read(b"250-a\r\n550 b\r\n"),
            [Err(ReplyError::MixedCodes {
                first: 250,
                then: 550
            })]
        );
    }

    #[test]
    fn memory_is_bounded() {
        let long = [b"250 ".as_slice(), &[b'a'; 5000], b"\r\n"].concat();
        assert_eq!(one(&long).lines[0].len(), KEPT_LINE - 4);
        assert_eq!(
            read(&b"2".repeat(MAXIMUM_LINE + 1)),
            [Err(ReplyError::TooLong)]
        );
        assert_eq!(
            read(&b"250-x\r\n".repeat(MAXIMUM_LINES + 1)),
            [Err(ReplyError::TooLong)]
        );
        let wide = [b"250-".as_slice(), &[b'a'; 1000], b"\r\n"].concat();
        let reply = one(&[wide.repeat(100), b"250 end\r\n".to_vec()].concat());
        assert!(reply.lines.concat().len() <= KEPT_TEXT);
    }

    #[test]
    fn what_follows_a_reply_stays_with_the_caller() {
        let mut stream = ReplyStream::default();
        let mut input = &b"220 go\r\n250 injected\r\n"[..];
        assert_eq!(stream.next(&mut input).unwrap().unwrap().code, 220);
        assert_eq!(input, b"250 injected\r\n");
        assert!(stream.is_between_replies());
        let mut part = &b"250-x\r\n"[..];
        assert_eq!(stream.next(&mut part), Ok(None));
        assert!(!stream.is_between_replies());
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_replies(
            lines in proptest::collection::vec("(2[0-9]{2}|5[0-9]{2}|[0-9]{1,4})[ -]?(5\\.[0-9]\\.[0-9]{1,3} )?[ -~\u{e9}]{0,20}\r?\n", 0..8),
            cuts in proptest::collection::vec(0usize..200, 0..6),
        ) {
            let octets = lines.concat().into_bytes();
            let whole = read(&octets);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(octets.len())).collect();
            cuts.push(octets.len());
            cuts.sort_unstable();
            let mut stream = ReplyStream::default();
            let mut pieces = Vec::new();
            let mut start = 0;
            'all: for cut in cuts {
                let mut piece = &octets[start..cut];
                start = cut;
                loop {
                    match stream.next(&mut piece) {
                        Ok(Some(reply)) => pieces.push(Ok(reply)),
                        Ok(None) => break,
                        Err(error) => {
                            pieces.push(Err(error));
                            break 'all;
                        }
                    }
                }
            }
            prop_assert_eq!(whole, pieces);
        }
    }
}
