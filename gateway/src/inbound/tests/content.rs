//! Content on its way in: newline policies, sizes, and what is known of it afterwards.

use super::*;

/// Sends content after an envelope; gives back the reply to it and what was kept.
async fn take(house: &House, content: &[u8]) -> (String, Option<(Message, Vec<u8>)>) {
    let begin = envelope();
    let end = b"QUIT\r\n";
    let said = house.play([begin.as_bytes(), content, end]).await;
    let reply = said.split("354 End with CRLF . CRLF\r\n").nth(1).unwrap();
    (reply.to_owned(), house.kept().pop())
}

const HEADER: &[u8] = b"From: a@shop.example\r\n\r\n";

/// What is sent as a body, and what of it is kept; the first column must repair something.
const REPAIRED: [(&[u8], &[u8]); 7] = [
    (b"a\n.\nb\r\n", b"a\r\n.\r\nb\r\n"),
    (b"a\n.\r\nb\r\n", b"a\r\n.\r\nb\r\n"),
    (b"a\r\n.\nb\r\n", b"a\r\n\r\nb\r\n"),
    (b"a\r.\rb\r\n", b"a . b\r\n"),
    (b"a\r\n.\r\r\nb\r\n", b"a\r\n \r\nb\r\n"),
    (b"a\rb\nc\r\n", b"a b\r\nc\r\n"),
    (b"a\0b\r\n", b"a b\r\n"),
];

#[tokio::test]
async fn bare_newlines_are_repaired_or_refused_and_never_end_content() {
    let strict = PLAIN.replace(" }", ", bareNewlines: Refuse }");
    for (sent, kept) in REPAIRED {
        let content = [HEADER, sent, b".\r\n"].concat();
        for cut in 0..=content.len() {
            let house = House::new(PLAIN, "");
            let (first, second) = content.split_at(cut);
            let begin = envelope();
            house
                .play([begin.as_bytes(), first, second, b"QUIT\r\n"])
                .await;
            let (_, octets) = house.kept().remove(0);
            assert_eq!(octets, [HEADER, kept].concat(), "{cut}");
            assert_eq!(house.kept().len(), 1);
        }
        let house = House::new(&strict, "");
        let (reply, kept) = take(&house, &content).await;
        assert_eq!(
            reply,
            "554 5.6.0 Lines must end with CRLF, and there must be no NUL\r\n221 2.0.0 Bye\r\n"
        );
        assert!(kept.is_none());
        assert_eq!(house.rejected("content_invalid"), 1);
    }
}

#[tokio::test]
async fn repairs_are_counted_by_sender() {
    let house = House::new(PLAIN, "");
    take(&house, &[HEADER, b"a\nb\nc\rd\0e\r\n.\r\n"].concat()).await;
    let repairs = &house.inbound.parts.metrics.content_repairs;
    let count = |kind| repairs.with_label_values(&["checkout.shop", kind]).get();
    assert_eq!(
        (count("bare_lf"), count("bare_cr"), count("nul")),
        (2, 1, 1)
    );
}

#[tokio::test]
async fn long_lines_are_kept_or_refused() {
    let content = [HEADER, &[b'x'; 999], b"\r\n.\r\n"].concat();
    let house = House::new(PLAIN, "");
    let (message, _) = take(&house, &content).await.1.unwrap();
    assert_eq!(message.facts.longest_line, 999);
    let strict = PLAIN.replace(" }", ", longLines: Refuse }");
    let (reply, kept) = take(&House::new(&strict, ""), &content).await;
    assert!(
        reply.starts_with("554 5.6.0 Lines must not be longer"),
        "{reply}"
    );
    assert!(kept.is_none());
}

#[tokio::test]
async fn the_smallest_messages_are_messages() {
    for (content, kept, header_length) in [
        (b".\r\n".as_slice(), b"".as_slice(), 0),
        (b"\r\n.\r\n", b"\r\n", 2),
        (b"Subject: x\r\n.\r\n", b"Subject: x\r\n", 12),
        (b"just text\r\n.\r\n", b"just text\r\n", 0),
    ] {
        let (reply, stored) = take(&House::new(PLAIN, ""), content).await;
        assert!(reply.starts_with("250 2.0.0"), "{reply}");
        let (message, octets) = stored.unwrap();
        assert_eq!(octets, kept);
        assert_eq!(message.facts.header_length, header_length);
        let added = String::from_utf8(message.edits.prepend).unwrap();
        assert!(added.contains("\r\nFrom: a@shop.example\r\n"), "{added}");
        // Where all of it is body, what is added is the whole header section.
        assert_eq!(
            added.ends_with("\r\n\r\n"),
            content == b"just text\r\n.\r\n",
            "{added}"
        );
    }
}

#[tokio::test]
async fn large_content_goes_to_a_file_and_small_does_not() {
    let inline = crate::spool::INLINE_CONTENT - HEADER.len();
    for (body, uploads) in [(60 << 10, 0), (inline, 0), (inline + 1, 1), (1 << 20, 1)] {
        let house = House::new(PLAIN, "");
        let body = [b'x'; 62].iter().chain(b"\r\n").copied().cycle().take(body);
        let mut content: Vec<u8> = HEADER.iter().copied().chain(body).collect();
        let end = content.len() - 2;
        content[end..].copy_from_slice(b"\r\n");
        let sent = [content.as_slice(), b".\r\n"].concat();
        let (reply, kept) = take(&house, &sent).await;
        assert!(reply.starts_with("250"), "{reply}");
        let (message, octets) = kept.unwrap();
        assert!(octets == content);
        assert_eq!(message.facts.length, content.len() as u64);
        assert_eq!(house.store.0.uploads.load(Ordering::Relaxed), uploads);
    }
}

