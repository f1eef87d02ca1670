//! Which MailSenders a relay admits, and the rows of its senders file.
//!
//! Pure. The oldest come first, so that a newcomer never takes a place. A sender that is granted but says something
//! that cannot be honoured keeps the row it has, cut down to what is granted now: a bad edit changes nothing that works,
//! and withdrawn consent always does. What tenants are told names nothing of the relay but what concerns them.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use posthouse_api::{MailSender, mail_sender::status::CredentialStatus};
use posthouse_config::{
    Senders,
    senders::{self, Sender, SenderAccount},
};

use super::{
    Admitted, Refusal, ValidSender,
    admit::{RefusalReason, not_granted},
    build, rotation, validate,
};
use crate::{
    grant::{self, Granted, Namespace},
    mail_relay::{ValidRelay, facts::Facts},
};

/// At most this many senders per relay: design limit of the senders file.
const MOST_SENDERS: usize = 2000;

/// The senders file in compact JSON. A ConfigMap holds 1 MiB, and its metadata counts.
const MOST_BYTES: usize = 900 * 1024;

/// What the file takes besides its rows.
const FRAME_BYTES: usize = 128;

/// What a relay says to its senders.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Admissions {
    /// What each sender is told, by namespace and name. One that is being deleted is not here, and has no row.
    pub verdicts: BTreeMap<(String, String), SenderVerdict>,
    /// The rows of the senders file, the oldest sender first.
    pub rows: Vec<Sender>,
    /// When the rows are different without any change to an object: a previous password ends.
    pub next_change: Option<Timestamp>,
}

/// What one sender is told, and which state of it that is about.
#[derive(Clone, Debug, PartialEq)]
pub struct SenderVerdict {
    /// The MailSender's uid.
    pub uid: String,
    /// Its `metadata.generation`.
    pub generation: i64,
    /// The answer.
    pub answer: Answer,
}

impl SenderVerdict {
    fn new(sender: &MailSender, answer: Answer) -> Self {
        let (uid, generation) = state(sender);
        Self {
            uid,
            generation,
            answer,
        }
    }

    /// Whether it is about a sender as it is now.
    pub fn is_about(&self, sender: &MailSender) -> bool {
        (self.uid.clone(), self.generation) == state(sender)
    }
}

fn state(sender: &MailSender) -> (String, i64) {
    let metadata = &sender.metadata;
    (
        metadata.uid.clone().unwrap_or_default(),
        metadata.generation.unwrap_or_default(),
    )
}

/// What a relay answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// It may send.
    Accepted(Arc<AcceptedSender>),
    /// It may not as it is now; the reason that counts comes first. Never empty.
    Refused(Vec<Refusal>),
}

/// A sender that may send.
#[derive(Clone, Debug, PartialEq)]
pub struct AcceptedSender {
    /// What it wants and is granted.
    pub admitted: Admitted,
    /// Its row in the senders file.
    pub row: Sender,
    /// ServiceAccounts it names that do not exist: their tokens are not accepted until they do.
    pub absent_accounts: Vec<String>,
}

/// The senders file in use; `None` where there is none that can be read.
pub fn live_senders(config_map: &ConfigMap) -> Option<Senders> {
    let text = config_map.data.as_ref()?.get(senders::FILE_NAME)?;
    Senders::parse(text).ok()
}

/// What a sender is told whose relay does not exist: the same as without a grant.
pub fn without_relay(sender: &MailSender) -> SenderVerdict {
    let relay = &sender.spec.relay_ref;
    let refusal = stranger(&relay.namespace, &relay.name);
    SenderVerdict::new(sender, Answer::Refused(vec![refusal]))
}

fn stranger(relay_namespace: &str, relay: &str) -> Refusal {
    Refusal::open(
        RefusalReason::NotGranted,
        "spec.relayRef",
        not_granted(relay_namespace, relay),
    )
}

/// Judges every sender of a relay. `live` is the senders file in use.
pub fn admissions(facts: &Facts, relay: &ValidRelay, live: Option<&Senders>) -> Admissions {
    let rows = live.into_iter().flat_map(|live| &live.senders);
    let mut table = Table {
        facts,
        relay,
        live: rows.map(|row| (row.uid.as_str(), row)).collect(),
        granted: BTreeMap::new(),
        bytes: FRAME_BYTES,
        is_full: false,
        admissions: Admissions::default(),
    };
    let living = |sender: &&MailSender| sender.metadata.deletion_timestamp.is_none();
    let mut senders: Vec<&MailSender> = facts.senders.iter().map(AsRef::as_ref).collect();
    senders.retain(living);
    senders.sort_by_cached_key(|sender| age(sender));
    for sender in senders {
        table.judge(sender);
    }
    table.admissions
}

