//! The domain part of an address and the argument of EHLO (RFC 5321 §4.1.2, §4.1.3; RFC 6531 §3.3).
//!
//! Only the grammar: whether a domain exists, or equals another one, is not asked here. Text is kept as it came.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Octets of a domain (RFC 5321 §4.5.3.1.2).
pub const MAXIMUM_DOMAIN: usize = 255;

/// Whether a text is a `Domain` or an `address-literal`.
pub fn is_domain_or_literal(text: &str) -> bool {
    match text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        Some(literal) => is_literal(literal),
        None => is_domain(text),
    }
}

/// Whether a text is a `Domain`: labels of letters, digits, inner hyphens and, with SMTPUTF8, non-ASCII characters.
/// One trailing dot is refused: RFC 5321 §2.3.5 knows none.
pub fn is_domain(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAXIMUM_DOMAIN && text.split('.').all(is_label)
}

fn is_label(label: &str) -> bool {
    // An underscore is in no grammar but in many host names in use, and harmless.
    let allowed = |c: char| {
        c.is_ascii_alphanumeric() || c == '-' || c == '_' || (!c.is_ascii() && !c.is_control())
    };
    !label.is_empty()
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.chars().all(allowed)
}

/// The inside of an address literal: IPv4, or `IPv6:` and an address. General literals are in no use and refused.
fn is_literal(literal: &str) -> bool {
    match literal.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("IPv6:") => literal
            .get(5..)
            .is_some_and(|address| address.parse::<Ipv6Addr>().is_ok()),
        _ => literal.parse::<Ipv4Addr>().is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_and_literals() {
        for (text, expected) in [
            ("example.com", true),
            ("localhost", true),
            ("a_b.example", true),
            ("bücher.example", true),
            ("[192.0.2.1]", true),
            ("[IPv6:2001:db8::1]", true),
            ("[ipv6:::1]", true),
            ("", false),
            (".", false),
            ("a..b", false),
            ("a.", false),
            ("-a.b", false),
            ("a b", false),
            ("a\u{85}b", false),
            ("[300.0.2.1]", false),
            ("[2001:db8::1]", false),
            ("[192.0.2.1", false),
        ] {
            assert_eq!(is_domain_or_literal(text), expected, "{text:?}");
        }
        assert!(!is_domain(&"a.".repeat(130)));
    }
}
