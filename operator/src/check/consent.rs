//! What the relays given say to the MailSenders given.
//!
//! Grants are judged by the labels of Namespaces. Of a Namespace that is not given only the name is known: on this
//! machine it has no other label, in a cluster it may have.

use crate::{
    grant::{Namespace, NamespaceSelector},
    input::{Input, Object},
    mail_relay::{Audience, ValidRelay},
    mail_sender::{self, Admitted, Refusal, ValidSender, admit::RefusalReason},
    problem::Findings,
};

/// Everything consent depends on.
pub(super) struct Consent<'a> {
    pub(super) input: &'a Input,
    pub(super) audience: Audience,
    pub(super) relays: &'a [(&'a Object, ValidRelay)],
    pub(super) senders: &'a [(&'a Object, ValidSender)],
}

impl Consent<'_> {
    /// The sender admitted, or why not.
    pub(super) fn admit(&self, sender: &ValidSender, findings: &mut Findings) -> Option<Admitted> {
        self.one_secret_each(sender, findings);
        let relay = self.relay_of(sender, findings)?;
        let given = self.input.find("Namespace", "", &sender.namespace);
        let mut namespace = Namespace::named(&sender.namespace);
        namespace
            .labels
            .extend(given.map(Object::labels).unwrap_or_default());
        let may_have_labels =
            self.audience == Audience::Cluster && given.is_none() && selects_by_label(relay);
        match mail_sender::admit(relay, sender, &namespace, self.older(sender)) {
            Ok(admitted) => Some(admitted),
            Err(refusals) => {
                for refusal in refusals {
                    refused(refusal, may_have_labels, findings);
                }
                None
            }
        }
    }

    /// The relay a sender refers to, if it is given and can be honoured.
    fn relay_of(&self, sender: &ValidSender, findings: &mut Findings) -> Option<&ValidRelay> {
        let (namespace, name) = (&sender.relay_namespace, &sender.relay_name);
        if self.input.find("MailRelay", namespace, name).is_none() {
            let message = format!("MailRelay {name:?} in namespace {namespace:?} is not given");
            findings.warning("spec.relayRef", message);
        }
        let mut relays = self.relays.iter().map(|(_, relay)| relay);
        relays.find(|relay| relay.namespace == *namespace && relay.name == *name)
    }

    /// How many senders of the same namespace and relay come before a sender.
    fn older(&self, sender: &ValidSender) -> usize {
        let beside = |other: &&ValidSender| {
            other.namespace == sender.namespace
                && other.relay_namespace == sender.relay_namespace
                && other.relay_name == sender.relay_name
        };
        let others = self.senders.iter().map(|(_, other)| other).filter(beside);
        others.filter(|other| other.age() < sender.age()).count()
    }

    /// Two MailSenders would overwrite each other's Secret.
    fn one_secret_each(&self, sender: &ValidSender, findings: &mut Findings) {
        let Some(credential) = &sender.credential else {
            return;
        };
        let secret = &credential.secret_name;
        let shares = |other: &&ValidSender| {
            let others = other.credential.as_ref();
            other.namespace == sender.namespace
                && others.is_some_and(|others| others.secret_name == *secret)
                && other.name != sender.name
        };
        if let Some(other) = self.senders.iter().map(|(_, other)| other).find(shares) {
            let name = &other.name;
            let message = format!("must not be that of MailSender {name:?} too, is {secret:?}");
            findings.problem("spec.credential.secretName", message);
        }
    }
}

fn refused(refusal: Refusal, may_have_labels: bool, findings: &mut Findings) {
    let Refusal {
        reason,
        path,
        message,
        ..
    } = refusal;
    if may_have_labels && reason != RefusalReason::InvalidSpec {
        let message = format!("{message}, unless labels say so: its Namespace is not given");
        findings.warning(path, message);
    } else {
        findings.problem(path, message);
    }
}

fn selects_by_label(relay: &ValidRelay) -> bool {
    let is_by_label =
        |selector: &NamespaceSelector| matches!(selector, NamespaceSelector::Labels(_));
    relay
        .grants
        .iter()
        .any(|grant| is_by_label(&grant.namespaces))
}
