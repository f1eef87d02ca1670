//! XOAUTH2, the server's side: what clients of Gmail and Microsoft 365 speak, older than OAUTHBEARER and documented by
//! these two (`developers.google.com/workspace/gmail/imap/xoauth2-protocol`).
//!
//! `user=name ^A auth=Bearer token ^A ^A`, where `^A` is %x01. A refusal has two steps, as in OAUTHBEARER.

use super::{
    Bearer, SaslError, decoded,
    oauth_bearer::{Pairs, bearer},
};

/// What an error says to a client whose token is refused.
pub const INVALID: &str = r#"{"status":"401","schemes":"bearer"}"#;

/// What it says where that cannot be told now.
pub const UNAVAILABLE: &str = r#"{"status":"503","schemes":"bearer"}"#;

/// Reads the client's one response. The user may be empty or left out.
pub fn response(line: &[u8]) -> Result<Bearer, SaslError> {
    let octets = decoded(line)?;
    let (mut username, mut token) = (None, None);
    for (key, value) in Pairs::read(&octets)? {
        let known = if key.eq_ignore_ascii_case(b"user") {
            let name = std::str::from_utf8(value).map_err(|_| SaslError::Syntax)?;
            username.replace(name.to_owned()).is_some()
        } else if key.eq_ignore_ascii_case(b"auth") {
            token.replace(bearer(value)?).is_some()
        } else {
            false
        };
        // Readers could take a different one of them.
        if known {
            return Err(SaslError::Syntax);
        }
    }
    Ok(Bearer {
        username: username.filter(|name| !name.is_empty()),
        token: token.ok_or(SaslError::Syntax)?,
    })
}

#[cfg(test)]
mod tests {
    use base64::{Engine, prelude::BASE64_STANDARD};

    use super::*;

    fn read(octets: &str) -> Result<(Option<String>, String), SaslError> {
        let read = response(BASE64_STANDARD.encode(octets).as_bytes())?;
        Ok((read.username, String::from_utf8(read.token).unwrap()))
    }

    /// The example of Google's page.
    #[test]
    fn the_example_of_its_author_is_read() {
        let line = b"dXNlcj1zb21ldXNlckBleGFtcGxlLmNvbQFhdXRoPUJlYXJlciB5YTI5LnZGOWRmdDRxbVRjMk52YjNSbGNrQmhkSFJoZG1semRHRXVZMjl0Q2cBAQ==";
        let bearer = response(line).unwrap();
        assert_eq!(bearer.username.as_deref(), Some("someuser@example.com"));
        assert_eq!(
            bearer.token,
            b"ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg"
        );
    }

    #[test]
    fn the_user_may_be_left_out() {
        for octets in ["auth=Bearer a\x01\x01", "user=\x01auth=Bearer a\x01\x01"] {
            assert_eq!(read(octets), Ok((None, "a".to_owned())), "{octets:?}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for octets in [
            "",
            "\x01",
            "user=x\x01\x01",
            "user=x\x01auth=Bearer a\x01",
            "user=x\x01auth=Bearer a\x01\x01\x01",
            "user=x\x01user=y\x01auth=Bearer a\x01\x01",
            "auth=Bearer a\x01auth=Bearer b\x01\x01",
            "user=x\x01auth=a\x01\x01",
            "user=x auth=Bearer a",
        ] {
            assert_eq!(read(octets), Err(SaslError::Syntax), "{octets:?}");
        }
        assert_eq!(response(b"*"), Err(SaslError::Cancelled));
        assert_eq!(response(b"?"), Err(SaslError::NotBase64));
    }
}
