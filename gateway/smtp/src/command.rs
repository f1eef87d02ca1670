//! Commands (RFC 5321 §4.1, RFC 3207, RFC 4954): one line in, one value out.
//!
//! Lenient where real clients need it and nothing can be misread: lower case, trailing spaces, one space after
//! `FROM:` and `TO:`, missing angle brackets, any printable EHLO argument. Never lenient about control characters,
//! source routes (RFC 5321 appendix C lets a server refuse them) and anything after a path that is no parameter.

use crate::{
    Mailbox, ReversePath,
    parameter::{MailParameters, ParameterError, recipient_parameters},
};

/// One command. The texts are parts of its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// EHLO and the client's name for itself.
    Ehlo(&'a str),
    /// HELO and the client's name for itself.
    Helo(&'a str),
    /// STARTTLS (RFC 3207).
    StartTls,
    /// AUTH (RFC 4954).
    Auth {
        /// As it came, in any case.
        mechanism: &'a str,
        /// The initial response, in Base64; `=` is an empty one.
        initial: Option<&'a str>,
    },
    /// MAIL.
    Mail(ReversePath, MailParameters),
    /// RCPT.
    Rcpt(Mailbox),
    /// DATA.
    Data,
    /// RSET.
    Rset,
    /// NOOP, with any argument.
    Noop,
    /// QUIT.
    Quit,
    /// VRFY, with any argument.
    Vrfy,
    /// HELP, with any argument.
    Help,
}

/// Why a line is no command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Not UTF-8, or with control characters (500).
    #[error("the line holds octets that are not text")]
    NotText,
    /// A verb nobody knows (500).
    #[error("command not recognized")]
    Unrecognized,
    /// A request of another protocol: somebody lets a browser or a web server talk to us.
    #[error("the line is a request of HTTP")]
    Http,
    /// A verb we know and do not offer (502).
    #[error("command not implemented")]
    NotImplemented,
    /// A known verb with wrong arguments (501).
    #[error("syntax error in the arguments")]
    Arguments,
    /// MAIL with a path that is no address (501 5.1.7).
    #[error("the sender address is not valid")]
    ReversePath,
    /// RCPT with a path that is no address (501 5.1.3).
    #[error("the recipient address is not valid")]
    ForwardPath,
    /// Parameters of MAIL or RCPT.
    #[error(transparent)]
    Parameters(#[from] ParameterError),
}

impl<'a> Command<'a> {
    /// Reads a line without its CRLF.
    pub fn parse(line: &'a [u8]) -> Result<Self, CommandError> {
        let line = std::str::from_utf8(line).map_err(|_| CommandError::NotText)?;
        if line.chars().any(|c| c.is_control() && c != '\t') {
            return Err(CommandError::NotText);
        }
        let line = line.trim_end_matches([' ', '\t']);
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let is = |name: &str| verb.eq_ignore_ascii_case(name);
        match verb.len() {
            4 if is("MAIL") => mail(rest),
            4 if is("RCPT") => rcpt(rest),
            4 if is("DATA") => alone(rest, Self::Data),
            4 if is("EHLO") => Ok(Self::Ehlo(name(rest)?)),
            4 if is("HELO") => Ok(Self::Helo(name(rest)?)),
            4 if is("AUTH") => auth(rest),
            4 if is("RSET") => alone(rest, Self::Rset),
            4 if is("QUIT") => alone(rest, Self::Quit),
            // NOOP, VRFY and HELP answer the same whatever they are asked.
            4 if is("NOOP") => Ok(Self::Noop),
            4 if is("VRFY") => Ok(Self::Vrfy),
            4 if is("HELP") => Ok(Self::Help),
            4 if ["EXPN", "BDAT", "ETRN", "TURN", "SEND", "SOML", "SAML"]
                .into_iter()
                .any(is) =>
            {
                Err(CommandError::NotImplemented)
            }
            8 if is("STARTTLS") => alone(rest, Self::StartTls),
            _ if [
                "GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH", "CONNECT", "PRI",
            ]
            .contains(&verb) =>
            {
                Err(CommandError::Http)
            }
            _ => Err(CommandError::Unrecognized),
        }
    }
}

fn alone<'a>(rest: &str, command: Command<'a>) -> Result<Command<'a>, CommandError> {
    if rest.is_empty() {
        Ok(command)
    } else {
        Err(CommandError::Arguments)
    }
}

