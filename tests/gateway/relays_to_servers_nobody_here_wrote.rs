//! smtp-sink, aiosmtpd and a real Postfix take our mail: in clear, with STARTTLS and with AUTH.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
};

use posthouse_config::document::UpstreamTlsMode;
use posthouse_tests::{Authority, Postfix, Site, client::message, peer, provider::Absent, wait};
use tempfile::TempDir;

const FROM: &str = "orders@shop.example";
const TO: &str = "someone@customer.example";

/// A server that ends with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended before.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait_until_it_answers(port: u16) {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    wait::until("the server answers", wait::SOON, || {
        TcpStream::connect(address).ok()
    });
}

#[test]
fn smtp_sink() {
    let Some(program) = peer::program("smtp-sink") else {
        return;
    };
    let reserved = Absent::reserve();
    let port = reserved.port();
    let mut command = Command::new(program);
    if rustix::process::geteuid().is_root() {
        command.args(["-u", "nobody"]);
    }
    // Ends after a hundred messages, which is how it says that it has them.
    command.args(["-M", "100", &format!("127.0.0.1:{port}"), "64"]);
    let mut sink = Server(command.spawn().unwrap());
    wait_until_it_answers(port);
    let mut site = Site::relaying_to(port);
    let gateway = site.start();
    let mut client = gateway.client();
    for i in 0..100 {
        client.send(FROM, &[TO], &message(FROM, &format!("{i}")));
    }
    let status = wait::until("smtp-sink has a hundred", wait::SOON, || {
        sink.0.try_wait().unwrap()
    });
    assert!(status.success(), "{status}");
}

const AIOSMTPD: &str = r#"
import socket, ssl, sys
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

chain, key, user, password = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(chain, key)

class Handler:
    async def handle_DATA(self, server, session, envelope):
        subject = [l for l in envelope.content.decode().splitlines() if l.startswith("Subject:")][0]
        print(subject[9:], session.login_data is not None, bool(session.ssl), flush=True)
        return "250 OK"

def authenticate(server, session, envelope, mechanism, data):
    good = (data.login, data.password) == (user.encode(), password.encode())
    session.login_data = data.login if good else None
    return AuthResult(success=good, handled=False, auth_data=data)

class AnyPort(Controller):
    def _trigger_server(self):
        socket.create_connection(self.server.sockets[0].getsockname()).close()

controller = AnyPort(Handler(), hostname="127.0.0.1", port=0, tls_context=context, require_starttls=True,
    authenticator=authenticate, auth_required=True, auth_require_tls=True)
controller.start()
print(controller.server.sockets[0].getsockname()[1], flush=True)
sys.stdin.read()
"#;

#[test]
fn aiosmtpd() {
    let Some(python) = peer::python("aiosmtpd") else {
        return;
    };
    let authority = Authority::new();
    let mut site = Site::new();
    let identity = authority.issue(&["provider.example"]);
    site.certificate("aiosmtpd", &identity);
    let file = |name: &str| site.folder().join("secrets/aiosmtpd").join(name);
    let mut command = Command::new(python);
    command
        .args(["-c", AIOSMTPD])
        .arg(file("tls.crt"))
        .arg(file("tls.key"))
        .args(["relay", "sesame"]);
    let mut server = Server(
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut lines = BufReader::new(server.0.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let port = lines.next().expect("its port").parse().unwrap();
    site.upstream("aiosmtpd", port);
    site.upstream_tls("aiosmtpd", UpstreamTlsMode::StartTls, &authority.pem());
    site.upstream_auth("aiosmtpd", "relay", "sesame");
    let gateway = site.start();
    gateway
        .client()
        .send(FROM, &[TO], &message(FROM, "to-python"));
    assert_eq!(lines.next().unwrap(), "to-python True True");
}

/// Dovecot as the authority on passwords, for a Postfix in the same folder: one user, `relay` with `sesame`.
fn dovecot(folder: &Path) -> Option<Server> {
    let program = peer::program("dovecot")?;
    let base = folder.join("dovecot");
    fs::create_dir_all(&base).unwrap();
    let socket = base.join("passwords");
    let config = format!(
        "base_dir = {base}\nlog_path = {base}/log\nprotocols =\nssl = no\nauth_mechanisms = plain login\n\
         passdb {{\n  driver = static\n  args = password=sesame\n}}\nuserdb {{\n  driver = static\n  args = uid=nobody gid=nogroup home=/\n}}\n\
         service auth {{\n  unix_listener passwords {{\n    mode = 0666\n  }}\n}}\n",
        base = base.display(),
    );
    let file = folder.join("dovecot.conf");
    fs::write(&file, config).unwrap();
    let child = Command::new(program)
        .stderr(Stdio::null())
        .arg("-F")
        .arg("-c")
        .arg(&file)
        .spawn()
        .unwrap();
    wait::until_true("dovecot answers", || socket.exists());
    Some(Server(child))
}

#[test]
fn postfix_with_passwords() {
    if !Postfix::is_there() {
        return;
    }
    let folder = TempDir::with_prefix("posthouse-").unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let Some(_dovecot) = dovecot(folder.path()) else {
        return;
    };
    let authority = Authority::new();
    let identity = authority.issue(&["provider.example"]);
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let chain = file("chain.pem", &identity.chain);
    let key = file("key.pem", &identity.key);
    let passwords = folder
        .path()
        .join("dovecot/passwords")
        .display()
        .to_string();
    let settings = [
        ("smtpd_tls_cert_file", chain.as_str()),
        ("smtpd_tls_key_file", key.as_str()),
        ("smtpd_tls_security_level", "encrypt"),
        ("smtpd_sasl_auth_enable", "yes"),
        ("smtpd_sasl_type", "dovecot"),
        ("smtpd_sasl_path", passwords.as_str()),
        ("smtpd_tls_auth_only", "yes"),
        // Only who has authenticated may relay; what is relayed ends here.
        (
            "smtpd_relay_restrictions",
            "permit_sasl_authenticated, reject",
        ),
        ("default_transport", "discard"),
    ];
    let postfix = Postfix::start(folder.path(), &settings, |command| command);
    let mut site = Site::relaying_to(postfix.address().port());
    site.upstream_tls("provider", UpstreamTlsMode::StartTls, &authority.pem());
    site.upstream_auth("provider", "relay", "sesame");
    let gateway = site.start();
    let mut client = gateway.client();
    for i in 0..20 {
        client.send(
            FROM,
            &[TO, "other@customer.example"],
            &message(FROM, &format!("{i}")),
        );
    }
    wait::until_true("everything is relayed", || {
        gateway.status().queue.messages == 0
    });
    wait::until_true("postfix has taken each", || {
        postfix.log().matches("status=sent").count() == 40
    });
    assert!(
        postfix.log().contains("sasl_username=relay"),
        "{}",
        postfix.log()
    );
    let relayed = gateway.metric("posthouse_recipients_total", &["outcome=\"relayed\""]);
    assert!((relayed - 40.0).abs() < 0.5, "{relayed}");
}
