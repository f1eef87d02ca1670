//! The one pattern language for addresses: `user@x`, `x` (any address at x), `*.x` (any address below x), `*`.
//!
//! Domains compare in lower case, and a U-label equals its A-label (RFC 5890 §2.3.2.1); local parts compare byte for
//! byte (RFC 5321 §2.4). Used wherever users name addresses: grants, senders, upstreams, routes.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A set of addresses; see the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum AddressPattern {
    /// `*`: every address.
    Any,
    /// `*.x`: every address in a domain below x, but not at x.
    Below(String),
    /// `x`: every address at exactly x.
    At(String),
    /// `user@x`: this one address.
    Address {
        /// The local part as written.
        local: String,
        /// The domain in its comparable form.
        domain: String,
    },
}

/// What is wrong with a pattern, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Nothing was written.
    #[error("must not be empty")]
    Empty,
    /// `*@x`, which is written `x`.
    #[error("must not begin with \"*@\": write \"{0}\" for every address at that domain")]
    StarAt(String),
    /// The domain part is no domain name.
    #[error(
        "must be an address, a domain, \"*.\" and a domain, or \"*\": \"{0}\" is not a domain name"
    )]
    Domain(String),
    /// An empty local part, or white space or a control character in it.
    #[error("must have a local part without spaces or control characters before the \"@\"")]
    LocalPart,
}

impl AddressPattern {
    /// Whether an address is in the set. `domain` is taken as it came, in any case and either form.
    pub fn matches(&self, local: &str, domain: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Address {
                local: own,
                domain: d,
            } => own == local && *d == comparable_domain(domain),
            Self::At(_) | Self::Below(_) => self.covers_domain(&comparable_domain(domain)),
        }
    }

    /// Whether every address at a domain in its comparable form is in the set.
    pub fn covers_domain(&self, domain: &str) -> bool {
        match self {
            Self::Any => true,
            Self::At(own) => own == domain,
            Self::Below(own) => is_below(domain, own),
            Self::Address { .. } => false,
        }
    }

    /// Whether every address of `other` is in this set.
    pub fn contains(&self, other: &Self) -> bool {
        match other {
            Self::Any => *self == Self::Any,
            Self::At(domain) => self.covers_domain(domain),
            Self::Below(domain) => match self {
                Self::Any => true,
                Self::Below(own) => own == domain || is_below(domain, own),
                Self::At(_) | Self::Address { .. } => false,
            },
            Self::Address { local, domain } => self.matches(local, domain),
        }
    }
}

/// Whether `domain` is strictly below `parent`.
fn is_below(domain: &str, parent: &str) -> bool {
    domain
        .strip_suffix(parent)
        .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

/// The form in which domains are compared: A-labels in lower case. What is not a domain name (an address literal)
/// compares as it is, in lower case.
pub fn comparable_domain(domain: &str) -> String {
    if is_plain(domain) {
        return domain.to_owned();
    }
    idna::domain_to_ascii(domain).unwrap_or_else(|_| domain.to_lowercase())
}

/// The common case: ASCII in lower case without an A-label is already comparable.
fn is_plain(domain: &str) -> bool {
    domain
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-')
        && !domain.contains("xn--")
}

/// Whether a text is a domain name of at most 253 octets with labels of letters, digits and hyphens
/// (RFC 1123 §2.1), U-labels allowed.
pub fn is_domain_name(text: &str) -> bool {
    let Ok(ascii) = idna::domain_to_ascii(text) else {
        return false;
    };
    !ascii.is_empty()
        && ascii.len() <= 253
        && ascii.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
}

fn domain(text: &str) -> Result<String, PatternError> {
    if is_domain_name(text) {
        Ok(comparable_domain(text))
    } else {
        Err(PatternError::Domain(text.to_owned()))
    }
}

impl FromStr for AddressPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        match text {
            "" => Err(PatternError::Empty),
            "*" => Ok(Self::Any),
            _ => match (text.strip_prefix("*."), text.rsplit_once('@')) {
                (Some(parent), _) => Ok(Self::Below(domain(parent)?)),
                (None, Some(("*", at))) => Err(PatternError::StarAt(at.to_owned())),
                (None, Some((local, _)))
                    if local.is_empty() || local.chars().any(|c| c.is_control() || c == ' ') =>
                {
                    Err(PatternError::LocalPart)
                }
                (None, Some((local, at))) => Ok(Self::Address {
                    local: local.to_owned(),
                    domain: domain(at)?,
                }),
                (None, None) => Ok(Self::At(domain(text)?)),
            },
        }
    }
}

impl TryFrom<String> for AddressPattern {
    type Error = PatternError;

    fn try_from(text: String) -> Result<Self, PatternError> {
        text.parse()
    }
}

impl From<AddressPattern> for String {
    fn from(pattern: AddressPattern) -> Self {
        pattern.to_string()
    }
}

impl fmt::Display for AddressPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Below(domain) => write!(f, "*.{domain}"),
            Self::At(domain) => f.write_str(domain),
            Self::Address { local, domain } => write!(f, "{local}@{domain}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> AddressPattern {
        text.parse().unwrap()
    }

    #[test]
    fn matches_what_it_says() {
        for (text, local, domain, expected) in [
            ("*", "a", "b.example", true),
            ("b.example", "a", "B.Example", true),
            ("b.example", "a", "c.b.example", false),
            ("*.b.example", "a", "c.b.example", true),
            ("*.b.example", "a", "b.example", false),
            ("*.b.example", "a", "evilb.example", false),
            ("*.b.example", "a", ".b.example", false),
            ("a@b.example", "a", "b.example", true),
            ("a@b.example", "A", "b.example", false),
            ("bücher.example", "a", "xn--bcher-kva.example", true),
            ("xn--bcher-kva.example", "a", "BÜCHER.example", true),
        ] {
            assert_eq!(
                pattern(text).matches(local, domain),
                expected,
                "{text} {local}@{domain}"
            );
        }
    }

    #[test]
    fn contains_compares_sets() {
        for (outer, inner, expected) in [
            ("*", "*", true),
            ("b.example", "*", false),
            ("b.example", "a@b.example", true),
            ("*.example", "b.example", true),
            ("*.example", "*.b.example", true),
            ("*.b.example", "*.example", false),
            ("b.example", "*.b.example", false),
            ("a@b.example", "b.example", false),
        ] {
            assert_eq!(
                pattern(outer).contains(&pattern(inner)),
                expected,
                "{outer} ⊇ {inner}"
            );
        }
    }

    #[test]
    fn refuses_what_is_no_pattern() {
        for text in [
            "",
            "*@b.example",
            "a b@c.example",
            "@b.example",
            "-b.example",
            "b..example",
            "*.",
            "*.*.example",
            "a@",
        ] {
            assert!(text.parse::<AddressPattern>().is_err(), "{text:?}");
        }
        let error = "*@b.example"
            .parse::<AddressPattern>()
            .unwrap_err()
            .to_string();
        assert!(error.contains("write \"b.example\""), "{error}");
    }
}