/// The argument of EHLO and HELO: whatever a client calls itself, as long as it is something.
fn name(rest: &str) -> Result<&str, CommandError> {
    let name = rest.trim_matches([' ', '\t']);
    if name.is_empty() || name.contains('\t') {
        Err(CommandError::Arguments)
    } else {
        Ok(name)
    }
}

fn auth(rest: &str) -> Result<Command<'_>, CommandError> {
    let mut words = rest.split(' ').filter(|word| !word.is_empty());
    match (words.next(), words.next(), words.next()) {
        (Some(mechanism), initial, None) => Ok(Command::Auth { mechanism, initial }),
        _ => Err(CommandError::Arguments),
    }
}

fn mail(rest: &str) -> Result<Command<'_>, CommandError> {
    let (path, parameters) = path(keyword(rest, "FROM:")?).ok_or(CommandError::ReversePath)?;
    let path = match path {
        Path::Bracketed(text) => ReversePath::parse(text),
        Path::Bare(text) => Mailbox::parse(text).map(ReversePath::Mailbox),
    };
    let path = path.map_err(|_| CommandError::ReversePath)?;
    Ok(Command::Mail(path, MailParameters::parse(parameters)?))
}

fn rcpt(rest: &str) -> Result<Command<'_>, CommandError> {
    let (path, parameters) = path(keyword(rest, "TO:")?).ok_or(CommandError::ForwardPath)?;
    let (Path::Bracketed(text) | Path::Bare(text)) = path;
    let mailbox = Mailbox::parse(text).map_err(|_| CommandError::ForwardPath)?;
    recipient_parameters(parameters)?;
    Ok(Command::Rcpt(mailbox))
}

/// What follows `FROM:` or `TO:`, without spaces before it.
fn keyword<'a>(rest: &'a str, keyword: &str) -> Result<&'a str, CommandError> {
    let rest = rest.trim_start_matches(' ');
    match rest.split_at_checked(keyword.len()) {
        Some((found, path)) if found.eq_ignore_ascii_case(keyword) => {
            Ok(path.trim_start_matches(' '))
        }
        _ => Err(CommandError::Arguments),
    }
}

