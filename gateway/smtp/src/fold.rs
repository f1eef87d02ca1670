//! Writes stored content as it goes over the wire (RFC 5321 §4.5.2, §4.5.3.1.6): dot-stuffed, folded, ended.
//!
//! The input is stored content in pieces of any size, in which CR and LF occur only as CRLF. A dot after *any* LF is
//! stuffed all the same, so that content damaged on the way cannot end itself. Any split gives the same octets.
//!
//! Two ways: [`Lines::AsTheyAre`] searches for `LF .` only and is the usual one, since the longest line of a message is
//! known when it was stored; [`Lines::Folded`] goes line by line.

use memchr::{memchr, memmem};

/// Octets of a line without its CRLF (RFC 5321 §4.5.3.1.6: 1,000 with it, the stuffed dot not counted).
pub const MAXIMUM_LINE: usize = 998;

/// What happens to lines over [`MAXIMUM_LINE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// Nothing: there are none, or the message is signed and must stay as it is.
    AsTheyAre,
    /// Folded by CRLF and a space, never inside a UTF-8 sequence, header fields at white space where there is some.
    Folded,
}

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// What goes over the wire: stuffed, and ended by the final dot.
    Wire,
    /// What the receiver makes of it.
    Plain,
}

/// The state between two pieces of one message's content.
#[derive(Debug)]
pub struct ContentWriter {
    form: Form,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Direct(Direct),
    Fold(Fold),
}

impl ContentWriter {
    /// A writer for one message that goes over the wire.
    pub fn new(lines: Lines) -> Self {
        Self::of(lines, Form::Wire)
    }

    /// A writer of what the receiver makes of it: neither stuffed nor ended by a dot.
    pub fn plain(lines: Lines) -> Self {
        Self::of(lines, Form::Plain)
    }

    fn of(lines: Lines, form: Form) -> Self {
        let way = match lines {
            Lines::AsTheyAre => Way::Direct(Direct {
                form,
                end: End::LineFeed,
            }),
            Lines::Folded => Way::Fold(Fold::new(form)),
        };
        Self { form, way }
    }

    /// Appends the next piece of content to `out`, except what depends on the piece after it.
    pub fn write(&mut self, content: &[u8], out: &mut Vec<u8>) {
        match &mut self.way {
            Way::Direct(direct) => direct.write(content, out),
            Way::Fold(fold) => fold.write(content, out),
        }
    }

    /// Appends what is left, and the end of content: CRLF unless there is one, dot, CRLF.
    pub fn finish(self, out: &mut Vec<u8>) {
        let end = match self.way {
            Way::Direct(direct) => direct.end,
            Way::Fold(fold) => fold.finish(out),
        };
        out.extend_from_slice(match (end, self.form) {
            (End::LineFeed, Form::Wire) => b".\r\n",
            (End::Other, Form::Wire) => b"\r\n.\r\n",
            (End::LineFeed, Form::Plain) => b"",
            (End::Other, Form::Plain) => b"\r\n",
        });
    }
}

/// What was written last. A message begins as if a line had just ended: a lone dot at its start must be stuffed too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    LineFeed,
    Other,
}

#[derive(Debug)]
struct Direct {
    form: Form,
    end: End,
}

impl Direct {
    fn write(&mut self, content: &[u8], out: &mut Vec<u8>) {
        let Some(last) = content.last() else { return };
        out.reserve(content.len() + 64);
        match self.form {
            Form::Wire => self.stuff(content, out),
            Form::Plain => out.extend_from_slice(content),
        }
        self.end = if *last == b'\n' {
            End::LineFeed
        } else {
            End::Other
        };
    }

    fn stuff(&self, content: &[u8], out: &mut Vec<u8>) {
        if self.end == End::LineFeed && content.first() == Some(&b'.') {
            out.push(b'.');
        }
        let mut start = 0;
        for found in memmem::find_iter(content, b"\n.") {
            // Up to and including the dot; it is then written a second time as the start of what follows.
            let dot = found + 1;
            out.extend_from_slice(content.get(start..=dot).unwrap_or_default());
            start = dot;
        }
        out.extend_from_slice(content.get(start..).unwrap_or_default());
    }
}

#[derive(Debug)]
struct Fold {
    form: Form,
    /// The line that has begun, without what was folded off; at most [`MAXIMUM_LINE`] octets and one CR.
    line: Vec<u8>,
    section: Section,
    end: End,
}

/// The header section ends with the first empty line (RFC 5322 §2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Section {
    Header,
    Body,
}

impl Fold {
    fn new(form: Form) -> Self {
        Self {
            form,
            line: Vec::with_capacity(MAXIMUM_LINE + 2),
            section: Section::Header,
            end: End::LineFeed,
        }
    }

    fn write(&mut self, mut content: &[u8], out: &mut Vec<u8>) {
        out.reserve(content.len() + 64);
        while let Some(end) = memchr(b'\n', content) {
            let (line, rest) = content.split_at(end);
            self.append(line, out);
            self.end_line(out);
            content = rest.get(1..).unwrap_or_default();
        }
        self.append(content, out);
    }

