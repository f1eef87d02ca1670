//! Who may send what, as dialogues.

use super::*;

/// Plays lines one by one; each `S:` is how the reply must begin.
async fn dialogue(house: &House, text: &str) {
    let mut client = house.connect().await;
    client.reply().await;
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    while let Some(line) = lines.next() {
        let sent = line.strip_prefix("C:").unwrap().trim();
        let expected = lines.next().unwrap().strip_prefix("S:").unwrap().trim();
        let said = client.ask(&sent.replace("LOGIN", &login())).await;
        assert!(said.starts_with(expected), "{sent}: {said}");
    }
}

#[tokio::test]
async fn a_message_is_kept_and_the_queue_told_before_its_250() {
    let house = House::new(PLAIN, "");
    let content = "Subject: x\r\nFrom: Shop <a@shop.example>\r\nBcc: secret@x.example\r\n\r\n..hi\r\n.\r\nQUIT\r\n";
    let said = house.play([(envelope() + content).as_bytes()]).await;
    let (message, octets) = house.kept().remove(0);
    let id = message.id.to_string();
    assert!(said.starts_with("220 mail.example.com ESMTP Posthouse\r\n250-mail.example.com\r\n"));
    assert!(said.contains("\r\n250-AUTH PLAIN LOGIN\r\n") || said.contains("250 AUTH PLAIN LOGIN"));
    assert!(
        said.ends_with(&format!(
            "250 2.0.0 Ok: queued as {id}\r\n221 2.0.0 Bye\r\n"
        )),
        "{said}"
    );
    assert_eq!(*house.told.accepted.lock().unwrap(), [message.id]);
    assert_eq!(
        octets,
        b"Subject: x\r\nFrom: Shop <a@shop.example>\r\nBcc: secret@x.example\r\n\r\n.hi\r\n"
    );
    assert_eq!(message.sender.to_string(), "checkout.shop");
    assert_eq!(message.expiry_seconds, Some(3600));
    assert_eq!(message.from[0].as_str(), "a@shop.example");
    assert_eq!(
        message.recipients[0].forward_path.as_str(),
        "b@else.example"
    );
    let added = String::from_utf8(message.edits.prepend.clone()).unwrap();
    assert_eq!(
        added,
        format!(
            "Received: by mail.example.com with ESMTPA\r\n\tid {id};\r\n\tThu, 1 Jan 2026 00:00:00 +0000\r\n\
             Date: Thu, 1 Jan 2026 00:00:00 +0000\r\nMessage-ID: <{id}@shop.example>\r\n"
        )
    );
    assert_eq!(message.edits.remove.len(), 1);
    assert_eq!(message.edits.remove[0], 41..64);
    assert_eq!(message.facts.header_length, 66);
    assert_eq!(house.ended("completed"), 1);
}

#[tokio::test]
async fn any_cut_of_a_session_gives_the_same_message() {
    let sent = envelope() + "From: a@shop.example\r\n\r\nhi\r\n.\r\nQUIT\r\n";
    let whole = House::new(PLAIN, "");
    let said = whole.play([sent.as_bytes()]).await;
    for cut in (0..sent.len()).step_by(3) {
        let house = House::new(PLAIN, "");
        let (first, second) = sent.as_bytes().split_at(cut);
        assert_eq!(house.play([first, second]).await, said, "{cut}");
        assert_eq!(house.kept(), whole.kept(), "{cut}");
    }
}

#[tokio::test]
async fn only_what_a_sender_may_use_is_admitted() {
    dialogue(
        &House::new(PLAIN, ""),
        "C: EHLO me
         S: 250
         C: MAIL FROM:<a@shop.example>
         S: 530 5.7.0
         C: LOGIN
         S: 235 2.7.0
         C: MAIL FROM:<a@evil.example>
         S: 550 5.7.1 Sender address a@evil.example is not allowed: checkout.shop may send as shop.example, *.shop.example
         C: MAIL FROM:<a@sub.shop.example>
         S: 250 2.1.0
         C: RSET
         S: 250
         C: MAIL FROM:<>
         S: 250 2.1.0",
    )
    .await;
}

