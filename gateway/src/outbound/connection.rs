//! One connection: octets out, replies in, each wait with its time-out.
//!
//! While octets are written, replies are read: a server may refuse in the middle of content and close, and a long
//! pipeline of commands would otherwise fill both directions and stand still. Generic over the stream.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use posthouse_smtp::{
    Reply,
    reply::stream::{ReplyError, ReplyStream},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{
    clock::Clock,
    shutdown::{Shutdown, Stage},
};

/// One read. Replies are short.
const READ: usize = 4096;

/// Replies held while commands are still being written: those to 10,000 pipelined RCPTs, and an end.
const MAXIMUM_INPUT: usize = 4 << 20;

/// How long the reply of a server that has closed is waited for: it is already on its way.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What a connection runs over.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

/// A connection.
pub(crate) struct Connection<S> {
    socket: S,
    replies: ReplyStream,
    input: Vec<u8>,
    /// How much of `input` has been taken.
    taken: usize,
    clock: Arc<dyn Clock>,
    /// From `Aborting` on every wait ends.
    pub(crate) stop: Shutdown,
}

/// Why a connection is of no more use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// The other side closed, or the network did.
    #[error("connection lost: {0}")]
    Lost(String),
    /// Nothing came for too long.
    #[error("timed out after {} s", .0.as_secs())]
    TimedOut(Duration),
    /// What came is no reply.
    #[error(transparent)]
    NotAReply(#[from] ReplyError),
    /// We were told to stop at once.
    #[error("the gateway stopped")]
    Stopped,
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Lost(if error.kind() == io::ErrorKind::UnexpectedEof {
            "closed by the upstream".to_owned()
        } else {
            error.to_string()
        })
    }
}

impl<S: Socket> Connection<S> {
    /// A connection over a stream on which nothing was read yet.
    pub(crate) fn new(socket: S, clock: Arc<dyn Clock>, stop: Shutdown) -> Self {
        Self {
            socket,
            replies: ReplyStream::default(),
            input: Vec::new(),
            taken: 0,
            clock,
            stop,
        }
    }

    /// The stream, for a handshake; `None` if anything was read that belongs to no reply taken: it would count as
    /// having come under TLS.
    pub(crate) fn into_unread(self) -> Option<S> {
        let is_clean = self.taken == self.input.len() && self.replies.is_between_replies();
        is_clean.then_some(self.socket)
    }

    /// The next reply.
    pub(crate) async fn reply(&mut self, limit: Duration) -> Result<Reply, Broken> {
        loop {
            if let Some(reply) = self.take()? {
                return Ok(reply);
            }
            self.fill(limit).await?;
        }
    }

    /// Writes octets to which replies come later. Where the other side said something and closed, that is no error yet:
    /// whoever takes the replies finds the end after the last one, and the last one may say why.
    pub(crate) async fn send(&mut self, octets: &[u8], limit: Duration) -> Result<(), Broken> {
        let mut written = 0;
        loop {
            match self.write(octets, &mut written, limit).await {
                Ok(Progress::Written) => return Ok(()),
                Ok(Progress::Heard) => {}
                Err(Broken::Lost(_)) if self.taken < self.input.len() => return Ok(()),
                Err(broken) => return Err(broken),
            }
            if self.input.len() - self.taken > MAXIMUM_INPUT {
                return Err(Broken::Lost("the upstream says too much".to_owned()));
            }
        }
    }

    /// Writes a part of content, during which no reply is due. One that comes all the same ends it: what is left is
    /// then not written.
    pub(crate) async fn send_content(
        &mut self,
        octets: &[u8],
        limit: Duration,
    ) -> Result<Option<Reply>, Broken> {
        let mut written = 0;
        loop {
            if let Some(reply) = self.take()? {
                return Ok(Some(reply));
            }
            match self.write(octets, &mut written, limit).await {
                Ok(Progress::Written) => return Ok(None),
                Ok(Progress::Heard) => {}
                // The stream has taken everything; only its flushing failed, and some of it may have arrived. Whoever
                // waits for the reply finds out.
                Err(_) if written == octets.len() => return Ok(None),
                Err(Broken::Lost(lost)) => return self.last_words(lost).await,
                Err(broken) => return Err(broken),
            }
        }
    }

    /// Whether the other side has said or done something since the last reply: an idle connection is then of no use.
    pub(crate) async fn is_quiet(&mut self) -> bool {
        if self.taken < self.input.len() || !self.replies.is_between_replies() {
            return false;
        }
        poll_fn(|cx| Poll::Ready(self.poll_fill(cx).is_pending())).await
    }

