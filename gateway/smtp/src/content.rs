//! The content scanner: what arrives between 354 and the end of content (RFC 5321 §4.1.1.4, §4.5.2).
//!
//! The end of content is exactly `CRLF . CRLF`, always; whatever else looks like it is stored, and stuffed again when
//! it is relayed, so nothing that was taken as content can end content at the next hop. A leading dot is un-stuffed
//! only after a *received* CRLF. What comes out has no line ending but CRLF: a bare LF becomes CRLF, a bare CR or a
//! NUL becomes a space, and each is counted, so that whoever wants to can refuse the message instead.
//!
//! ```text
//!            ┌──────────── any other ───────────┐
//!            ▼                                  │
//!  start ─▶ LineStart ──.──▶ Dot ──CR──▶ DotCr ──LF──▶ end of content
//!            ▲   │ other      │ other      │ other
//!   CR LF ───┘   ▼            ▼            ▼
//!          Cr ◀──CR── Line ◀──┴────────────┘
//! ```
//!
//! It starts as if a line had just ended, so that an empty message ends with a lone dot.

/// Reads content in pieces of any size.
#[derive(Debug)]
pub struct Scanner {
    state: State,
    /// Octets of the line so far.
    column: u64,
    facts: Facts,
    limit: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// After a received CRLF, or before anything was received.
    LineStart,
    /// `.` at the start of a line.
    Dot,
    /// `. CR` at the start of a line.
    DotCr,
    /// Inside a line, or after a bare LF.
    Line,
    /// CR inside a line.
    Cr,
}

/// What is known about content once it was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Octets stored, or that would have been stored without the limit (RFC 1870 §5: stuffed dots do not count).
    pub octets: u64,
    /// Octets of the longest line, without its CRLF.
    pub longest_line: u64,
    /// Whether octets over 127 occur.
    pub eight_bit: bool,
    /// What was replaced.
    pub repairs: Repairs,
}

/// What was replaced, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repairs {
    /// LF without CR before it, now CRLF.
    pub bare_lf: u64,
    /// CR without LF after it, now a space.
    pub bare_cr: u64,
    /// NUL, now a space.
    pub nul: u64,
}

impl Repairs {
    /// Whether nothing had to be replaced.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What a piece of input came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scanned {
    /// All of it was content; there is more to come.
    More,
    /// Content ended after this many octets of it; the rest are commands.
    End(usize),
    /// As much again as the limit was sent after the limit: close.
    Flood,
}

impl Scanner {
    /// A scanner for content of at most `limit` octets. Longer content is read to its end but no longer stored, and
    /// its [`Facts::octets`] say so.
    pub fn new(limit: u64) -> Self {
        Self {
            state: State::LineStart,
            column: 0,
            facts: Facts::default(),
            limit,
        }
    }

    /// What is known so far.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Whether more was sent than is stored.
    pub fn is_over_long(&self) -> bool {
        self.facts.octets > self.limit
    }

    /// Reads a piece and appends what is to be stored.
    pub fn scan(&mut self, input: &[u8], out: &mut Vec<u8>) -> Scanned {
        let mut rest = input;
        while let Some((&octet, after)) = rest.split_first() {
            if self.facts.octets > self.limit.saturating_mul(2) {
                return Scanned::Flood;
            }
            match (self.state, octet) {
                (State::LineStart, b'.') => self.state = State::Dot,
                (State::Dot, b'\r') => self.state = State::DotCr,
                (State::DotCr, b'\n') => return Scanned::End(input.len() - after.len()),
                // RFC 5321 §4.5.2: with other characters after it the dot was stuffing, and is dropped.
                (State::LineStart | State::Dot, _) => {
                    self.state = State::Line;
                    continue;
                }
                (State::Cr, b'\n') => {
                    self.store(b"\r\n", out);
                    self.end_line();
                    self.state = State::LineStart;
                }
                (State::DotCr | State::Cr, _) => {
                    self.facts.repairs.bare_cr += 1;
                    self.column += 1;
                    self.store(b" ", out);
                    self.state = State::Line;
                    continue;
                }
                (State::Line, b'\r') => self.state = State::Cr,
                (State::Line, b'\n') => {
                    // Not LineStart: a dot after a bare LF is neither stuffing nor the end.
                    self.facts.repairs.bare_lf += 1;
                    self.store(b"\r\n", out);
                    self.end_line();
                }
                (State::Line, 0) => {
                    self.facts.repairs.nul += 1;
                    self.column += 1;
                    self.store(b" ", out);
                }
                (State::Line, _) => {
                    rest = self.text(rest, out);
                    continue;
                }
            }
            rest = after;
        }
        Scanned::More
    }

    /// Takes as much as is stored the way it came: text, and line ends that no dot follows. Returns the rest. This is
    /// where nearly every octet of mail goes through.
    fn text<'a>(&mut self, input: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        let mut taken = 0;
        loop {
            let rest = input.get(taken..).unwrap_or_default();
            let plain = memchr::memchr3(b'\r', b'\n', 0, rest).unwrap_or(rest.len());
            taken += plain;
            self.column += plain as u64;
            match rest.get(plain..) {
                Some([b'\r', b'\n', next, ..]) if *next != b'.' => {
                    taken += 2;
                    self.end_line();
                }
                _ => break,
            }
        }
        let (text, rest) = input.split_at_checked(taken).unwrap_or((input, &[]));
        self.facts.eight_bit |= !text.is_ascii();
        self.store(text, out);
        rest
    }

    fn end_line(&mut self) {
        self.facts.longest_line = self.facts.longest_line.max(self.column);
        self.column = 0;
    }

    fn store(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        self.facts.octets = self.facts.octets.saturating_add(octets.len() as u64);
        if self.facts.octets <= self.limit {
            out.extend_from_slice(octets);
        }
    }
}

#[cfg(test)]
mod tests;
