//! The header section (RFC 5322 §2.2, §3.5): where it ends, and its fields as ranges of octets.
//!
//! Reads content as the scanner stores it: lines end with CRLF and nothing else. Nothing is decoded or changed. A
//! line that is no field makes the section malformed, because readers disagree about what follows it; only content
//! whose *first* line is no field has a clear meaning: it has no header section, and all of it is body.

use std::ops::Range;

/// Octets of a header section, its empty line included.
pub const MAXIMUM_OCTETS: usize = 256 << 10;

/// Fields of a header section.
pub const MAXIMUM_FIELDS: usize = 1000;

/// Where fields are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderSection {
    /// In the order they stand.
    pub fields: Vec<Field>,
    /// What comes after them.
    pub end: End,
}

/// What ends a header section.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum End {
    /// An empty line; the offset of its CRLF.
    EmptyLine(usize),
    /// The end of content: the message has no body. The offset is the content's length.
    EndOfContent(usize),
    /// There is no header section: the first line is body.
    #[default]
    NoHeader,
}

/// One field. The ranges are into the content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name, without the colon and white space before it.
    pub name: Range<usize>,
    /// What follows the colon, folding included, without the last CRLF.
    pub body: Range<usize>,
    /// All of it, with its last CRLF.
    pub whole: Range<usize>,
}

/// Why a header section is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// After some fields, a line that is neither a field nor the continuation of one.
    #[error("the header section holds a line that is no field")]
    NotAField,
    /// More than [`MAXIMUM_OCTETS`].
    #[error("the header section is longer than {MAXIMUM_OCTETS} octets")]
    TooLong,
    /// More than [`MAXIMUM_FIELDS`].
    #[error("the header section has more than {MAXIMUM_FIELDS} fields")]
    TooManyFields,
}

impl End {
    /// Where the fields end.
    pub const fn offset(self) -> usize {
        match self {
            Self::EmptyLine(at) | Self::EndOfContent(at) => at,
            Self::NoHeader => 0,
        }
    }

    /// Octets of the header section, with the empty line if there is one.
    pub const fn length(self) -> usize {
        match self {
            Self::EmptyLine(at) => at + 2,
            Self::EndOfContent(at) => at,
            Self::NoHeader => 0,
        }
    }
}

impl Field {
    /// Whether it has a name, in any case (RFC 5322 §1.2.2).
    pub fn is(&self, content: &[u8], name: &str) -> bool {
        self.name_in(content).eq_ignore_ascii_case(name.as_bytes())
    }

    /// Its name.
    pub fn name_in<'a>(&self, content: &'a [u8]) -> &'a [u8] {
        content.get(self.name.clone()).unwrap_or_default()
    }

    /// Its body.
    pub fn body_in<'a>(&self, content: &'a [u8]) -> &'a [u8] {
        content.get(self.body.clone()).unwrap_or_default()
    }
}

/// Where the header section of growing content ends, if that can be seen yet: the octets up to and including the
/// empty line. `searched` octets were looked at before.
pub fn end_of_header(content: &[u8], searched: usize) -> Option<usize> {
    if content.starts_with(b"\r\n") {
        return Some(2);
    }
    // The last CRLF that was looked at may be the first half of what is wanted.
    let from = searched.saturating_sub(3);
    let fresh = content.get(from..).unwrap_or_default();
    memchr::memmem::find(fresh, b"\r\n\r\n").map(|at| from + at + 4)
}

impl HeaderSection {
    /// Reads the fields at the start of content, which holds the whole header section, or the whole message if that
    /// has no body.
    pub fn parse(content: &[u8]) -> Result<Self, HeaderError> {
        let mut fields: Vec<Field> = Vec::new();
        let mut at = 0;
        loop {
            let line = line(content, at);
            if at + line.len() > MAXIMUM_OCTETS {
                return Err(HeaderError::TooLong);
            }
            let end = match line {
                b"" => End::EndOfContent(at),
                b"\r\n" => End::EmptyLine(at),
                _ => {
                    let whole = at..at + line.len();
                    match (take(line, whole, &mut fields), fields.is_empty()) {
                        (true, _) => {}
                        (false, true) => return Ok(Self::default()),
                        (false, false) => return Err(HeaderError::NotAField),
                    }
                    if fields.len() > MAXIMUM_FIELDS {
                        return Err(HeaderError::TooManyFields);
                    }
                    at += line.len();
                    continue;
                }
            };
            return Ok(Self { fields, end });
        }
    }

    /// The fields of a name, in any case.
    pub fn named<'a>(
        &'a self,
        content: &'a [u8],
        name: &'a str,
    ) -> impl Iterator<Item = &'a Field> {
        self.fields
            .iter()
            .filter(move |field| field.is(content, name))
    }
}

