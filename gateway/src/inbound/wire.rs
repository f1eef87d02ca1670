//! A session's octets: what came and is not read yet, and what is to be sent.
//!
//! Replies to pipelined commands are gathered and go out in one write when there is nothing left to answer (RFC 2920
//! §3.2). Memory is fixed, whatever is sent.

use std::{io, ops::Range};

use posthouse_smtp::{
    Reply,
    line::{Framed, Framer, LineFault, MAXIMUM_SASL, Mode},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Octets read at once. The longest line must fit.
const CAPACITY: usize = 2 * MAXIMUM_SASL;

/// Octets of replies that are gathered before they are sent all the same.
const GATHERED: usize = 16_384;

/// One connection.
pub(super) struct Wire<T> {
    stream: T,
    buffer: Box<[u8]>,
    unread: Range<usize>,
    framer: Framer,
    replies: Vec<u8>,
}

/// What is at the start of what came.
pub(super) enum Line {
    /// A line, to be looked at with [`Wire::octets`] before the next read.
    Whole(Range<usize>),
    /// A line that is no command.
    Faulty(LineFault),
    /// None yet.
    Incomplete,
    /// One that does not end.
    Endless,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Wire<T> {
    pub(super) fn new(stream: T) -> Self {
        Self {
            stream,
            buffer: vec![0; CAPACITY].into(),
            unread: 0..0,
            framer: Framer::default(),
            replies: Vec::new(),
        }
    }

    /// Takes the next line.
    pub(super) fn line(&mut self, mode: Mode) -> Line {
        let start = self.unread.start;
        let unread = self.buffer.get(self.unread.clone()).unwrap_or_default();
        match self.framer.frame(unread, mode) {
            Framed::Line(length) => {
                self.consume(length + 2);
                Line::Whole(start..start + length)
            }
            Framed::Faulty(taken, fault) => {
                self.consume(taken);
                Line::Faulty(fault)
            }
            Framed::Incomplete(dropped) => {
                self.consume(dropped);
                Line::Incomplete
            }
            Framed::Endless => Line::Endless,
        }
    }

    /// The octets of a line that was taken.
    pub(super) fn octets(&self, range: Range<usize>) -> &[u8] {
        self.buffer.get(range).unwrap_or_default()
    }

    /// What came and was not taken.
    pub(super) fn unread(&self) -> &[u8] {
        self.buffer.get(self.unread.clone()).unwrap_or_default()
    }

    /// Takes octets.
    pub(super) fn consume(&mut self, octets: usize) {
        self.unread.start = (self.unread.start + octets).min(self.unread.end);
    }

    /// Reads what there is; 0 is the end.
    pub(super) async fn fill(&mut self) -> io::Result<usize> {
        if self.unread.start > 0 {
            self.buffer.copy_within(self.unread.clone(), 0);
            self.unread = 0..self.unread.len();
        }
        let free = self.buffer.get_mut(self.unread.end..).unwrap_or_default();
        let read = self.stream.read(free).await?;
        self.unread.end += read;
        Ok(read)
    }

    /// Gathers a reply.
    pub(super) fn say(&mut self, reply: &Reply) {
        reply.write_to(&mut self.replies);
    }

    /// Whether replies should go out before more is read.
    pub(super) fn has_much_to_say(&self) -> bool {
        self.replies.len() >= GATHERED
    }

    /// Sends what was gathered. May be dropped half-way and called again: nothing is sent twice.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        if self.replies.is_empty() {
            return Ok(());
        }
        while !self.replies.is_empty() {
            let written = self.stream.write(&self.replies).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.replies.drain(..written);
        }
        self.stream.flush().await
    }

    /// Sends what was gathered and closes our side; a peer that is gone already does not matter.
    pub(super) async fn close(&mut self) {
        let _ = self.flush().await;
        let _ = self.stream.shutdown().await;
    }

    /// The bare connection for a handshake, if nothing was sent ahead of it: octets that came in plain text must not
    /// be taken for ones that came under TLS (RFC 3207 §5).
    pub(super) fn into_stream(self) -> Option<T> {
        self.unread.is_empty().then_some(self.stream)
    }
}
