//! What must hold for any octets. Used by the fuzz targets and, over their corpus, by an ordinary test.

use base64::{Engine, prelude::BASE64_STANDARD};
use posthouse_smtp::{
    Mailbox, address_list,
    command::Command,
    content::{Facts, Scanned, Scanner},
    header::{End, HeaderSection},
    line::{Framed, Framer, LineFault, Mode},
    sasl::{Bearer, SaslError, oauth_bearer, plain, xoauth2},
};

/// Lines come out the same however they are cut, and no command holds what could end a line.
pub(crate) fn command(data: &[u8]) {
    let Some((&cut, octets)) = data.split_first() else {
        return;
    };
    let (first, second) = octets.split_at(usize::from(cut).min(octets.len()));
    let whole = lines(&[octets]);
    assert_eq!(whole, lines(&[first, second]));
    for line in whole.iter().flatten() {
        assert!(!line.contains(&b'\n'));
        match Command::parse(line) {
            Ok(Command::Mail(path, _)) => assert!(!path.as_str().chars().any(char::is_control)),
            Ok(Command::Rcpt(mailbox)) => {
                assert_eq!(Mailbox::parse(mailbox.as_str()), Ok(mailbox));
            }
            Ok(Command::Ehlo(name) | Command::Helo(name)) => {
                assert!(!name.is_empty() && !name.chars().any(char::is_control));
            }
            _ => {}
        }
    }
}

fn lines(pieces: &[&[u8]]) -> Vec<Result<Vec<u8>, LineFault>> {
    let (mut framer, mut buffer, mut seen) = (Framer::default(), Vec::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match framer.frame(&buffer, Mode::Command) {
                Framed::Incomplete(dropped) => {
                    buffer.drain(..dropped);
                    break;
                }
                Framed::Line(length) => {
                    seen.push(Ok(buffer[..length].to_vec()));
                    buffer.drain(..length + 2);
                }
                Framed::Faulty(taken, fault) => {
                    seen.push(Err(fault));
                    buffer.drain(..taken);
                }
                Framed::Endless => return seen,
            }
        }
    }
    seen
}

/// Content comes out the same however it is cut, holds no line ending but CRLF, and ends exactly once at the next hop.
pub(crate) fn content(data: &[u8]) {
    let Some((&cut, octets)) = data.split_first() else {
        return;
    };
    let (first, second) = octets.split_at(usize::from(cut).min(octets.len()));
    let whole = scan(&[octets]);
    assert_eq!(whole, scan(&[first, second]));
    let (stored, _, facts) = whole;
    assert_eq!(facts.octets, stored.len() as u64);
    let line = [stored.as_slice(), b"\r\n"].concat();
    assert!(
        line.windows(2)
            .all(|two| (two[0] == b'\r') == (two[1] == b'\n'))
    );
    let mut again = Vec::new();
    for line in line.split_inclusive(|&b| b == b'\n') {
        if line.starts_with(b".") {
            again.push(b'.');
        }
        again.extend_from_slice(line);
    }
    again.extend_from_slice(b".\r\n");
    let (next, left, facts) = scan(&[&again]);
    assert_eq!((next, left), (line, Some(Vec::new())));
    assert!(facts.repairs.is_empty());
}

fn scan(pieces: &[&[u8]]) -> (Vec<u8>, Option<Vec<u8>>, Facts) {
    let (mut scanner, mut stored, mut left) = (Scanner::new(u64::MAX), Vec::new(), None::<Vec<u8>>);
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
    (stored, left, *scanner.facts())
}

/// What is found are 1–10 addresses, and white space around the list does not change them.
pub(crate) fn address_list(data: &[u8]) {
    let Ok(found) = address_list::parse(data) else {
        return;
    };
    assert!((1..=address_list::MAXIMUM_ADDRESSES).contains(&found.len()));
    for mailbox in &found {
        assert_eq!(Mailbox::parse(mailbox.as_str()).as_ref(), Ok(mailbox));
    }
    let body = data.strip_suffix(b"\r\n").unwrap_or(data);
    let spaced = [b" ", body, b"\t\r\n"].concat();
    assert_eq!(address_list::parse(&spaced), Ok(found));
}

/// Fields cover the header section without gaps, and begin with their names.
pub(crate) fn header(data: &[u8]) {
    let Ok(section) = HeaderSection::parse(data) else {
        return;
    };
    let mut at = 0;
    for field in &section.fields {
        assert_eq!(field.whole.start, at);
        assert!(data[field.whole.clone()].starts_with(field.name_in(data)));
        assert!(field.name.end < field.body.start && field.body.end <= field.whole.end);
        assert!(!field.name_in(data).is_empty());
        at = field.whole.end;
    }
    assert_eq!(section.end.offset(), at);
    assert!(section.end != End::NoHeader || section.fields.is_empty());
    assert!(section.end.length() <= data.len());
}

/// What is read of a SASL response holds no separator of its mechanism; what is no Base64 is never read.
pub(crate) fn sasl(data: &[u8]) {
    let line = BASE64_STANDARD.encode(data);
    for response in [oauth_bearer::response, xoauth2::response] {
        bearer(response(line.as_bytes()));
        bearer(response(data));
    }
    for line in [line.as_bytes(), data] {
        if let Ok(credentials) = plain::response(line) {
            assert!(!credentials.username.is_empty() && !credentials.username.contains('\0'));
            assert!(!credentials.password.is_empty() && !credentials.password.contains(&0));
        }
    }
}

fn bearer(read: Result<Bearer, SaslError>) {
    let Ok(Bearer { username, token }) = read else {
        return;
    };
    assert!(!token.is_empty() && token.iter().all(u8::is_ascii_graphic));
    assert!(username.is_none_or(|name| !name.is_empty() && !name.contains(['\0', '\x01'])));
}
