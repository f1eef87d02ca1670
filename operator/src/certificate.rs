//! The operator's own certificate authority, for listeners that say `selfSigned: true`.
//!
//! P-256 throughout. The authority lives for ten years and signs nothing but leaves for our own listeners; a leaf lives
//! for 90 days and is issued again when a third of that is left, or when its names or its authority are others. Dates
//! are whole days, and a certificate begins the day before, so that clocks that are a little apart agree.

use jiff::{Timestamp, ToSpan, civil::Date, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, date_time_ymd,
};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension},
    prelude::FromDer,
};

/// A leaf's life in days.
const LEAF_DAYS: i64 = 90;

/// A leaf with less than this left is issued again: a third of its life.
const RENEW_DAYS: i64 = LEAF_DAYS / 3;

/// The authority's life in years.
const AUTHORITY_YEARS: i64 = 10;

/// Why a certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The authority's certificate or key is not what we wrote.
    #[error("read the certificate authority")]
    ReadAuthority(#[source] rcgen::Error),
    /// A name is no name for a certificate, or the machine has no randomness.
    #[error("make a certificate")]
    Make(#[from] rcgen::Error),
    /// A date past the end of the calendar.
    #[error("compute a certificate's dates")]
    Date(#[from] jiff::Error),
}

/// A certificate and its private key, PEM.
#[derive(Clone)]
pub struct Certified {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

/// Makes a certificate authority.
pub fn make_authority(now: Timestamp) -> Result<Certified, CertificateError> {
    let today = today(now);
    let mut params = CertificateParams::new(Vec::new())?;
    params
        .distinguished_name
        .push(DnType::CommonName, "Posthouse certificate authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_dates(
        &mut params,
        today.yesterday()?,
        today.checked_add(AUTHORITY_YEARS.years())?,
    );
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok(Certified {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    })
}

/// Issues a leaf for a server of these names, the first of which is its common name; addresses count as names.
pub fn issue(
    authority: &Certified,
    names: &[String],
    now: Timestamp,
) -> Result<Certified, CertificateError> {
    let authority_key =
        KeyPair::from_pem(&authority.key).map_err(CertificateError::ReadAuthority)?;
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate, authority_key)
        .map_err(CertificateError::ReadAuthority)?;
    let today = today(now);
    let mut params = CertificateParams::new(names.to_vec())?;
    // RFC 5280 appendix A: a common name has at most 64 characters; clients look at the other names anyway.
    let common = names.first().filter(|name| name.len() <= 64);
    let common = common.map_or("Posthouse gateway", String::as_str);
    params.distinguished_name.push(DnType::CommonName, common);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    set_dates(
        &mut params,
        today.yesterday()?,
        today.checked_add(LEAF_DAYS.days())?,
    );
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &issuer)?;
    Ok(Certified {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    })
}

/// The part of an authority that is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The certificate.
    Certificate,
    /// The private key.
    Key,
}

/// Why an authority cannot sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The part that is at fault.
    pub part: Part,
    /// What is wrong with it, to be read after its name.
    pub problem: &'static str,
}

/// What is wrong with an authority, if anything is. One that has ended is as bad as none: nobody accepts its leaves.
pub fn authority_fault(authority: &Certified, now: Timestamp) -> Option<Fault> {
    let fault = |part, problem| Some(Fault { part, problem });
    let Some(facts) = Facts::read(&authority.certificate) else {
        return fault(Part::Certificate, "must be a certificate, PEM");
    };
    let Ok(key) = KeyPair::from_pem(&authority.key) else {
        return fault(Part::Key, "must be a private key, PEM");
    };
    if facts.public_key != key.subject_public_key_info() {
        return fault(Part::Key, "must be the key of the certificate");
    }
    if facts.not_after < now.as_second() {
        return fault(Part::Certificate, "has ended");
    }
    None
}

