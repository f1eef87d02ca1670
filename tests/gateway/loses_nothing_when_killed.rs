//! SIGKILL at random moments under load: every message whose `250` was read is relayed or still queued. Duplicates
//! are allowed by the contract (a final dot without a reply, a `250` that was not read); they are counted and printed.

use std::{
    collections::{BTreeSet, hash_map::RandomState},
    hash::{BuildHasher, Hasher},
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use posthouse_tests::{Client, Provider, Script, Site, client::message, wait};

const FROM: &str = "orders@shop.example";
const TO: &str = "someone@customer.example";
const CLIENTS: usize = 6;

#[derive(Default)]
struct Load {
    gateway: Mutex<Option<SocketAddr>>,
    confirmed: Mutex<BTreeSet<String>>,
    ended: AtomicBool,
}

impl Load {
    /// Sends over one session after the other until it is told to end.
    fn run(&self, client: usize) {
        for session in 0.. {
            if self.ended.load(Ordering::SeqCst) {
                return;
            }
            let address = *self.gateway.lock().unwrap();
            // A session that a kill cuts off is no failure: what was not confirmed may be lost.
            let _ = address.map(|address| self.session(address, &format!("{client}-{session}")));
            thread::yield_now();
        }
    }

    fn session(&self, address: SocketAddr, name: &str) -> std::io::Result<()> {
        let mut client = Client::try_connect(address)?;
        client.raw(b"EHLO client.example\r\n")?;
        client.reply()?;
        for i in 0..50 {
            let subject = format!("{name}-{i}");
            // One in ten is a file of its own beside the log.
            let filler = "\r\nmore".repeat(if i % 10 == 9 { 20_000 } else { 100 });
            client.raw(format!("MAIL FROM:<{FROM}>\r\nRCPT TO:<{TO}>\r\nDATA\r\n").as_bytes())?;
            for _ in 0..3 {
                client.reply()?;
            }
            client.raw(format!("{}{filler}\r\n.\r\n", message(FROM, &subject)).as_bytes())?;
            if client.reply()?.code == 250 {
                self.confirmed.lock().unwrap().insert(subject);
            }
        }
        Ok(())
    }
}

/// Between 0 and `most`, differently in each run.
fn random(most: Duration) -> Duration {
    let octet = RandomState::new().build_hasher().finish().to_le_bytes()[0];
    most * u32::from(octet) / u32::from(u8::MAX)
}

fn kill_under_load(kills: usize) {
    let provider = Provider::start(Script::take().keep(4096));
    let mut site = Site::relaying_to(provider.port());
    site.write();
    let load = Arc::new(Load::default());
    let clients: Vec<_> = (0..CLIENTS)
        .map(|i| {
            let load = Arc::clone(&load);
            thread::spawn(move || load.run(i))
        })
        .collect();
    for _ in 0..kills {
        let gateway = site.restart();
        let before = load.confirmed.lock().unwrap().len();
        *load.gateway.lock().unwrap() = Some(gateway.address("plain"));
        let moment = Instant::now() + random(Duration::from_millis(400));
        wait::until_true("the load goes on, and the moment has come", || {
            load.confirmed.lock().unwrap().len() > before && Instant::now() >= moment
        });
        *load.gateway.lock().unwrap() = None;
        gateway.kill();
    }
    load.ended.store(true, Ordering::SeqCst);
    for client in clients {
        client.join().unwrap();
    }

    let gateway = site.restart();
    let confirmed = load.confirmed.lock().unwrap().clone();
    let deadline = Duration::from_mins(5);
    wait::until(
        "everything is relayed or waits for a reason of its own",
        deadline,
        || {
            let queue = gateway.status().queue;
            (queue.messages == queue.unconfirmed + queue.held).then_some(())
        },
    );
    let queue = gateway.status().queue;
    let relayed = provider.subjects();
    let missing: Vec<_> = confirmed
        .iter()
        .filter(|subject| !relayed.contains_key(*subject))
        .collect();
    assert!(
        missing.len() as u64 <= queue.messages,
        "{} of {} confirmed messages are gone, {} still queued: {missing:?}",
        missing.len(),
        confirmed.len(),
        queue.messages
    );
    let duplicates: usize = relayed.values().map(|count| count - 1).sum();
    println!(
        "{kills} kills, {} confirmed, {} relayed, {} still queued, {duplicates} duplicates",
        confirmed.len(),
        relayed.len(),
        queue.messages
    );
    // At most what was in flight at each death may come twice.
    assert!(
        duplicates <= kills * 20 * 2,
        "{duplicates} duplicates after {kills} kills"
    );
}

#[test]
fn five_kills() {
    kill_under_load(5);
}

#[test]
#[ignore = "takes minutes; .ci/run runs it"]
fn a_hundred_kills() {
    kill_under_load(100);
}
