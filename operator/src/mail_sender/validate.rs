//! Whether a MailSender can be honoured, by itself.
//!
//! Pure, and blind to its relay: what the relay says to it is asked in `admit`, so that a sender can be written before
//! its relay exists.

use posthouse_api::{
    MailSender,
    mail_sender::{self, Credential, MailSenderSpec},
};
use posthouse_config::{
    AddressPattern,
    document::ReportTo,
    senders::{Class, SenderLimits},
};

use serde::Serialize;

use crate::{
    address::{Accepts, patterns},
    input::DEFAULT_NAMESPACE,
    mail_relay::validate::{annotations, labels, object_name, report_to, structure, unsigned},
    names,
    problem::Findings,
};

/// The uid of a MailSender that no API server has given one.
pub const NO_UID: &str = "00000000-0000-0000-0000-000000000000";

/// A MailSender that can be honoured, if its relay admits it.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidSender {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid; [`NO_UID`] if no API server has given one.
    pub uid: String,
    /// Orders senders by age: RFC 3339 in UTC, empty if no API server has given it.
    pub created: String,
    /// The relay's namespace.
    pub relay_namespace: String,
    /// The relay's name.
    pub relay_name: String,
    /// The listener it named.
    pub listener: Option<String>,
    /// What it wants to send as.
    pub from: Vec<AddressPattern>,
    /// ServiceAccounts of its namespace whose tokens are accepted.
    pub service_accounts: Vec<String>,
    /// Its password and the Secret it is in; absent where tokens are all it wants.
    pub credential: Option<ValidCredential>,
    /// Its share of the queue's attention.
    pub class: Class,
    /// Its own limits.
    pub limits: SenderLimits,
    /// When its mail expires, if sooner than the relay's.
    pub expiry_seconds: Option<u32>,
    /// Who is told about its mail that failed.
    pub reports: Option<ReportTo>,
}

/// A password and the Secret it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidCredential {
    /// The rotation that is wanted.
    pub rotation: u64,
    /// The Secret's name.
    pub secret_name: String,
    /// Labels and annotations of that Secret.
    pub secret_template: mail_sender::SecretTemplate,
    /// How long the previous password stays valid, in seconds.
    pub overlap_seconds: u32,
}

/// `credential.overlapSeconds` where it is absent: a day, like the relay's own keys.
const DEFAULT_OVERLAP_SECONDS: u32 = 86_400;

impl ValidSender {
    /// Orders senders by age, the oldest first; equally old ones by namespace and name.
    pub fn age(&self) -> (String, String, String) {
        (
            self.created.clone(),
            self.namespace.clone(),
            self.name.clone(),
        )
    }
}

/// Everything found in a MailSender, and what it says if nothing makes it unusable.
pub fn validate(sender: &MailSender) -> (Findings, Option<ValidSender>) {
    let mut findings = Findings::default();
    // The status is ours: one that a later release wrote must not make a sender invalid.
    structure("MailSender", &Wanted { spec: &sender.spec }, &mut findings);
    object_name(sender.metadata.name.as_deref(), &mut findings);
    let valid = assemble(sender, &mut findings);
    let is_valid = findings.problems.is_empty();
    (findings, is_valid.then_some(valid))
}

/// What a user writes of a MailSender.
#[derive(Serialize)]
struct Wanted<'a> {
    spec: &'a MailSenderSpec,
}

fn assemble(sender: &MailSender, findings: &mut Findings) -> ValidSender {
    let spec = &sender.spec;
    let metadata = &sender.metadata;
    let name = metadata.name.clone().unwrap_or_default();
    ValidSender {
        namespace: metadata
            .namespace
            .clone()
            .unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()),
        uid: metadata.uid.clone().unwrap_or_else(|| NO_UID.to_owned()),
        created: metadata
            .creation_timestamp
            .as_ref()
            .map(|time| time.0.to_string())
            .unwrap_or_default(),
        relay_namespace: spec.relay_ref.namespace.clone(),
        relay_name: spec.relay_ref.name.clone(),
        listener: spec.relay_ref.listener.clone(),
        from: patterns(&spec.from, "spec.from", Accepts::Addresses, findings),
        service_accounts: spec.service_accounts.clone(),
        credential: credential(&name, spec, findings),
        class: class(spec.class),
        limits: SenderLimits {
            messages_per_minute: None,
            queued_messages: spec
                .limits
                .as_ref()
                .and_then(|limits| limits.queued_messages)
                .map(unsigned),
        },
        expiry_seconds: spec.expiry_seconds.map(unsigned),
        reports: spec.reports.as_ref().map(|reports| report_to(reports.to)),
        name,
    }
}

/// Absent without `serviceAccounts` is the same as empty: a sender must be able to authenticate somehow.
fn credential(
    name: &str,
    spec: &MailSenderSpec,
    findings: &mut Findings,
) -> Option<ValidCredential> {
    let wanted = match &spec.credential {
        Some(credential) => credential.clone(),
        None if spec.service_accounts.is_empty() => Credential::default(),
        None => return None,
    };
    let template = wanted.secret_template.unwrap_or_default();
    let path = |field| format!("spec.credential.secretTemplate.{field}");
    labels(&path("labels"), &template.labels, findings);
    annotations(&path("annotations"), &template.annotations, findings);
    Some(ValidCredential {
        rotation: u64::try_from(wanted.rotation).unwrap_or_default(),
        secret_name: wanted
            .secret_name
            .unwrap_or_else(|| names::sender_secret(name)),
        secret_template: template,
        overlap_seconds: wanted
            .overlap_seconds
            .map_or(DEFAULT_OVERLAP_SECONDS, unsigned),
    })
}

const fn class(class: Option<mail_sender::Class>) -> Class {
    match class {
        Some(mail_sender::Class::Interactive) => Class::Interactive,
        Some(mail_sender::Class::Bulk) => Class::Bulk,
        Some(mail_sender::Class::Normal) | None => Class::Normal,
    }
}

#[cfg(test)]
mod tests {
    use posthouse_config::yaml;

    use super::*;
    use crate::cases;

    const BASE: &str = "
apiVersion: posthouse.dev/v1alpha1
kind: MailSender
metadata: { name: checkout, namespace: shop }
spec: { relayRef: { name: outbound, namespace: mail-system }, from: [shop.example.com] }
";

    /// A Secret with one of these would be refused whole.
    #[test]
    fn labels_that_cannot_be_are_refused() {
        for (template, expected) in [
            ("{ labels: { team: a b } }", 1),
            ("{ labels: { 'a b': c } }", 1),
            ("{ labels: { 'A.example/b': c } }", 1),
            ("{ labels: { a.example/b: -c } }", 1),
            ("{ annotations: { /b: c } }", 1),
            ("{ annotations: { a.example/b/c: d } }", 1),
            ("{ annotations: { A.example/b_c: any value at all } }", 0),
            ("{ labels: { a.example/b_C.d: '' } }", 0),
        ] {
            let mut object: serde_json::Value = yaml::from_str(BASE).unwrap();
            let template: serde_json::Value = yaml::from_str(template).unwrap();
            object["spec"]["credential"] = serde_json::json!({ "secretTemplate": template });
            let (findings, valid) = validate(&yaml::from_value(object).unwrap());
            assert_eq!(findings.problems.len(), expected, "{template}");
            assert_eq!(valid.is_none(), expected == 1, "{template}");
        }
    }

    #[test]
    fn cel_and_validate_agree() {
        let table = include_str!("validate/rules.yaml");
        cases::run("MailSender", BASE, table, |object| {
            validate(&yaml::from_value(object).unwrap()).0
        });
    }
}