/// Orders senders by age, the oldest first; equally old ones by namespace and name.
fn age(sender: &MailSender) -> (Option<Timestamp>, String, String) {
    let created = sender.metadata.creation_timestamp.as_ref();
    (
        created.map(|time| time.0),
        sender.namespace().unwrap_or_default(),
        sender.name_any(),
    )
}

/// The senders file as it grows.
struct Table<'a> {
    facts: &'a Facts,
    relay: &'a ValidRelay,
    live: BTreeMap<&'a str, &'a Sender>,
    /// What each namespace is granted, and how many rows it has.
    granted: BTreeMap<String, (Option<Arc<Granted>>, usize)>,
    bytes: usize,
    is_full: bool,
    admissions: Admissions,
}

impl<'a> Table<'a> {
    fn judge(&mut self, sender: &MailSender) {
        let namespace = sender.namespace().unwrap_or_default();
        let answer = match self.granted(&namespace) {
            None => {
                let refusal = stranger(&self.relay.namespace, &self.relay.name);
                Answer::Refused(vec![refusal])
            }
            Some((granted, taken)) => self.answer(sender, &namespace, &granted, taken),
        };
        let key = (namespace, sender.name_any());
        let verdict = SenderVerdict::new(sender, answer);
        self.admissions.verdicts.insert(key, verdict);
    }

    /// What a namespace is granted and how many rows it has; asked of the grants once for each namespace.
    fn granted(&mut self, namespace: &str) -> Option<(Arc<Granted>, usize)> {
        if !self.granted.contains_key(namespace) {
            let labels = self.facts.namespaces.get(namespace);
            let granted = labels.and_then(|labels| grant::granted(&self.relay.grants, labels));
            self.granted
                .insert(namespace.to_owned(), (granted.map(Arc::new), 0));
        }
        let (granted, taken) = self.granted.get(namespace)?;
        Some((granted.clone()?, *taken))
    }

    fn answer(
        &mut self,
        sender: &MailSender,
        namespace: &str,
        granted: &Granted,
        taken: usize,
    ) -> Answer {
        let live = self.live_row(sender);
        let refusals = match self.accept(sender, namespace, taken, live) {
            Ok(accepted) => match self.add(namespace, accepted.row.clone(), sender) {
                Ok(()) => return Answer::Accepted(Arc::new(accepted)),
                Err(refusal) => vec![refusal],
            },
            Err(refusals) => refusals,
        };
        let is_full = |refusal: &Refusal| refusal.reason == RefusalReason::RelayFull;
        if let Some(live) = live.filter(|_| !refusals.iter().any(is_full)) {
            let has_place = granted.senders.is_none_or(|bound| taken < bound as usize);
            let kept = self.kept(sender, live, granted, &refusals);
            if let Some(row) = kept.filter(|_| has_place) {
                // Without a place even for what it has it ends; what it is told stays what it can mend.
                let _ = self.add(namespace, row, sender);
            }
        }
        Answer::Refused(refusals)
    }