    /// Closes the stream in order, with TLS's own good-bye.
    pub(crate) async fn close(mut self) {
        let closing = poll_fn(|cx| Pin::new(&mut self.socket).poll_shutdown(cx));
        tokio::select! {
            _ = closing => {}
            () = self.clock.sleep(LAST_WORDS) => {}
        }
    }

    /// What a server said before it closed while we were writing.
    async fn last_words(&mut self, lost: String) -> Result<Option<Reply>, Broken> {
        loop {
            if let Some(reply) = self.take()? {
                return Ok(Some(reply));
            }
            if self.fill(LAST_WORDS).await.is_err() {
                return Err(Broken::Lost(lost));
            }
        }
    }

    fn take(&mut self) -> Result<Option<Reply>, Broken> {
        let mut rest = self.input.get(self.taken..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(None);
        }
        let reply = self.replies.next(&mut rest)?;
        self.taken = self.input.len() - rest.len();
        if rest.is_empty() {
            self.input.clear();
            self.taken = 0;
        }
        Ok(reply)
    }

    async fn fill(&mut self, limit: Duration) -> Result<(), Broken> {
        let timer = self.clock.sleep(limit);
        let mut stop = self.stop.clone();
        tokio::select! {
            biased;
            filled = poll_fn(|cx| self.poll_fill(cx)) => Ok(filled?),
            () = stop.reached(Stage::Aborting) => Err(Broken::Stopped),
            () = timer => Err(Broken::TimedOut(limit)),
        }
    }

    async fn write(
        &mut self,
        octets: &[u8],
        written: &mut usize,
        limit: Duration,
    ) -> Result<Progress, Broken> {
        let timer = self.clock.sleep(limit);
        let mut stop = self.stop.clone();
        tokio::select! {
            biased;
            progress = poll_fn(|cx| self.poll_write(cx, octets, written)) => Ok(progress?),
            () = stop.reached(Stage::Aborting) => Err(Broken::Stopped),
            () = timer => Err(Broken::TimedOut(limit)),
        }
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut space = [0; READ];
        let mut buffer = ReadBuf::new(&mut space);
        match Pin::new(&mut self.socket).poll_read(cx, &mut buffer) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()))
            }
            Poll::Ready(Ok(())) => {
                self.input.extend_from_slice(buffer.filled());
                Poll::Ready(Ok(()))
            }
        }
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        octets: &[u8],
        written: &mut usize,
    ) -> Poll<io::Result<Progress>> {
        // Listens before it speaks, so that nothing more is written after a refusal that has already come.
        if self.poll_fill(cx)?.is_ready() {
            return Poll::Ready(Ok(Progress::Heard));
        }
        loop {
            let rest = octets.get(*written..).unwrap_or_default();
            if rest.is_empty() {
                return Pin::new(&mut self.socket)
                    .poll_flush(cx)
                    .map_ok(|()| Progress::Written);
            }
            match Pin::new(&mut self.socket).poll_write(cx, rest)? {
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(count) => *written += count,
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// How far a write came.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Everything is written.
    Written,
    /// The other side said something meanwhile.
    Heard,
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::clock::ManualClock;

    const LIMIT: Duration = Duration::from_secs(10);

    fn connection(socket: tokio::io::DuplexStream) -> Connection<tokio::io::DuplexStream> {
        let (_, shutdown) = Shutdown::channel();
        Connection::new(socket, Arc::new(ManualClock::new()), shutdown)
    }

    /// A refusal in the middle of a pipeline, such as 421, is worth more than "connection lost".
    #[tokio::test]
    async fn what_was_said_before_a_close_is_heard_although_commands_were_left_unwritten() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut connection = connection(ours);
        theirs
            .write_all(b"250 a\r\n421 4.7.0 no more\r\n")
            .await
            .unwrap();
        drop(theirs);
        connection.send(&[b'x'; 1000], LIMIT).await.unwrap();
        for code in [250, 421] {
            assert_eq!(connection.reply(LIMIT).await.unwrap().code, code);
        }
        let end = connection.reply(LIMIT).await;
        assert!(matches!(end, Err(Broken::Lost(_))), "{end:?}");
        let sent = connection.send(b"x", LIMIT).await;
        assert!(matches!(sent, Err(Broken::Lost(_))), "{sent:?}");
    }
}
