//! Everything one reconcile of a MailRelay goes by, read once at its beginning.
//!
//! What follows is pure: `validate`, `plan`, `build` and `status` look at these values and at nothing else, so that a
//! test can make up any cluster. Nothing here is a decision.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{ConfigMap, PersistentVolumeClaim, Pod},
};
use posthouse_api::{MailRelay, MailSender};
use posthouse_config::{Status, document::Issuer};

use crate::{grant::Namespace, settings::Capabilities};

/// For how long a gateway that was not heard yet is waited for: three questions.
const HEARING: SignedDuration = SignedDuration::from_secs(30);

/// Everything a reconcile goes by.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The MailRelay, as the API server has it.
    pub relay: Arc<MailRelay>,
    /// The time of this reconcile.
    pub now: Timestamp,
    /// Kinds that not every cluster has.
    pub capabilities: Capabilities,
    /// Whether the operator serves relays of this namespace, and could list what is in it.
    pub is_served: bool,
    /// Whether the namespace is being deleted: nothing can be created in it any more.
    pub namespace_is_terminating: bool,
    /// The uids of every MailRelay of the namespace: what has another owner is left behind and adopted.
    pub relay_uids: BTreeSet<String>,
    /// The MailSenders that name this relay, in no order.
    pub senders: Vec<Arc<MailSender>>,
    /// Every namespace of those senders, with its labels; one that is not here does not exist.
    pub namespaces: BTreeMap<String, Namespace>,
    /// The uid of each ServiceAccount that those senders name, by namespace and name.
    pub service_accounts: BTreeMap<(String, String), String>,
    /// Issuers of ServiceAccount tokens and their keys; empty while none are known.
    pub issuers: Vec<Issuer>,
    /// The children that decide something.
    pub children: LiveChildren,
    /// What was heard of each gateway, by its pod's name.
    pub gateways: BTreeMap<String, Heard>,
}

/// Children as the API server has them; only ours (`labels`), whatever their owner's uid.
#[derive(Clone, Debug, Default)]
pub struct LiveChildren {
    /// The StatefulSet.
    pub stateful_set: Option<Arc<StatefulSet>>,
    /// The ConfigMap with the document.
    pub config: Option<Arc<ConfigMap>>,
    /// The ConfigMap with the senders file.
    pub senders: Option<Arc<ConfigMap>>,
    /// The gateways' pods, by name.
    pub pods: BTreeMap<String, Arc<Pod>>,
    /// The spools' claims, by name.
    pub claims: BTreeMap<String, Arc<PersistentVolumeClaim>>,
}

/// What was heard of one gateway.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// No answer of this pod yet, since it was first asked.
    Nothing {
        /// When it was first asked.
        since: Timestamp,
    },
    /// It answered, but not to the last three questions in a row.
    Silent {
        /// When it last answered.
        since: Timestamp,
        /// That answer.
        last: Arc<Report>,
    },
    /// It answers.
    Report(Arc<Report>),
}

/// One answer of a gateway, of the very pod that was asked: uid and sequence were compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// What it said.
    pub status: Status,
    /// When.
    pub received: Timestamp,
}

impl Heard {
    /// Whether its first answer may still be on its way. Of who is not asked at all nothing is awaited.
    pub fn is_awaited(&self, now: Timestamp) -> bool {
        match self {
            Self::Nothing { since } => now.duration_since(*since) < HEARING,
            Self::Silent { .. } | Self::Report(_) => false,
        }
    }

    /// The last answer, however old.
    pub fn last(&self) -> Option<&Report> {
        match self {
            Self::Nothing { .. } => None,
            Self::Silent { last, .. } | Self::Report(last) => Some(last),
        }
    }

    /// The answer, if it is not old.
    pub fn report(&self) -> Option<&Report> {
        match self {
            Self::Nothing { .. } | Self::Silent { .. } => None,
            Self::Report(report) => Some(report),
        }
    }
}
