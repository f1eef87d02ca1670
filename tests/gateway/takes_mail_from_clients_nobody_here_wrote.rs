//! swaks, curl, Python's smtplib and smtp-source hand mail over: in clear, with STARTTLS, with TLS from the first
//! octet, with and without AUTH.

use std::process::Command;

use posthouse_config::document::{Protocol, TlsPolicy};
use posthouse_tests::{Authority, Gateway, Mail, Provider, Script, Site, client::message, peer};

const FROM: &str = "orders@shop.example";
const TO: &str = "someone@customer.example";

/// A gateway with all three kinds of listeners, and one sender.
struct Desk {
    gateway: Gateway,
    provider: Provider,
    site: Site,
    username: String,
    password: String,
}

impl Desk {
    fn open() -> Self {
        let authority = Authority::new();
        let provider = Provider::start(Script::take());
        let mut site = Site::relaying_to(provider.port());
        let identity = authority.issue(&["localhost", "127.0.0.1"]);
        site.listener(
            "submission",
            Protocol::Submission,
            TlsPolicy::Required,
            &identity,
        );
        site.listener(
            "submissions",
            Protocol::Submissions,
            TlsPolicy::Required,
            &identity,
        );
        let (username, password) = site.sender("checkout", "shop.example");
        site.secret("ca.pem", authority.pem().as_bytes());
        site.secret("message.eml", message(FROM, "from a file").as_bytes());
        let gateway = site.start();
        Self {
            gateway,
            provider,
            site,
            username,
            password,
        }
    }

    fn port(&self, listener: &str) -> String {
        self.gateway.address(listener).port().to_string()
    }

    fn file(&self, name: &str) -> String {
        self.site.folder().join(name).display().to_string()
    }

    /// What the provider has, once it has `count`; all in one piece.
    fn relayed(&self, count: usize) -> Vec<Mail> {
        let mails = self.provider.wait_for(count);
        for mail in &mails {
            assert_eq!(
                (mail.from.as_str(), mail.recipients[0].contains("someone")),
                (FROM, true)
            );
            assert!(mail.text().contains("Received: "), "{}", mail.text());
        }
        mails
    }
}

#[test]
fn swaks() {
    let Some(program) = peer::swaks() else {
        return;
    };
    let desk = Desk::open();
    let run = |listener: &str, extra: &[&str]| {
        let mut command = Command::new(&program);
        command.args([
            "--server",
            "localhost",
            "--port",
            &desk.port(listener),
            "--from",
            FROM,
            "--to",
            TO,
        ]);
        command
            .args(["--ehlo", "client.example", "--body", "hello"])
            .args(extra);
        peer::run(&mut command, b"")
    };
    let auth = |mechanism: &'static str| {
        [
            "--auth",
            mechanism,
            "--auth-user",
            &desk.username,
            "--auth-password",
            &desk.password,
        ]
    };
    run("plain", &[]);
    run("plain", &auth("PLAIN"));
    for mechanism in ["PLAIN", "LOGIN"] {
        run("submission", &[&["--tls"][..], &auth(mechanism)].concat());
        run(
            "submissions",
            &[&["--tls-on-connect"][..], &auth(mechanism)].concat(),
        );
    }
    desk.relayed(6);

    let mut refused = Command::new(&program);
    refused.args([
        "--server",
        "localhost",
        "--port",
        &desk.port("submission"),
        "--from",
        FROM,
        "--to",
        TO,
    ]);
    refused.args([
        "--tls",
        "--auth",
        "PLAIN",
        "--auth-user",
        &desk.username,
        "--auth-password",
        "wrong",
    ]);
    let (output, text) = peer::attempt(&mut refused, b"");
    assert!(
        !output.status.success() && text.contains("535 5.7.8"),
        "{text}"
    );
}

