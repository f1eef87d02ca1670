//! The conversation of one test message, shown line by line.

use std::{io::Write, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use posthouse_smtp::{
    Mailbox, Reply, ReversePath,
    client::{
        Answer, Credentials, End, Ending, Envelope, EnvelopeRecipient, Event, Opening,
        OpeningStage, Plan, Ready, Security, Step,
    },
    fold::ContentWriter,
    reply::stream::ReplyStream,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

use super::{Tls, facts::Facts};
use crate::outbound::tls;

/// A person waits in front of it; the long time-outs of relaying would look like a hang.
const TIMEOUT: Duration = Duration::from_mins(1);

/// Octets that are written within one time-out, so that a slow connection is not taken for a dead one.
const PIECE: usize = 16 << 10;

/// What is sent, and how.
pub(super) struct Delivery {
    pub(super) server: String,
    pub(super) tls: Tls,
    pub(super) roots: Option<Vec<u8>>,
    pub(super) credentials: Option<Credentials>,
    pub(super) reverse_path: ReversePath,
    pub(super) recipients: Vec<Mailbox>,
    pub(super) content: Vec<u8>,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Shows what is said.
pub(super) struct Conversation<'a> {
    out: &'a mut dyn Write,
    replies: ReplyStream,
    unread: Vec<u8>,
    patience: Duration,
}

impl<'a> Conversation<'a> {
    pub(super) fn new(out: &'a mut dyn Write) -> Self {
        Self {
            out,
            replies: ReplyStream::default(),
            unread: Vec::new(),
            patience: TIMEOUT,
        }
    }

    /// Whether every recipient was accepted.
    pub(super) async fn run(mut self, delivery: &Delivery) -> anyhow::Result<bool> {
        let host = delivery
            .server
            .rsplit_once(':')
            .map(|(host, _)| host.trim_matches(['[', ']']))
            .context("the server must be HOST:PORT")?;
        let connecting = tokio::time::timeout(self.patience, TcpStream::connect(&delivery.server));
        let tcp = connecting
            .await
            .context("no connection within a minute")?
            .with_context(|| format!("cannot connect to {}", delivery.server))?;
        writeln!(
            self.out,
            "* connected to {} ({})",
            delivery.server,
            tcp.peer_addr()?
        )?;
        let loopback = tcp.peer_addr()?.ip().is_loopback();
        let security = match delivery.tls {
            Tls::None if loopback => Security::ClearToLoopback,
            Tls::None => Security::Clear,
            Tls::Starttls => Security::StartTls,
            Tls::Implicit => Security::Implicit,
        };
        let mut stream: Box<dyn Stream> = Box::new(tcp);
        if security == Security::Implicit {
            stream = self.secure(stream, host, delivery).await?;
        }
        let plan = Plan {
            hostname: "localhost.localdomain".to_owned(),
            security,
            credentials: delivery.credentials.clone(),
        };
        let Some((mut stream, ready)) = self.open(stream, host, plan, delivery).await? else {
            return Ok(false);
        };
        let end = self.transaction(&mut stream, &ready, delivery).await?;
        self.tell(&mut stream, b"QUIT\r\n", Shown::Whole).await?;
        self.reply(&mut stream).await?;
        let all = end.answers.iter().all(|answer| *answer == Answer::Accepted);
        Ok(all && matches!(end.ending, Ending::Relayed(_)))
    }

    async fn open(
        &mut self,
        mut stream: Box<dyn Stream>,
        host: &str,
        plan: Plan,
        delivery: &Delivery,
    ) -> anyhow::Result<Option<(Box<dyn Stream>, Ready)>> {
        let mut opening = Opening::new(plan);
        let mut reply = self.reply(&mut stream).await?;
        loop {
            match opening.on(reply) {
                Step::Send(next, octets) => {
                    opening = next;
                    let secret = opening.stage() == OpeningStage::Authentication;
                    let shown = if secret { Shown::Secret } else { Shown::Whole };
                    self.tell(&mut stream, &octets, shown).await?;
                }
                Step::Secure(securing) => {
                    if !self.unread.is_empty() {
                        bail!(
                            "the server sent more before TLS began; nothing of it can be trusted"
                        );
                    }
                    stream = self.secure(stream, host, delivery).await?;
                    let Step::Send(next, octets) = securing.done() else {
                        bail!("unexpected end of the handshake")
                    };
                    opening = next;
                    self.tell(&mut stream, &octets, Shown::Whole).await?;
                }
                Step::Ready(ready) => return Ok(Some((stream, ready))),
                Step::Failed(failure) => {
                    writeln!(self.out, "* refused: {failure}")?;
                    return Ok(None);
                }
            }
            reply = self.reply(&mut stream).await?;
        }
    }

    async fn secure(
        &mut self,
        stream: Box<dyn Stream>,
        host: &str,
        delivery: &Delivery,
    ) -> anyhow::Result<Box<dyn Stream>> {
        let roots = match &delivery.roots {
            Some(pem) => tls::roots_of(pem)
                .map_err(|problem| anyhow::anyhow!("the file of roots {problem}"))?,
            None => tls::system_roots(),
        };
        let config = tls::client_config(Arc::new(roots))?;
        let name = rustls_pki_types::ServerName::try_from(host.to_owned())
            .context("the host is not a name that a certificate can have")?;
        let handshake = tokio_rustls::TlsConnector::from(config).connect(name, stream);
        let secured = tokio::time::timeout(self.patience, handshake)
            .await
            .context("no TLS handshake within a minute")?
            .context("TLS failed")?;
        let version = secured
            .get_ref()
            .1
            .protocol_version()
            .map_or("TLS", |version| version.as_str().unwrap_or("TLS"));
        writeln!(self.out, "* {version}, certificate verified for {host}")?;
        Ok(Box::new(secured))
    }

    async fn transaction(
        &mut self,
        stream: &mut Box<dyn Stream>,
        ready: &Ready,
        delivery: &Delivery,
    ) -> anyhow::Result<End> {
        let facts = Facts::of(&delivery.content);
        let envelope = Envelope {
            reverse_path: &delivery.reverse_path,
            size: delivery.content.len() as u64,
            body: facts.body,
            utf8: facts.header_utf8
                || !delivery.recipients.iter().all(Mailbox::is_ascii)
                || !delivery.reverse_path.as_str().is_ascii(),
            envid: None,
            ret: None,
            recipients: delivery
                .recipients
                .iter()
                .map(|forward_path| EnvelopeRecipient {
                    forward_path,
                    notify: None,
                    orcpt: None,
                })
                .collect(),
        };
        let (mut transaction, octets) = ready.begin(&envelope);
        self.tell(stream, &octets, Shown::Whole).await?;
        let sending = loop {
            match transaction.on(self.reply(stream).await?) {
                Event::Wait(next) => transaction = next,
                Event::Send(next, octets) => {
                    transaction = next;
                    self.tell(stream, &octets, Shown::Whole).await?;
                }
                Event::Content(sending) => break sending,
                Event::End(end) => return Ok(end),
            }
        };
        let mut octets = Vec::new();
        let mut writer = ContentWriter::new(facts.lines);
        writer.write(&delivery.content, &mut octets);
        writer.finish(&mut octets);
        writeln!(self.out, "> … {} octets of content", delivery.content.len())?;
        self.say(b".\r\n", Shown::Whole)?;
        let confirming = sending.finish();
        self.write(stream, &octets).await?;
        Ok(confirming.on(self.reply(stream).await?))
    }

    /// Shows a command and sends it.
    async fn tell(
        &mut self,
        stream: &mut Box<dyn Stream>,
        octets: &[u8],
        shown: Shown,
    ) -> anyhow::Result<()> {
        self.say(octets, shown)?;
        self.write(stream, octets).await
    }

    /// Sends octets; a server that does not take them is not waited for.
    async fn write(&self, stream: &mut Box<dyn Stream>, octets: &[u8]) -> anyhow::Result<()> {
        for piece in octets.chunks(PIECE) {
            let writing = async {
                stream.write_all(piece).await?;
                stream.flush().await
            };
            tokio::time::timeout(self.patience, writing)
                .await
                .context("the server takes nothing any more")?
                .context("the connection failed")?;
        }
        Ok(())
    }

    async fn reply(&mut self, stream: &mut Box<dyn Stream>) -> anyhow::Result<Reply> {
        loop {
            let mut unread = self.unread.as_slice();
            let reply = self.replies.next(&mut unread)?;
            self.unread = unread.to_vec();
            if let Some(reply) = reply {
                return self.show(reply);
            }
            let mut buffer = [0; 4096];
            let reading = tokio::time::timeout(self.patience, stream.read(&mut buffer));
            let count = reading
                .await
                .context("no reply within a minute")?
                .context("the connection failed")?;
            if count == 0 {
                bail!("the server closed the connection");
            }
            self.unread
                .extend_from_slice(buffer.get(..count).unwrap_or_default());
        }
    }

    fn show(&mut self, reply: Reply) -> anyhow::Result<Reply> {
        let mut octets = Vec::new();
        reply.write_to(&mut octets);
        for line in String::from_utf8_lossy(&octets).lines() {
            writeln!(self.out, "< {line}")?;
        }
        Ok(reply)
    }

    fn say(&mut self, octets: &[u8], shown: Shown) -> anyhow::Result<()> {
        for line in String::from_utf8_lossy(octets).lines() {
            match (
                shown,
                line.strip_prefix("AUTH ")
                    .and_then(|rest| rest.split(' ').next()),
            ) {
                (Shown::Whole, _) => writeln!(self.out, "> {line}")?,
                (Shown::Secret, Some(mechanism)) => writeln!(self.out, "> AUTH {mechanism} ***")?,
                (Shown::Secret, None) => writeln!(self.out, "> ***")?,
            }
        }
        Ok(())
    }
}

/// How a line of ours is shown.
#[derive(Clone, Copy)]
enum Shown {
    Whole,
    Secret,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Replies to a whole transaction, said ahead.
    const REPLIES: &[u8] = b"220 x\r\n250-x\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n\
        250 mail\r\n250 rcpt\r\n354 go\r\n250 taken\r\n";

    fn delivery(content: Vec<u8>) -> Delivery {
        Delivery {
            server: String::new(),
            tls: Tls::None,
            roots: None,
            credentials: None,
            reverse_path: ReversePath::parse("a@b.example").unwrap(),
            recipients: vec![Mailbox::parse("c@d.example").unwrap()],
            content,
        }
    }

    /// Sends content over a connection that holds `capacity` octets; gives what arrived.
    async fn sent(content: Vec<u8>, capacity: usize, patience: Duration) -> anyhow::Result<String> {
        let (near, mut far) = tokio::io::duplex(capacity);
        far.write_all(REPLIES).await?;
        let mut out = Vec::new();
        let mut conversation = Conversation::new(&mut out);
        conversation.patience = patience;
        let plan = Plan {
            hostname: "me".to_owned(),
            security: Security::ClearToLoopback,
            credentials: None,
        };
        let delivery = delivery(content);
        let opened = conversation.open(Box::new(near), "x", plan, &delivery);
        let (mut stream, ready) = opened.await?.context("refused")?;
        let end = conversation
            .transaction(&mut stream, &ready, &delivery)
            .await?;
        assert!(matches!(end.ending, Ending::Relayed(_)));
        drop(stream);
        let mut heard = String::new();
        far.read_to_string(&mut heard).await?;
        Ok(heard)
    }

    #[tokio::test]
    async fn a_message_is_sent_as_relaying_would() {
        let long = "x".repeat(1200);
        for (header, parameters, folded) in [
            ("Subject: x", "", true),
            ("Subject: ö", " BODY=8BITMIME SMTPUTF8", true),
            ("DKIM-Signature: v=1", "", false),
        ] {
            let content = format!("{header}\r\n\r\n{long}\r\n");
            let heard = sent(content.clone().into(), 1 << 16, TIMEOUT)
                .await
                .unwrap();
            let mail = format!("\r\nMAIL FROM:<a@b.example>{parameters}\r\n");
            assert!(heard.contains(&mail), "{heard}");
            assert_eq!(heard.contains(&long), !folded, "{heard}");
            assert_eq!(heard.contains(&content), !folded, "{heard}");
        }
    }

    #[tokio::test]
    async fn a_server_that_takes_nothing_is_not_waited_for() {
        let content = b"0123456789abcd\r\n".repeat(1024);
        let error = sent(content, 1024, Duration::from_millis(20)).await;
        assert_eq!(
            error.unwrap_err().to_string(),
            "the server takes nothing any more"
        );
    }
}
