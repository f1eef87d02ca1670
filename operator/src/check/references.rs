//! Whether what a MailRelay refers to is among the objects given, with the keys it needs; and the ServiceAccounts that a
//! MailSender names.
//!
//! What is not given may exist in a cluster, but not on this machine; a key that is missing is missing everywhere.

use posthouse_api::MailRelay;

use crate::{
    input::{Input, Object},
    mail_relay::{Audience, dereference},
    mail_sender::ValidSender,
    problem::Findings,
};

/// Notes every ServiceAccount that is not given: no token of one that does not exist is accepted. On this machine there
/// is nobody who makes any.
pub(super) fn accounts(
    input: &Input,
    sender: &ValidSender,
    audience: Audience,
    findings: &mut Findings,
) {
    let namespace = &sender.namespace;
    for (i, name) in sender.service_accounts.iter().enumerate() {
        let is_given = input.find("ServiceAccount", namespace, name).is_some();
        let message = match audience {
            Audience::Cluster if is_given => continue,
            Audience::Cluster => {
                format!("ServiceAccount {name:?} in namespace {namespace:?} is not given")
            }
            Audience::Local => "is of no use without a cluster: nobody makes tokens".to_owned(),
        };
        findings.warning(format!("spec.serviceAccounts[{i}]"), message);
    }
}

/// Notes every reference that leads nowhere.
pub(super) fn follow(
    input: &Input,
    object: &Object,
    relay: &MailRelay,
    audience: Audience,
    findings: &mut Findings,
) {
    for reference in dereference::references(relay) {
        let kind = reference.kind.as_str();
        let (name, namespace) = (&reference.name, &object.namespace);
        let wanted = format!("{kind} {name:?} in namespace {namespace:?}");
        let Some(found) = input.find(kind, namespace, name) else {
            let message = format!("{wanted} is not given");
            match audience {
                Audience::Cluster => findings.warning(reference.path, message),
                Audience::Local => findings.problem(reference.path, message),
            }
            continue;
        };
        let content = found.content();
        for key in &reference.keys {
            let message = format!("{wanted} has no key {key:?}");
            findings.require(content.contains_key(key), &reference.path, message);
        }
    }
}
