//! A provider that does exactly what a script says, connection by connection, and keeps what it heard.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ServerConfig, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::AbortHandle,
};
use tokio_rustls::TlsAcceptor;

/// One step of a script.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Says this.
    Say(String),
    /// Hears a line that begins with this.
    Hear(&'static str),
    /// Hears content up to its final dot.
    HearContent,
    /// Hears so many octets.
    HearOctets(usize),
    /// Makes a handshake.
    Secure,
    /// Closes.
    Close,
    /// Does nothing any more, and says so to the test.
    Stall,
}

pub(super) use Step::{Close, Hear, HearContent, HearOctets, Secure, Stall};

/// Says lines, each ended by CRLF.
pub(super) fn say(lines: &str) -> Step {
    Step::Say(
        lines
            .lines()
            .fold(String::new(), |all, line| all + line + "\r\n"),
    )
}

/// Makes a script say everything octet by octet.
pub(super) fn dripping(script: Vec<Step>) -> Vec<Step> {
    script
        .into_iter()
        .flat_map(|step| match step {
            Step::Say(text) => text.chars().map(|c| Step::Say(c.to_string())).collect(),
            other => vec![other],
        })
        .collect()
}

/// The steps up to EHLO's reply, offering these keywords.
pub(super) fn hello(keywords: &[&str]) -> Vec<Step> {
    [vec![say("220 provider")], ehlo(keywords)].concat()
}

/// EHLO and its reply.
pub(super) fn ehlo(keywords: &[&str]) -> Vec<Step> {
    let mut lines: Vec<&str> = vec!["provider"];
    lines.extend(keywords);
    let last = lines.len() - 1;
    let reply = lines
        .iter()
        .enumerate()
        .fold(String::new(), |all, (i, line)| {
            let separator = if i == last { ' ' } else { '-' };
            format!("{all}250{separator}{line}\n")
        });
    vec![Hear("EHLO mail.example.com"), say(&reply)]
}

/// The steps of a probe, offering PIPELINING.
pub(super) fn probe() -> Vec<Step> {
    [hello(&["PIPELINING"]), vec![Hear("NOOP"), say("250 ok")]].concat()
}

/// A probe, then a pipelined transaction with one recipient, up to what follows DATA.
pub(super) fn up_to_data(replies: &str) -> Vec<Step> {
    [
        probe(),
        vec![Hear("MAIL"), Hear("RCPT"), Hear("DATA"), say(replies)],
    ]
    .concat()
}

/// A pipelined transaction with one recipient that goes well, on an open session.
pub(super) fn taken() -> Vec<Step> {
    vec![
        Hear("MAIL"),
        Hear("RCPT"),
        Hear("DATA"),
        say("250 a\n250 b\n354 go"),
        HearContent,
        say("250 2.0.0 taken"),
    ]
}

/// A certificate with its key, and the CA that signed it.
#[derive(Clone)]
pub(super) struct Identity {
    pub(super) ca: String,
    chain: String,
    key: String,
}

impl Identity {
    /// For names and addresses, of a CA of its own.
    pub(super) fn of(names: &[&str]) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(names)
            .unwrap()
            .signed_by(&key, &issuer)
            .unwrap();
        Self {
            ca: issuer.pem(),
            chain: leaf.pem(),
            key: key.serialize_pem(),
        }
    }

    fn acceptor(&self) -> TlsAcceptor {
        let chain = CertificateDer::pem_slice_iter(self.chain.as_bytes())
            .collect::<Result<_, _>>()
            .unwrap();
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        let config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// A running provider.
pub(super) struct Provider {
    pub(super) address: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
    stalls: watch::Receiver<usize>,
    task: AbortHandle,
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Provider {
    /// Follows the first script on the first connection, the second on the second, and closes all others.
    pub(super) async fn start(scripts: Vec<Vec<Step>>) -> Self {
        Self::with(scripts, None).await
    }

    /// As `start`, with a certificate for `Secure`.
    pub(super) async fn with(scripts: Vec<Vec<Step>>, identity: Option<&Identity>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (stalled, stalls) = watch::channel(0);
        let acceptor = identity.map(Identity::acceptor);
        let record = Arc::clone(&heard);
        let task = tokio::spawn(async move {
            let mut scripts = scripts.into_iter();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                socket.set_nodelay(true).unwrap();
                let Some(script) = scripts.next() else {
                    drop(socket);
                    continue;
                };
                let (record, acceptor, stalled) =
                    (Arc::clone(&record), acceptor.clone(), stalled.clone());
                tokio::spawn(follow(socket, script, record, acceptor, stalled));
            }
        })
        .abort_handle();
        Self {
            address,
            heard,
            stalls,
            task,
        }
    }

    /// Every line heard, content as one.
    pub(super) fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    /// Waits until a script has come to its `Stall`.
    pub(super) async fn stalled(&mut self) {
        self.stalls.wait_for(|stalls| *stalls > 0).await.unwrap();
    }
}

async fn follow(
    socket: TcpStream,
    script: Vec<Step>,
    heard: Arc<Mutex<Vec<String>>>,
    acceptor: Option<TlsAcceptor>,
    stalled: watch::Sender<usize>,
) {
    let mut stream: BufReader<Box<dyn Stream>> = BufReader::new(Box::new(socket));
    let note = |what: String| heard.lock().unwrap().push(what);
    for step in script {
        let mut line = String::new();
        match step {
            Step::Say(text) => {
                if stream.write_all(text.as_bytes()).await.is_err() {
                    return note("(gone)".into());
                }
                stream.flush().await.unwrap();
            }
            Hear(expected) => {
                let _ = stream.read_line(&mut line).await;
                let line = line.trim_end().to_owned();
                let fits = line.starts_with(expected);
                note(line.clone());
                if !fits {
                    return note(format!("(expected {expected})"));
                }
            }
            HearContent => {
                let mut content = Vec::new();
                while !(content == b".\r\n" || content.ends_with(b"\r\n.\r\n")) {
                    if stream.read_until(b'\n', &mut content).await.unwrap_or(0) == 0 {
                        return note("(cut off)".into());
                    }
                }
                note(String::from_utf8_lossy(&content).into_owned());
            }
            HearOctets(count) => {
                let mut octets = vec![0; count];
                stream.read_exact(&mut octets).await.unwrap();
            }
            Secure => {
                let acceptor = acceptor.clone().unwrap();
                match acceptor.accept(stream.into_inner()).await {
                    Ok(secure) => stream = BufReader::new(Box::new(secure)),
                    Err(_) => return note("(no handshake)".into()),
                }
                note("(secure)".into());
            }
            Close => return,
            Stall => {
                stalled.send_modify(|stalls| *stalls += 1);
                std::future::pending::<()>().await;
            }
        }
    }
    // The script is over; what the other side still says is kept.
    let mut line = String::new();
    while stream.read_line(&mut line).await.unwrap_or(0) > 0 {
        note(line.trim_end().to_owned());
        line.clear();
    }
    note("(closed)".into());
}