/// A path as it was written.
enum Path<'a> {
    /// Between angle brackets; may be empty.
    Bracketed(&'a str),
    /// Without; never the null reverse-path.
    Bare(&'a str),
}

/// Splits a path from the parameters after it. A quoted local part may hold spaces and brackets.
fn path(text: &str) -> Option<(Path<'_>, &str)> {
    let bracketed = text.starts_with('<');
    let end = unquoted(text, if bracketed { '>' } else { ' ' });
    if !bracketed {
        let (path, rest) = text.split_at_checked(end.unwrap_or(text.len()))?;
        return Some((Path::Bare(path), rest));
    }
    let path = text.get(1..end?)?;
    let rest = text.get(end? + 1..)?;
    (rest.is_empty() || rest.starts_with(' ')).then_some((Path::Bracketed(path), rest))
}

/// Where a character first stands outside a quoted string.
fn unquoted(text: &str, wanted: char) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    text.char_indices().find_map(|(i, c)| {
        if escaped {
            escaped = false;
        } else if quoted && c == '\\' {
            escaped = true;
        } else if c == '"' {
            quoted = !quoted;
        } else if c == wanted && !quoted {
            return Some(i);
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command<'_>, CommandError> {
        Command::parse(line.as_bytes())
    }

    fn mailbox(text: &str) -> Mailbox {
        Mailbox::parse(text).unwrap()
    }

    fn from(text: &str) -> Command<'static> {
        Command::Mail(ReversePath::parse(text).unwrap(), MailParameters::default())
    }

    #[test]
    fn commands_are_read_in_the_forms_real_clients_use() {
        for (line, expected) in [
            ("EHLO client.example", Command::Ehlo("client.example")),
            ("ehlo  [IPv6:::1] ", Command::Ehlo("[IPv6:::1]")),
            ("HELO my pc_1", Command::Helo("my pc_1")),
            ("starttls ", Command::StartTls),
            ("MAIL FROM:<a@b.example>", from("a@b.example")),
            ("mail from: <a@b.example>  ", from("a@b.example")),
            ("MAIL FROM:a@b.example", from("a@b.example")),
            ("MAIL FROM:<>", from("")),
            ("MAIL FROM:<\"a> b\"@c.example>", from("\"a> b\"@c.example")),
            (
                "MAIL FROM:<\"a\\\">\"@c.example>",
                from("\"a\\\">\"@c.example"),
            ),
            (
                "RCPT TO:<a@b.example>",
                Command::Rcpt(mailbox("a@b.example")),
            ),
            (
                "rcpt to: a@b.example",
                Command::Rcpt(mailbox("a@b.example")),
            ),
            (
                "RCPT TO:<jörg@b.example>",
                Command::Rcpt(mailbox("jörg@b.example")),
            ),
            ("DATA", Command::Data),
            ("RSET", Command::Rset),
            ("NOOP anything", Command::Noop),
            ("VRFY someone", Command::Vrfy),
            ("HELP", Command::Help),
            ("QUIT", Command::Quit),
            (
                "AUTH plain AGEAYg==",
                Command::Auth {
                    mechanism: "plain",
                    initial: Some("AGEAYg=="),
                },
            ),
            (
                "AUTH LOGIN",
                Command::Auth {
                    mechanism: "LOGIN",
                    initial: None,
                },
            ),
        ] {
            assert_eq!(parse(line), Ok(expected), "{line}");
        }
        let Ok(Command::Mail(_, parameters)) = parse("MAIL FROM:a@b.example SIZE=5 BODY=7BIT")
        else {
            panic!("not MAIL");
        };
        assert_eq!(parameters.size, Some(5));
    }

    #[test]
    fn what_could_be_misread_is_refused() {
        for (line, expected) in [
            ("", CommandError::Unrecognized),
            ("FOO", CommandError::Unrecognized),
            ("GET / HTTP/1.1", CommandError::Http),
            ("POST /mail HTTP/1.1", CommandError::Http),
            ("NOOP\0", CommandError::NotText),
            ("MAIL FROM:<a@b.example>\rRCPT", CommandError::NotText),
            ("BDAT 10 LAST", CommandError::NotImplemented),
            ("EHLO", CommandError::Arguments),
            ("EHLO   ", CommandError::Arguments),
            ("EHLO a\tb", CommandError::Arguments),
            ("DATA now", CommandError::Arguments),
            ("STARTTLS x", CommandError::Arguments),
            ("AUTH", CommandError::Arguments),
            ("AUTH PLAIN a b", CommandError::Arguments),
            ("MAIL <a@b.example>", CommandError::Arguments),
            ("MAIL FROM:", CommandError::ReversePath),
            ("MAIL FROM:<a@b.example", CommandError::ReversePath),
            ("MAIL FROM:<a@b.example>>", CommandError::ReversePath),
            ("MAIL FROM:<a@b.example>SIZE=1", CommandError::ReversePath),
            ("MAIL FROM:<@x,@y:a@b.example>", CommandError::ReversePath),
            (
                "MAIL FROM:<a@b.example><c@d.example>",
                CommandError::ReversePath,
            ),
            (
                "MAIL FROM:a@b.example,c@d.example",
                CommandError::ReversePath,
            ),
            ("MAIL FROM:<a\t@b.example>", CommandError::ReversePath),
            ("RCPT TO:<>", CommandError::ForwardPath),
            ("RCPT TO:", CommandError::ForwardPath),
            ("RCPT TO:<postmaster>", CommandError::ForwardPath),
            ("RCPT TO:<@x:a@b.example>", CommandError::ForwardPath),
            (
                "RCPT TO:<a@b.example> <c@d.example>",
                CommandError::Parameters(ParameterError::Syntax),
            ),
            (
                "RCPT TO:<a@b.example> NOTIFY=NEVER",
                CommandError::Parameters(ParameterError::Unknown),
            ),
            (
                "MAIL FROM:<a@b.example> FOO=1",
                CommandError::Parameters(ParameterError::Unknown),
            ),
        ] {
            assert_eq!(parse(line), Err(expected), "{line:?}");
        }
        assert_eq!(Command::parse(b"NOOP \xff"), Err(CommandError::NotText));
    }
}