    fn live_row(&self, sender: &MailSender) -> Option<&'a Sender> {
        let row = self.live.get(sender.metadata.uid.as_deref()?)?;
        Some(row)
    }

    /// The sender as it wants to be, or everything that is wrong with it.
    fn accept(
        &self,
        sender: &MailSender,
        namespace: &str,
        taken: usize,
        live: Option<&Sender>,
    ) -> Result<AcceptedSender, Vec<Refusal>> {
        let valid = valid(sender, live.map(|row| row.rotations.as_slice()))?;
        let named = Namespace::named(namespace);
        let namespace = self.facts.namespaces.get(namespace).unwrap_or(&named);
        let admitted = super::admit(self.relay, &valid, namespace, taken);
        let admitted = admitted.map_err(first_reason_first)?;
        let (present, absent) = self.accounts(&valid);
        let mut row = build::sender(&admitted);
        row.service_accounts = present;
        if let Some(credential) = &valid.credential {
            let live = live.map(|row| row.rotations.as_slice()).unwrap_or_default();
            let status = credential_status(sender);
            row.rotations = rotation::accepted(credential.rotation, status, live, self.facts.now);
        }
        Ok(AcceptedSender {
            admitted,
            row,
            absent_accounts: absent,
        })
    }

    /// The ServiceAccounts that exist, and the names of those that do not.
    fn accounts(&self, sender: &ValidSender) -> (Vec<SenderAccount>, Vec<String>) {
        let (mut present, mut absent) = (Vec::new(), Vec::new());
        for name in &sender.service_accounts {
            let key = (sender.namespace.clone(), name.clone());
            match self.facts.service_accounts.get(&key) {
                Some(uid) => present.push(SenderAccount {
                    name: name.clone(),
                    uid: uid.clone(),
                }),
                None => absent.push(name.clone()),
            }
        }
        present.sort_by(|a, b| a.name.cmp(&b.name));
        (present, absent)
    }

    /// What is left of the row a sender has when it cannot be honoured as it is now.
    fn kept(
        &self,
        sender: &MailSender,
        live: &Sender,
        granted: &Granted,
        refusals: &[Refusal],
    ) -> Option<Sender> {
        let mut row = live.clone();
        let is_clear = |refusal: &Refusal| refusal.reason == RefusalReason::TokensWithoutTls;
        if refusals.iter().any(is_clear) {
            row.service_accounts.clear();
        }
        row.from.retain(|pattern| granted.covers(pattern));
        row.service_accounts.retain(|account| {
            let key = (row.namespace.clone(), account.name.clone());
            self.facts.service_accounts.get(&key) == Some(&account.uid)
        });
        let status = credential_status(sender);
        row.rotations = rotation::kept(status, &row.rotations, self.facts.now);
        let can_authenticate = !row.rotations.is_empty() || !row.service_accounts.is_empty();
        (can_authenticate && !row.from.is_empty()).then_some(row)
    }

    /// Adds a row where there is room. After the first that has none no younger one gets in, however small: else a
    /// sender would lose its place whenever an older one shrinks.
    fn add(&mut self, namespace: &str, row: Sender, sender: &MailSender) -> Result<(), Refusal> {
        // One comma.
        let bytes = 1 + serde_json::to_vec(&row).map_or(MOST_BYTES, |json| json.len());
        let is_full = self.admissions.rows.len() >= MOST_SENDERS || self.bytes + bytes > MOST_BYTES;
        self.is_full |= is_full;
        if self.is_full {
            return Err(Refusal::open(
                RefusalReason::RelayFull,
                "spec.relayRef",
                "the relay has as many MailSenders as it may have, and older ones stay".to_owned(),
            ));
        }
        self.bytes += bytes;
        if let Some((_, taken)) = self.granted.get_mut(namespace) {
            *taken += 1;
        }
        if row.rotations.len() > 1 {
            let end = rotation::end(credential_status(sender), self.facts.now);
            let next = &mut self.admissions.next_change;
            *next = [*next, end].into_iter().flatten().min();
        }
        self.admissions.rows.push(row);
        Ok(())
    }
}

/// The sender by itself, and against the rotations that were in use.
fn valid(sender: &MailSender, live: Option<&[u64]>) -> Result<ValidSender, Vec<Refusal>> {
    let (findings, valid) = validate(sender);
    let invalid =
        |path: String, message: String| Refusal::open(RefusalReason::InvalidSpec, path, message);
    let Some(valid) = valid else {
        let problems = findings.problems.into_iter();
        return Err(problems
            .map(|problem| invalid(problem.path, problem.message))
            .collect());
    };
    let least = rotation::least(credential_status(sender), live.unwrap_or_default());
    match &valid.credential {
        Some(credential) if credential.rotation < least => Err(vec![invalid(
            "spec.credential.rotation".to_owned(),
            format!("must be at least {least}"),
        )]),
        _ => Ok(valid),
    }
}

fn credential_status(sender: &MailSender) -> Option<&CredentialStatus> {
    sender.status.as_ref()?.credential.as_ref()
}

fn first_reason_first(mut refusals: Vec<Refusal>) -> Vec<Refusal> {
    refusals.sort_by_key(|refusal| refusal.reason);
    refusals
}

#[cfg(test)]
mod tests;
