//! `posthouse-operator check`: every problem in the objects given, before anything is applied.
//!
//! Each object goes through the structure its definition has, its type, and `validate`; then references and grants are
//! followed as far as the objects given allow. What is referred to but not given may well exist in the cluster, so
//! that is a warning here, and an error only where the objects are all there is (`render --local`).

use std::io;

use posthouse_api::{MailRelay, MailSender};
use posthouse_config::yaml;
use serde::de::DeserializeOwned;

use crate::{
    command::{self, Environment, Exit},
    grant::{Namespace, NamespaceSelector},
    input::{Input, Object},
    mail_relay::{self, Audience, ValidRelay, dereference},
    mail_sender::{self, Admitted, Refusal, ValidSender, admit::RefusalReason},
    problem::Findings,
    report::Report,
    schema::Schema,
};

/// Runs the command.
pub fn run(arguments: &command::Check, environment: &mut Environment<'_>) -> io::Result<Exit> {
    let input = Input::read(&arguments.files.paths, environment.input.as_mut());
    let checked = check(&input, Audience::Cluster);
    checked
        .report
        .print(arguments.output, &mut environment.out)?;
    Ok(if checked.report.has_errors() {
        Exit::Failed
    } else {
        Exit::Done
    })
}

/// What a check found, and the objects that passed.
#[derive(Debug, Default)]
pub struct Checked<'a> {
    /// Every problem and warning.
    pub report: Report,
    /// The MailRelays that can be honoured.
    pub relays: Vec<(&'a Object, ValidRelay)>,
    /// The MailSenders that are admitted by one of them.
    pub admitted: Vec<Admitted>,
}

/// Checks everything that was given.
pub fn check(input: &Input, audience: Audience) -> Checked<'_> {
    let mut checked = Checked::default();
    for (file, failure) in &input.failures {
        checked.report.failure(file, failure);
    }
    let mut senders = Vec::new();
    for (i, object) in input.objects.iter().enumerate() {
        let mut findings = object.findings();
        twice(input, i, object, &mut findings);
        match object.kind.as_str() {
            "MailRelay" => relay(input, object, audience, &mut findings, &mut checked.relays),
            "MailSender" => {
                let read = read::<MailSender>(object, &mut findings);
                let valid =
                    read.and_then(|sender| with(&mut findings, mail_sender::validate(&sender)));
                senders.extend(valid.map(|sender| (object, sender)));
            }
            _ => {}
        }
        checked.report.add(object, findings);
    }
    for (object, sender) in &senders {
        let admitted = admit(input, audience, &checked.relays, &senders, (object, sender));
        let mut findings = Findings::default();
        one_secret_each(sender, &senders, &mut findings);
        checked.admitted.extend(with(&mut findings, admitted));
        checked.report.add(object, findings);
    }
    let age = |admitted: &Admitted| {
        let ValidSender {
            created,
            namespace,
            name,
            ..
        } = &admitted.sender;
        (created.clone(), namespace.clone(), name.clone())
    };
    checked.admitted.sort_by_key(age);
    checked
}

/// Two MailSenders would overwrite each other's Secret.
fn one_secret_each(
    sender: &ValidSender,
    senders: &[(&Object, ValidSender)],
    findings: &mut Findings,
) {
    let shares = |other: &&ValidSender| {
        other.namespace == sender.namespace
            && other.secret_name == sender.secret_name
            && other.name != sender.name
    };
    if let Some(other) = senders.iter().map(|(_, other)| other).find(shares) {
        let message = format!(
            "must not be that of MailSender {:?} too, is {:?}",
            other.name, sender.secret_name
        );
        findings.problem("spec.credential.secretName", message);
    }
}

fn relay<'a>(
    input: &Input,
    object: &'a Object,
    audience: Audience,
    findings: &mut Findings,
    relays: &mut Vec<(&'a Object, ValidRelay)>,
) {
    let Some(relay) = read::<MailRelay>(object, findings) else {
        return;
    };
    let valid = with(findings, mail_relay::validate(&relay, audience));
    references(input, object, &relay, audience, findings);
    relays.extend(valid.map(|valid| (object, valid)));
}

/// The object as its type. Structure is asked first: it finds everything at once and knows unknown fields.
fn read<T: DeserializeOwned>(object: &Object, findings: &mut Findings) -> Option<T> {
    let structure = Schema::of(&object.kind).map(|schema| schema.problems(&object.value));
    let structure = structure.unwrap_or_default();
    let is_structured = structure.is_empty();
    findings.extend(structure);
    match yaml::from_value(object.value.clone()) {
        Ok(typed) => Some(typed),
        Err(error) if is_structured => {
            findings.problem("", error.to_string());
            None
        }
        // The structure has said it already, in better words.
        Err(_) => None,
    }
}

