//! What the octets above 127 in a header section are, once it is relayed.
//!
//! Only UTF-8 is what SMTPUTF8 is about (RFC 6532 §3.2). Old software writes Latin-1 there as it is; every server has
//! always taken that as 8-bit octets, and asking for SMTPUTF8 would make mail fail that could be relayed. What is
//! removed on the way needs nothing: a `Bcc` with a name in UTF-8 is no reason.

use posthouse_smtp::header::{Field, HeaderSection};

use crate::mail::Edits;

/// The octets of a header section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charset {
    /// All below 128.
    Ascii,
    /// UTF-8 with something above 127.
    Utf8,
    /// Something above 127 that is not UTF-8.
    Unknown,
}

impl Charset {
    /// Of the fields of a message that are relayed, those that are added included.
    pub(super) fn of(header: &HeaderSection, content: &[u8], edits: &Edits) -> Self {
        let kept = header.fields.iter().filter(|field| !is_cut(field, edits));
        let fields = kept.filter_map(|field| content.get(field.whole.clone()));
        let mut charset = Self::Ascii;
        for octets in std::iter::once(edits.prepend.as_slice()).chain(fields) {
            if octets.is_ascii() {
                continue;
            }
            if std::str::from_utf8(octets).is_err() {
                return Self::Unknown;
            }
            charset = Self::Utf8;
        }
        charset
    }
}

/// Whole fields are cut, in the order they stand.
fn is_cut(field: &Field, edits: &Edits) -> bool {
    let start = u32::try_from(field.whole.start).unwrap_or(u32::MAX);
    let cut = edits
        .remove
        .binary_search_by_key(&start, |range| range.start);
    cut.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_relayed_counts() {
        let cut = |range: Option<std::ops::Range<u32>>| Edits {
            prepend: b"Received: x\r\n".to_vec(),
            remove: range.into_iter().collect(),
        };
        let added = Edits {
            prepend: "From: ö@x\r\n".into(),
            remove: Vec::new(),
        };
        for (content, edits, expected) in [
            (b"A: b\r\n\r\n".as_slice(), cut(None), Charset::Ascii),
            (b"A: \xc3\xb6\r\n\r\n", cut(None), Charset::Utf8),
            (b"A: \xf6\r\n\r\n", cut(None), Charset::Unknown),
            (b"A: \xc3\xb6\r\nB: \xf6\r\n", cut(None), Charset::Unknown),
            (
                b"A: \xc3\xb6\r\nB: \xf6\r\n",
                cut(Some(7..13)),
                Charset::Utf8,
            ),
            (
                b"A: \xf6\r\nB: \xc3\xb6\r\n",
                cut(Some(0..6)),
                Charset::Utf8,
            ),
            (b"A: \xc3\xb6\r\nB: c\r\n", cut(Some(0..7)), Charset::Ascii),
            // The body is somebody else's.
            (b"A: b\r\n\r\n\xf6\r\n", cut(None), Charset::Ascii),
            (b"A: b\r\n\r\n", added, Charset::Utf8),
        ] {
            let header = HeaderSection::parse(content).unwrap();
            let charset = Charset::of(&header, content, &edits);
            assert_eq!(charset, expected, "{}", content.escape_ascii());
        }
    }
}
