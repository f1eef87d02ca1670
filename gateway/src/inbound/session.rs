//! One client's session: octets from the wire to the protocol's states, and the states' questions to the gateway.
//!
//! Generic over the stream, so that tests play it in memory. The order of what is said is the order of what was asked
//! (RFC 2920): nothing is answered out of turn, and nothing is read while a question is open.

mod content;
mod questions;
mod visit;

use std::{ops::Range, sync::Arc, time::Duration};

use posthouse_smtp::{
    line::LineFault,
    server::{Ending, Farewell, Handshake, Server, Step},
};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    Store,
    deadline::within,
    refusal,
    wire::{Line, Wire},
};
use crate::{clock::Monotonic, shutdown::Stage};

pub(super) use visit::Visit;

/// For the last reply and the close of a session; a client that does not read is not waited for.
const CLOSING: Duration = Duration::from_secs(5);

/// How a session ended: the label `result` of `posthouse_sessions_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Completed,
    TimedOut,
    TooManyErrors,
    OverLimit,
    TlsFailed,
    ClientGone,
    Aborted,
}

impl Ended {
    pub(super) const fn as_label(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::TimedOut => "timed_out",
            Self::TooManyErrors => "too_many_errors",
            Self::OverLimit => "over_limit",
            Self::TlsFailed => "tls_failed",
            Self::ClientGone => "client_gone",
            Self::Aborted => "aborted",
        }
    }
}

/// A session over a stream.
struct Session<'a, T, S> {
    wire: Wire<T>,
    visit: &'a mut Visit<S>,
}

/// What ends a conversation.
enum Turn {
    Over(Ended),
    StartTls(Handshake),
}

/// What follows a step.
enum Next {
    Listen(Server),
    StartTls(Handshake),
}

/// A line that was heard.
enum Heard {
    Line(Range<usize>),
    Faulty(LineFault),
}

impl<'a, T: AsyncRead + AsyncWrite + Unpin, S: Store> Session<'a, T, S> {
    fn new(stream: T, visit: &'a mut Visit<S>) -> Self {
        Self {
            wire: Wire::new(stream),
            visit,
        }
    }

    /// Answers lines until the session ends or changes its stream.
    async fn converse(&mut self, mut server: Server) -> Turn {
        loop {
            let step = match self.hear(&server).await {
                Ok(Heard::Line(line)) => server.on(Ok(self.wire.octets(line))),
                Ok(Heard::Faulty(fault)) => server.on(Err(fault)),
                Err(ended) => return self.close(ended).await,
            };
            match self.act(step).await {
                Ok(Next::Listen(next)) => server = next,
                Ok(Next::StartTls(handshake)) => match self.send().await {
                    Ok(()) => return Turn::StartTls(handshake),
                    Err(ended) => return self.close(ended).await,
                },
                Err(ended) => return self.close(ended).await,
            }
        }
    }

    /// The next line, once it is complete.
    async fn hear(&mut self, server: &Server) -> Result<Heard, Ended> {
        if self.wire.has_much_to_say() {
            self.send().await?;
        }
        loop {
            if server.is_idle() && self.stage() >= Stage::Stopping {
                return self.stop();
            }
            // What the client proved is asked for again only between transactions.
            if server.is_idle() && self.visit.is_login_over() {
                self.wire.say(&refusal::login_expired());
                return Err(Ended::Completed);
            }
            match self.wire.line(server.mode()) {
                Line::Whole(line) => return Ok(Heard::Line(line)),
                Line::Faulty(fault) => return Ok(Heard::Faulty(fault)),
                Line::Endless => {
                    self.wire.say(&refusal::endless_line());
                    return Err(Ended::TooManyErrors);
                }
                Line::Incomplete if server.is_idle() => self.read_or_stop().await?,
                Line::Incomplete => self.read(self.visit.until()).await?,
            }
        }
    }