/// The line at an offset, with its CRLF; empty at the end.
fn line(content: &[u8], at: usize) -> &[u8] {
    let rest = content.get(at..).unwrap_or_default();
    let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |i| i + 1);
    rest.get(..end).unwrap_or_default()
}

/// Takes a line as a new field, or as more of the last one; says whether it is either.
fn take(line: &[u8], whole: Range<usize>, fields: &mut Vec<Field>) -> bool {
    if line.starts_with(b" ") || line.starts_with(b"\t") {
        let Some(field) = fields.last_mut() else {
            return false;
        };
        field.body.end = whole.end - ending(line);
        field.whole.end = whole.end;
        return true;
    }
    let Some(colon) = memchr::memchr(b':', line) else {
        return false;
    };
    // White space before the colon is obsolete (RFC 5322 §4.5), but some readers take it: it is the same field.
    let name = line.get(..colon).unwrap_or_default().trim_ascii_end();
    if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
        return false;
    }
    fields.push(Field {
        name: whole.start..whole.start + name.len(),
        body: whole.start + colon + 1..whole.end - ending(line),
        whole,
    });
    true
}

/// Octets of a line's CRLF; none at the end of content that was cut off.
fn ending(line: &[u8]) -> usize {
    if line.ends_with(b"\r\n") { 2 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(content: &[u8]) -> Vec<(String, String)> {
        let section = HeaderSection::parse(content).unwrap();
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        section
            .fields
            .iter()
            .map(|field| (text(field.name_in(content)), text(field.body_in(content))))
            .collect()
    }

    #[test]
    fn fields_are_ranges_of_the_content() {
        let content = b"From: a@b.example\r\nSubject : x\r\n\ty\r\nX:\r\n\r\nNot: a field\r\n";
        assert_eq!(
            fields(content),
            [
                ("From".into(), " a@b.example".into()),
                ("Subject".into(), " x\r\n\ty".into()),
                ("X".into(), String::new()),
            ]
        );
        let section = HeaderSection::parse(content).unwrap();
        let subject = section.named(content, "SUBJECT").next().unwrap();
        assert_eq!(&content[subject.whole.clone()], b"Subject : x\r\n\ty\r\n");
        assert_eq!(section.end, End::EmptyLine(section.fields[2].whole.end));
    }

    #[test]
    fn the_end_is_clear_or_refused() {
        for (content, expected) in [
            (b"".as_slice(), Ok(End::EndOfContent(0))),
            (b"\r\nbody\r\n", Ok(End::EmptyLine(0))),
            (b"A: b\r\n", Ok(End::EndOfContent(6))),
            (b"A: b\r\n\r\n", Ok(End::EmptyLine(6))),
            (b"just text\r\n\r\nFrom: x\r\n", Ok(End::NoHeader)),
            (b" A: b\r\n\r\n", Ok(End::NoHeader)),
            (b": b\r\n", Ok(End::NoHeader)),
            (b"From a@b.example Mon 10:00\r\nA: b\r\n", Ok(End::NoHeader)),
            (b"A: b\r\ntext\r\nFrom: x\r\n", Err(HeaderError::NotAField)),
            (b"A: b\r\nFr\xc3\xb6m: x\r\n", Err(HeaderError::NotAField)),
            (b"A: b\r\nA b: c\r\n", Err(HeaderError::NotAField)),
        ] {
            let section = HeaderSection::parse(content).map(|section| section.end);
            assert_eq!(section, expected, "{}", content.escape_ascii());
        }
    }

    #[test]
    fn sections_are_bounded() {
        let many = b"A: b\r\n".repeat(MAXIMUM_FIELDS);
        assert_eq!(
            HeaderSection::parse(&many).unwrap().fields.len(),
            MAXIMUM_FIELDS
        );
        let more = b"A: b\r\n".repeat(MAXIMUM_FIELDS + 1);
        assert_eq!(HeaderSection::parse(&more), Err(HeaderError::TooManyFields));
        let long = [b"A: ".as_slice(), &vec![b'x'; MAXIMUM_OCTETS], b"\r\n\r\n"].concat();
        assert_eq!(HeaderSection::parse(&long), Err(HeaderError::TooLong));
    }

    #[test]
    fn the_end_is_found_however_content_grows() {
        let content = b"A: b\r\n c\r\n\r\nbody\r\n\r\n";
        for step in 1..content.len() {
            let (mut searched, mut found) = (0, None);
            while found.is_none() && searched < content.len() {
                let length = (searched + step).min(content.len());
                found = end_of_header(&content[..length], searched);
                searched = length;
            }
            assert_eq!(found, Some(12), "{step}");
        }
        assert_eq!(end_of_header(b"\r\nbody", 0), Some(2));
        assert_eq!(end_of_header(b"A: b\r\n", 0), None);
    }
}
