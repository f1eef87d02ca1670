//! One transaction over one session: writes and reads until it is over or the connection is.

use std::time::Duration;

use posthouse_config::reason::Phase;
use posthouse_smtp::{
    Reply,
    client::{
        self, Answer, Confirming, End, Ending, Envelope, EnvelopeRecipient, Return, Sending, Stage,
        Then,
    },
    fold::ContentWriter,
    reply::Severity,
};

use super::Surroundings;
use crate::{
    mail::{Message, Recipient},
    outbound::{
        connection::Broken,
        content::{self, Outgoing, Unreadable},
        pool::Lease,
        verdict::ruling::Event,
    },
    queue::deliver::Attempt,
};

/// RFC 5321 §4.5.3.2.2, §4.5.3.2.3.
const COMMAND: Duration = Duration::from_mins(5);
/// RFC 5321 §4.5.3.2.4.
const DATA_INITIATION: Duration = Duration::from_mins(2);
/// RFC 5321 §4.5.3.2.5.
const DATA_BLOCK: Duration = Duration::from_mins(3);
/// RFC 5321 §4.5.3.2.6: never shorter, or mail is relayed twice.
const FINAL_DOT: Duration = Duration::from_mins(10);
/// RSET changes nothing for the mail; a session that does not answer it is closed.
const RESET: Duration = Duration::from_secs(30);

/// What a transaction brought.
pub(super) struct Transacted {
    /// The answer to each RCPT, in order.
    pub(super) answers: Vec<Answer>,
    /// How it ended.
    pub(super) conclusion: Conclusion,
}

/// How a transaction ended.
pub(super) enum Conclusion {
    /// By replies.
    Ended(Ending, Then),
    /// Without.
    Broken(Stage, Broken),
    /// Our own content could not be read.
    Unreadable(Unreadable),
}

impl Conclusion {
    pub(super) fn then(&self) -> Then {
        match self {
            Self::Ended(_, then) => *then,
            Self::Broken(..) | Self::Unreadable(_) => Then::Close,
        }
    }
}

impl Transacted {
    fn ended(end: End) -> Self {
        Self {
            answers: end.answers,
            conclusion: Conclusion::Ended(end.ending, end.then),
        }
    }

    fn broken((stage, answers): (Stage, Vec<Answer>), broken: Broken) -> Self {
        Self {
            answers,
            conclusion: Conclusion::Broken(stage, broken),
        }
    }

    /// Whether the server had closed the session before it heard of the transaction.
    pub(super) fn is_stale(&self) -> bool {
        match &self.conclusion {
            Conclusion::Broken(Stage::Mail, Broken::Lost(_)) => true,
            Conclusion::Ended(
                Ending::Refused {
                    stage: Stage::Mail,
                    reply,
                },
                Then::Close,
            ) => reply.code == 421,
            Conclusion::Ended(..) | Conclusion::Broken(..) | Conclusion::Unreadable(_) => false,
        }
    }

    /// Whether the upstream accepted the message.
    pub(super) fn was_relayed(&self) -> bool {
        matches!(self.conclusion, Conclusion::Ended(Ending::Relayed(_), _))
    }

    /// Whether the connection was lost before the final dot.
    pub(super) fn was_lost(&self) -> bool {
        matches!(
            self.conclusion,
            Conclusion::Broken(
                Stage::Mail | Stage::Rcpt | Stage::Data | Stage::Content,
                Broken::Lost(_) | Broken::TimedOut(_)
            )
        )
    }

    /// What happened to the recipient of an answer.
    pub(super) fn event(&self, answer: &Answer) -> (Phase, Event) {
        if let Answer::Refused(reply) = answer {
            return (Phase::Rcpt, Event::Replied(reply.clone()));
        }
        match &self.conclusion {
            Conclusion::Ended(Ending::Relayed(reply), _) => {
                (Phase::Final, Event::Replied(reply.clone()))
            }
            Conclusion::Ended(Ending::Refused { stage, reply }, _) => {
                (phase(*stage), Event::Replied(reply.clone()))
            }
            Conclusion::Ended(Ending::Unexpected { stage, reply }, _) => {
                (phase(*stage), Event::OutOfPlace(unexpected(reply)))
            }
            Conclusion::Ended(Ending::NoRecipients, _) => (
                Phase::Rcpt,
                Event::OutOfPlace("no recipient was answered".into()),
            ),
            Conclusion::Broken(stage, broken) => (phase(*stage), broken_event(broken)),
            Conclusion::Unreadable(error) => (Phase::Content, Event::Lost(error.to_string())),
        }
    }
}

fn unexpected(reply: &Reply) -> String {
    match reply.severity() {
        Some(Severity::Positive | Severity::Intermediate) => {
            format!("a reply where none was due: {reply}")
        }
        Some(Severity::Transient | Severity::Permanent) | None => reply.to_string(),
    }
}