#[tokio::test]
async fn the_author_must_be_allowed_too() {
    for (header, expected) in [
        ("From: a@shop.example\r\n", "250 2.0.0"),
        (
            "From: A <a@shop.example>, b@x.shop.example\r\n",
            "250 2.0.0",
        ),
        (
            "From: a@shop.example\r\nSender: b@shop.example\r\n",
            "250 2.0.0",
        ),
        ("Subject: no author\r\n", "250 2.0.0"),
        (
            "From: a@evil.example\r\n",
            "550 5.7.1 From address a@evil.example",
        ),
        ("From: a@shop.example, a@evil.example\r\n", "550 5.7.1"),
        ("From: \"a@shop.example\" <a@evil.example>\r\n", "550 5.7.1"),
        (
            "From: a@shop.example\r\nSender: a@evil.example\r\n",
            "550 5.7.1 Sender field address",
        ),
        (
            "From: a@shop.example\r\nSender: a@shop.example, b@shop.example\r\n",
            "554 5.6.0",
        ),
        (
            "From: a@shop.example\r\nfrom : a@shop.example\r\n",
            "554 5.6.0 There must be one From field",
        ),
        (
            "From: a@shop.example <a@evil.example>\r\n",
            "554 5.6.0 The From field",
        ),
        ("From: \r\n", "554 5.6.0"),
        (
            "From: a@shop.example\r\nno field\r\nFrom: a@evil.example\r\n",
            "554 5.6.0 The header section holds",
        ),
    ] {
        let house = House::new(PLAIN, "");
        let said = house
            .play([(envelope() + header + "\r\nbody\r\n.\r\nQUIT\r\n").as_bytes()])
            .await;
        let last = said.lines().rev().nth(1).unwrap();
        assert!(last.starts_with(expected), "{header}: {last}");
        let kept = usize::from(expected.starts_with("250"));
        assert_eq!(house.kept().len(), kept, "{header}");
        assert_eq!(house.told.accepted.lock().unwrap().len(), kept);
    }
}

#[tokio::test]
async fn anonymous_clients_are_taken_from_their_networks_only() {
    let anonymous = "anonymous: { networks: [192.0.2.0/24], senderDomains: [app.example] }";
    let mut house = House::new(PLAIN, anonymous);
    let expected = "C: EHLO me
         S: 250
         C: MAIL FROM:<a@shop.example>
         S: 550 5.7.1 Sender address a@shop.example is not allowed: anonymous may send as app.example
         C: MAIL FROM:<a@app.example>
         S: 250";
    dialogue(&house, expected).await;
    house.client = "::ffff:192.0.2.9".parse().unwrap();
    dialogue(&house, expected).await;
    for stranger in ["198.51.100.1", "127.0.0.1", "::1"] {
        house.client = stranger.parse().unwrap();
        dialogue(
            &house,
            "C: EHLO me
             S: 250
             C: MAIL FROM:<a@app.example>
             S: 530 5.7.0",
        )
        .await;
    }
    assert_eq!(house.rejected("authentication"), 3);
    let trusted = format!("loopbackIsTrusted: true\n{anonymous}");
    let mut house = House::new(PLAIN, &trusted);
    house.client = "::1".parse().unwrap();
    dialogue(&house, expected).await;
}

#[tokio::test]
async fn trusted_loopback_may_log_in_without_tls() {
    let closed = PLAIN.replace("Allow", "Refuse");
    let mut house = House::new(&closed, "loopbackIsTrusted: true");
    house.client = [127, 0, 0, 1].into();
    let accepted = "C: EHLO me
         S: 250-
         C: LOGIN
         S: 235";
    dialogue(&house, accepted).await;
    house.client = [192, 0, 2, 1].into();
    let refused = accepted.replace("235", "502 5.5.1");
    dialogue(&house, &refused).await;
    let mut house = House::new(&closed, "");
    house.client = [127, 0, 0, 1].into();
    dialogue(&house, &refused).await;
}

