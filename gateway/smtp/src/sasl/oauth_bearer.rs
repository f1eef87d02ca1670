//! OAUTHBEARER (RFC 7628), the server's side: a bearer token in a list of keys and values behind a GS2 header (RFC 5801).
//!
//! What is right with the grammar is decided here; whose token it is, and whether it is any good, is not. A refusal has
//! two steps (RFC 7628 §3.2.3): an error in JSON as a challenge, and the reply after the client's next line.

use super::{Bearer, SaslError, decoded};

/// Between, before and after keys and values (RFC 7628 §3.1: `kvsep`).
pub(super) const SEPARATOR: u8 = 0x01;

/// What an error says to a client whose token is refused (RFC 7628 §3.2.2, RFC 6750 §3.1).
pub const INVALID: &str = r#"{"status":"invalid_token"}"#;

/// What it says where that cannot be told now (RFC 6749 §4.1.2.1).
pub const UNAVAILABLE: &str = r#"{"status":"temporarily_unavailable"}"#;

/// Reads the client's one response: `gs2-header kvsep *kvpair kvsep`.
pub fn response(line: &[u8]) -> Result<Bearer, SaslError> {
    let octets = decoded(line)?;
    let header_end = octets
        .iter()
        .position(|&octet| octet == SEPARATOR)
        .ok_or(SaslError::Syntax)?;
    let (header, rest) = octets
        .split_at_checked(header_end)
        .ok_or(SaslError::Syntax)?;
    let username = identity(header)?;
    let pairs = rest.get(1..).ok_or(SaslError::Syntax)?;
    let mut token = None;
    for (key, value) in Pairs::read(pairs)? {
        // A second one: readers could take a different one of them. Other keys are passed over (RFC 7628 §3.1).
        if key.eq_ignore_ascii_case(b"auth") && token.replace(bearer(value)?).is_some() {
            return Err(SaslError::Syntax);
        }
    }
    Ok(Bearer {
        username,
        token: token.ok_or(SaslError::Syntax)?,
    })
}

/// The GS2 header `n,a=name,` (RFC 5801 §4). Channel binding is not offered, so a client must not ask for it.
fn identity(header: &[u8]) -> Result<Option<String>, SaslError> {
    let header = std::str::from_utf8(header).map_err(|_| SaslError::Syntax)?;
    let mut parts = header.split(',');
    let (Some("n" | "y"), Some(identity), Some(""), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(SaslError::Syntax);
    };
    if identity.is_empty() {
        return Ok(None);
    }
    let name = identity.strip_prefix("a=").ok_or(SaslError::Syntax)?;
    sasl_name(name).map(Some)
}

/// A name with `,` and `=` written as `=2C` and `=3D` (RFC 5801 §4: `saslname`).
fn sasl_name(name: &str) -> Result<String, SaslError> {
    let mut parts = name.split('=');
    let mut decoded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (octet, rest) = if let Some(rest) = part.strip_prefix("2C") {
            (',', rest)
        } else if let Some(rest) = part.strip_prefix("3D") {
            ('=', rest)
        } else {
            return Err(SaslError::Syntax);
        };
        decoded.push(octet);
        decoded.push_str(rest);
    }
    if decoded.is_empty() || decoded.contains('\0') {
        return Err(SaslError::Syntax);
    }
    Ok(decoded)
}

/// The token of `Bearer <token>`, as in the `Authorization` field of HTTP (RFC 6750 §2.1; the scheme's case is free, RFC
/// 9110 §11.1).
pub(super) fn bearer(value: &[u8]) -> Result<Vec<u8>, SaslError> {
    let (scheme, token) = value.split_at_checked(7).ok_or(SaslError::Syntax)?;
    let token = token.trim_ascii();
    if !scheme.eq_ignore_ascii_case(b"Bearer ") || !is_token(token) {
        return Err(SaslError::Syntax);
    }
    Ok(token.to_vec())
}

/// RFC 6750 §2.1: `b64token`.
fn is_token(token: &[u8]) -> bool {
    let end = token.iter().rposition(|&octet| octet != b'=');
    let body = end.and_then(|end| token.get(..=end)).unwrap_or_default();
    !body.is_empty()
        && body
            .iter()
            .all(|octet| octet.is_ascii_alphanumeric() || b"-._~+/".contains(octet))
}

/// A key and its value.
type Pair<'a> = (&'a [u8], &'a [u8]);

/// Keys and values, each ended by a separator, all of them by one more.
pub(super) struct Pairs<'a>(&'a [u8]);

