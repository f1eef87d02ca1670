//! Listeners on real sockets: places, certificates that come later, drains and stops.

use tokio::net::TcpStream;

use super::{tls::certified, *};
use crate::inbound::listener::bind;

/// A house whose listener is served on a port of its own.
struct Served {
    house: House,
    address: SocketAddr,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Served {
    fn new(house: House) -> Self {
        let socket = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        let name = house.listener().name.as_str().into();
        let serving = tokio::spawn(Arc::clone(&house.inbound).serve(name, socket));
        Self {
            house,
            address,
            serving,
        }
    }

    /// Waits until the listener listens.
    async fn open(self) -> Self {
        while self.house.inbound.listening().is_empty() {
            tokio::task::yield_now().await;
        }
        self
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Moves on to `Stopping` and waits for the listener to end.
    async fn stop(self) -> House {
        self.house.stage.send_replace(Stage::Stopping);
        self.serving.await.unwrap().unwrap();
        self.house
    }
}

async fn said(stream: &mut TcpStream) -> String {
    let mut octets = vec![0; 512];
    let read = stream.read(&mut octets).await.unwrap();
    String::from_utf8(octets[..read].to_vec()).unwrap()
}

#[tokio::test]
async fn mail_comes_in_over_a_socket_and_stopping_closes_it() {
    let served = Served::new(House::new(PLAIN, "")).open().await;
    assert_eq!(
        served.house.inbound.listening()[0].address,
        served.address.to_string()
    );
    let mut client = served.connect().await;
    let lines = envelope() + "From: a@shop.example\r\n\r\n.\r\nQUIT\r\n";
    for octet in lines.as_bytes() {
        client.write_all(&[*octet]).await.unwrap();
    }
    let mut all = String::new();
    client.read_to_string(&mut all).await.unwrap();
    assert!(all.contains("queued as"), "{all}");
    let mut idle = served.connect().await;
    assert!(said(&mut idle).await.starts_with("220 "));
    let address = served.address;
    let house = served.stop().await;
    assert_eq!(said(&mut idle).await, "421 4.3.2 Shutting down\r\n");
    assert!(TcpStream::connect(address).await.is_err());
    assert_eq!(house.kept().len(), 1);
    assert_eq!(house.inbound.sessions(), 0);
    assert!(house.inbound.listening().is_empty());
}

#[tokio::test]
async fn a_connection_over_the_limit_waits_and_is_then_told() {
    let served = Served::new(House::new(PLAIN, "limits: { sessions: 1 }"))
        .open()
        .await;
    let mut first = served.connect().await;
    assert!(said(&mut first).await.starts_with("220 "));
    let mut second = served.connect().await;
    let mut third = served.connect().await;
    first.write_all(b"QUIT\r\n").await.unwrap();
    assert!(said(&mut first).await.starts_with("221 "));
    assert!(said(&mut second).await.starts_with("220 "));
    // Its minute ends later than the twenty seconds of the one that waits.
    let clock = &served.house.clock;
    while clock
        .next_wake()
        .is_none_or(|at| at.since(clock.now()) > Duration::from_secs(20))
    {
        tokio::task::yield_now().await;
    }
    clock.advance(Duration::from_secs(20));
    assert_eq!(said(&mut third).await, "421 4.7.0 Too many sessions\r\n");
    drop((second, third));
    let house = served.stop().await;
    assert_eq!(house.ended("over_limit"), 1);
}

#[tokio::test]
async fn a_listener_stays_closed_until_its_certificate_can_be_used() {
    let house = certified();
    let whole = house.snapshot.borrow().clone();
    house.snapshot.send_replace(Arc::new(Snapshot::new(
        Arc::clone(&whole.document),
        Arc::clone(&whole.senders),
        BTreeMap::new(),
    )));
    let served = Served::new(house);
    while served.house.inbound.views().is_empty() {
        tokio::task::yield_now().await;
    }
    let view = served.house.inbound.views()["submission"].clone();
    assert!(view.invalid.is_none(), "what is missing is told elsewhere");
    assert!(TcpStream::connect(served.address).await.is_err());
    served.house.snapshot.send_replace(whole);
    let served = served.open().await;
    let view = served.house.inbound.views()["submission"].clone();
    assert_eq!(view.certificate.unwrap().names, ["mail.example.com"]);
    assert!(view.invalid.is_none());
    let mut client = served.connect().await;
    assert!(said(&mut client).await.starts_with("220 "));
    served.stop().await;
}

#[tokio::test]
async fn a_renewed_certificate_is_used_without_a_restart() {
    let served = Served::new(certified()).open().await;
    let view = || served.house.inbound.views()["submission"].clone();
    let (first, renewed) = (view().certificate, certified());
    let renewed = renewed.snapshot.borrow().clone();
    let before = served.house.snapshot.borrow().clone();
    let broken = Snapshot::new(
        Arc::clone(&before.document),
        Arc::clone(&before.senders),
        ["c", "k"]
            .map(|path| (path.to_owned(), Arc::from(b"x".as_slice())))
            .into(),
    );
    served.house.snapshot.send_replace(Arc::new(broken));
    while view().invalid.is_none() {
        tokio::task::yield_now().await;
    }
    assert_eq!(view().certificate, first);
    served.house.snapshot.send_replace(renewed);
    while view().invalid.is_some() {
        tokio::task::yield_now().await;
    }
    let expiry = &served
        .house
        .inbound
        .parts
        .metrics
        .certificate_expiry_timestamp_seconds;
    assert!(expiry.with_label_values(&["submission"]).get() > 0.0);
    served.stop().await;
}

#[tokio::test]
async fn a_listener_that_does_without_a_certificate_tells_of_none() {
    let served = Served::new(certified()).open().await;
    let view = || served.house.inbound.views()["submission"].clone();
    let expiry = || {
        let (text, _) = served.house.inbound.parts.metrics.encode();
        text.contains("posthouse_certificate_expiry_timestamp_seconds{")
    };
    assert!(view().certificate.is_some() && expiry());
    let disabled =
        "{ name: submission, protocol: Submission, address: '127.0.0.1:0', tls: Disabled }";
    let before = served.house.snapshot.borrow().clone();
    let disabled = Snapshot::new(
        Arc::new(document(disabled, "")),
        Arc::clone(&before.senders),
        BTreeMap::new(),
    );
    served.house.snapshot.send_replace(Arc::new(disabled));
    while view().certificate.is_some() {
        tokio::task::yield_now().await;
    }
    assert!(!expiry());
    served.house.snapshot.send_replace(before);
    while view().certificate.is_none() {
        tokio::task::yield_now().await;
    }
    assert!(expiry());
    served.stop().await;
}

#[tokio::test]
async fn a_draining_gateway_says_so_to_new_connections() {
    let mut draining = document(PLAIN, "");
    draining.replicas = 0;
    let served = Served::new(House::of(snapshot_of(draining))).open().await;
    let mut client = served.connect().await;
    assert_eq!(
        said(&mut client).await,
        "421 4.3.2 Not accepting new mail\r\n"
    );
    let house = served.stop().await;
    assert_eq!(house.rejected("draining"), 1);
}

#[tokio::test]
async fn aborting_waits_for_nobody() {
    let served = Served::new(House::new(PLAIN, "")).open().await;
    let mut client = served.connect().await;
    said(&mut client).await;
    client.write_all(envelope().as_bytes()).await.unwrap();
    while !said(&mut client).await.contains("354") {}
    served.house.stage.send_replace(Stage::Aborting);
    served.serving.await.unwrap().unwrap();
    assert_eq!(client.read(&mut [0; 10]).await.unwrap_or(0), 0);
    assert_eq!(served.house.ended("aborted"), 1);
}