#[tokio::test]
async fn what_cannot_be_taken_now_is_said_before_content() {
    let house = House::of(snapshot_without_keys());
    dialogue(
        &house,
        "C: EHLO me
         S: 250
         C: LOGIN
         S: 454 4.7.0",
    )
    .await;
    let house = House::new(PLAIN, "");
    house.told.backlog.store(10, Ordering::Relaxed);
    let begin = "C: EHLO me
         S: 250
         C: LOGIN
         S: 235
         C: MAIL FROM:<>\n";
    dialogue(&house, &format!("{begin} S: 450 4.7.1")).await;
    assert_eq!(house.rejected("backlog"), 1);
    house.told.backlog.store(9, Ordering::Relaxed);
    house.store.0.is_full.store(true, Ordering::Relaxed);
    let full = "S: 250
         C: RCPT TO:<a@b.example>
         S: 250
         C: DATA
         S: 452 4.3.1";
    dialogue(&house, &format!("{begin} {full}")).await;
    assert_eq!(house.rejected("disk_full"), 1);
    house.snapshot.send_replace(Arc::new(snapshot_of({
        let mut document = document(PLAIN, "");
        document.replicas = 0;
        document
    })));
    dialogue(&house, &format!("{begin} S: 421 4.3.2")).await;
    assert_eq!(house.rejected("draining"), 1);
}

#[tokio::test]
async fn consent_withdrawn_ends_at_the_next_transaction() {
    let house = House::new(PLAIN, "");
    let mut client = house.connect().await;
    client.reply().await;
    client.ask("EHLO me").await;
    assert!(client.ask(&login()).await.starts_with("235"));
    assert!(client.ask("MAIL FROM:<>").await.starts_with("250"));
    let before = house.snapshot.borrow().clone();
    let nobody = Snapshot::new(
        Arc::clone(&before.document),
        Arc::default(),
        BTreeMap::new(),
    );
    house.snapshot.send_replace(Arc::new(nobody));
    assert!(client.ask("RCPT TO:<a@b.example>").await.starts_with("250"));
    assert!(client.ask("DATA").await.starts_with("550 5.7.1"));
    assert!(client.ask("MAIL FROM:<>").await.starts_with("550 5.7.1"));
    assert_eq!(house.rejected("sender_not_allowed"), 2);
}

/// Senders and keys with a change; the client of `login` has proved rotation 1 with key 1.
fn changed(change: impl Fn(&mut Document, &mut Senders)) -> Arc<Snapshot> {
    let (mut document, mut senders) = (document(PLAIN, ""), senders());
    change(&mut document, &mut senders);
    let files = [("keys/1".to_owned(), Arc::from(key().as_bytes().as_slice()))].into();
    Arc::new(Snapshot::new(Arc::new(document), Arc::new(senders), files))
}

#[tokio::test]
async fn a_password_withdrawn_ends_the_sessions_it_opened() {
    for withdrawn in [
        changed(|_, senders| senders.senders[0].rotations = vec![2]),
        changed(|_, senders| senders.senders[0].rotations.clear()),
        changed(|_, senders| senders.senders[0].uid = SENDER_UID.replace('6', "7")),
        changed(|document, _| document.keys.relay[0].rotation = 2),
    ] {
        for last in ["MAIL FROM:<>", "DATA"] {
            let house = House::new(PLAIN, "");
            let mut client = house.connect().await;
            client.reply().await;
            client.ask("EHLO me").await;
            assert!(client.ask(&login()).await.starts_with("235"));
            if last == "DATA" {
                client.ask("MAIL FROM:<>").await;
                client.ask("RCPT TO:<a@b.example>").await;
            }
            house.snapshot.send_replace(Arc::clone(&withdrawn));
            let said = client.ask(last).await;
            assert!(said.starts_with("421 4.7.0"), "{last}: {said}");
            assert_eq!(client.rest().await, "");
            assert_eq!(house.rejected("authentication"), 1);
            assert_eq!(house.ended("completed"), 1);
        }
    }
}

#[tokio::test]
async fn other_changes_leave_a_session_alone() {
    for other in [
        changed(|_, senders| senders.senders[0].rotations = vec![3, 1]),
        changed(|document, _| {
            let mut next = document.keys.relay[0].clone();
            next.rotation = 2;
            document.keys.relay.insert(0, next);
        }),
    ] {
        let house = House::new(PLAIN, "");
        let mut client = house.connect().await;
        client.reply().await;
        client.ask("EHLO me").await;
        assert!(client.ask(&login()).await.starts_with("235"));
        house.snapshot.send_replace(other);
        assert!(client.ask("MAIL FROM:<>").await.starts_with("250"));
        client.ask("RCPT TO:<a@b.example>").await;
        assert!(client.ask("DATA").await.starts_with("354"));
    }
}

