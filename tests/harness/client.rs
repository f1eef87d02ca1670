//! An SMTP client that says exactly what a test tells it to, byte for byte.

use std::{
    io,
    net::{SocketAddr, TcpStream},
    sync::Arc,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use rustls::ClientConfig;

use crate::wire::Wire;

/// One session with a server.
pub struct Client {
    wire: Wire,
}

/// A server's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The reply code.
    pub code: u16,
    /// The lines behind the code.
    pub lines: Vec<String>,
}

impl Reply {
    /// All of it on one line, for messages.
    pub fn text(&self) -> String {
        format!("{} {}", self.code, self.lines.join(" / "))
    }

    /// Whether an EHLO reply offers an extension.
    pub fn offers(&self, keyword: &str) -> bool {
        self.lines.iter().skip(1).any(|line| {
            line.split_ascii_whitespace()
                .next()
                .is_some_and(|word| word.eq_ignore_ascii_case(keyword))
        })
    }
}

impl Client {
    /// Connects and reads the greeting.
    pub fn connect(address: SocketAddr) -> Self {
        let client = Self::open(address);
        let mut client = client.expect("connect to the gateway");
        client.expect_reply(220);
        client
    }

    /// Connects and reads the greeting, if that works.
    pub fn try_connect(address: SocketAddr) -> io::Result<Self> {
        let mut client = Self::open(address)?;
        client.reply().map(|_| client)
    }

    /// Connects with TLS from the first octet and reads the greeting, if that works.
    pub fn try_connect_tls(
        address: SocketAddr,
        config: Arc<ClientConfig>,
        name: &str,
    ) -> io::Result<Self> {
        let mut client = Self::open(address)?;
        client.wire.start_tls(config, name)?;
        client.reply().map(|_| client)
    }

    fn open(address: SocketAddr) -> io::Result<Self> {
        let wire = Wire::new(TcpStream::connect(address)?)?;
        Ok(Self { wire })
    }

    /// Connects with TLS from the first octet and reads the greeting.
    pub fn connect_tls(address: SocketAddr, config: Arc<ClientConfig>, name: &str) -> Self {
        Self::try_connect_tls(address, config, name).expect("TLS and a greeting")
    }

    /// Sends octets as they are.
    pub fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.wire.write(bytes)
    }

    /// Reads one reply.
    pub fn reply(&mut self) -> io::Result<Reply> {
        let mut lines = Vec::new();
        loop {
            let line = String::from_utf8_lossy(&self.wire.read_line()?).into_owned();
            let broken = || io::Error::new(io::ErrorKind::UnexpectedEof, format!("{line:?}"));
            let code = line.get(..3).and_then(|code| code.parse().ok());
            let code: u16 = code.ok_or_else(broken)?;
            lines.push(line.get(4..).unwrap_or_default().trim_end().to_owned());
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(Reply { code, lines });
            }
        }
    }

    /// Reads one reply, which must have this code.
    pub fn expect_reply(&mut self, code: u16) -> Reply {
        let reply = self.reply().expect("a reply");
        assert_eq!(reply.code, code, "{}", reply.text());
        reply
    }

    /// Sends a command and reads its reply.
    pub fn command(&mut self, line: &str) -> Reply {
        self.raw(format!("{line}\r\n").as_bytes()).expect(line);
        self.reply().expect(line)
    }

    /// Sends a command whose reply must have this code.
    pub fn expect(&mut self, line: &str, code: u16) -> Reply {
        let reply = self.command(line);
        assert_eq!(reply.code, code, "{line}: {}", reply.text());
        reply
    }

    /// EHLO, which must succeed.
    pub fn hello(&mut self) -> Reply {
        self.expect("EHLO client.example", 250)
    }

    /// STARTTLS and EHLO again.
    pub fn start_tls(&mut self, config: Arc<ClientConfig>, name: &str) -> Reply {
        self.expect("STARTTLS", 220);
        self.wire.start_tls(config, name).expect("TLS");
        self.hello()
    }

    /// AUTH PLAIN with its initial response; gives back the reply.
    pub fn auth(&mut self, username: &str, password: &str) -> Reply {
        let response = BASE64_STANDARD.encode(format!("\0{username}\0{password}"));
        self.command(&format!("AUTH PLAIN {response}"))
    }

    /// EHLO, STARTTLS, AUTH PLAIN and a whole transaction, at a server that may end the session at any moment; the reply
    /// to the content.
    pub fn try_send(
        &mut self,
        (config, name): (Arc<ClientConfig>, &str),
        (username, password): (&str, &str),
        from: &str,
        to: &str,
        content: &str,
    ) -> io::Result<Reply> {
        self.try_commands(&["EHLO client.example", "STARTTLS"])?;
        self.wire.start_tls(config, name)?;
        let response = BASE64_STANDARD.encode(format!("\0{username}\0{password}"));
        self.try_commands(&[
            "EHLO client.example",
            &format!("AUTH PLAIN {response}"),
            &format!("MAIL FROM:<{from}>"),
            &format!("RCPT TO:<{to}>"),
            "DATA",
        ])?;
        self.raw(format!("{content}\r\n.\r\n").as_bytes())?;
        self.reply()
    }

    fn try_commands(&mut self, lines: &[&str]) -> io::Result<()> {
        for line in lines {
            self.raw(format!("{line}\r\n").as_bytes())?;
            let reply = self.reply()?;
            if reply.code >= 400 {
                return Err(io::Error::other(format!("{line}: {}", reply.text())));
            }
        }
        Ok(())
    }

    /// MAIL, RCPT and DATA, each of which must succeed.
    pub fn begin(&mut self, from: &str, recipients: &[&str]) {
        self.expect(&format!("MAIL FROM:<{from}>"), 250);
        for recipient in recipients {
            self.expect(&format!("RCPT TO:<{recipient}>"), 250);
        }
        self.expect("DATA", 354);
    }

    /// A whole transaction; gives back the reply to the content. `content` must not need dot-stuffing
    /// and has no CRLF at its end.
    pub fn send(&mut self, from: &str, recipients: &[&str], content: &str) -> Reply {
        self.begin(from, recipients);
        self.raw(content.as_bytes()).expect("content");
        self.raw(b"\r\n.\r\n").expect("the final dot");
        self.reply().expect("a reply to the content")
    }
}

/// A small message from `from` whose subject is `subject`.
pub fn message(from: &str, subject: &str) -> String {
    format!(
        "From: <{from}>\r\nTo: <someone@customer.example>\r\nSubject: {subject}\r\n\
         Date: Sun, 22 Nov 2026 10:00:00 +0000\r\nMessage-ID: <{subject}@test.example>\r\n\r\nHello."
    )
}
