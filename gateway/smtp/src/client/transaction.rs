//! One transaction, from MAIL to the reply after the final dot (RFC 5321 §3.3), pipelined or step by step.
//!
//! Replies are matched to commands in the order of the commands (RFC 2920 §3.1). The types follow the order of writes:
//!
//! ```text
//! Transaction ──354──▶ Sending ──dot written──▶ Confirming ──▶ End
//!      └── refused ───────┴── reply before the dot ─────────────▶ End
//! ```
//!
//! No reply that came before our final dot can say that the message was accepted: nobody can have taken what we had
//! not finished.

use std::collections::VecDeque;

use crate::reply::{Reply, Severity};

/// How far a transaction has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The reply to MAIL is awaited.
    Mail,
    /// Replies to RCPT are awaited.
    Rcpt,
    /// The reply to DATA is awaited.
    Data,
    /// Content is being written.
    Content,
    /// The final dot was written.
    Final,
}

/// What the server said to one RCPT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing yet.
    Unanswered,
    /// 2yz.
    Accepted,
    /// 4yz or 5yz.
    Refused(Reply),
}

/// How a transaction came to its end, for the recipients that were not refused themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// 2yz after the final dot.
    Relayed(Reply),
    /// 4yz or 5yz to the whole transaction, or 421 to anything.
    Refused {
        /// To what.
        stage: Stage,
        /// The reply.
        reply: Reply,
    },
    /// A reply that no server may give there.
    Unexpected {
        /// To what.
        stage: Stage,
        /// The reply.
        reply: Reply,
    },
    /// Every recipient was refused by a reply of its own.
    NoRecipients,
}

/// What may be done with the session after a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It can begin the next one.
    Reuse,
    /// It can, after RSET: the server still has this one open.
    Reset,
    /// Nothing: close the connection.
    Close,
}

/// A transaction that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// The answer to each RCPT, in order.
    pub answers: Vec<Answer>,
    /// What holds for those accepted or unanswered.
    pub ending: Ending,
    /// What may be done with the session.
    pub then: Then,
}

/// What comes next.
#[derive(Debug)]
pub enum Event {
    /// Pass on the next reply.
    Wait(Transaction),
    /// Write these octets and pass on the next reply.
    Send(Transaction, Vec<u8>),
    /// Write the content, and the final dot.
    Content(Sending),
    /// It is over.
    End(End),
}

/// A transaction of which a reply is awaited before content is sent.
#[derive(Debug)]
pub struct Transaction {
    answers: Vec<Answer>,
    state: State,
}

/// The commands not written yet.
#[derive(Debug)]
pub(super) enum Commands {
    /// None: all went out at once, DATA included.
    Pipelined,
    /// These, then DATA.
    Stepwise(VecDeque<Vec<u8>>),
}

#[derive(Debug)]
enum State {
    Mail(Commands),
    Rcpt {
        position: usize,
        commands: Commands,
    },
    Data,
    /// MAIL was refused; replies to what was pipelined after it are still to come, the last of them to DATA.
    Refused {
        ending: Ending,
        remaining: usize,
    },
    /// A dot went out only to leave a DATA that nobody takes part in; its reply says nothing.
    Leaving(Ending),
}

impl Transaction {
    pub(super) fn new(recipients: usize, commands: Commands) -> Self {
        Self {
            answers: vec![Answer::Unanswered; recipients],
            state: State::Mail(commands),
        }
    }

    /// How far it has come, and the answers so far: for when the connection is lost.
    pub fn interrupted(self) -> (Stage, Vec<Answer>) {
        let stage = match &self.state {
            State::Mail(_) | State::Refused { .. } => Stage::Mail,
            State::Rcpt { .. } => Stage::Rcpt,
            State::Data | State::Leaving(_) => Stage::Data,
        };
        (stage, self.answers)
    }

