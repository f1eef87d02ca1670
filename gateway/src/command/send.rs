//! `posthouse-gateway send`: one test message, with the whole conversation shown.
//!
//! Speaks with the same client states as relaying does. Credentials are shown as `***`. Exit status 1 when the server
//! refuses anything on the way.

mod conversation;
mod facts;

use std::{
    io::{IsTerminal, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use lettre::message::{Mailbox as Author, header::ContentType};
use posthouse_smtp::{Mailbox, ReversePath, client::Credentials};

use conversation::{Conversation, Delivery};

/// Flags of `send`.
#[derive(Debug, Args)]
pub struct SendArguments {
    /// A binding: a folder with host, port, tls, username, password and certificates, one file each.
    #[arg(long, value_name = "DIR", required_unless_present = "server")]
    binding: Option<PathBuf>,
    /// Where to connect; with --binding, instead of its host and port.
    #[arg(long, value_name = "HOST:PORT")]
    server: Option<String>,
    /// Whether and how TLS is spoken [default: the binding's, else starttls].
    #[arg(long, value_enum)]
    tls: Option<Tls>,
    /// A PEM file of roots to trust instead of the system's.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The user name.
    #[arg(long, value_name = "U", requires = "password_file")]
    username: Option<String>,
    /// A file with the password.
    #[arg(long, value_name = "F", requires = "username")]
    password_file: Option<PathBuf>,
    /// The sender, in the envelope and in `From:`.
    #[arg(long, value_name = "A")]
    from: Mailbox,
    /// A recipient; may be given more than once.
    #[arg(long, value_name = "B", required = true)]
    to: Vec<Mailbox>,
    /// The subject.
    #[arg(long, value_name = "S", default_value = "Posthouse test message")]
    subject: String,
    /// A whole message to send as it is, header section and all; `-` is standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "subject")]
    content: Option<PathBuf>,
}

/// TLS of a test message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Tls {
    /// Without TLS.
    None,
    /// By STARTTLS, which must succeed.
    Starttls,
    /// From the first octet.
    Implicit,
}

/// Sends one message.
pub fn main(arguments: &SendArguments) -> anyhow::Result<ExitCode> {
    let delivery = Delivery {
        server: server(arguments)?,
        tls: tls(arguments)?,
        roots: roots(arguments)?,
        credentials: credentials(arguments)?,
        reverse_path: ReversePath::Mailbox(arguments.from.clone()),
        recipients: arguments.to.clone(),
        content: content(arguments)?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let mut out = std::io::stdout();
    let accepted = runtime.block_on(Conversation::new(&mut out).run(&delivery))?;
    out.flush()?;
    Ok(if accepted {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

/// A file of the binding, if a binding is given and has it.
fn bound(arguments: &SendArguments, key: &str) -> anyhow::Result<Option<String>> {
    let Some(folder) = &arguments.binding else {
        return Ok(None);
    };
    let path = folder.join(key);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && folder.is_dir() => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn server(arguments: &SendArguments) -> anyhow::Result<String> {
    if let Some(server) = &arguments.server {
        return Ok(server.clone());
    }
    match (bound(arguments, "host")?, bound(arguments, "port")?) {
        (Some(host), Some(port)) if host.contains(':') => Ok(format!("[{host}]:{port}")),
        (Some(host), Some(port)) => Ok(format!("{host}:{port}")),
        _ => bail!("the binding has no host and port"),
    }
}

fn tls(arguments: &SendArguments) -> anyhow::Result<Tls> {
    if let Some(tls) = arguments.tls {
        return Ok(tls);
    }
    match bound(arguments, "tls")?.as_deref() {
        None | Some("starttls") => Ok(Tls::Starttls),
        Some("none") => Ok(Tls::None),
        Some("implicit") => Ok(Tls::Implicit),
        Some(other) => bail!("the binding's tls must be none, starttls or implicit, is {other:?}"),
    }
}

fn roots(arguments: &SendArguments) -> anyhow::Result<Option<Vec<u8>>> {
    match &arguments.ca {
        Some(path) => Ok(Some(read(path)?)),
        None => Ok(bound(arguments, "certificates")?
            .filter(|pem| !pem.is_empty())
            .map(String::into_bytes)),
    }
}

fn credentials(arguments: &SendArguments) -> anyhow::Result<Option<Credentials>> {
    let given = match (&arguments.username, &arguments.password_file) {
        (Some(username), Some(path)) => Some((
            username.clone(),
            String::from_utf8(read(path)?).context("the password is not UTF-8")?,
        )),
        _ => bound(arguments, "username")?.zip(bound(arguments, "password")?),
    };
    Ok(given.map(|(username, password)| Credentials {
        username,
        password: password.trim_end_matches(['\r', '\n']).to_owned(),
    }))
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The message as it is sent: the given one with CRLF line endings, or one of our own.
fn content(arguments: &SendArguments) -> anyhow::Result<Vec<u8>> {
    let Some(path) = &arguments.content else {
        return composed(arguments);
    };
    let mut given = Vec::new();
    if path.as_os_str() == "-" {
        if std::io::stdin().is_terminal() {
            eprintln!("reading the message from standard input; end it with Ctrl-D");
        }
        std::io::stdin()
            .read_to_end(&mut given)
            .context("cannot read standard input")?;
    } else {
        given = read(path)?;
    }
    Ok(with_crlf(&given))
}

/// Every line ended by CRLF, whatever ended it in the file.
fn with_crlf(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + text.len() / 32);
    for line in text.split_inclusive(|&b| b == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        out.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
        out.extend_from_slice(b"\r\n");
    }
    out
}

fn composed(arguments: &SendArguments) -> anyhow::Result<Vec<u8>> {
    let author: Author = arguments
        .from
        .as_str()
        .parse()
        .context("--from cannot be written into a message")?;
    let mut builder = lettre::Message::builder()
        .from(author)
        .subject(arguments.subject.clone())
        .message_id(Some(message_id(&arguments.from)?));
    for recipient in &arguments.to {
        builder = builder.to(recipient
            .as_str()
            .parse()
            .context("--to cannot be written into a message")?);
    }
    let text = "This is a test message, sent with posthouse-gateway send.\r\n";
    let message = builder
        .header(ContentType::TEXT_PLAIN)
        .body(text.to_owned())
        .context("cannot compose the message")?;
    Ok(message.formatted())
}

/// A Message-ID in the sender's domain (RFC 5322 §3.6.4); `lettre` alone would take this machine's name.
fn message_id(from: &Mailbox) -> anyhow::Result<String> {
    let mut octets = [0; 16];
    aws_lc_rs::rand::fill(&mut octets).context("no random numbers")?;
    Ok(format!(
        "<{:032x}@{}>",
        u128::from_be_bytes(octets),
        from.domain()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_ends_with_crlf() {
        assert_eq!(with_crlf(b"a\nb\r\nc"), b"a\r\nb\r\nc\r\n");
        assert_eq!(with_crlf(b""), b"");
    }
}