    /// Reads, unless the gateway stops or the login ends first: then there may be nothing to read yet.
    async fn read_or_stop(&mut self) -> Result<(), Ended> {
        let parts = &self.visit.inbound.parts;
        let (mut shutdown, clock) = (parts.shutdown.clone(), Arc::clone(&parts.clock));
        let until = self.visit.until();
        let ends = self.visit.login_ends.filter(|&ends| ends < until);
        let login_over = async {
            match ends {
                Some(ends) => clock.sleep_until(ends).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            read = self.read(until) => return read,
            () = shutdown.reached(Stage::Stopping) => {}
            () = login_over => return Ok(()),
        }
        self.stop()
    }

    fn stop<R>(&mut self) -> Result<R, Ended> {
        self.wire.say(&refusal::stopping());
        Err(Ended::Completed)
    }

    /// Sends what there is to say, then reads what there is; a client that takes too long is told so.
    async fn read(&mut self, until: Monotonic) -> Result<(), Ended> {
        match self.read_until(until).await? {
            Some(_) => Ok(()),
            None => self.time_out(),
        }
    }

    fn time_out<R>(&mut self) -> Result<R, Ended> {
        self.wire.say(&refusal::timed_out());
        Err(Ended::TimedOut)
    }

    /// The same, with the octets that came; nothing if the time is up.
    async fn read_until(&mut self, until: Monotonic) -> Result<Option<usize>, Ended> {
        let wire = &mut self.wire;
        let exchange = async {
            wire.flush().await?;
            wire.fill().await
        };
        match within(&*self.visit.inbound.parts.clock, until, exchange).await {
            Some(Ok(0) | Err(_)) => Err(Ended::ClientGone),
            Some(Ok(octets)) => Ok(Some(octets)),
            None => Ok(None),
        }
    }

    async fn send(&mut self) -> Result<(), Ended> {
        let clock = &*self.visit.inbound.parts.clock;
        match within(clock, self.visit.until(), self.wire.flush()).await {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) => Err(Ended::ClientGone),
            None => Err(Ended::TimedOut),
        }
    }

    async fn close(&mut self, ended: Ended) -> Turn {
        let clock = &*self.visit.inbound.parts.clock;
        let until = clock.now().plus(CLOSING);
        let _ = within(clock, until, self.wire.close()).await;
        Turn::Over(ended)
    }

    /// Does what a step asks for, until the next line is due.
    async fn act(&mut self, mut step: Step) -> Result<Next, Ended> {
        loop {
            step = match step {
                Step::Reply(server, reply) => {
                    self.wire.say(&reply);
                    return Ok(Next::Listen(server));
                }
                Step::Refuse(server, reply, rejection) => {
                    self.visit.refused(rejection.into(), &reply);
                    self.wire.say(&reply);
                    return Ok(Next::Listen(server));
                }
                Step::StartTls(handshake, reply) => {
                    self.wire.say(&reply);
                    return Ok(Next::StartTls(handshake));
                }
                Step::Authenticate(claim) => self.authenticate(claim).await?,
                Step::Mail(request) => self.admit(request)?,
                Step::Data(request) => self.take_content(request).await?,
                Step::Close(reply, ending) => {
                    self.wire.say(&reply);
                    return Err(match ending {
                        Ending::Quit => Ended::Completed,
                        Ending::NotSmtp => Ended::TooManyErrors,
                    });
                }
                Step::GiveUp(farewell) => return Err(self.give_up(&farewell)),
            }
        }
    }

    fn give_up(&mut self, farewell: &Farewell) -> Ended {
        if let Some(rejection) = farewell.rejection {
            self.visit.refused(rejection.into(), &farewell.refusal);
        }
        self.wire.say(&farewell.refusal);
        self.wire.say(&farewell.reply);
        Ended::TooManyErrors
    }

    fn stage(&self) -> Stage {
        self.visit.inbound.parts.shutdown.stage()
    }
}
