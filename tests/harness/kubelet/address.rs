//! Addresses of pods: each has one of its own in 127.0.0.0/8, so that every pod can bind the ports of its document.
//!
//! Linux answers at the whole of that network without any set-up. Test binaries run side by side, so a cluster claims a
//! 127.x.y.0/24 for itself: it keeps a socket bound at the last address there, which a second claim cannot bind.

use std::{
    collections::BTreeSet,
    hash::{BuildHasher, RandomState},
    net::{Ipv4Addr, UdpSocket},
    sync::Mutex,
};

/// The port of the claim. Any would do, as long as it is the same for everybody.
const CLAIM: u16 = 8080;

/// The addresses of one cluster.
pub(super) struct Addresses {
    network: [u8; 2],
    taken: Mutex<BTreeSet<u8>>,
    _claim: UdpSocket,
}

impl Addresses {
    /// Claims a network that no other process has.
    pub(super) fn claim() -> Self {
        loop {
            let [x, y, ..] = RandomState::new().hash_one(0).to_ne_bytes();
            // Systems use 127.0.0.0/16 themselves.
            let network = [x.max(1), y];
            if let Ok(claim) = UdpSocket::bind((Ipv4Addr::new(127, network[0], y, 255), CLAIM)) {
                return Self {
                    network,
                    taken: Mutex::default(),
                    _claim: claim,
                };
            }
        }
    }

    /// An address that no pod has.
    pub(super) fn take(&self) -> Ipv4Addr {
        let mut taken = self.taken.lock().unwrap();
        let last = (1..=254).find(|last| !taken.contains(last));
        let last = last.expect("at most 254 pods at once");
        taken.insert(last);
        let [x, y] = self.network;
        Ipv4Addr::new(127, x, y, last)
    }

    /// Gives an address back.
    pub(super) fn free(&self, address: Ipv4Addr) {
        self.taken.lock().unwrap().remove(&address.octets()[3]);
    }
}

#[cfg(test)]
mod tests {
    use super::Addresses;

    #[test]
    fn no_two_have_the_same() {
        let (one, other) = (Addresses::claim(), Addresses::claim());
        assert_ne!(one.network, other.network);
        let first = one.take();
        assert!(first.is_loopback());
        assert_ne!(first, one.take());
        one.free(first);
        assert_eq!(first, one.take());
    }
}
