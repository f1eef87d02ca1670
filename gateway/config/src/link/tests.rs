use rustls::{
    ClientConnection, ConnectionCommon, RootCertStore, ServerConnection, SideData, version::TLS12,
};

use super::*;

fn key(rotation: u64) -> Key {
    let octets: Vec<u8> = (0..32).collect();
    let master = Key::try_from(octets.as_slice()).unwrap();
    master.link("mail-system", "outbound", rotation)
}

/// Hands over what one side has to say, as long as it lasts.
fn hand_over<A: SideData, B: SideData>(
    from: &mut ConnectionCommon<A>,
    to: &mut ConnectionCommon<B>,
) -> Result<bool, Error> {
    let mut octets = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut octets).unwrap();
    }
    let mut rest = octets.as_slice();
    while !rest.is_empty() {
        to.read_tls(&mut rest).unwrap();
        to.process_new_packets()?;
    }
    Ok(!octets.is_empty())
}

/// A handshake without a socket, and who broke it off.
fn handshake(client: Arc<ClientConfig>, server: Arc<ServerConfig>) -> Result<(), Refused> {
    let mut client = ClientConnection::new(client, server_name()).unwrap();
    let mut server = ServerConnection::new(server).unwrap();
    loop {
        let asked = hand_over(&mut client, &mut server).map_err(Refused::ByServer)?;
        let answered = hand_over(&mut server, &mut client).map_err(Refused::ByClient)?;
        if !asked && !answered {
            break;
        }
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    let shown = |shown: Option<&[CertificateDer<'_>]>| shown.unwrap()[0].to_vec();
    assert_eq!(
        shown(client.peer_certificates()),
        shown(server.peer_certificates())
    );
    Ok(())
}

#[derive(Debug)]
enum Refused {
    ByServer(Error),
    ByClient(Error),
}

#[test]
fn the_same_key_on_both_sides_is_accepted() {
    handshake(client(&key(1)).unwrap(), server(&key(1)).unwrap()).unwrap();
}

/// RFC 8032 §7.1, TEST 1: the public key of a seed, so that two releases never disagree about it.
#[test]
fn the_public_key_is_that_of_ed25519() {
    let mut seed = [0_u8; 32];
    let hexadecimal = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    for (octet, at) in seed.iter_mut().zip((0..).step_by(2)) {
        *octet = u8::from_str_radix(&hexadecimal[at..at + 2], 16).unwrap();
    }
    let pair = Pair::derive(&Key::try_from(seed.as_slice()).unwrap()).unwrap();
    let public: String = pair
        .public
        .iter()
        .fold(String::new(), |text, octet| format!("{text}{octet:02x}"));
    assert_eq!(
        public,
        "302a300506032b6570032100d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    );
}

#[test]
fn another_key_is_refused_by_the_client_first() {
    let refused = handshake(client(&key(2)).unwrap(), server(&key(1)).unwrap()).unwrap_err();
    assert!(
        matches!(
            refused,
            Refused::ByClient(Error::InvalidCertificate(
                CertificateError::ApplicationVerificationFailure
            ))
        ),
        "{refused:?}"
    );
}

/// A client that would talk to anybody.
#[test]
fn another_key_is_refused_by_the_server_too() {
    let (known, other) = (
        Pair::derive(&key(1)).unwrap(),
        Pair::derive(&key(2)).unwrap(),
    );
    let stranger = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(known.only(&provider()))
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(
            other.shown,
        )));
    let refused = handshake(Arc::new(stranger), server(&key(1)).unwrap()).unwrap_err();
    assert!(
        matches!(
            refused,
            Refused::ByServer(Error::InvalidCertificate(
                CertificateError::ApplicationVerificationFailure
            ))
        ),
        "{refused:?}"
    );
}

/// It shows the public key and cannot sign for it.
#[test]
fn a_public_key_without_its_private_key_is_refused() {
    let (known, other) = (
        Pair::derive(&key(1)).unwrap(),
        Pair::derive(&key(2)).unwrap(),
    );
    let forged = CertifiedKey::new(known.shown.cert.clone(), Arc::clone(&other.shown.key));
    let thief = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(known.only(&provider()))
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(Arc::new(
            forged,
        ))));
    let refused = handshake(Arc::new(thief), server(&key(1)).unwrap()).unwrap_err();
    assert!(
        matches!(
            refused,
            Refused::ByServer(Error::InvalidCertificate(CertificateError::BadSignature))
        ),
        "{refused:?}"
    );
}

#[test]
fn a_client_without_a_key_is_refused() {
    let known = Pair::derive(&key(1)).unwrap();
    let nobody = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(known.only(&provider()))
        .with_no_client_auth();
    let refused = handshake(Arc::new(nobody), server(&key(1)).unwrap()).unwrap_err();
    assert!(matches!(refused, Refused::ByServer(_)), "{refused:?}");
}

fn ordinary(versions: &[&'static rustls::SupportedProtocolVersion]) -> Arc<ClientConfig> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    Arc::new(config)
}

#[test]
fn a_client_that_wants_certificates_is_refused() {
    let refused = handshake(ordinary(&[&TLS13]), server(&key(1)).unwrap()).unwrap_err();
    assert!(
        matches!(
            refused,
            Refused::ByServer(Error::PeerIncompatible(
                PeerIncompatible::IncorrectCertificateTypeExtension
            ))
        ),
        "{refused:?}"
    );
}

#[test]
fn tls_before_1_3_is_refused() {
    let refused = handshake(ordinary(&[&TLS12]), server(&key(1)).unwrap()).unwrap_err();
    assert!(
        matches!(
            refused,
            Refused::ByServer(Error::PeerIncompatible(
                PeerIncompatible::SupportedVersionsExtensionRequired
                    | PeerIncompatible::Tls13RequiredForQuic
                    | PeerIncompatible::Tls12NotOfferedOrEnabled
            ))
        ),
        "{refused:?}"
    );
}
