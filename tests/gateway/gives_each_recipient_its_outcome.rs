//! A message to a thousand recipients has a thousand outcomes: relayed, failed and reported, or tried again, each
//! recipient by its own replies.

use posthouse_tests::{Provider, Script, Site, Turn, client::message, provider::Step, wait};

const FROM: &str = "list@shop.example";
const RECIPIENTS: usize = 1000;

fn recipient(i: usize) -> String {
    let kind = match i % 10 {
        3 => "nobody",
        7 => "full",
        _ => "somebody",
    };
    format!("{kind}-{i}@customer.example")
}

fn script(full: bool) -> Script {
    Script::new(move |exchange| match exchange.step {
        Step::Rcpt if exchange.line.contains("nobody-") => Turn::reply("550 5.1.1 No such mailbox"),
        Step::Rcpt if full && exchange.line.contains("full-") => {
            Turn::reply("450 4.2.2 Mailbox full")
        }
        _ => Turn::Usual,
    })
}

#[test]
fn a_list_of_a_thousand() {
    let provider = Provider::start(script(true));
    let mut site = Site::relaying_to(provider.port());
    let gateway = site.start();
    let recipients: Vec<String> = (0..RECIPIENTS).map(recipient).collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    let reply = gateway
        .client()
        .send(FROM, &recipients, &message(FROM, "newsletter"));
    assert_eq!(reply.code, 250, "{}", reply.text());

    let outcomes = |outcome: &str| {
        let outcome = format!("outcome=\"{outcome}\"");
        let upstream = "upstream=\"provider\"";
        gateway.metric("posthouse_recipients_total", &[upstream, &outcome])
    };
    wait::until_true("the failed are reported, the full ones deferred", || {
        outcomes("failed") >= 100.0 && outcomes("deferred") >= 100.0
    });
    provider.follow(script(false));
    wait::until_true("the queue is empty", || {
        gateway.status().queue.messages == 0
    });

    let mails = provider.mails();
    let relayed: Vec<&String> = mails
        .iter()
        .filter(|mail| mail.subject() == "newsletter")
        .flat_map(|mail| &mail.recipients)
        .collect();
    let mut once = relayed.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!((relayed.len(), once.len()), (900, 900), "each once");
    assert!(
        relayed
            .iter()
            .all(|recipient| !recipient.starts_with("nobody"))
    );

    let reports: Vec<_> = mails
        .iter()
        .filter(|mail| mail.recipients == [FROM])
        .collect();
    let failed: usize = reports
        .iter()
        .map(|mail| mail.text().matches("Action: failed").count())
        .sum();
    assert_eq!(
        failed, 100,
        "RFC 3464: each failed recipient is reported once"
    );
    // The reports themselves are relayed too.
    let expected = 900.0 + f64::from(u32::try_from(reports.len()).unwrap());
    assert!(
        (outcomes("relayed") - expected).abs() < 0.5,
        "{} relayed",
        outcomes("relayed")
    );
    assert!(
        (outcomes("failed") - 100.0).abs() < 0.5,
        "{} failed",
        outcomes("failed")
    );
}
