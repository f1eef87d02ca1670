//! With a status port, `/status` is there and nowhere else, for those who have the document's link key; a key that comes
//! late, changes or goes is taken note of without a restart.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use posthouse_config::{Status, credential::Key, link};
use posthouse_tests::{Gateway, Provider, Script, Site, admin, wait};
use rustls::{ClientConnection, StreamOwned};

const UID: &str = "6f1ed002-ab5c-4a5e-8b1a-000000000009";

/// The status, if the port lets the holder of this key in.
fn status(address: SocketAddr, key: [u8; 32]) -> Option<Status> {
    let config = link::client(&Key::try_from(key.as_slice()).unwrap()).unwrap();
    let connection = ClientConnection::new(config, link::server_name()).unwrap();
    let mut stream = StreamOwned::new(connection, TcpStream::connect(address).unwrap());
    stream
        .write_all(b"GET /status HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n")
        .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    Some(serde_json::from_str(body).unwrap())
}

#[test]
fn only_the_link_key_opens_the_status_port() {
    let provider = Provider::start(Script::take());
    let mut site = Site::relaying_to(provider.port());
    site.document.keys.link = Some("keys/link".to_owned());
    site.write();
    let flags = ["--status", "127.0.0.1:0", "--pod-uid", UID];
    let gateway = Gateway::start_with(&site.folder(), &site.spool(), &flags);
    let port = gateway.port("status");

    assert_eq!(admin::get(gateway.admin(), "/status").unwrap().code, 404);
    assert_eq!(admin::get(gateway.admin(), "/metrics").unwrap().code, 200);
    for _ in 0..3 {
        assert!(status(port, [1; 32]).is_none(), "there is no key yet");
    }
    let told = "connections to the status port are refused";
    assert_eq!(gateway.log().lines_with(told).len(), 1);

    site.secret("keys/link", &[1; 32]);
    let first = wait::until("the key is in use", wait::SOON, || status(port, [1; 32]));
    assert_eq!(first.pod_uid, UID);
    assert!(first.files.missing.is_empty(), "{:?}", first.files);
    assert!(status(port, [2; 32]).is_none());

    site.secret("keys/link", &[2; 32]);
    wait::until("the new key is in use", wait::SOON, || {
        status(port, [2; 32])
    });
    assert!(status(port, [1; 32]).is_none());
    gateway.stop();
}

#[test]
fn a_key_file_that_goes_is_told_and_stays_in_use() {
    let provider = Provider::start(Script::take());
    let mut site = Site::relaying_to(provider.port());
    site.document.keys.link = Some("keys/link".to_owned());
    site.secret("keys/link", &[1; 32]);
    site.write();
    let flags = ["--status", "127.0.0.1:0"];
    let gateway = Gateway::start_with(&site.folder(), &site.spool(), &flags);
    let port = gateway.port("status");
    for file in ["keys/link", "keys/relay-1"] {
        fs::remove_file(site.folder().join(file)).unwrap();
    }
    let missing = || status(port, [1; 32]).unwrap().files.missing;
    wait::until_true("both are told", || {
        missing() == ["keys/relay-1", "keys/link"]
    });
    site.secret("keys/link", &[1; 32]);
    wait::until_true("one is back", || missing() == ["keys/relay-1"]);
    site.secret("keys/relay-1", b"short");
    wait::until_true("the other one is back and no key", || {
        let files = status(port, [1; 32]).unwrap().files;
        files.missing.is_empty()
            && files.invalid == ["keys/relay-1 must hold exactly 32 octets, has 5"]
    });
    gateway.stop();
}
