//! The table of what content may look like, each row whole, octet by octet and cut at every position.

use proptest::prelude::*;

use super::*;

/// What came of some octets: what was stored, what was left over after the end (`None`: no end), and the facts.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    stored: Vec<u8>,
    left: Option<Vec<u8>>,
    facts: Facts,
}

fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limit: u64) -> Read {
    let (mut scanner, mut stored, mut left) = (Scanner::new(limit), Vec::new(), None::<Vec<u8>>);
    for piece in pieces {
        match &mut left {
            Some(left) => left.extend_from_slice(piece),
            None => {
                if let Scanned::End(at) = scanner.scan(piece, &mut stored) {
                    left = Some(piece[at..].to_vec());
                }
            }
        }
    }
    Read {
        stored,
        left,
        facts: *scanner.facts(),
    }
}

/// What a relay sends for stored content: every line that begins with a dot gets another, and one end.
fn stuffed(stored: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in stored.split_inclusive(|&b| b == b'\n') {
        if line.starts_with(b".") {
            out.push(b'.');
        }
        out.extend_from_slice(line);
    }
    out.extend_from_slice(b".\r\n");
    out
}

struct Row {
    name: &'static str,
    sent: &'static [u8],
    stored: &'static [u8],
    /// bare LF, bare CR, NUL
    repairs: (u64, u64, u64),
}

const fn row(
    name: &'static str,
    sent: &'static [u8],
    stored: &'static [u8],
    repairs: (u64, u64, u64),
) -> Row {
    Row {
        name,
        sent,
        stored,
        repairs,
    }
}

/// Each is followed by `CRLF . CRLF` or ends with it, and then by the next command.
const ROWS: &[Row] = &[
    row("empty message", b".\r\n", b"", (0, 0, 0)),
    row("one line", b"a\r\n.\r\n", b"a\r\n", (0, 0, 0)),
    row("empty line", b"\r\n.\r\n", b"\r\n", (0, 0, 0)),
    row("lone dot stuffed", b"..\r\n.\r\n", b".\r\n", (0, 0, 0)),
    row(
        "doubled dot inside",
        b"a\r\n..b\r\n.\r\n",
        b"a\r\n.b\r\n",
        (0, 0, 0),
    ),
    row(
        "leading dot on the first line",
        b".a\r\n.\r\n",
        b"a\r\n",
        (0, 0, 0),
    ),
    row(
        "dots within lines",
        b"a.b\r\nc.\r\n.\r\n",
        b"a.b\r\nc.\r\n",
        (0, 0, 0),
    ),
    row(
        "LF . LF",
        b"a\n.\nb\r\n.\r\n",
        b"a\r\n.\r\nb\r\n",
        (2, 0, 0),
    ),
    row(
        "LF . CRLF",
        b"a\n.\r\nb\r\n.\r\n",
        b"a\r\n.\r\nb\r\n",
        (1, 0, 0),
    ),
    row(
        "CRLF . LF",
        b"a\r\n.\nb\r\n.\r\n",
        b"a\r\n\r\nb\r\n",
        (1, 0, 0),
    ),
    row("CR . CR", b"a\r.\rb\r\n.\r\n", b"a . b\r\n", (0, 2, 0)),
    row(
        "CRLF . CR CR LF",
        b"a\r\n.\r\r\nb\r\n.\r\n",
        b"a\r\n \r\nb\r\n",
        (0, 1, 0),
    ),
    row(
        "CRLF . CR x",
        b"a\r\n.\rx\r\n.\r\n",
        b"a\r\n x\r\n",
        (0, 1, 0),
    ),
    row("CRLF . NUL", b"a\r\n.\0\r\n.\r\n", b"a\r\n \r\n", (0, 0, 1)),
    row("bare CR", b"a\rb\r\n.\r\n", b"a b\r\n", (0, 1, 0)),
    row("CR CR LF", b"a\r\r\n.\r\n", b"a \r\n", (0, 1, 0)),
    row("bare LF", b"a\nb\r\n.\r\n", b"a\r\nb\r\n", (1, 0, 0)),
    row("LF first", b"\n.\r\n\r\n.\r\n", b"\r\n.\r\n\r\n", (1, 0, 0)),
    row("NUL", b"a\0b\r\n.\r\n", b"a b\r\n", (0, 0, 1)),
    row(
        "LF . . LF",
        b"a\n..\nb\r\n.\r\n",
        b"a\r\n..\r\nb\r\n",
        (2, 0, 0),
    ),
    row(
        "eight bit",
        b"\xc3\xa4\xff\r\n.\r\n",
        b"\xc3\xa4\xff\r\n",
        (0, 0, 0),
    ),
];

const NEXT: &[u8] = b"MAIL FROM:<>\r\n.\r\n";