    /// How far it has come.
    pub const fn stage(&self) -> Stage {
        match &self.state {
            State::Mail(_) | State::Refused { .. } => Stage::Mail,
            State::Rcpt { .. } => Stage::Rcpt,
            State::Data | State::Leaving(_) => Stage::Data,
        }
    }

    /// Goes on with a reply.
    pub fn on(self, reply: Reply) -> Event {
        let Self { answers, state } = self;
        match state {
            State::Mail(commands) => on_mail(answers, commands, reply),
            State::Rcpt { position, commands } => on_rcpt(answers, position, commands, reply),
            State::Data => on_data(answers, reply),
            State::Refused { ending, remaining } => on_rest(answers, ending, remaining, &reply),
            State::Leaving(ending) => {
                let then = after(&reply, Then::Reuse);
                end(answers, ending, then)
            }
        }
    }
}

fn on_mail(answers: Vec<Answer>, commands: Commands, reply: Reply) -> Event {
    let stage = Stage::Mail;
    match reply.severity() {
        Some(Severity::Positive) => next_rcpt(answers, 0, commands),
        Some(Severity::Transient | Severity::Permanent) => {
            let then = after(&reply, Then::Reuse);
            let ending = Ending::Refused { stage, reply };
            match (commands, then) {
                // RFC 2920 §3.1: every command that went out has its reply.
                (Commands::Pipelined, Then::Reuse | Then::Reset) => {
                    let remaining = answers.len() + 1;
                    wait(answers, State::Refused { ending, remaining })
                }
                (Commands::Pipelined | Commands::Stepwise(_), then) => end(answers, ending, then),
            }
        }
        Some(Severity::Intermediate) | None => unexpected(answers, stage, reply),
    }
}

fn on_rcpt(mut answers: Vec<Answer>, position: usize, commands: Commands, reply: Reply) -> Event {
    let stage = Stage::Rcpt;
    if reply.code == CLOSING {
        let ending = Ending::Refused { stage, reply };
        return end(answers, ending, Then::Close);
    }
    let answer = match reply.severity() {
        Some(Severity::Positive) => Answer::Accepted,
        Some(Severity::Transient | Severity::Permanent) => Answer::Refused(reply),
        Some(Severity::Intermediate) | None => return unexpected(answers, stage, reply),
    };
    if let Some(slot) = answers.get_mut(position) {
        *slot = answer;
    }
    next_rcpt(answers, position + 1, commands)
}

/// Awaits the reply to RCPT number `position`, or to DATA after the last one.
fn next_rcpt(answers: Vec<Answer>, position: usize, commands: Commands) -> Event {
    let is_last = position >= answers.len();
    match commands {
        Commands::Pipelined if is_last => wait(answers, State::Data),
        Commands::Pipelined => wait(answers, State::Rcpt { position, commands }),
        Commands::Stepwise(mut rest) => match rest.pop_front() {
            Some(line) => {
                let commands = Commands::Stepwise(rest);
                let state = State::Rcpt { position, commands };
                Event::Send(Transaction { answers, state }, line)
            }
            None if answers.contains(&Answer::Accepted) => {
                let state = State::Data;
                Event::Send(Transaction { answers, state }, b"DATA\r\n".to_vec())
            }
            None => end(answers, Ending::NoRecipients, Then::Reset),
        },
    }
}

fn on_data(answers: Vec<Answer>, reply: Reply) -> Event {
    let stage = Stage::Data;
    let has_recipients = answers.contains(&Answer::Accepted);
    match reply.severity() {
        Some(Severity::Intermediate) if has_recipients => Event::Content(Sending { answers }),
        // RFC 2920 §3.1: a server may say 354 although no recipient is left.
        Some(Severity::Intermediate) => leave(answers, Ending::NoRecipients),
        Some(Severity::Transient | Severity::Permanent) => {
            let then = after(&reply, Then::Reset);
            let ending = if has_recipients {
                Ending::Refused { stage, reply }
            } else {
                Ending::NoRecipients
            };
            end(answers, ending, then)
        }
        Some(Severity::Positive) | None => unexpected(answers, stage, reply),
    }
}

