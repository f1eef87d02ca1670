//! `Mailbox`: a local part, `@`, and a domain (RFC 5321 §4.1.2, with UTF-8 of RFC 6531 §3.3).
//!
//! The text is kept octet for octet as it came, quoting included: `"a b"@x` and `a@x` are what the upstream must see.
//! Control characters are never let in, whatever the quoting: they could end a command line.

use std::fmt;

use crate::domain;

/// Octets of a local part. RFC 5321 §4.5.3.1.1 says 64; VERP and SRS addresses in real use are longer, and nothing
/// here depends on the smaller number.
pub const MAXIMUM_LOCAL_PART: usize = 255;

/// One address.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mailbox {
    text: Box<str>,
    /// Where the separating `@` is.
    at: u16,
}

/// Why a text is no mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MailboxError {
    /// No `@` outside quotes.
    #[error("an address needs a local part, @ and a domain")]
    NoDomain,
    /// Not a dot-string and not a quoted string, or too long.
    #[error("the local part is not valid")]
    LocalPart,
    /// Not a domain or address literal.
    #[error("the domain is not valid")]
    Domain,
}

impl Mailbox {
    /// Reads `local-part@domain`, without angle brackets.
    pub fn parse(text: &str) -> Result<Self, MailboxError> {
        let at = local_part_length(text)?;
        let (local, rest) = text.split_at_checked(at).ok_or(MailboxError::LocalPart)?;
        let domain = rest.strip_prefix('@').ok_or(MailboxError::NoDomain)?;
        if local.is_empty() || local.len() > MAXIMUM_LOCAL_PART {
            return Err(MailboxError::LocalPart);
        }
        if !domain::is_domain_or_literal(domain) {
            return Err(MailboxError::Domain);
        }
        let at = u16::try_from(at).map_err(|_| MailboxError::LocalPart)?;
        Ok(Self {
            text: text.into(),
            at,
        })
    }

    /// The local part as it came, quotes included.
    pub fn local_part(&self) -> &str {
        self.text.get(..usize::from(self.at)).unwrap_or_default()
    }

    /// The domain or address literal as it came.
    pub fn domain(&self) -> &str {
        self.text
            .get(usize::from(self.at) + 1..)
            .unwrap_or_default()
    }

    /// The whole address as it came.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it can be sent without SMTPUTF8 (RFC 6531).
    pub fn is_ascii(&self) -> bool {
        self.text.is_ascii()
    }
}

/// The length of the local part at the start of a text: a quoted string or a dot-string.
fn local_part_length(text: &str) -> Result<usize, MailboxError> {
    if text.starts_with('"') {
        quoted_length(text)
    } else {
        dot_string_length(text)
    }
}

fn quoted_length(text: &str) -> Result<usize, MailboxError> {
    let mut characters = text.char_indices().skip(1);
    while let Some((i, c)) = characters.next() {
        match c {
            '"' => return Ok(i + 1),
            // quoted-pairSMTP = %d92 %d32-126
            '\\' => match characters.next() {
                Some((_, ' '..='~')) => {}
                _ => return Err(MailboxError::LocalPart),
            },
            c if c.is_control() => return Err(MailboxError::LocalPart),
            _ => {}
        }
    }
    Err(MailboxError::LocalPart)
}

fn dot_string_length(text: &str) -> Result<usize, MailboxError> {
    let at = text.find('@').ok_or(MailboxError::NoDomain)?;
    let local = text.get(..at).unwrap_or_default();
    if local.split('.').all(is_atom) {
        Ok(at)
    } else {
        Err(MailboxError::LocalPart)
    }
}

/// `Atom` of RFC 5321 (that is, `1*atext` of RFC 5322 §3.2.3), with UTF-8.
fn is_atom(atom: &str) -> bool {
    let allowed = |c: char| {
        c.is_ascii_alphanumeric()
            || "!#$%&'*+-/=?^_`{|}~".contains(c)
            || (!c.is_ascii() && !c.is_control())
    };
    !atom.is_empty() && atom.chars().all(allowed)
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl std::str::FromStr for Mailbox {
    type Err = MailboxError;

    fn from_str(text: &str) -> Result<Self, MailboxError> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_split_and_kept_as_they_came() {
        for (text, local, domain) in [
            ("user@example.com", "user", "example.com"),
            ("a.b+c=d@example.com", "a.b+c=d", "example.com"),
            ("\"a b\"@example.com", "\"a b\"", "example.com"),
            ("\"a@b\"@example.com", "\"a@b\"", "example.com"),
            ("\"a\\\"b\"@example.com", "\"a\\\"b\"", "example.com"),
            ("u@[127.0.0.1]", "u", "[127.0.0.1]"),
            ("jörg@bücher.example", "jörg", "bücher.example"),
        ] {
            let mailbox = Mailbox::parse(text).unwrap();
            assert_eq!(
                (mailbox.local_part(), mailbox.domain(), mailbox.as_str()),
                (local, domain, text)
            );
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "user",
            "@example.com",
            "user@",
            "a..b@example.com",
            ".a@example.com",
            "a b@example.com",
            "a@b@c.example",
            "\"a@example.com",
            "\"a\"b@example.com",
            "\"a\r\nb\"@example.com",
            "a\0@example.com",
            "a@b c",
            "<a@b>",
            "a@b>",
        ] {
            assert!(Mailbox::parse(text).is_err(), "{text:?}");
        }
    }
}
