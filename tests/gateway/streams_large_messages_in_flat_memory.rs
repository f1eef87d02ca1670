//! A message is never whole in memory: 30 MiB pass and the process has hardly grown.

use posthouse_tests::{Provider, Script, Site, client::message, wait};

const FROM: &str = "orders@shop.example";
const SIZE: usize = 30 << 20;

/// How much the peak may grow, in KiB: buffers of a session and of an attempt, and what an allocator keeps.
const GROWTH: u64 = 12 << 10;

#[test]
fn thirty_mebibytes() {
    let provider = Provider::start(Script::take().keep(4096));
    let mut site = Site::relaying_to(provider.port());
    let gateway = site.start();
    // Everything that is made once is made.
    gateway
        .client()
        .send(FROM, &["someone@customer.example"], &message(FROM, "small"));
    provider.wait_for(1);
    let before = gateway.peak_kib();
    assert!(before > 0);

    let line = "\r\nAnother line of an attachment that is thirty mebibytes in all.";
    let content = message(FROM, "large") + &line.repeat(SIZE / line.len());
    let reply = gateway
        .client()
        .send(FROM, &["someone@customer.example"], &content);
    assert_eq!(reply.code, 250, "{}", reply.text());
    let mails = provider.wait_for(2);
    assert!(
        mails[1].octets >= content.len() as u64,
        "{} of {}",
        mails[1].octets,
        content.len()
    );
    let after = gateway.peak_kib();
    println!("peak before {before} KiB, after {after} KiB");
    assert!(
        after < before + GROWTH,
        "{before} KiB before, {after} KiB after"
    );
    wait::until_true("the content is removed", || {
        std::fs::read_dir(site.spool().join("content"))
            .unwrap()
            .count()
            == 0
    });
}