#[test]
fn every_row_gives_the_same_however_it_is_cut() {
    for row in ROWS {
        let sent = [row.sent, NEXT].concat();
        let whole = read([sent.as_slice()], u64::MAX);
        assert_eq!(whole.stored, row.stored, "{}", row.name);
        assert_eq!(whole.left.as_deref(), Some(NEXT), "{}", row.name);
        let (bare_lf, bare_cr, nul) = row.repairs;
        let repairs = Repairs {
            bare_lf,
            bare_cr,
            nul,
        };
        assert_eq!(whole.facts.repairs, repairs, "{}", row.name);
        assert_eq!(whole.facts.octets, row.stored.len() as u64);
        assert_eq!(read(sent.chunks(1), u64::MAX), whole, "{}", row.name);
        for cut in 0..sent.len() {
            let (first, second) = sent.split_at(cut);
            assert_eq!(
                read([first, second], u64::MAX),
                whole,
                "{} at {cut}",
                row.name
            );
        }
    }
}

#[test]
fn what_was_stored_ends_once_at_the_next_hop() {
    for row in ROWS {
        let again = read([stuffed(row.stored).as_slice()], u64::MAX);
        assert_eq!(again.stored, row.stored, "{}", row.name);
        assert_eq!(again.left, Some(Vec::new()), "{}", row.name);
        assert!(again.facts.repairs.is_empty(), "{}", row.name);
    }
}

#[test]
fn there_is_no_end_without_crlf_dot_crlf() {
    for sent in [
        b"a\n.\n".as_slice(),
        b"a\r\n.\n",
        b"a\n.\r\n",
        b"a\r.\r",
        b"a\r\n.\r\r\n",
        b"a\r\n.\r",
        b"a\r\n.",
        b"a\r\n. \r\n",
        b"a\r\n.\0\r\n",
        b"a.\r\n",
    ] {
        assert_eq!(read([sent], u64::MAX).left, None, "{sent:?}");
        assert_eq!(read(sent.chunks(1), u64::MAX).left, None, "{sent:?}");
    }
}

#[test]
fn facts_are_about_what_is_stored() {
    let sent = [b"ab\r\n..cde\r\n".as_slice(), &[b'x'; 5000], b"\r\n.\r\n"].concat();
    let facts = read([sent.as_slice()], u64::MAX).facts;
    assert_eq!((facts.longest_line, facts.eight_bit), (5000, false));
    assert_eq!(facts.octets, 4 + 6 + 5002);
    assert_eq!(read(sent.chunks(7), u64::MAX).facts, facts);
    assert_eq!(
        read([b"a\xe4\r\nb\r\n.\r\n".as_slice()], 99)
            .facts
            .longest_line,
        2
    );
    assert!(read([b"a\r\n\xe4\r\n.\r\n".as_slice()], 99).facts.eight_bit);
}

#[test]
fn over_long_content_is_read_to_its_end_and_not_stored() {
    let exact = b"1234\r\n6789\r\n.\r\n";
    assert_eq!(read([exact.as_slice()], 12).facts.octets, 12);
    assert_eq!(read([exact.as_slice()], 12).stored.len(), 12);
    let over = read([exact.as_slice()], 11);
    assert_eq!(over.left, Some(Vec::new()));
    assert!(over.facts.octets > 11 && over.stored.len() <= 11);
    let mut scanner = Scanner::new(100);
    let mut stored = Vec::new();
    assert_eq!(scanner.scan(&[b'x'; 201], &mut stored), Scanned::More);
    assert!(scanner.is_over_long());
    assert_eq!(scanner.scan(b"x", &mut stored), Scanned::Flood);
    assert!(stored.is_empty());
}

proptest! {
    #[test]
    fn any_split_gives_the_same(
        octets in proptest::collection::vec(
            prop_oneof![4 => Just(b'\r'), 4 => Just(b'\n'), 4 => Just(b'.'), 1 => Just(0), 2 => Just(b'a'), 1 => Just(0xe4)],
            0..80,
        ),
        first in 0usize..80,
        second in 0usize..80,
    ) {
        let whole = read([octets.as_slice()], u64::MAX);
        prop_assert_eq!(&read(octets.chunks(1), u64::MAX), &whole);
        let (a, rest) = octets.split_at(first.min(octets.len()));
        let (b, c) = rest.split_at(second.min(rest.len()));
        prop_assert_eq!(&read([a, b, c], u64::MAX), &whole);
        // Nothing but CRLF ends a line in what is stored, and the next hop sees one end.
        let complete = [whole.stored.as_slice(), b"\r\n"].concat();
        let again = read([stuffed(&complete).as_slice()], u64::MAX);
        prop_assert_eq!(again.left, Some(Vec::new()));
        prop_assert!(again.facts.repairs.is_empty());
    }
}