fn with<T>(findings: &mut Findings, (found, value): (Findings, Option<T>)) -> Option<T> {
    findings.extend(found.problems);
    for warning in found.warnings {
        findings.warning(warning.path, warning.message);
    }
    value
}

/// An object given twice: which of the two would count is anybody's guess.
fn twice(input: &Input, i: usize, object: &Object, findings: &mut Findings) {
    let is_same = |other: &&Object| {
        other.kind == object.kind
            && other.namespace == object.namespace
            && other.name == object.name
    };
    if let Some(first) = input.objects.iter().take(i).find(is_same) {
        findings.problem(
            "metadata.name",
            format!("must not be given twice, is in {} too", first.file),
        );
    }
}

/// Whether what a MailRelay refers to is there, with the keys it needs.
fn references(
    input: &Input,
    object: &Object,
    relay: &MailRelay,
    audience: Audience,
    findings: &mut Findings,
) {
    for reference in dereference::references(relay) {
        let kind = reference.kind.as_str();
        let wanted = format!(
            "{kind} {:?} in namespace {:?}",
            reference.name, object.namespace
        );
        let Some(found) = input.find(kind, &object.namespace, &reference.name) else {
            let message = format!("{wanted} is not given");
            match audience {
                Audience::Cluster => findings.warning(reference.path, message),
                Audience::Local => findings.problem(reference.path, message),
            }
            continue;
        };
        let content = found.content();
        for key in reference
            .keys
            .iter()
            .filter(|key| !content.contains_key(*key))
        {
            findings.problem(
                reference.path.as_str(),
                format!("{wanted} has no key {key:?}"),
            );
        }
    }
}

/// What the relay of a MailSender says to it, if that relay is given.
fn admit(
    input: &Input,
    audience: Audience,
    relays: &[(&Object, ValidRelay)],
    senders: &[(&Object, ValidSender)],
    (object, sender): (&Object, &ValidSender),
) -> (Findings, Option<Admitted>) {
    let mut findings = Findings::default();
    let (relay_namespace, relay_name) = (&sender.relay_namespace, &sender.relay_name);
    if input
        .find("MailRelay", relay_namespace, relay_name)
        .is_none()
    {
        let message =
            format!("MailRelay {relay_name:?} in namespace {relay_namespace:?} is not given");
        findings.warning("spec.relayRef", message);
    }
    let is_its_relay =
        |relay: &&ValidRelay| relay.namespace == *relay_namespace && relay.name == *relay_name;
    let Some(relay) = relays.iter().map(|(_, relay)| relay).find(is_its_relay) else {
        return (findings, None);
    };
    let given = input.find("Namespace", "", &object.namespace);
    let namespace = namespace(&object.namespace, given);
    let age = |sender: &ValidSender| (sender.created.clone(), sender.name.clone());
    let of_same = |other: &&ValidSender| {
        other.namespace == sender.namespace
            && (&other.relay_namespace, &other.relay_name) == (relay_namespace, relay_name)
    };
    let others = senders.iter().map(|(_, sender)| sender).filter(of_same);
    let older = others.filter(|other| age(other) < age(sender)).count();
    match mail_sender::admit(relay, sender, &namespace, older) {
        Ok(admitted) => (findings, Some(admitted)),
        Err(refusals) => {
            let is_unknown =
                audience == Audience::Cluster && given.is_none() && selects_by_label(relay);
            for refusal in refusals {
                refused(refusal, is_unknown, &mut findings);
            }
            (findings, None)
        }
    }
}

/// Grants are judged by the labels of a Namespace; of one that is not given only the name is known, and in a cluster
/// it may have more.
fn refused(refusal: Refusal, is_unknown: bool, findings: &mut Findings) {
    let Refusal {
        reason,
        path,
        message,
    } = refusal;
    if is_unknown && reason != RefusalReason::InvalidSpec {
        findings.warning(
            path,
            format!("{message}, unless labels say so: its Namespace is not given"),
        );
    } else {
        findings.problem(path, message);
    }
}

fn selects_by_label(relay: &ValidRelay) -> bool {
    relay
        .grants
        .iter()
        .any(|grant| matches!(grant.namespaces, NamespaceSelector::Labels(_)))
}

fn namespace(name: &str, given: Option<&Object>) -> Namespace {
    let mut namespace = Namespace::named(name);
    if let Some(object) = given {
        namespace.labels.extend(object.labels());
    }
    namespace
}

#[cfg(test)]
mod tests;
