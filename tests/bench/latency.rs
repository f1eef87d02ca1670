//! How long accepting takes at half load: from the final dot to the `250`, at a fixed rate spread over the sessions.

use std::{
    net::SocketAddr,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use posthouse_tests::{Client, client};

use crate::case::Case;

/// How long the load lasts.
const LASTS: Duration = Duration::from_secs(5);

/// Median and 99th of a hundred at `rate` messages per second over all sessions.
pub(crate) fn at(case: &Case, address: SocketAddr, rate: f64) -> (Duration, Duration) {
    let every = Duration::from_secs_f64(case.sessions as f64 / rate);
    let sessions: Vec<_> = (0..case.sessions)
        .map(|i| {
            let first = every.mul_f64(i as f64 / case.sessions as f64);
            let size = case.size;
            thread::spawn(move || session(address, size, first, every))
        })
        .collect();
    let mut times: Vec<Duration> = sessions
        .into_iter()
        .flat_map(|session| session.join().unwrap())
        .collect();
    times.sort_unstable();
    let at = |share: usize| {
        times
            .get(times.len() * share / 100)
            .copied()
            .unwrap_or_default()
    };
    (at(50), at(99))
}

/// One session: a message at each of its turns. A turn that comes late is not made up for by a faster one.
fn session(address: SocketAddr, size: usize, first: Duration, every: Duration) -> Vec<Duration> {
    let mut client = Client::connect(address);
    client.hello();
    let content = client::message("bench@shop.example", "latency") + &"\r\nbody".repeat(size / 6);
    let end = format!("{content}\r\n.\r\n");
    let start = Instant::now();
    let mut turn = first;
    let mut times = Vec::new();
    // Nobody sends: the channel is a clock that can be waited for.
    let (_keep, clock) = mpsc::channel::<()>();
    while turn < LASTS {
        let wait = turn.saturating_sub(start.elapsed());
        assert_eq!(clock.recv_timeout(wait), Err(RecvTimeoutError::Timeout));
        client.begin("bench@shop.example", &["to@customer.example"]);
        let sent = Instant::now();
        client.raw(end.as_bytes()).unwrap();
        client.expect_reply(250);
        times.push(sent.elapsed());
        turn = (turn + every).max(start.elapsed());
    }
    times
}