#[tokio::test]
async fn without_an_author_there_must_be_a_reverse_path() {
    let house = House::new(PLAIN, "");
    let null = envelope().replace("<a@shop.example>", "<>");
    let said = house
        .play([(null.clone() + "Subject: x\r\n\r\n.\r\n").as_bytes()])
        .await;
    assert!(
        said.contains("\r\n554 5.6.0 There is no From field"),
        "{said}"
    );
    let said = house
        .play([(null + "From: a@shop.example\r\n\r\n.\r\n").as_bytes()])
        .await;
    assert!(said.contains("\r\n250 2.0.0 Ok: queued"), "{said}");
    assert_eq!(
        house.kept().remove(0).0.reverse_path,
        posthouse_smtp::ReversePath::Null
    );
}

#[tokio::test]
async fn sessions_are_counted_while_they_last() {
    let house = House::new(PLAIN, "");
    let gauge = house
        .inbound
        .parts
        .metrics
        .sessions
        .with_label_values(&["plain"]);
    let mut client = house.connect().await;
    client.reply().await;
    assert_eq!((gauge.get(), house.inbound.sessions()), (1, 1));
    client.send("QUIT\r\n").await;
    assert_eq!(client.rest().await, "221 2.0.0 Bye\r\n");
    assert_eq!((gauge.get(), house.inbound.sessions()), (0, 0));
    assert_eq!(
        house.play([]).await,
        "220 mail.example.com ESMTP Posthouse\r\n"
    );
    assert_eq!(
        (house.ended("completed"), house.ended("client_gone")),
        (1, 1)
    );
}

#[tokio::test]
async fn nothing_is_accepted_that_was_not_stored() {
    let house = House::new(PLAIN, "");
    house.store.0.fails.store(true, Ordering::Relaxed);
    let said = house
        .play([(envelope() + "From: a@shop.example\r\n\r\n.\r\nQUIT\r\n").as_bytes()])
        .await;
    assert!(said.contains("\r\n451 4.3.0 "), "{said}");
    assert!(house.told.accepted.lock().unwrap().is_empty());
    assert_eq!(house.rejected("spool_failed"), 1);
}

#[tokio::test]
async fn a_wrong_password_costs_a_second_and_the_third_the_session() {
    let house = House::new(PLAIN, "");
    let mut client = house.connect().await;
    client.reply().await;
    client.ask("EHLO me").await;
    for _ in 0..3 {
        client
            .send("AUTH PLAIN AGNoZWNrb3V0LnNob3AAd3Jvbmc=\r\n")
            .await;
        while house
            .clock
            .next_wake()
            .is_none_or(|at| at.since(house.clock.now()) > Duration::from_secs(1))
        {
            tokio::task::yield_now().await;
        }
        house.clock.advance(Duration::from_secs(1));
        let said = client.reply().await;
        assert!(said.starts_with("535 5.7.8"), "{said}");
    }
    assert_eq!(
        client.rest().await,
        "421 4.7.0 Too many wrong passwords\r\n"
    );
    assert_eq!(house.rejected("authentication"), 3);
    assert_eq!(house.ended("too_many_errors"), 1);
}

/// Else the client would take the 421 for the answer and send the message again and again.
#[tokio::test]
async fn the_error_that_ends_a_session_is_answered_first() {
    for (last, expected, cause) in [
        (
            "MAIL FROM:<a@shop.example>\r\nRCPT TO:<b@else.example>\r\nDATA\r\nFrom: a@evil.example\r\n\r\n.\r\n",
            "550 5.7.1 From address",
            "sender_not_allowed",
        ),
        ("MAIL FROM:<a>\r\n", "501 5.1.7", "address_invalid"),
    ] {
        let house = House::new(PLAIN, "");
        let sent = format!(
            "EHLO me\r\n{}\r\n{}{last}NOOP\r\n",
            login(),
            "FOO\r\n".repeat(19)
        );
        let said = house.play([sent.as_bytes()]).await;
        let (before, end) = said.rsplit_once("\r\n421 ").unwrap();
        assert_eq!(end, "4.7.0 Too many errors\r\n");
        let refusal = before.lines().next_back().unwrap();
        assert!(refusal.starts_with(expected), "{refusal}");
        assert_eq!(house.rejected(cause), 1);
        assert_eq!(house.ended("too_many_errors"), 1);
    }
}
