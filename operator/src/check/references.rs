//! Whether what a MailRelay refers to is among the objects given, with the keys it needs.
//!
//! What is not given may exist in a cluster, but not on this machine; a key that is missing is missing everywhere.

use posthouse_api::MailRelay;

use crate::{
    input::{Input, Object},
    mail_relay::{Audience, dereference},
    problem::Findings,
};

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