    fn append(&mut self, mut octets: &[u8], out: &mut Vec<u8>) {
        // One octet more than fits decides whether the line must be folded; a CR there may belong to its end.
        loop {
            let room = (MAXIMUM_LINE + 2).saturating_sub(self.line.len());
            let (now, rest) = octets.split_at(room.min(octets.len()));
            self.line.extend_from_slice(now);
            octets = rest;
            let is_over = self.line.len() > MAXIMUM_LINE + 1
                || (self.line.len() == MAXIMUM_LINE + 1 && self.line.last() != Some(&b'\r'));
            if !is_over {
                return;
            }
            self.fold(out);
        }
    }

    /// Writes the part of the line that fits.
    fn fold(&mut self, out: &mut Vec<u8>) {
        let (cut, filler): (usize, &[u8]) = match self.white_space() {
            Some(cut) => (cut, b""),
            None => (character_boundary(&self.line), b" "),
        };
        let rest = self.line.split_off(cut);
        stuff(self.form, &self.line, out);
        out.extend_from_slice(b"\r\n");
        self.line.clear();
        self.line.extend_from_slice(filler);
        self.line.extend_from_slice(&rest);
    }

    /// The last white space at which a header field can be folded: with something else before it on the line, since
    /// a line of white space alone would end nothing but confuse many (RFC 5322 §3.2.2, §4.2).
    fn white_space(&self) -> Option<usize> {
        if self.section == Section::Body {
            return None;
        }
        let is_space = |b: &u8| matches!(b, b' ' | b'\t');
        let fitting = self.line.get(..=MAXIMUM_LINE)?;
        let text = fitting.iter().position(|b| !is_space(b))?;
        let last = fitting.iter().rposition(is_space)?;
        (last > text).then_some(last)
    }

    fn end_line(&mut self, out: &mut Vec<u8>) {
        let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        if line.is_empty() {
            self.section = Section::Body;
        }
        stuff(self.form, line, out);
        out.extend_from_slice(b"\r\n");
        self.line.clear();
        self.end = End::LineFeed;
    }

    fn finish(self, out: &mut Vec<u8>) -> End {
        if self.line.is_empty() {
            return self.end;
        }
        stuff(self.form, &self.line, out);
        End::Other
    }
}

/// A whole line: over the wire a leading dot is doubled (RFC 5321 §4.5.2).
fn stuff(form: Form, line: &[u8], out: &mut Vec<u8>) {
    if form == Form::Wire && line.first() == Some(&b'.') {
        out.push(b'.');
    }
    out.extend_from_slice(line);
}

