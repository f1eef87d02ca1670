//! LOGIN, the server's side: name and password asked for one by one. It was never standardized (an Internet-Draft,
//! `draft-murchison-sasl-login`), but it is all that Outlook and .NET know.

use super::{Credentials, SaslError, decoded};

/// "Username:" in Base64; some clients look at the text.
pub const USERNAME_PROMPT: &str = "VXNlcm5hbWU6";

/// "Password:" in Base64.
pub const PASSWORD_PROMPT: &str = "UGFzc3dvcmQ6";

/// Reads the answer to the first prompt, or the initial response.
pub fn username(line: &[u8]) -> Result<String, SaslError> {
    let name = String::from_utf8(decoded(line)?).map_err(|_| SaslError::Syntax)?;
    if name.is_empty() {
        Err(SaslError::Syntax)
    } else {
        Ok(name)
    }
}

/// Reads the answer to the second prompt.
pub fn password(username: String, line: &[u8]) -> Result<Credentials, SaslError> {
    let password = decoded(line)?;
    if password.is_empty() {
        return Err(SaslError::Syntax);
    }
    Ok(Credentials { username, password })
}

#[cfg(test)]
mod tests {
    use base64::{Engine, prelude::BASE64_STANDARD};

    use super::*;

    #[test]
    fn name_and_password_are_read_one_by_one() {
        let name = username(BASE64_STANDARD.encode("me.here").as_bytes()).unwrap();
        let credentials = password(name, BASE64_STANDARD.encode("secret").as_bytes()).unwrap();
        assert_eq!(credentials.username, "me.here");
        assert_eq!(credentials.password, b"secret");
        assert_eq!(username(b""), Err(SaslError::Syntax));
        assert_eq!(username(b"*"), Err(SaslError::Cancelled));
        assert_eq!(password("a".into(), b"?"), Err(SaslError::NotBase64));
    }

    #[test]
    fn prompts_are_what_clients_expect() {
        assert_eq!(BASE64_STANDARD.encode("Username:"), USERNAME_PROMPT);
        assert_eq!(BASE64_STANDARD.encode("Password:"), PASSWORD_PROMPT);
    }
}
