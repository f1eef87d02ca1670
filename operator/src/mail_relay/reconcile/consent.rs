//! The senders file, apart from everything else of a relay: consent that was withdrawn ends within moments, whatever
//! else about the relay is wrong.
//!
//! So it is written before the other children and before any Secret. Where it cannot be made, since the spec is invalid
//! or the installation's keys are not there, the file in use is pruned: who is gone has no row.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ConfigMap;

use super::{Look, ReconcileError};
use crate::{
    apply::ApplyError,
    mail_relay::{apply::Target, build, facts::Facts},
};

/// The file is written at most this often: with many senders it is large, and each write is a reload.
const INTERVAL: SignedDuration = SignedDuration::from_secs(5);

impl Look<'_> {
    /// Takes out of the file in use who is gone. The answer is when to look again, if that had to wait.
    pub(super) async fn withdraw(&mut self) -> Result<Option<Timestamp>, ReconcileError> {
        let living = living(&self.facts);
        let live = self.facts.children.senders.as_deref();
        let pruned =
            live.and_then(|live| build::without_senders(live, |uid| !living.contains(uid)));
        let Some(pruned) = pruned else {
            return Ok(None);
        };
        let target = super::target(self.context, &self.key, &self.facts);
        let written = &mut self.memory.senders_written;
        Ok(write(&target, &self.facts, &pruned, written).await?)
    }
}

/// Writes the file, unless it was written a moment ago; then the answer is when it may be.
pub(super) async fn write(
    target: &Target<'_>,
    facts: &Facts,
    made: &ConfigMap,
    written: &mut Option<Timestamp>,
) -> Result<Option<Timestamp>, ApplyError> {
    let live = facts.children.senders.as_deref();
    let is_new = live.is_none_or(|live| live.data != made.data);
    let due = written.map(|written| written + INTERVAL);
    if let Some(due) = due.filter(|due| is_new && *due > facts.now) {
        return Ok(Some(due));
    }
    target.senders(made).await?;
    if is_new {
        *written = Some(facts.now);
    }
    Ok(None)
}

/// The uids of the MailSenders that are there to stay.
fn living(facts: &Facts) -> BTreeSet<&str> {
    let senders = facts.senders.iter();
    senders
        .filter(|sender| sender.metadata.deletion_timestamp.is_none())
        .filter_map(|sender| sender.metadata.uid.as_deref())
        .collect()
}
