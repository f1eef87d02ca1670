//! Where clients connect, and on what terms.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::Check;
use crate::pattern::AddressPattern;

/// One listening socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listener {
    /// Unique among the listeners; a metric label.
    pub name: String,
    /// Which protocol is spoken.
    pub protocol: Protocol,
    /// Where to bind; a pod binds the unspecified address.
    pub address: SocketAddr,
    /// Whether TLS is required, offered or absent.
    pub tls: TlsPolicy,
    /// The certificate chain and its key, as paths; required unless `tls` is `Disabled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Certificate>,
    /// Whether passwords are taken without TLS.
    #[serde(default)]
    pub plaintext_authentication: PlaintextAuthentication,
    /// What happens to a bare CR, a bare LF or a NUL in content.
    #[serde(default)]
    pub bare_newlines: BareNewlines,
    /// What happens to lines of over 998 octets (RFC 5321 §4.5.3.1.6).
    #[serde(default)]
    pub long_lines: LongLines,
}

/// Files of one certificate, PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Certificate {
    /// The chain, leaf first.
    pub chain: String,
    /// The private key.
    pub key: String,
}

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// RFC 6409 submission: MAIL always needs AUTH.
    Submission,
    /// Submission with TLS from the first octet (RFC 8314 §3.3).
    Submissions,
    /// AUTH is optional; without it a client is `anonymous`, where that is allowed.
    Smtp,
}

/// TLS on a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsPolicy {
    /// MAIL and AUTH only under TLS.
    Required,
    /// STARTTLS is offered; a client may do without.
    Offered,
    /// No TLS.
    Disabled,
}

/// Whether passwords are taken without TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PlaintextAuthentication {
    /// AUTH is offered under TLS only.
    #[default]
    Refuse,
    /// AUTH is offered without TLS too.
    Allow,
}

/// What happens to a bare CR, a bare LF or a NUL in content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum BareNewlines {
    /// A bare LF is stored as CRLF, a bare CR or NUL as a space.
    #[default]
    Repair,
    /// The message is refused with `554 5.6.0`.
    Refuse,
}

/// What happens to lines of over 998 octets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LongLines {
    /// Folded while relaying, unless the message is signed.
    #[default]
    Fold,
    /// Relayed as they are.
    Pass,
    /// The message is refused with `554 5.6.0`.
    Refuse,
}

/// Who may send without authenticating, on `Smtp` listeners.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Anonymous {
    /// Client networks. IPv4-mapped IPv6 addresses count as IPv4.
    pub networks: Vec<Network>,
    /// What the client may send as.
    pub sender_domains: Vec<AddressPattern>,
}

/// An address range in CIDR notation. One of IPv4-mapped IPv6 addresses (RFC 4291 §2.5.5.2) is the IPv4 range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Whether an address is in the range; an IPv4-mapped IPv6 address counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let shift = 32 - u32::from(self.prefix);
                own.to_bits().checked_shr(shift).unwrap_or(0)
                    == other.to_bits().checked_shr(shift).unwrap_or(0)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let shift = 128 - u32::from(self.prefix);
                own.to_bits().checked_shr(shift).unwrap_or(0)
                    == other.to_bits().checked_shr(shift).unwrap_or(0)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl std::str::FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("must be a network in CIDR notation such as 10.0.0.0/8, is {text:?}");
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
        let own = address.to_canonical();
        let ahead = if own == address { 0 } else { 96 };
        let (minimum, maximum) = if own.is_ipv4() {
            (8 + ahead, 32 + ahead)
        } else {
            (32, 128)
        };
        if (minimum..=maximum).contains(&prefix) {
            Ok(Self {
                address: own,
                prefix: prefix - ahead,
            })
        } else {
            Err(format!(
                "must have a prefix between /{minimum} and /{maximum}, is {text:?}"
            ))
        }
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl Listener {
    /// The files it names.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.certificate
            .iter()
            .flat_map(|certificate| [certificate.chain.as_str(), certificate.key.as_str()])
    }

    pub(super) fn check(&self, path: &str, loopback_is_trusted: bool, check: &mut Check) {
        check.require(
            !self.name.is_empty(),
            &format!("{path}.name"),
            "must not be empty",
        );
        if let Some(certificate) = &self.certificate {
            check.relative(&format!("{path}.certificate.chain"), &certificate.chain);
            check.relative(&format!("{path}.certificate.key"), &certificate.key);
        }
        let disabled = self.tls == TlsPolicy::Disabled;
        check.require(
            disabled == self.certificate.is_none(),
            &format!("{path}.certificate"),
            "must be given exactly when tls is not \"Disabled\"",
        );
        check.require(
            !(disabled && self.protocol == Protocol::Submissions),
            &format!("{path}.tls"),
            "must not be \"Disabled\" with protocol \"Submissions\"",
        );
        check.require(
            !loopback_is_trusted || self.address.ip().is_loopback(),
            &format!("{path}.address"),
            "must be a loopback address where loopbackIsTrusted is set",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_what_they_say() {
        for (network, address, expected) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("::ffff:10.0.0.0/104", "10.1.2.3", true),
            ("::ffff:10.0.0.0/104", "::ffff:10.1.2.3", true),
            ("::ffff:10.0.0.0/104", "11.1.2.3", false),
            ("::ffff:192.0.2.7/128", "192.0.2.7", true),
            ("192.0.2.7/32", "192.0.2.7", true),
            ("192.0.2.7/32", "192.0.2.6", false),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
        ] {
            assert_eq!(
                network
                    .parse::<Network>()
                    .unwrap()
                    .contains(address.parse().unwrap()),
                expected,
                "{network} {address}"
            );
        }
        for wrong in [
            "0.0.0.0/0",
            "10.0.0.0/7",
            "::/0",
            "10.0.0.0",
            "10.0.0.0/33",
            "::ffff:10.0.0.0/103",
            "::ffff:10.0.0.0/95",
            "::ffff:10.0.0.0/64",
            "::ffff:10.0.0.0/129",
            "x/8",
        ] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }
}
