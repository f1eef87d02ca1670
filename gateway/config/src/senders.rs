//! `senders.json`: who may send, and as whom.
//!
//! A document of its own beside `gateway.yaml`, because it changes with every MailSender while the relay's
//! configuration rests. It holds no password: passwords are derived (see [`crate::credential`]).

use serde::{Deserialize, Serialize};

use crate::{
    credential,
    document::{self, FORMAT, policy::ReportTo},
    pattern::AddressPattern,
    yaml::{self, YamlError},
};

/// The name of the senders' file in the document's folder.
pub const FILE_NAME: &str = "senders.json";

/// Everyone who may send after authenticating.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Senders {
    /// Always [`FORMAT`].
    pub format: u32,
    /// Grows with every change.
    pub number: u64,
    /// The MailRelay's `metadata.generation` it was made from.
    pub generation: i64,
    /// At most 2,000.
    pub senders: Vec<Sender>,
}

/// Why a senders file is refused as a whole.
#[derive(Debug, thiserror::Error)]
pub enum SendersError {
    /// Not JSON, or a member of the wrong type.
    #[error(transparent)]
    Shape(#[from] YamlError),
    /// Written for a later release.
    #[error("format: this gateway reads format {FORMAT}, the file has format {0}")]
    Format(u64),
}

/// One MailSender.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sender {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its uid, 36 lower-case characters; part of the derived password.
    pub uid: String,
    /// The rotations whose passwords are accepted now; empty is no password at all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rotations: Vec<u64>,
    /// ServiceAccounts of its namespace whose tokens are accepted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub service_accounts: Vec<SenderAccount>,
    /// What it may send as, in the envelope and in `From:`. Already cut down to what its grant allows.
    pub from: Vec<AddressPattern>,
    /// Its share of the queue's attention.
    #[serde(default)]
    pub class: Class,
    /// Its own limits.
    #[serde(default)]
    pub limits: SenderLimits,
    /// When its mail expires, if sooner than the relay's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiry_seconds: Option<u32>,
    /// To whom reports about its mail go; absent is the relay's choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reports: Option<ReportTo>,
}

/// A ServiceAccount: a namesake that somebody makes later has another uid.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SenderAccount {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// A sender's share of the queue's attention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Class {
    /// Somebody waits for it: log-in codes.
    Interactive,
    /// Most mail.
    #[default]
    Normal,
    /// Nobody waits for it: newsletters.
    Bulk,
}

/// A sender's own limits; absent is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SenderLimits {
    /// Mail over this rate is accepted and waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages_per_minute: Option<u32>,
    /// With more than this queued, new mail is refused with `450 4.7.1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queued_messages: Option<u32>,
}

impl Sender {
    /// The user name it authenticates with.
    pub fn username(&self) -> String {
        credential::username(&self.namespace, &self.name)
    }

    /// Whether it may send as an address.
    pub fn may_send_as(&self, local: &str, domain: &str) -> bool {
        self.from
            .iter()
            .any(|pattern| pattern.matches(local, domain))
    }
}

impl Senders {
    /// Reads a senders file.
    ///
    /// # Errors
    /// The format is asked before anything else: in a later one the same members may mean something else, and who may
    /// send as whom must not be guessed.
    pub fn parse(text: &str) -> Result<Self, SendersError> {
        let value = serde_json::from_str(text).map_err(YamlError::NotJson)?;
        if let Some(format) = document::other_format(&value) {
            return Err(SendersError::Format(format));
        }
        Ok(yaml::from_value(value)?)
    }

    /// The sender of a user name.
    pub fn by_username(&self, username: &str) -> Option<&Sender> {
        let (name, namespace) = username.rsplit_once('.')?;
        self.senders
            .iter()
            .find(|sender| sender.name == name && sender.namespace == namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_is_found_by_its_user_name() {
        let text = r#"{"format":1,"number":3,"generation":2,"senders":[
            {"name":"checkout","namespace":"shop","uid":"u","rotations":[1],"from":["shop.example"],"unknown":true}]}"#;
        let senders = Senders::parse(text).unwrap();
        let sender = senders.by_username("checkout.shop").unwrap();
        assert!(sender.may_send_as("a", "shop.example"));
        assert!(!sender.may_send_as("a", "other.example"));
        assert_eq!(sender.username(), "checkout.shop");
        assert!(senders.by_username("checkout").is_none());
        assert!(senders.by_username("checkout.other").is_none());
    }
    #[test]
    fn a_later_format_is_refused_before_anything_else() {
        for rest in ["", r#","number":3,"generation":2,"senders":[]"#] {
            let text = format!(r#"{{"format":2{rest}}}"#);
            let error = Senders::parse(&text).unwrap_err().to_string();
            assert_eq!(
                error,
                "format: this gateway reads format 1, the file has format 2"
            );
        }
        for text in ["{}", r#"{"format":"1"}"#, "["] {
            let error = Senders::parse(text).unwrap_err();
            assert!(matches!(error, SendersError::Shape(_)), "{error}");
        }
    }
}
