//! The harness against itself: what its client says is what its provider records.

use super::{Provider, ProviderTls, Script, Step, Turn};
use crate::{Authority, Client, client::message};

const FROM: &str = "orders@shop.example";
const TO: &str = "someone@customer.example";

#[test]
fn a_message_arrives_as_it_was_sent() {
    let provider = Provider::start(Script::take());
    let mut client = Client::connect(provider.address());
    assert!(client.hello().offers("pipelining"));
    let content = message(FROM, "plain");
    assert_eq!(
        client
            .send(FROM, &[TO, "b@customer.example"], &content)
            .code,
        250
    );
    let mails = provider.wait_for(1);
    assert_eq!(mails[0].text(), content + "\r\n");
    assert_eq!(mails[0].recipients, [TO, "b@customer.example"]);
    assert_eq!(
        (mails[0].subject().as_str(), mails[0].body()),
        ("plain", &b"Hello.\r\n"[..])
    );
    assert!(!mails[0].secure);
}

#[test]
fn tls_starts_when_the_script_says_so() {
    let authority = Authority::new();
    let identity = authority.issue(&["provider.example"]);
    let script = |tls| Script::take().tls(tls).user("relay", "sesame");
    let starttls = Provider::start(script(ProviderTls::StartTls(identity.clone())));
    let mut client = Client::connect(starttls.address());
    client.hello();
    client.start_tls(authority.client_config(), "provider.example");
    client.expect("MAIL FROM:<a@shop.example>", 530);
    assert_eq!(client.auth("relay", "wrong").code, 535);
    assert_eq!(client.auth("relay", "sesame").code, 235);
    client.send(FROM, &[TO], &message(FROM, "secure"));
    let mail = &starttls.wait_for(1)[0];
    assert_eq!((mail.secure, mail.user.as_deref()), (true, Some("relay")));

    let implicit = Provider::start(script(ProviderTls::Implicit(identity)));
    let config = || authority.client_config();
    Client::connect_tls(implicit.address(), config(), "provider.example").hello();
    assert!(Client::try_connect_tls(implicit.address(), config(), "other.example").is_err());
}

#[test]
fn smuggling_would_be_seen() {
    for (end, expected) in [("\n.\r\n", 2), ("\r\n.\n", 2), ("\r\n.x\r\n", 1)] {
        let provider = Provider::start(Script::take());
        let mut client = Client::connect(provider.address());
        client.hello();
        client.begin(FROM, &[TO]);
        let smuggled =
            "MAIL FROM:<evil@x.example>\r\nRCPT TO:<a@b.example>\r\nDATA\r\nSubject: evil\r\n\r\n";
        let content = format!("Subject: good\r\n\r\nHello{end}{smuggled}\r\n.\r\n");
        client.raw(content.as_bytes()).unwrap();
        client.expect_reply(250);
        assert_eq!(provider.wait_for(expected).len(), expected, "{end:?}");
    }
}

#[test]
fn a_script_decides() {
    let provider = Provider::start(Script::new(|exchange| match exchange.step {
        Step::Rcpt if exchange.line.contains("nobody") => Turn::reply("550 5.1.1 No"),
        Step::Final if exchange.line == "late" => Turn::Close,
        _ => Turn::Usual,
    }));
    let mut client = Client::connect(provider.address());
    client.hello();
    client.expect("MAIL FROM:<>", 250);
    client.expect("RCPT TO:<nobody@x.example>", 550);
    client.expect("DATA", 554);
    client.begin(FROM, &[TO]);
    client.raw(b"Subject: late\r\n\r\n.\r\n").unwrap();
    assert!(client.reply().is_err());
    assert_eq!(provider.count(), 0);
    provider.follow(Script::take());
    let mut client = Client::connect(provider.address());
    client.hello();
    client.send(FROM, &[TO], "Subject: late\r\n");
    assert_eq!(provider.subjects()["late"], 1);
}
