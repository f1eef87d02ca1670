//! `posthouse-gateway send` shows the whole conversation without the credentials, and ends with 1 on a refusal.

use std::process::Command;

use posthouse_config::document::{Protocol, TlsPolicy};
use posthouse_tests::{Authority, Provider, Script, Site, gateway::executable, peer};

const FROM: &str = "orders@shop.example";
const TO: &str = "someone@customer.example";

#[test]
fn over_each_way_of_tls() {
    let authority = Authority::new();
    let provider = Provider::start(Script::take());
    let mut site = Site::relaying_to(provider.port());
    let identity = authority.issue(&["localhost"]);
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
    site.secret("password", password.as_bytes());
    site.secret("wrong", b"ph1_wrong");
    let gateway = site.start();
    let send = |listener: &str, tls: &str, password_file: Option<&str>, from: &str| {
        let server = format!("localhost:{}", gateway.address(listener).port());
        let mut command = Command::new(executable("posthouse-gateway"));
        command.args([
            "send", "--server", &server, "--tls", tls, "--from", from, "--to", TO,
        ]);
        command.arg("--ca").arg(site.folder().join("ca.pem"));
        if let Some(file) = password_file {
            command
                .args(["--username", &username, "--password-file"])
                .arg(site.folder().join(file));
        }
        let (output, text) = peer::attempt(&mut command, b"");
        assert!(!text.contains(&password), "{text}");
        (output.status.code(), text)
    };
    for (listener, tls, password) in [
        ("plain", "none", None),
        ("submission", "starttls", Some("password")),
        ("submissions", "implicit", Some("password")),
    ] {
        let (code, text) = send(listener, tls, password, FROM);
        assert_eq!(code, Some(0), "{text}");
        assert!(
            text.contains("RCPT TO:<someone@customer.example>"),
            "{text}"
        );
    }
    provider.wait_for(3);

    for (password, from, reply) in [
        (Some("wrong"), FROM, "535 5.7.8"),
        (None, FROM, "530 5.7.0"),
        (Some("password"), "orders@other.example", "550 5.7.1"),
    ] {
        let (code, text) = send("submission", "starttls", password, from);
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains(reply), "{reply} in {text}");
    }
}
