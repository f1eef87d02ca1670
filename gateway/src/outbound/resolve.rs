//! From a host name to the addresses to try.
//!
//! A name with a dot is absolute: a cluster's search list would ask for `smtp.example.com.svc.cluster.local` first, and
//! whoever can make a Service of that name would get our credentials asked for.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use tokio::net::lookup_host;

/// Addresses tried of one name: enough for every provider's round robin, and an end.
const MAXIMUM_ADDRESSES: usize = 16;

/// The addresses of a host in the order of the system (RFC 6724), both families.
pub(crate) async fn addresses(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let mut addresses = Vec::new();
    for address in lookup_host((absolute(host), port)).await? {
        if !addresses.contains(&address) && addresses.len() < MAXIMUM_ADDRESSES {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

/// The name to ask for.
fn absolute(host: &str) -> String {
    if host.contains('.') && !host.ends_with('.') {
        format!("{host}.")
    } else {
        host.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_dot_is_absolute() {
        assert_eq!(absolute("smtp.office365.com"), "smtp.office365.com.");
        assert_eq!(absolute("smtp.example."), "smtp.example.");
        assert_eq!(absolute("mailhub"), "mailhub");
    }

    #[tokio::test]
    async fn an_address_needs_no_resolver() {
        assert_eq!(
            addresses("::1", 25).await.unwrap(),
            ["[::1]:25".parse().unwrap()]
        );
        assert!(!addresses("localhost", 25).await.unwrap().is_empty());
    }
}
