//! One session of the provider: the server's side of RFC 5321, as small as a test needs it.

use std::{io, net::TcpStream, thread};

use base64::{Engine, prelude::BASE64_STANDARD};

use super::{Command, Exchange, Mail, ProviderTls, Shared, Step, Turn};
use crate::wire::Wire;

struct Session<'a> {
    wire: Wire,
    shared: &'a Shared,
    connection: usize,
    user: Option<String>,
    mail: Option<Mail>,
}

/// Serves one connection to its end. What a peer does is on record, so how a session ends is not reported.
pub(super) fn serve(socket: TcpStream, shared: &Shared) {
    let Ok(wire) = Wire::recorded(socket, shared.octets()) else {
        return;
    };
    let mut session = Session {
        wire,
        shared,
        connection: shared.connected(),
        user: None,
        mail: None,
    };
    let _ = session.run();
    session.wire.close();
}

impl Session<'_> {
    fn run(&mut self) -> io::Result<()> {
        if let ProviderTls::Implicit(identity) = &self.shared.script().tls {
            self.wire.accept_tls(identity.server_config())?;
        }
        self.answer(Step::Connect, "", "220 provider.example ESMTP")?;
        loop {
            let line = self.wire.read_line()?;
            if line.is_empty() {
                return Ok(());
            }
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            self.shared.said(Command {
                connection: self.connection,
                secure: self.wire.is_secure(),
                text: line.clone(),
            });
            self.command(&line)?;
        }
    }

    fn command(&mut self, line: &str) -> io::Result<()> {
        let upper = line.to_uppercase();
        match upper.split(' ').next().unwrap_or_default() {
            "EHLO" | "HELO" => {
                self.mail = None;
                let hello = self.offer();
                self.answer(Step::Hello, line, &hello).map(drop)
            }
            "STARTTLS" => self.start_tls(line),
            "AUTH" => self.authenticate(line),
            "MAIL" => self.begin(line),
            "RCPT" => self.recipient(line),
            "DATA" => self.content(line),
            "RSET" => {
                self.mail = None;
                self.answer(Step::Other, line, "250 2.0.0 Ok").map(drop)
            }
            "NOOP" => self.answer(Step::Other, line, "250 2.0.0 Ok").map(drop),
            "QUIT" => {
                self.answer(Step::Other, line, "221 2.0.0 Bye")?;
                Err(io::ErrorKind::ConnectionAborted.into())
            }
            _ => self.answer(Step::Other, line, "500 5.5.2 What?").map(drop),
        }
    }

    fn offer(&self) -> String {
        let script = self.shared.script();
        let mut lines = vec!["provider.example".to_owned()];
        lines.extend(script.extensions.iter().cloned());
        if matches!(script.tls, ProviderTls::StartTls(_)) && !self.wire.is_secure() {
            lines.push("STARTTLS".to_owned());
        }
        if script.user.is_some() {
            lines.push("AUTH PLAIN LOGIN".to_owned());
        }
        let last = lines.len() - 1;
        let marked = |(i, line)| format!("250{}{line}", if i == last { ' ' } else { '-' });
        let lines: Vec<String> = lines.iter().enumerate().map(marked).collect();
        lines.join("\r\n")
    }

    fn start_tls(&mut self, line: &str) -> io::Result<()> {
        let script = self.shared.script();
        let ProviderTls::StartTls(identity) = &script.tls else {
            return self
                .answer(Step::StartTls, line, "502 5.5.1 No TLS")
                .map(drop);
        };
        if self.answer(Step::StartTls, line, "220 2.0.0 Go ahead")? {
            self.wire.accept_tls(identity.server_config())?;
        }
        Ok(())
    }

    fn authenticate(&mut self, line: &str) -> io::Result<()> {
        let script = self.shared.script();
        let mut words = line.split(' ').skip(1);
        let mechanism = words.next().unwrap_or_default().to_uppercase();
        let initial = words.next().map(str::to_owned);
        let given = if mechanism == "LOGIN" {
            let name = self.challenge(initial, "VXNlcm5hbWU6")?;
            (name, self.challenge(None, "UGFzc3dvcmQ6")?)
        } else {
            let response = self.challenge(initial, "")?;
            let mut parts = response.split('\0').skip(1).map(str::to_owned);
            let name = parts.next().unwrap_or_default();
            (name, parts.next().unwrap_or_default())
        };
        let right = script.user.as_ref() == Some(&given);
        let usual = if right {
            "235 2.7.0 Welcome"
        } else {
            "535 5.7.8 Wrong user name or password"
        };
        if self.answer(Step::Auth, line, usual)? && right {
            self.user = Some(given.0);
        }
        Ok(())
    }

    fn challenge(&mut self, initial: Option<String>, prompt: &str) -> io::Result<String> {
        let response = if let Some(initial) = initial {
            initial
        } else {
            self.wire.write(format!("334 {prompt}\r\n").as_bytes())?;
            String::from_utf8_lossy(&self.wire.read_line()?).into_owned()
        };
        let bytes = BASE64_STANDARD.decode(response.trim()).unwrap_or_default();
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn begin(&mut self, line: &str) -> io::Result<()> {
        if self.shared.script().user.is_some() && self.user.is_none() {
            return self
                .answer(Step::Mail, line, "530 5.7.0 Log in first")
                .map(drop);
        }
        let (from, parameters) = path(line);
        if self.answer(Step::Mail, line, "250 2.1.0 Ok")? {
            self.mail = Some(Mail {
                connection: self.connection,
                secure: self.wire.is_secure(),
                user: self.user.clone(),
                from,
                parameters,
                ..Mail::default()
            });
        }
        Ok(())
    }

    fn recipient(&mut self, line: &str) -> io::Result<()> {
        if self.mail.is_none() {
            return self
                .answer(Step::Rcpt, line, "503 5.5.1 MAIL first")
                .map(drop);
        }
        let taken = self.answer(Step::Rcpt, line, "250 2.1.5 Ok")?;
        if let Some(mail) = self.mail.as_mut().filter(|_| taken) {
            mail.recipients.push(path(line).0);
        }
        Ok(())
    }

    fn content(&mut self, line: &str) -> io::Result<()> {
        let usual = match &self.mail {
            Some(mail) if !mail.recipients.is_empty() => "354 Go ahead",
            _ => "554 5.5.1 No valid recipients",
        };
        if !self.answer(Step::Data, line, usual)? {
            return Ok(());
        }
        // Without a recipient only a script leads here, as servers do that say 354 to everything.
        let mut mail = self.mail.take().unwrap_or_default();
        self.read_content(&mut mail)?;
        let subject = mail.subject();
        // On record before the reply is written: who has read the reply finds the message here.
        let turn = self.turn(Step::Final, &subject);
        if turn.accepts() {
            self.shared.took(mail);
        }
        self.say(turn, "250 2.0.0 Taken").map(drop)
    }

    /// A dot alone between any two line ends is the end: lax on purpose.
    fn read_content(&mut self, mail: &mut Mail) -> io::Result<()> {
        let keep = self.shared.script().keep;
        let mut is_first = true;
        loop {
            let line = self.wire.read_line()?;
            if line.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if std::mem::take(&mut is_first) {
                self.interrupt(&line)?;
            }
            let alone = line == b".\r\n" || line == b".\n";
            if alone || line.windows(3).any(|three| three == b"\r.\r") {
                return Ok(());
            }
            let text = line.strip_prefix(b".").unwrap_or(&line);
            mail.octets += text.len() as u64;
            let room = keep.saturating_sub(mail.content.len()).min(text.len());
            mail.content.extend_from_slice(&text[..room]);
        }
    }

    /// What a script does while content comes.
    fn interrupt(&mut self, line: &[u8]) -> io::Result<()> {
        let line = String::from_utf8_lossy(line).trim_end().to_owned();
        let turn = self.turn(Step::Content, &line);
        if turn == Turn::Usual {
            return Ok(());
        }
        self.say(turn, "")?;
        while !self.wire.read_line()?.is_empty() {}
        Err(io::ErrorKind::UnexpectedEof.into())
    }

    fn turn(&self, step: Step, line: &str) -> Turn {
        self.shared.script().turn(&Exchange {
            step,
            line,
            connection: self.connection,
        })
    }

    /// Answers by the script, or as usual; whether the step was accepted.
    fn answer(&mut self, step: Step, line: &str, usual: &str) -> io::Result<bool> {
        let turn = self.turn(step, line);
        self.say(turn, usual)
    }

    fn say(&mut self, turn: Turn, usual: &str) -> io::Result<bool> {
        let (reply, close) = match turn {
            Turn::Usual => (usual.to_owned(), false),
            Turn::Reply(reply) => (reply, false),
            Turn::ReplyAndClose(reply) => (reply, true),
            Turn::Close => return Err(io::ErrorKind::ConnectionAborted.into()),
            Turn::Stall => loop {
                thread::park();
            },
        };
        let octets = format!("{reply}\r\n").into_bytes();
        let part = if self.shared.script().drips {
            1
        } else {
            octets.len()
        };
        for part in octets.chunks(part) {
            self.wire.write(part)?;
        }
        if close {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(reply.starts_with(['2', '3']))
    }
}

/// The path between the angle brackets, and the parameters behind it.
fn path(line: &str) -> (String, String) {
    let inner = line.split_once('<').map_or("", |(_, rest)| rest);
    let (path, parameters) = inner.split_once('>').unwrap_or((inner, ""));
    (path.to_owned(), parameters.trim().to_owned())
}
