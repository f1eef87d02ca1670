//! `posthouse-gateway queue`: the queue by hand, through the control socket of a running gateway.

use std::{io::Write, path::PathBuf, process::ExitCode};

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use posthouse_config::reason::Reason;
use serde_json::Value;

use crate::control::{self, Answer, Request, Selection};

/// Flags of `queue`.
#[derive(Debug, Args)]
pub struct QueueArguments {
    #[command(subcommand)]
    verb: Verb,
    /// The spool of the gateway.
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        default_value = "/var/spool/posthouse"
    )]
    spool: PathBuf,
    /// How the answer looks.
    #[arg(long, global = true, value_enum, default_value = "text")]
    output: Output,
}

/// How an answer looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// What waits, oldest first, and why.
    List {
        /// Only mail of this sender: name.namespace, anonymous or posthouse.
        #[arg(long)]
        sender: Option<String>,
        /// Only mail that waits for this upstream; `none` for mail without an eligible target.
        #[arg(long)]
        upstream: Option<String>,
        /// Only mail that waits for this reason, such as `AuthenticationFailed`.
        #[arg(long, value_parser = reason)]
        reason: Option<Reason>,
        /// Only mail accepted longer ago than this many seconds.
        #[arg(long, value_name = "SECONDS")]
        older: Option<u64>,
        /// At most so many messages.
        #[arg(long, default_value_t = 1000)]
        limit: usize,
    },
    /// Everything that is known of one message.
    Show(Id),
    /// Try a message now, whatever it waits for.
    Retry(Id),
    /// Give a message up: nobody is told, and the log says so.
    Cancel(Id),
}

/// One message.
#[derive(Debug, Args)]
struct Id {
    /// Its queue id.
    #[arg(long)]
    id: String,
}

fn reason(text: &str) -> Result<Reason, String> {
    let known = Reason::ALL
        .iter()
        .find(|reason| reason.as_str().eq_ignore_ascii_case(text) || reason.as_label() == text);
    known.copied().ok_or_else(|| {
        let all: Vec<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        format!("must be one of {}", all.join(", "))
    })
}

/// Asks and shows the answer.
pub fn main(arguments: &QueueArguments) -> anyhow::Result<ExitCode> {
    let (request, done) = match &arguments.verb {
        Verb::List {
            sender,
            upstream,
            reason,
            older,
            limit,
        } => {
            let selection = Selection {
                sender: sender.clone(),
                upstream: upstream.clone(),
                reason: *reason,
                older_seconds: *older,
                limit: Some(*limit),
            };
            (Request::List(selection), String::new())
        }
        Verb::Show(Id { id }) => (Request::Show { id: id.clone() }, String::new()),
        Verb::Retry(Id { id }) => (
            Request::Retry { id: id.clone() },
            format!("{id}: tried as soon as its upstream can take it"),
        ),
        Verb::Cancel(Id { id }) => (
            Request::Cancel { id: id.clone() },
            format!("{id}: cancelled"),
        ),
    };
    let socket = arguments.spool.join("control.sock");
    let answer = control::ask(&socket, &request)
        .with_context(|| format!("no gateway answers at {}", socket.display()))?;
    let value = match answer {
        Answer::Done(value) => value,
        Answer::Refused(why) => bail!(why),
    };
    let text = match (arguments.output, &value) {
        (Output::Json, _) => serde_json::to_string_pretty(&value)?,
        (Output::Text, Value::Array(messages)) => listing(messages),
        (Output::Text, Value::Object(_)) => message(&value),
        (Output::Text, _) => done,
    };
    writeln!(std::io::stdout(), "{}", text.trim_end())?;
    Ok(ExitCode::SUCCESS)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or("-")
}

fn listing(messages: &[Value]) -> String {
    let mut out = format!(
        "{:<22} {:<12} {:<22} {:<14} {:<24} {:>9} {:>10}\n",
        "ID", "STATE", "REASON", "UPSTREAM", "ACCEPTED", "BYTES", "RECIPIENTS"
    );
    for shown in messages {
        let recipients = shown
            .get("recipients")
            .and_then(Value::as_array)
            .map_or(0, Vec::len);
        let bytes = shown
            .get("bytes")
            .and_then(Value::as_u64)
            .unwrap_or_default();
        out += &format!(
            "{:<22} {:<12} {:<22} {:<14} {:<24} {bytes:>9} {recipients:>10}\n",
            text(shown, "id"),
            text(shown, "state"),
            text(shown, "reason"),
            text(shown, "upstream"),
            text(shown, "accepted"),
        );
    }
    out + &format!(
        "{} {}\n",
        messages.len(),
        if messages.len() == 1 {
            "message"
        } else {
            "messages"
        }
    )
}

fn message(shown: &Value) -> String {
    let mut out = String::new();
    for (label, key) in [
        ("id", "id"),
        ("state", "state"),
        ("reason", "reason"),
        ("upstream", "upstream"),
        ("sender", "sender"),
        ("accepted", "accepted"),
        ("Message-ID", "messageId"),
        ("reverse-path", "reversePath"),
    ] {
        out += &format!("{label:<13} {}\n", text(shown, key));
    }
    for recipient in shown
        .get("recipients")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let attempts = recipient
            .get("attempts")
            .and_then(Value::as_u64)
            .unwrap_or_default();
        out += &format!(
            "recipient     {} {} after {attempts} attempts",
            text(recipient, "address"),
            text(recipient, "state")
        );
        for (label, key) in [
            ("reason", "reason"),
            ("upstream", "upstream"),
            ("next attempt", "nextAttempt"),
            ("reply", "reply"),
        ] {
            if let Some(value) = recipient.get(key).and_then(Value::as_str) {
                out += &format!("\n              {label}: {value}");
            }
        }
        out.push('\n');
    }
    out
}
