//! `posthouse-operator check`: every problem in the objects given, before anything is applied.
//!
//! Each object goes through the structure its definition has, its type, and `validate`; then references and grants are
//! followed as far as the objects given allow. What is referred to but not given may well exist in the cluster, so
//! that is a warning here, and an error only where the objects are all there is (`render --local`).

mod consent;
mod references;

use std::io;

use posthouse_api::{MailRelay, MailSender};
use posthouse_config::yaml;
use serde::de::DeserializeOwned;

use crate::{
    command::{self, Environment, Exit},
    input::{Input, Object},
    mail_relay::{self, Audience, ValidRelay},
    mail_sender::{self, Admitted},
    problem::Findings,
    report::Report,
    schema::Schema,
};
use consent::Consent;

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
    let consent = Consent {
        input,
        audience,
        relays: &checked.relays,
        senders: &senders,
    };
    for (object, sender) in &senders {
        let mut findings = Findings::default();
        references::accounts(input, sender, audience, &mut findings);
        let admitted = consent.admit(sender, &mut findings);
        checked.admitted.extend(admitted);
        checked.report.add(object, findings);
    }
    checked
        .admitted
        .sort_by_key(|admitted| admitted.sender.age());
    checked
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
    references::follow(input, object, &relay, audience, findings);
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

#[cfg(test)]
mod tests;
