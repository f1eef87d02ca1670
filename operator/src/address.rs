//! Addresses and patterns as users write them, read with their field paths.
//!
//! The language is `posthouse-config`'s; here is only what tells a user where in an object a pattern is wrong, and that
//! fields named `…Domains` take domains and no single addresses.

use posthouse_config::AddressPattern;

use crate::problem::{Findings, quoted};

/// Which patterns a field takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepts {
    /// `user@x`, `x`, `*.x` and `*`.
    Addresses,
    /// `x`, `*.x` and `*`.
    Domains,
}

/// Reads a list of patterns; what is none becomes a problem at its own path.
pub fn patterns(
    texts: &[String],
    path: &str,
    accepts: Accepts,
    findings: &mut Findings,
) -> Vec<AddressPattern> {
    let mut read = Vec::new();
    for (i, text) in texts.iter().enumerate() {
        let path = format!("{path}[{i}]");
        match text.parse::<AddressPattern>() {
            Ok(AddressPattern::Address { domain, .. }) if accepts == Accepts::Domains => findings
                .problem(
                    path,
                    format!("must be a domain such as {domain:?}, is {}", quoted(text)),
                ),
            Ok(pattern) => read.push(pattern),
            Err(error) => findings.problem(path, error.to_string()),
        }
    }
    read
}

/// Whether a text is one mail address; the problem is noted if not.
pub fn is_address(text: &str, path: &str, findings: &mut Findings) -> bool {
    let is_address = matches!(text.parse(), Ok(AddressPattern::Address { .. }));
    findings.require(
        is_address,
        path,
        format!(
            "must be an address such as \"postmaster@example.com\", is {}",
            quoted(text)
        ),
    );
    is_address
}
