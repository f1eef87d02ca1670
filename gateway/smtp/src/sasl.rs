//! SASL mechanisms (RFC 4422) in their SMTP form (RFC 4954): what goes over the wire, Base64 included.
//!
//! Who a name and a password belong to is not asked here.

pub mod login;
pub mod oauth_bearer;
pub mod plain;
pub mod xoauth2;

use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};

/// What a client authenticates with. Its `Debug` does not show the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The name, as it came.
    pub username: String,
    /// The password, as it came.
    pub password: Vec<u8>,
}

/// A token that is worth what its bearer says with it, and perhaps who that is. Its `Debug` does not show the token.
#[derive(Clone, PartialEq, Eq)]
pub struct Bearer {
    /// The name, as it came, if one did.
    pub username: Option<String>,
    /// The token, as it came.
    pub token: Vec<u8>,
}

/// What a client presents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presented {
    /// A name and a password.
    Password(Credentials),
    /// A token.
    Bearer(Bearer),
}

/// Why a client's response is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SaslError {
    /// A lone `*`: the client gives up (RFC 4954 §4).
    #[error("authentication cancelled")]
    Cancelled,
    /// Not Base64 (RFC 4954 §4 asks for 501).
    #[error("the response is not Base64")]
    NotBase64,
    /// Not what the mechanism wants.
    #[error("the response is not valid for the mechanism")]
    Syntax,
    /// PLAIN for another identity than one's own (RFC 4616 §2).
    #[error("the authorization identity must be empty or the user name")]
    Identity,
}

/// The octets of a response line.
fn decoded(line: &[u8]) -> Result<Vec<u8>, SaslError> {
    if line == b"*" {
        return Err(SaslError::Cancelled);
    }
    BASE64_STANDARD
        .decode(line)
        .map_err(|_| SaslError::NotBase64)
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bearer")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}
