//! Time and numbers: slow clients, stopping, sessions of one sender.

use super::*;

/// Lets everything run that can, until the session waits for the clock.
async fn settled(house: &House) {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(house.clock.next_wake().is_some());
}

#[tokio::test]
async fn a_client_must_authenticate_or_send_within_a_minute() {
    let house = House::new(PLAIN, "");
    let mut client = house.connect().await;
    client.reply().await;
    for _ in 0..3 {
        settled(&house).await;
        house.clock.advance(Duration::from_secs(19));
        assert!(client.ask("NOOP").await.starts_with("250"));
    }
    settled(&house).await;
    house.clock.advance(Duration::from_secs(3));
    assert_eq!(client.rest().await, "421 4.4.2 Timed out\r\n");
    assert_eq!(house.ended("timed_out"), 1);
}

#[tokio::test]
async fn a_client_that_has_proved_itself_may_rest_five_minutes() {
    let house = House::new(PLAIN, "");
    let mut client = house.connect().await;
    client.reply().await;
    client.ask("EHLO me").await;
    assert!(client.ask(&login()).await.starts_with("235"));
    settled(&house).await;
    house.clock.advance(Duration::from_secs(299));
    assert!(client.ask("NOOP").await.starts_with("250"));
    settled(&house).await;
    house.clock.advance(Duration::from_secs(301));
    assert_eq!(client.rest().await, "421 4.4.2 Timed out\r\n");
}

#[tokio::test]
async fn content_must_come_at_a_kibibyte_a_second() {
    let house = House::new(PLAIN, "");
    let mut client = house.connect().await;
    client.send(envelope()).await;
    for code in ["220", "250", "235", "250", "250", "354"] {
        assert!(client.reply().await.starts_with(code));
    }
    client.send(b"From: a@shop.example\r\n\r\n").await;
    for _ in 0..2 {
        client.send(vec![b'x'; 61 << 10]).await;
        settled(&house).await;
        house.clock.advance(Duration::from_secs(59));
        client.send("y").await;
        settled(&house).await;
        house.clock.advance(Duration::from_secs(1));
        settled(&house).await;
    }
    house.clock.advance(Duration::from_secs(61));
    assert_eq!(client.rest().await, "421 4.4.2 Timed out\r\n");
    assert!(house.kept().is_empty());
}

#[tokio::test]
async fn stopping_ends_sessions_between_transactions() {
    let house = House::new(PLAIN, "");
    let mut idle = house.connect().await;
    idle.reply().await;
    let mut busy = house.connect().await;
    busy.send(envelope()).await;
    for _ in 0..6 {
        busy.reply().await;
    }
    house.stage.send_replace(Stage::Lagging);
    assert!(idle.ask("NOOP").await.starts_with("250"));
    house.stage.send_replace(Stage::Stopping);
    assert_eq!(idle.rest().await, "421 4.3.2 Shutting down\r\n");
    busy.send("From: a@shop.example\r\n\r\n.\r\n").await;
    let said = busy.rest().await;
    let (accepted, stopped) = said.split_once("\r\n").unwrap();
    assert!(accepted.starts_with("250 2.0.0 Ok: queued as "), "{said}");
    assert_eq!(stopped, "421 4.3.2 Shutting down\r\n");
    assert_eq!(house.kept().len(), 1);
}

#[tokio::test]
async fn aborting_ends_everything_at_once() {
    let house = House::new(PLAIN, "");
    let mut busy = house.connect().await;
    busy.send(envelope()).await;
    for _ in 0..6 {
        busy.reply().await;
    }
    house.stage.send_replace(Stage::Aborting);
    assert_eq!(busy.rest().await, "");
    assert_eq!(house.ended("aborted"), 1);
}

#[tokio::test]
async fn one_sender_holds_at_most_a_quarter_of_the_sessions() {
    let house = House::new(PLAIN, "limits: { sessions: 8 }");
    let mut clients = Vec::new();
    for expected in ["235", "235", "421 4.7.0 Too many sessions"] {
        let mut client = house.connect().await;
        client.reply().await;
        client.ask("EHLO me").await;
        let said = client.ask(&login()).await;
        assert!(said.starts_with(expected), "{said}");
        clients.push(client);
    }
    assert_eq!(clients.pop().unwrap().rest().await, "");
    assert_eq!(house.ended("over_limit"), 1);
}

#[tokio::test]
async fn an_endless_line_ends_the_session() {
    let house = House::new(PLAIN, "");
    let said = house.play([vec![b'x'; 100_000].as_slice()]).await;
    assert!(said.ends_with("421 4.7.0 Line too long\r\n"), "{said}");
}

#[tokio::test]
async fn replies_to_a_pipelined_group_come_in_order() {
    let house = House::new(PLAIN, "");
    let said = house
        .play([b"EHLO me\r\nNOOP\r\nFOO\r\nRSET\r\nQUIT\r\nNOOP\r\n".as_slice()])
        .await;
    let codes: Vec<&str> = said
        .lines()
        .filter(|line| line.as_bytes()[3] == b' ')
        .map(|line| &line[..3])
        .collect();
    assert_eq!(codes, ["220", "250", "250", "500", "250", "221"]);
}