fn broken_event(broken: &Broken) -> Event {
    match broken {
        Broken::Lost(_) | Broken::TimedOut(_) => Event::Lost(broken.to_string()),
        Broken::NotAReply(error) => Event::OutOfPlace(error.to_string()),
        Broken::Stopped => Event::Stopped,
    }
}

/// The phase of a stage.
const fn phase(stage: Stage) -> Phase {
    match stage {
        Stage::Mail => Phase::Mail,
        Stage::Rcpt => Phase::Rcpt,
        Stage::Data => Phase::Data,
        Stage::Content => Phase::Content,
        Stage::Final => Phase::Final,
    }
}

/// Runs one transaction.
pub(super) async fn run(
    lease: &mut Lease,
    attempt: &Attempt,
    recipients: &[&Recipient],
    around: &Surroundings<'_>,
) -> Transacted {
    let message = &attempt.message;
    let lines = content::lines(message, around.document);
    // Opened before anything is said, so that a file that cannot be read costs no transaction.
    let opened = Outgoing::open(&attempt.content, &message.edits, ContentWriter::new(lines)).await;
    let outgoing = match opened {
        Ok(outgoing) => outgoing,
        Err(error) => {
            return Transacted {
                answers: vec![Answer::Unanswered; recipients.len()],
                conclusion: Conclusion::Unreadable(error),
            };
        }
    };
    let (mut transaction, mut octets) = lease.session.ready.begin(&envelope(message, recipients));
    let connection = &mut lease.session.connection;
    loop {
        if !octets.is_empty()
            && let Err(broken) = connection.send(&octets, COMMAND).await
        {
            return Transacted::broken(transaction.interrupted(), broken);
        }
        let reply = match connection.reply(limit(transaction.stage())).await {
            Ok(reply) => reply,
            Err(broken) => return Transacted::broken(transaction.interrupted(), broken),
        };
        match transaction.on(reply) {
            client::Event::Wait(next) => (transaction, octets) = (next, Vec::new()),
            client::Event::Send(next, more) => (transaction, octets) = (next, more),
            client::Event::Content(sending) => return send(lease, sending, outgoing).await,
            client::Event::End(end) => return Transacted::ended(end),
        }
    }
}

/// Writes the content and awaits the reply to its final dot.
async fn send(lease: &mut Lease, sending: Sending, mut outgoing: Outgoing<'_>) -> Transacted {
    let connection = &mut lease.session.connection;
    let mut octets = Vec::new();
    loop {
        octets.clear();
        let is_more = match outgoing.next(&mut octets).await {
            Ok(is_more) => is_more,
            Err(error) => {
                let (_, answers) = sending.interrupted();
                return Transacted {
                    answers,
                    conclusion: Conclusion::Unreadable(error),
                };
            }
        };
        match connection.send_content(&octets, DATA_BLOCK).await {
            Ok(None) if is_more => {}
            Ok(None) => return confirm(lease, sending.finish()).await,
            Ok(Some(early)) => return Transacted::ended(sending.on(early)),
            Err(broken) => return Transacted::broken(sending.interrupted(), broken),
        }
    }
}

async fn confirm(lease: &mut Lease, confirming: Confirming) -> Transacted {
    match lease.session.connection.reply(FINAL_DOT).await {
        Ok(reply) => Transacted::ended(confirming.on(reply)),
        Err(broken) => Transacted::broken(confirming.interrupted(), broken),
    }
}

/// Ends a transaction that the server still has open; whether the session can be used on.
pub(super) async fn reset(lease: &mut Lease) -> bool {
    let octets = lease.session.ready.reset();
    let connection = &mut lease.session.connection;
    if connection.send(octets, RESET).await.is_err() {
        return false;
    }
    let reply = connection.reply(RESET).await;
    reply.is_ok_and(|reply| reply.severity() == Some(Severity::Positive))
}

fn envelope<'m>(message: &'m Message, recipients: &[&'m Recipient]) -> Envelope<'m> {
    Envelope {
        reverse_path: &message.reverse_path,
        size: message.relayed_length(),
        body: if message.facts.eight_bit || message.facts.header_utf8 {
            client::Body::EightBit
        } else {
            client::Body::SevenBit
        },
        utf8: message.needs_utf8(recipients.iter().copied()),
        envid: message.envid.as_deref(),
        ret: message.return_full.then_some(Return::Full),
        recipients: recipients
            .iter()
            .map(|recipient| EnvelopeRecipient {
                forward_path: &recipient.forward_path,
                notify: recipient.notify.as_deref(),
                orcpt: recipient.orcpt.as_deref(),
            })
            .collect(),
    }
}

const fn limit(stage: Stage) -> Duration {
    match stage {
        Stage::Mail | Stage::Rcpt => COMMAND,
        Stage::Data => DATA_INITIATION,
        Stage::Content => DATA_BLOCK,
        Stage::Final => FINAL_DOT,
    }
}