/// The last place up to [`MAXIMUM_LINE`] that is not inside a UTF-8 sequence; in other octets just there.
fn character_boundary(line: &[u8]) -> usize {
    let is_boundary = |&at: &usize| line.get(at).is_none_or(|b| b & 0b1100_0000 != 0b1000_0000);
    (MAXIMUM_LINE - 3..=MAXIMUM_LINE)
        .rev()
        .find(is_boundary)
        .unwrap_or(MAXIMUM_LINE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(lines: Lines, pieces: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = ContentWriter::new(lines);
        for piece in pieces {
            writer.write(piece, &mut out);
        }
        writer.finish(&mut out);
        out
    }

    fn lines_of(wire: &[u8]) -> Vec<&[u8]> {
        let text = wire.strip_suffix(b"\r\n").unwrap();
        memchr::memmem::find_iter(text, b"\r\n")
            .chain([text.len()])
            .scan(0, |start, end| {
                let line = &text[*start..end];
                *start = end + 2;
                Some(line)
            })
            .collect()
    }

    #[test]
    fn dots_are_stuffed_and_content_is_ended() {
        for (content, wire) in [
            (&b""[..], &b".\r\n"[..]),
            (b".", b"..\r\n.\r\n"),
            (b".\r\n", b"..\r\n.\r\n"),
            (b"a", b"a\r\n.\r\n"),
            (b"a\r\n", b"a\r\n.\r\n"),
            (b"a\r\n.\r\nb\r\n", b"a\r\n..\r\nb\r\n.\r\n"),
            (b"..a\r\n..\r\n", b"...a\r\n...\r\n.\r\n"),
            (b"\r\n\r\n", b"\r\n\r\n.\r\n"),
        ] {
            for lines in [Lines::AsTheyAre, Lines::Folded] {
                assert_eq!(written(lines, &[content]), wire, "{lines:?} {content:?}");
                for cut in 0..=content.len() {
                    let (a, b) = content.split_at(cut);
                    assert_eq!(written(lines, &[a, b]), wire, "{lines:?} {content:?} {cut}");
                }
            }
        }
    }

    #[test]
    fn plain_content_is_neither_stuffed_nor_ended_by_a_dot() {
        let long = "x".repeat(999);
        for (lines, content, plain) in [
            (Lines::AsTheyAre, ".a\r\n.", ".a\r\n.\r\n".to_owned()),
            (Lines::AsTheyAre, "", String::new()),
            (Lines::Folded, ".a\r\n.", ".a\r\n.\r\n".to_owned()),
            (Lines::Folded, &long, format!("{}\r\n x\r\n", &long[1..])),
        ] {
            let mut out = Vec::new();
            let mut writer = ContentWriter::plain(lines);
            writer.write(content.as_bytes(), &mut out);
            writer.finish(&mut out);
            assert_eq!(String::from_utf8(out).unwrap(), plain);
        }
    }

    #[test]
    fn damaged_content_cannot_end_itself() {
        assert_eq!(
            written(Lines::AsTheyAre, &[b"a\n.\nb\n.\r\n"]),
            b"a\n..\nb\n..\r\n.\r\n"
        );
    }

    #[test]
    fn a_line_that_just_fits_is_left_alone() {
        let content = [b"a: b\r\n\r\n".as_slice(), &[b'x'; 998], b"\r\n"].concat();
        let expected = [content.as_slice(), b".\r\n"].concat();
        assert_eq!(written(Lines::Folded, &[&content]), expected);
        assert_eq!(written(Lines::AsTheyAre, &[&content]), expected);
    }

    #[test]
    fn a_long_body_line_is_folded_with_a_space() {
        let content = [b"\r\n".as_slice(), &[b'x'; 999], b"\r\n"].concat();
        let wire = written(Lines::Folded, &[&content]);
        assert_eq!(lines_of(&wire), [&b""[..], &[b'x'; 998], b" x", b"."]);
        assert_eq!(
            written(Lines::AsTheyAre, &[&content]),
            [content.as_slice(), b".\r\n"].concat()
        );
    }

    #[test]
    fn a_utf8_sequence_is_never_cut() {
        for offset in 0..4 {
            let body = format!("\r\n{}{}\r\n", "x".repeat(offset), "\u{1f4ee}".repeat(1000));
            let wire = written(Lines::Folded, &[body.as_bytes()]);
            let text = std::str::from_utf8(&wire).unwrap();
            assert!(text.split("\r\n").all(|line| line.len() <= MAXIMUM_LINE));
            assert_eq!(text.matches('\u{1f4ee}').count(), 1000);
        }
    }

    #[test]
    fn a_header_field_is_folded_at_white_space() {
        let words = "word ".repeat(400);
        let content = format!("Subject: {}\r\n\r\nbody\r\n", words.trim_end());
        let wire = written(Lines::Folded, &[content.as_bytes()]);
        let text = String::from_utf8(wire).unwrap();
        let (header, body) = text.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, "body\r\n.\r\n");
        assert!(header.split("\r\n").all(|line| line.len() <= MAXIMUM_LINE));
        // Unfolding (RFC 5322 §2.2.3) gives the field back.
        assert_eq!(
            header.replace("\r\n", ""),
            content.split_once("\r\n\r\n").unwrap().0
        );
    }

    #[test]
    fn a_header_field_without_white_space_is_cut() {
        let content = format!("X: {}\r\n\r\n", "y".repeat(3000));
        let wire = written(Lines::Folded, &[content.as_bytes()]);
        for line in lines_of(&wire) {
            assert!(line.len() <= MAXIMUM_LINE);
        }
        let text = String::from_utf8(wire).unwrap();
        assert_eq!(text.matches('y').count(), 3000);
        assert!(!text.contains("\r\n \r\n"));
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_octets_and_one_end(
            lines in proptest::collection::vec("(\\.{0,2}[ a-z.\u{e9}]{0,40}|[a-z\u{e9} ]{900,2200})", 0..6),
            is_ended in any::<bool>(),
            cuts in proptest::collection::vec(0usize..5000, 0..6),
        ) {
            let mut content = lines.join("\r\n");
            if is_ended {
                content.push_str("\r\n");
            }
            let content = content.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(content.len())).collect();
            cuts.extend([0, content.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &content[cut[0]..cut[1]]).collect();
            for way in [Lines::AsTheyAre, Lines::Folded] {
                let whole = written(way, &[content]);
                prop_assert_eq!(&whole, &written(way, &pieces));
                let wire = lines_of(&whole);
                prop_assert_eq!(wire.iter().position(|line| *line == b"."), Some(wire.len() - 1));
                if way == Lines::Folded {
                    let fits = |line: &&[u8]| line.strip_prefix(b".").unwrap_or(line).len() <= MAXIMUM_LINE;
                    prop_assert!(wire.iter().all(fits));
                } else {
                    let mut expected = content.to_vec();
                    if !expected.is_empty() && !expected.ends_with(b"\r\n") {
                        expected.extend_from_slice(b"\r\n");
                    }
                    let unstuffed: Vec<u8> = wire[..wire.len() - 1].iter().flat_map(|line| {
                        [line.strip_prefix(b".").unwrap_or(line), b"\r\n"].concat()
                    }).collect();
                    prop_assert_eq!(unstuffed, expected);
                }
            }
        }
    }
}
