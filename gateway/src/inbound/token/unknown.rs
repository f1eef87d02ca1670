//! Key ids of tokens that no known key has: the operator looks for new keys when it reads of one.
//!
//! Anybody can make up an id, so few are kept, and none longer than the keys that do not have it.

use std::sync::{Mutex, PoisonError};

use posthouse_config::document::Tokens;

/// Ids that are told. One is enough to make the operator look.
const MAXIMUM: usize = 8;

/// Ids of unknown keys, since the known ones changed.
#[derive(Debug, Default)]
pub(in crate::inbound) struct UnknownKeys(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    /// The keys that do not have them.
    tokens: Option<Tokens>,
    ids: Vec<String>,
}

impl UnknownKeys {
    /// A token came that none of these keys can have signed.
    pub(in crate::inbound) fn note(&self, tokens: Option<&Tokens>, id: &str) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.tokens.as_ref() != tokens {
            *seen = Seen {
                tokens: tokens.cloned(),
                ids: Vec::new(),
            };
        }
        if seen.ids.len() < MAXIMUM && seen.ids.iter().all(|known| known != id) {
            seen.ids.push(id.to_owned());
        }
    }

    /// The ids that these keys do not have.
    pub(in crate::inbound) fn list(&self, tokens: Option<&Tokens>) -> Vec<String> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.tokens.as_ref() == tokens {
            seen.ids.clone()
        } else {
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_bounded_and_forgotten_when_the_keys_change() {
        let keys = |audience: &str| Tokens {
            audience: audience.into(),
            issuers: Vec::new(),
        };
        let unknown = UnknownKeys::default();
        for id in (0..20).flat_map(|n| [n, n]) {
            unknown.note(Some(&keys("a")), &format!("k{id}"));
        }
        let listed = unknown.list(Some(&keys("a")));
        assert_eq!(listed.len(), MAXIMUM);
        assert_eq!(listed[..2], ["k0", "k1"]);
        assert!(unknown.list(Some(&keys("b"))).is_empty());
        assert!(unknown.list(None).is_empty());
        unknown.note(Some(&keys("b")), "k9");
        assert_eq!(unknown.list(Some(&keys("b"))), ["k9"]);
    }
}