#[test]
fn curl() {
    let Some(program) = peer::program("curl") else {
        return;
    };
    let desk = Desk::open();
    let ca = desk.file("ca.pem");
    let run = |scheme: &str, listener: &str, extra: &[&str]| {
        let mut command = Command::new(&program);
        let url = format!(
            "{scheme}://localhost:{}/client.example",
            desk.port(listener)
        );
        command.args([
            "--silent",
            "--show-error",
            "--ipv4",
            "--cacert",
            &ca,
            "--url",
            &url,
        ]);
        command.args([
            "--mail-from",
            FROM,
            "--mail-rcpt",
            TO,
            "--upload-file",
            &desk.file("message.eml"),
        ]);
        peer::run(command.args(extra), b"")
    };
    let user = format!("{}:{}", desk.username, desk.password);
    run("smtp", "plain", &[]);
    run("smtp", "submission", &["--ssl-reqd", "--user", &user]);
    run(
        "smtp",
        "submission",
        &[
            "--ssl-reqd",
            "--user",
            &user,
            "--login-options",
            "AUTH=LOGIN",
        ],
    );
    run("smtps", "submissions", &["--user", &user]);
    run(
        "smtps",
        "submissions",
        &["--user", &user, "--login-options", "AUTH=PLAIN"],
    );
    let mails = desk.relayed(5);
    assert!(mails.iter().all(|mail| mail.subject() == "from a file"));
}

const SMTPLIB: &str = r#"
import smtplib, ssl, sys
from email.message import EmailMessage
plain, submission, submissions, ca, user, password = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)

def message(subject):
    m = EmailMessage()
    m["From"], m["To"], m["Subject"] = "orders@shop.example", "someone@customer.example", subject
    m.set_content("Grüße aus Köln\n.\n..\nFrom here on.\n")
    m.add_attachment(bytes(range(256)) * 400, maintype="application", subtype="octet-stream")
    return m

with smtplib.SMTP("localhost", int(plain)) as s:
    s.send_message(message("plain"))
    s.send_message(message("again"))
with smtplib.SMTP("localhost", int(submission)) as s:
    s.starttls(context=context)
    s.login(user, password)
    s.send_message(message("starttls"))
with smtplib.SMTP_SSL("localhost", int(submissions), context=context) as s:
    s.login(user, password)
    s.send_message(message("implicit"))
    s.sendmail("orders@shop.example", ["someone@customer.example", "someone.else@customer.example"], message("two").as_bytes())
    try:
        s.sendmail("orders@other.example", ["someone@customer.example"], "From: <orders@other.example>\r\n\r\nx")
        sys.exit("a sender may send as somebody else")
    except smtplib.SMTPException:
        pass
"#;

#[test]
fn smtplib() {
    let Some(python) = peer::python("smtplib") else {
        return;
    };
    let desk = Desk::open();
    let mut command = Command::new(python);
    command
        .arg("-")
        .args(["plain", "submission", "submissions"].map(|listener| desk.port(listener)));
    command.args([
        desk.file("ca.pem"),
        desk.username.clone(),
        desk.password.clone(),
    ]);
    peer::run(&mut command, SMTPLIB.as_bytes());
    let mails = desk.relayed(5);
    let mut subjects: Vec<_> = mails.iter().map(Mail::subject).collect();
    subjects.sort_unstable();
    assert_eq!(subjects, ["again", "implicit", "plain", "starttls", "two"]);
    let two = mails.iter().find(|mail| mail.subject() == "two").unwrap();
    assert_eq!(two.recipients.len(), 2);
}

#[test]
fn smtp_source() {
    let Some(program) = peer::program("smtp-source") else {
        return;
    };
    let desk = Desk::open();
    for sessions in ["1", "10"] {
        let mut command = Command::new(&program);
        command.args([
            "-s", sessions, "-m", "50", "-l", "3000", "-r", "2", "-f", FROM, "-t", TO,
        ]);
        peer::run(
            command.arg(format!("127.0.0.1:{}", desk.port("plain"))),
            b"",
        );
    }
    desk.relayed(100);
}
