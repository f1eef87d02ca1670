//! How addresses are shown in logs.
//!
//! Local parts are personal data: by default a log shows only the domain, beside a keyed digest of the whole address
//! by which one recipient can be traced through all logs and queues of one relay, by those who have its key.

use arc_swap::ArcSwapOption;
use posthouse_config::credential::Key;
use posthouse_smtp::Mailbox;

/// How addresses are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum AddressStyle {
    /// `…@example.com#0123456789abcdef`.
    #[default]
    Redacted,
    /// As they are.
    Full,
}

/// Shows addresses; shared by everything that logs.
#[derive(Debug)]
pub struct Redactor {
    style: AddressStyle,
    key: ArcSwapOption<Key>,
}

impl Redactor {
    /// A redactor that has no key yet: it shows domains alone.
    pub fn new(style: AddressStyle) -> Self {
        Self {
            style,
            key: ArcSwapOption::empty(),
        }
    }

    /// From now on uses a key, normally the current relay key.
    pub fn rekey(&self, key: Option<Key>) {
        self.key.store(key.map(std::sync::Arc::new));
    }

    /// The address as it may be logged.
    pub fn show(&self, mailbox: &Mailbox) -> String {
        if self.style == AddressStyle::Full {
            return mailbox.to_string();
        }
        match self.digest(mailbox.as_str()) {
            Some(digest) => format!("…@{}#{digest}", mailbox.domain()),
            None => format!("…@{}", mailbox.domain()),
        }
    }

    /// The digest by which an address can be found again: 16 hexadecimal digits.
    pub fn digest(&self, address: &str) -> Option<String> {
        let key = self.key.load();
        let digest = key.as_ref()?.log_digest(address);
        Some(format!("{:016x}", u64::from_be_bytes(digest)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_local_part_is_not_shown_and_case_does_not_matter() {
        let redactor = Redactor::new(AddressStyle::Redacted);
        let mailbox = Mailbox::parse("Secret.Person@example.com").unwrap();
        assert_eq!(redactor.show(&mailbox), "…@example.com");
        redactor.rekey(Some(Key::try_from(&[7; 32][..]).unwrap()));
        let shown = redactor.show(&mailbox);
        assert!(
            shown.starts_with("…@example.com#") && shown.len() == "…@example.com#".len() + 16,
            "{shown}"
        );
        assert_eq!(
            redactor.digest("secret.person@EXAMPLE.com"),
            redactor.digest(mailbox.as_str())
        );
        assert_eq!(
            Redactor::new(AddressStyle::Full).show(&mailbox),
            "Secret.Person@example.com"
        );
    }
}