#[tokio::test]
async fn a_large_header_section_is_held_and_then_goes_to_a_file() {
    let house = House::new(PLAIN, "");
    let filler = b"X: 0123456789\r\n".repeat(900);
    let long = [b"Y: ".as_slice(), &vec![b'y'; 100 << 10], b"\r\n", &filler].concat();
    for end in [b"From: a@shop.example\r\n".as_slice(), HEADER] {
        let content = [&long, end].concat();
        let (reply, kept) = take(&house, &[&content, b".\r\n".as_slice()].concat()).await;
        assert!(reply.starts_with("250"), "{reply}");
        let (message, octets) = kept.unwrap();
        assert!(octets == content);
        assert_eq!(message.facts.header_length as usize, content.len());
    }
    assert_eq!(house.store.0.uploads.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn over_long_content_is_read_to_its_end_and_refused() {
    let limits = "limits: { messageBytes: 4096 }";
    let house = House::new(PLAIN, limits);
    let long = [HEADER, &b"0123456789\r\n".repeat(400), b".\r\n"].concat();
    let (reply, kept) = take(&house, &long).await;
    assert_eq!(reply, "552 5.3.4 Message too large\r\n221 2.0.0 Bye\r\n");
    assert!(kept.is_none());
    let flood = [HEADER, &b"0123456789\r\n".repeat(100_000)].concat();
    let mut client = house.connect().await;
    client.send(envelope()).await;
    // The session closes on it, so not all of it can be sent.
    let _ = client.stream.write_all(&flood).await;
    let said = client.rest().await;
    assert!(said.ends_with("552 5.3.4 Message too large\r\n"), "{said}");
    assert_eq!(house.rejected("too_large"), 2);
    assert_eq!(house.ended("too_many_errors"), 1);
}

#[tokio::test]
async fn an_endless_header_section_is_refused() {
    let house = House::new(PLAIN, "");
    let many = [b"A: b\r\n".repeat(1001).as_slice(), HEADER, b".\r\n"].concat();
    let (reply, _) = take(&house, &many).await;
    assert!(
        reply.starts_with("554 5.6.0 The header section has more"),
        "{reply}"
    );
    let long = [
        b"A: ".as_slice(),
        &vec![b'x'; 300 << 10],
        b"\r\n",
        HEADER,
        b".\r\n",
    ]
    .concat();
    let (reply, _) = take(&house, &long).await;
    assert!(
        reply.starts_with("554 5.6.0 The header section is longer"),
        "{reply}"
    );
    assert_eq!(house.rejected("header_invalid"), 2);
    let around = b"Received: x\r\n".repeat(50);
    let (reply, _) = take(&house, &[&around, HEADER, b".\r\n"].concat()).await;
    assert!(reply.starts_with("554 5.4.6"), "{reply}");
    assert_eq!(house.rejected("loop"), 1);
}

#[tokio::test]
async fn facts_tell_header_and_body_apart() {
    for (subject, body, header_utf8, eight_bit) in [
        ("x", "y", false, false),
        ("x", "ä", false, true),
        ("ä", "y", true, false),
        ("ä", "ä", true, true),
    ] {
        for filler in [0, 100 << 10] {
            let filler = "z\r\n".repeat(filler / 3);
            let content = format!(
                "From: a@shop.example\r\nSubject: {subject}\r\n\r\n{filler}{body}\r\n.\r\n"
            );
            let (_, kept) = take(&House::new(PLAIN, ""), content.as_bytes()).await;
            let facts = kept.unwrap().0.facts;
            assert_eq!(
                (facts.header_utf8, facts.eight_bit),
                (header_utf8, eight_bit)
            );
            assert!(!facts.signed);
        }
    }
    for (field, header_utf8, eight_bit) in [
        // Latin-1 as it is: 8-bit octets, and nothing that SMTPUTF8 is about.
        (b"Subject: \xe4\r\n".as_slice(), false, true),
        ("Bcc: Jörg <j@x.example>\r\n".as_bytes(), false, false),
        (b"Bcc: J\xf6rg <j@x.example>\r\n", false, false),
    ] {
        for filler in [0, 100 << 10] {
            let filler = b"z\r\n".repeat(filler / 3);
            for (body, body_eight_bit) in [(b"y".as_slice(), false), (b"\xe4", true)] {
                let content = [field, HEADER, &filler, body, b"\r\n.\r\n"].concat();
                let (_, kept) = take(&House::new(PLAIN, ""), &content).await;
                let facts = kept.unwrap().0.facts;
                assert_eq!(
                    (facts.header_utf8, facts.eight_bit),
                    (header_utf8, eight_bit || body_eight_bit),
                    "{}",
                    field.escape_ascii()
                );
            }
        }
    }
    let signed = [b"DKIM-Signature: v=1\r\n".as_slice(), HEADER, b".\r\n"].concat();
    assert!(
        take(&House::new(PLAIN, ""), &signed)
            .await
            .1
            .unwrap()
            .0
            .facts
            .signed
    );
}