/// Whether a leaf can stay: of this authority, for exactly these names, with more than a third of its life left.
pub fn is_current(leaf: &str, authority: &str, names: &[String], now: Timestamp) -> bool {
    let (Some(leaf), Some(authority)) = (Facts::read(leaf), Facts::read(authority)) else {
        return false;
    };
    let mut wanted = names.to_vec();
    wanted.sort();
    leaf.issuer_key.is_some()
        && leaf.issuer_key == authority.own_key
        && leaf.names == wanted
        && !is_due(leaf.not_after, now)
}

/// Whether a leaf that ends at this second has to be issued again.
pub fn is_due(not_after: i64, now: Timestamp) -> bool {
    not_after - now.as_second() <= RENEW_DAYS * 24 * 3600
}

/// What we ask of a certificate.
struct Facts {
    not_after: i64,
    /// Sorted.
    names: Vec<String>,
    /// RFC 5280 §4.2.1.2.
    own_key: Option<Vec<u8>>,
    /// RFC 5280 §4.2.1.1.
    issuer_key: Option<Vec<u8>>,
    /// `SubjectPublicKeyInfo`, DER.
    public_key: Vec<u8>,
}

impl Facts {
    fn read(pem: &str) -> Option<Self> {
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
        let (_, certificate) = X509Certificate::from_der(&der).ok()?;
        let mut facts = Self {
            not_after: certificate.validity().not_after.timestamp(),
            names: Vec::new(),
            own_key: None,
            issuer_key: None,
            public_key: certificate.public_key().raw.to_vec(),
        };
        for extension in certificate.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::SubjectAlternativeName(names) => {
                    facts.names = names.general_names.iter().filter_map(name).collect();
                    facts.names.sort();
                }
                ParsedExtension::SubjectKeyIdentifier(id) => facts.own_key = Some(id.0.to_vec()),
                ParsedExtension::AuthorityKeyIdentifier(id) => {
                    facts.issuer_key = id.key_identifier.as_ref().map(|id| id.0.to_vec());
                }
                _ => {}
            }
        }
        Some(facts)
    }
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(octets) => address(octets),
        _ => None,
    }
}

fn address(octets: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(octets).map(|octets| std::net::IpAddr::from(octets).to_string());
    let v6 = <[u8; 16]>::try_from(octets).map(|octets| std::net::IpAddr::from(octets).to_string());
    v4.or(v6).ok()
}

fn today(now: Timestamp) -> Date {
    now.to_zoned(TimeZone::UTC).date()
}

fn set_dates(params: &mut CertificateParams, first: Date, last: Date) {
    // Months and days of a date are never negative.
    let number = |n: i8| n.unsigned_abs();
    let midnight =
        |date: Date| date_time_ymd(date.year().into(), number(date.month()), number(date.day()));
    params.not_before = midnight(first);
    params.not_after = midnight(last);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_leaf_stays_until_a_third_of_its_life_is_left() {
        let now: Timestamp = "2030-01-01T12:00:00Z".parse().unwrap();
        let days = |days: i64| now + jiff::SignedDuration::from_hours(24 * days);
        let authority = make_authority(now).unwrap();
        let wanted = names(&["mail.example.com", "localhost", "127.0.0.1", "::1"]);
        let leaf = issue(&authority, &wanted, now).unwrap();
        for (at, expected) in [(0, true), (59, true), (61, false), (200, false)] {
            assert_eq!(
                is_current(&leaf.certificate, &authority.certificate, &wanted, days(at)),
                expected,
                "day {at}"
            );
        }
        let other = names(&["mail.example.com"]);
        assert!(!is_current(
            &leaf.certificate,
            &authority.certificate,
            &other,
            now
        ));
        let stranger = make_authority(now).unwrap();
        assert!(!is_current(
            &leaf.certificate,
            &stranger.certificate,
            &wanted,
            now
        ));
        assert!(!is_current("", &authority.certificate, &wanted, now));
    }

    #[test]
    fn a_damaged_authority_is_an_error() {
        let now: Timestamp = "2030-01-01T12:00:00Z".parse().unwrap();
        let mut authority = make_authority(now).unwrap();
        authority.key = "-----BEGIN PRIVATE KEY-----\n".to_owned();
        assert!(matches!(
            issue(&authority, &names(&["a.example"]), now),
            Err(CertificateError::ReadAuthority(_))
        ));
    }
}