/// A reply to what was pipelined after a refused MAIL.
fn on_rest(answers: Vec<Answer>, ending: Ending, remaining: usize, reply: &Reply) -> Event {
    if reply.code == CLOSING {
        return end(answers, ending, Then::Close);
    }
    if remaining > 1 {
        let remaining = remaining - 1;
        return wait(answers, State::Refused { ending, remaining });
    }
    match reply.severity() {
        Some(Severity::Intermediate) => leave(answers, ending),
        Some(Severity::Transient | Severity::Permanent) => end(answers, ending, Then::Reuse),
        Some(Severity::Positive) | None => end(answers, ending, Then::Close),
    }
}

/// Leaves a DATA without recipients: an empty message that nobody can get.
fn leave(answers: Vec<Answer>, ending: Ending) -> Event {
    let state = State::Leaving(ending);
    Event::Send(Transaction { answers, state }, b".\r\n".to_vec())
}

fn wait(answers: Vec<Answer>, state: State) -> Event {
    Event::Wait(Transaction { answers, state })
}

fn end(answers: Vec<Answer>, ending: Ending, then: Then) -> Event {
    Event::End(End {
        answers,
        ending,
        then,
    })
}

fn unexpected(answers: Vec<Answer>, stage: Stage, reply: Reply) -> Event {
    end(answers, Ending::Unexpected { stage, reply }, Then::Close)
}

/// The server says that it closes the connection (RFC 5321 §3.8).
const CLOSING: u16 = 421;

/// What may be done with the session after a reply.
fn after(reply: &Reply, then: Then) -> Then {
    if reply.code == CLOSING {
        Then::Close
    } else {
        then
    }
}

/// At least one recipient was accepted and DATA was answered by 354: content is being written.
#[derive(Debug)]
pub struct Sending {
    answers: Vec<Answer>,
}

impl Sending {
    /// Ends with a reply that came before the final dot was written: stop writing.
    pub fn on(self, reply: Reply) -> End {
        let stage = Stage::Content;
        let ending = match reply.severity() {
            Some(Severity::Transient | Severity::Permanent) => Ending::Refused { stage, reply },
            Some(Severity::Positive | Severity::Intermediate) | None => {
                Ending::Unexpected { stage, reply }
            }
        };
        End {
            answers: self.answers,
            ending,
            // What the server takes for content and what for commands is not known any more.
            then: Then::Close,
        }
    }

    /// The last octet of the final dot is about to be written: from here on the server may have the message.
    pub fn finish(self) -> Confirming {
        Confirming {
            answers: self.answers,
        }
    }

    /// The answers so far: for when the connection is lost.
    pub fn interrupted(self) -> (Stage, Vec<Answer>) {
        (Stage::Content, self.answers)
    }
}

/// The final dot was written: its reply is awaited.
#[derive(Debug)]
pub struct Confirming {
    answers: Vec<Answer>,
}

impl Confirming {
    /// Ends with the reply to the final dot.
    pub fn on(self, reply: Reply) -> End {
        let stage = Stage::Final;
        let then = after(&reply, Then::Reuse);
        let (ending, then) = match reply.severity() {
            Some(Severity::Positive) => (Ending::Relayed(reply), then),
            Some(Severity::Transient | Severity::Permanent) => {
                (Ending::Refused { stage, reply }, then)
            }
            Some(Severity::Intermediate) | None => {
                (Ending::Unexpected { stage, reply }, Then::Close)
            }
        };
        End {
            answers: self.answers,
            ending,
            then,
        }
    }

    /// The answers so far: for when the connection is lost.
    pub fn interrupted(self) -> (Stage, Vec<Answer>) {
        (Stage::Final, self.answers)
    }
}
