//! PLAIN (RFC 4616), the server's side: `authorization NUL name NUL password` in one response.

use super::{Credentials, SaslError, decoded};

/// Reads the client's one response.
pub fn response(line: &[u8]) -> Result<Credentials, SaslError> {
    let octets = decoded(line)?;
    let mut parts = octets.split(|&b| b == 0);
    let (Some(authorization), Some(name), Some(password), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(SaslError::Syntax);
    };
    if !authorization.is_empty() && authorization != name {
        return Err(SaslError::Identity);
    }
    let username = String::from_utf8(name.to_vec()).map_err(|_| SaslError::Syntax)?;
    if username.is_empty() || password.is_empty() {
        return Err(SaslError::Syntax);
    }
    Ok(Credentials {
        username,
        password: password.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use base64::{Engine, prelude::BASE64_STANDARD};

    use super::*;

    fn read(octets: &[u8]) -> Result<Credentials, SaslError> {
        response(BASE64_STANDARD.encode(octets).as_bytes())
    }

    #[test]
    fn name_and_password_are_read() {
        let credentials = read(b"\0checkout.shop\0pass").unwrap();
        assert_eq!(credentials.username, "checkout.shop");
        assert_eq!(credentials.password, b"pass");
        assert!(!format!("{credentials:?}").contains("pass"));
        assert!(read(b"checkout.shop\0checkout.shop\0p").is_ok());
    }

    #[test]
    fn everything_else_is_refused() {
        assert_eq!(read(b"other\0me\0p"), Err(SaslError::Identity));
        for octets in [
            b"".as_slice(),
            b"\0me",
            b"\0me\0",
            b"\0\0p",
            b"\0me\0p\0",
            b"\0\xff\0p",
        ] {
            assert_eq!(read(octets), Err(SaslError::Syntax), "{octets:?}");
        }
        assert_eq!(response(b"*"), Err(SaslError::Cancelled));
        assert_eq!(response(b"AGE=x"), Err(SaslError::NotBase64));
    }
}