impl<'a> Pairs<'a> {
    /// # Errors
    /// The last separator is missing, or there is something behind it.
    pub(super) fn read(octets: &'a [u8]) -> Result<Vec<Pair<'a>>, SaslError> {
        let mut pairs = Self(octets);
        let mut read = Vec::new();
        while let Some(pair) = pairs.next()? {
            read.push(pair);
        }
        Ok(read)
    }

    fn next(&mut self) -> Result<Option<Pair<'a>>, SaslError> {
        let end = self.0.iter().position(|&octet| octet == SEPARATOR);
        let (pair, rest) = end
            .and_then(|end| Some((self.0.get(..end)?, self.0.get(end + 1..)?)))
            .ok_or(SaslError::Syntax)?;
        if pair.is_empty() {
            let is_last = rest.is_empty();
            return if is_last {
                Ok(None)
            } else {
                Err(SaslError::Syntax)
            };
        }
        self.0 = rest;
        let equals = pair.iter().position(|&octet| octet == b'=');
        let (key, value) = equals
            .and_then(|at| Some((pair.get(..at)?, pair.get(at + 1..)?)))
            .ok_or(SaslError::Syntax)?;
        let is_key = !key.is_empty() && key.iter().all(u8::is_ascii_alphabetic);
        let is_value = value
            .iter()
            .all(|&octet| octet.is_ascii_graphic() || b" \t\r\n".contains(&octet));
        if is_key && is_value {
            Ok(Some((key, value)))
        } else {
            Err(SaslError::Syntax)
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, prelude::BASE64_STANDARD};

    use super::*;

    fn read(octets: &str) -> Result<(Option<String>, String), SaslError> {
        let read = response(BASE64_STANDARD.encode(octets).as_bytes())?;
        Ok((read.username, String::from_utf8(read.token).unwrap()))
    }

    /// RFC 7628 §4.1.
    #[test]
    fn the_example_of_the_rfc_is_read() {
        let line = b"bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9MTQzAWF1dGg9QmVhcmVyIHZGOWRmdDRxbVRjMk52YjNSbGNrQmhiSFJoZG1semRHRXVZMjl0Q2c9PQEB";
        let bearer = response(line).unwrap();
        assert_eq!(bearer.username.as_deref(), Some("user@example.com"));
        assert_eq!(bearer.token, b"vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==");
        assert!(!format!("{bearer:?}").contains("vF9"));
    }

    #[test]
    fn the_identity_may_be_left_out_and_other_keys_are_passed_over() {
        let token = |username: Option<&str>| Ok((username.map(str::to_owned), "a.b-c".to_owned()));
        for octets in [
            "n,,\x01auth=Bearer a.b-c\x01\x01",
            "y,,\x01auth=Bearer a.b-c\x01\x01",
            "n,,\x01host=x\x01AUTH=bearer  a.b-c\x01port=587\x01unknown=\x01\x01",
        ] {
            assert_eq!(read(octets), token(None), "{octets:?}");
        }
        let named = "n,a=checkout.shop,\x01auth=Bearer a.b-c\x01\x01";
        assert_eq!(read(named), token(Some("checkout.shop")));
        let escaped = "n,a=a=2Cb=3Dc,\x01auth=Bearer a.b-c\x01\x01";
        assert_eq!(read(escaped), token(Some("a,b=c")));
    }

    #[test]
    fn everything_else_is_refused() {
        for octets in [
            "",
            "\x01",
            "n,,",
            "n,,\x01",
            "n,,\x01\x01",
            "n,,\x01auth=Bearer a\x01",
            "n,,\x01auth=Bearer a\x01\x01x",
            "n,,\x01auth=Bearer a\x01\x01auth=Bearer b\x01\x01",
            "n,,\x01auth=Bearer a\x01auth=Bearer b\x01\x01",
            "n,,\x01auth=Bearer \x01\x01",
            "n,,\x01auth=Bearer ==\x01\x01",
            "n,,\x01auth=Bearer a b\x01\x01",
            "n,,\x01auth=Basic a\x01\x01",
            "n,,\x01auth=Bearer\x01\x01",
            "n,,\x01host\x01auth=Bearer a\x01\x01",
            "n,,\x01=x\x01auth=Bearer a\x01\x01",
            "n,,\x01h0st=x\x01auth=Bearer a\x01\x01",
            "n,,\x01host=\x02\x01auth=Bearer a\x01\x01",
            "p=tls-exporter,,\x01auth=Bearer a\x01\x01",
            "F,n,,\x01auth=Bearer a\x01\x01",
            "n,\x01auth=Bearer a\x01\x01",
            "n,b=x,\x01auth=Bearer a\x01\x01",
            "n,a=,\x01auth=Bearer a\x01\x01",
            "n,a==2c,\x01auth=Bearer a\x01\x01",
            "n,a=x=,\x01auth=Bearer a\x01\x01",
            "n,a=x,y,\x01auth=Bearer a\x01\x01",
        ] {
            assert_eq!(read(octets), Err(SaslError::Syntax), "{octets:?}");
        }
        assert_eq!(response(b"*"), Err(SaslError::Cancelled));
        assert_eq!(response(b"?"), Err(SaslError::NotBase64));
        let not_text = BASE64_STANDARD.encode(b"n,a=\xff,\x01auth=Bearer a\x01\x01");
        assert_eq!(response(not_text.as_bytes()), Err(SaslError::Syntax));
    }
}
