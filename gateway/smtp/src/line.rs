//! Cutting what a client sends into command lines and SASL lines (RFC 5321 §2.3.8, §4.5.3.1.4).
//!
//! Pure and incremental: it looks at a growing buffer and says where the first line ends; the caller keeps the octets.
//! Lines end with CRLF. One that ends with a bare LF is cut off too, so that its sender gets an answer, but it is
//! never a command: what one side of a connection takes for one line and the other for two is how mail is smuggled.

/// Octets of a command line, its CRLF included (RFC 5321 §4.5.3.1.4 asks for 512, extensions for more).
pub const MAXIMUM_COMMAND: usize = 4096;

/// Octets of an AUTH command or a SASL line, its CRLF included: tokens are long (RFC 4954 §4 asks for 12,288).
pub const MAXIMUM_SASL: usize = 16_384;

/// Octets of an over-long line that are read on for its end; a client that goes on even then is not speaking SMTP.
pub const MAXIMUM_DISCARDED: usize = 65_536;

/// What the lines are read as; part of the server's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A command.
    Command,
    /// A line of a SASL exchange (RFC 4954 §4).
    Sasl,
}

/// What is at the start of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framed {
    /// More octets are needed; this many at the start are of no use any more and may be dropped.
    Incomplete(usize),
    /// A line of this many octets, and its CRLF after them.
    Line(usize),
    /// A line with something wrong; the octets it takes in all.
    Faulty(usize, LineFault),
    /// An over-long line that does not end: close.
    Endless,
}

/// Why a line is no command, whatever it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineFault {
    /// It ended with LF alone.
    BareLf,
    /// It was longer than its mode allows.
    TooLong,
}

/// Finds lines; remembers how far it has looked, so that no octet is looked at twice.
#[derive(Debug, Default)]
pub struct Framer {
    /// Octets at the start of the buffer known to hold no LF.
    searched: usize,
    /// Octets dropped of an over-long line.
    discarded: usize,
}

impl Framer {
    /// Looks at a buffer that begins where the last answer left off and has only grown since an `Incomplete`.
    pub fn frame(&mut self, buffer: &[u8], mode: Mode) -> Framed {
        let fresh = buffer.get(self.searched..).unwrap_or_default();
        let Some(found) = memchr::memchr(b'\n', fresh) else {
            return self.unended(buffer, mode);
        };
        let end = self.searched + found;
        let discarded = std::mem::take(&mut self.discarded);
        self.searched = 0;
        let taken = end + 1;
        if discarded > 0 || taken > limit(buffer, mode) {
            return Framed::Faulty(taken, LineFault::TooLong);
        }
        match buffer.get(..end).and_then(|line| line.strip_suffix(b"\r")) {
            Some(line) => Framed::Line(line.len()),
            None => Framed::Faulty(taken, LineFault::BareLf),
        }
    }

    /// No LF yet: waits for it, or begins to drop what can be no line any more.
    fn unended(&mut self, buffer: &[u8], mode: Mode) -> Framed {
        if self.discarded == 0 && buffer.len() < limit(buffer, mode) {
            self.searched = buffer.len();
            return Framed::Incomplete(0);
        }
        self.searched = 0;
        self.discarded += buffer.len();
        if self.discarded > MAXIMUM_DISCARDED {
            Framed::Endless
        } else {
            Framed::Incomplete(buffer.len())
        }
    }
}

/// An AUTH command may hold an initial response, so it is as long as a SASL line.
fn limit(buffer: &[u8], mode: Mode) -> usize {
    let is_auth = || {
        buffer
            .get(..5)
            .is_some_and(|verb| verb.eq_ignore_ascii_case(b"AUTH "))
    };
    if mode == Mode::Sasl || is_auth() {
        MAXIMUM_SASL
    } else {
        MAXIMUM_COMMAND
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, PartialEq, Eq)]
    enum Event {
        Line(Vec<u8>),
        Fault(LineFault),
        Endless,
    }

    /// Everything seen in octets that arrive in the given pieces.
    fn events<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, mode: Mode) -> Vec<Event> {
        let (mut framer, mut buffer, mut seen) = (Framer::default(), Vec::new(), Vec::new());
        for piece in pieces {
            buffer.extend_from_slice(piece);
            loop {
                match framer.frame(&buffer, mode) {
                    Framed::Incomplete(dropped) => {
                        buffer.drain(..dropped);
                        break;
                    }
                    Framed::Line(length) => {
                        seen.push(Event::Line(buffer[..length].to_vec()));
                        buffer.drain(..length + 2);
                    }
                    Framed::Faulty(taken, fault) => {
                        seen.push(Event::Fault(fault));
                        buffer.drain(..taken);
                    }
                    Framed::Endless => {
                        seen.push(Event::Endless);
                        return seen;
                    }
                }
            }
        }
        seen
    }

    #[test]
    fn lines_end_with_crlf_and_bare_lf_is_never_a_command() {
        assert_eq!(
            events([b"NOOP\r\n\r\nMAIL\nRCPT\r\r\nQ".as_slice()], Mode::Command),
            [
                Event::Line(b"NOOP".to_vec()),
                Event::Line(Vec::new()),
                Event::Fault(LineFault::BareLf),
                Event::Line(b"RCPT\r".to_vec()),
            ]
        );
    }

    #[test]
    fn over_long_lines_are_dropped_up_to_their_end() {
        let fits = [vec![b'x'; MAXIMUM_COMMAND - 2], b"\r\n".to_vec()].concat();
        assert_eq!(
            events([fits.as_slice()], Mode::Command),
            [Event::Line(fits[..fits.len() - 2].to_vec())]
        );
        let long = [vec![b'x'; MAXIMUM_COMMAND - 1], b"\r\nNOOP\r\n".to_vec()].concat();
        let expected = [
            Event::Fault(LineFault::TooLong),
            Event::Line(b"NOOP".to_vec()),
        ];
        assert_eq!(events([long.as_slice()], Mode::Command), expected);
        assert_eq!(events(long.chunks(1), Mode::Command), expected);
        assert_eq!(events(long.chunks(1000), Mode::Command), expected);
        let sasl = [vec![b'x'; MAXIMUM_SASL - 2], b"\r\n".to_vec()].concat();
        assert_eq!(events(sasl.chunks(999), Mode::Sasl).len(), 1);
        let auth = [
            b"auth PLAIN ".to_vec(),
            vec![b'x'; 10_000],
            b"\r\n".to_vec(),
        ]
        .concat();
        assert!(matches!(
            events(auth.chunks(999), Mode::Command)[..],
            [Event::Line(_)]
        ));
        let endless = vec![b'x'; MAXIMUM_COMMAND + MAXIMUM_DISCARDED + 1];
        assert_eq!(
            events(endless.chunks(4096), Mode::Command),
            [Event::Endless]
        );
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_lines(
            octets in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'a')], 0..60),
            cut in 0usize..60,
        ) {
            let whole = events([octets.as_slice()], Mode::Command);
            prop_assert_eq!(&events(octets.chunks(1), Mode::Command), &whole);
            let (first, second) = octets.split_at(cut.min(octets.len()));
            prop_assert_eq!(&events([first, second], Mode::Command), &whole);
        }
    }
}
