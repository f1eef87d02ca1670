//! The caches of everything that is watched, in one value that everybody shares.
//!
//! Read-only: what a reconcile goes by is copied out of here once, at its beginning.

use std::collections::BTreeSet;

use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{ConfigMap, Namespace, PersistentVolumeClaim, Pod, Service, ServiceAccount},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
};
use kube::{
    core::PartialObjectMeta,
    runtime::reflector::{Store, store::WriterDropped},
};
use posthouse_api::{MailRelay, MailSender};
use tokio::sync::watch;

use crate::watch::{Scope, Scoped, Watches};

/// The caches.
pub struct Stores {
    /// Of the whole cluster.
    pub relays: Store<MailRelay>,
    /// Of the whole cluster.
    pub senders: Store<MailSender>,
    /// Of the whole cluster, metadata only.
    pub namespaces: Store<PartialObjectMeta<Namespace>>,
    /// Of the whole cluster, metadata only.
    pub service_accounts: Store<PartialObjectMeta<ServiceAccount>>,
    /// Of relays.
    pub stateful_sets: Scoped<StatefulSet>,
    /// Of relays.
    pub config_maps: Scoped<ConfigMap>,
    /// Of relays.
    pub pods: Scoped<Pod>,
    /// Of relays.
    pub claims: Scoped<PersistentVolumeClaim>,
    /// Of relays, metadata only: whether somebody changed them.
    pub services: Scoped<PartialObjectMeta<Service>>,
    /// Of relays, metadata only.
    pub network_policies: Scoped<PartialObjectMeta<NetworkPolicy>>,
    /// Of relays, metadata only.
    pub disruption_budgets: Scoped<PartialObjectMeta<PodDisruptionBudget>>,
    /// The scopes of whose objects all are known.
    filled: watch::Sender<BTreeSet<Scope>>,
}

impl Stores {
    /// Starts every watch. Senders come before relays and namespaces, which look for senders that they concern.
    pub fn start(watches: &mut Watches<'_>) -> Self {
        let senders = watches.senders();
        let relays = watches.relays(senders.clone());
        Self {
            namespaces: watches.namespaces(relays.clone(), senders.clone()),
            service_accounts: watches.service_accounts(senders.clone()),
            relays,
            senders,
            stateful_sets: watches.children(),
            config_maps: watches.children(),
            pods: watches.children(),
            claims: watches.children(),
            services: watches.children(),
            network_policies: watches.children(),
            disruption_budgets: watches.children(),
            filled: watch::Sender::default(),
        }
    }

    /// Waits until the caches of the whole cluster hold everything there is: a reconcile that sees half of it would take
    /// the rest away.
    ///
    /// # Errors
    /// A watch has ended, which happens only when the process does.
    pub async fn ready(&self) -> Result<(), WriterDropped> {
        self.relays.wait_until_ready().await?;
        self.senders.wait_until_ready().await?;
        self.namespaces.wait_until_ready().await?;
        self.service_accounts.wait_until_ready().await
    }

    /// What the caches of relays' children are filled by: each namespace that is served, or all at once.
    pub fn scopes(&self) -> impl Iterator<Item = Scope> {
        self.pods.scopes()
    }

    /// Waits until the caches of one scope hold everything there is. One in which the operator has no rights never do,
    /// and must not keep it from the others.
    ///
    /// # Errors
    /// As [`Self::ready`].
    pub async fn fill(&self, scope: &Scope) -> Result<(), WriterDropped> {
        self.stateful_sets.ready(scope).await?;
        self.config_maps.ready(scope).await?;
        self.pods.ready(scope).await?;
        self.claims.ready(scope).await?;
        self.services.ready(scope).await?;
        self.network_policies.ready(scope).await?;
        self.disruption_budgets.ready(scope).await?;
        self.filled.send_modify(|filled| {
            filled.insert(scope.clone());
        });
        Ok(())
    }

    /// Waits until that is so of every scope.
    pub async fn all_filled(&self) {
        let mut filled = self.filled.subscribe();
        // The sender is ours, so the channel stays open.
        let _ = filled
            .wait_for(|filled| self.scopes().all(|scope| filled.contains(&scope)))
            .await;
    }

    /// Whether everything there is in a namespace is known.
    pub fn is_filled(&self, namespace: &str) -> bool {
        let filled = self.filled.borrow();
        filled.contains(&None) || filled.contains(&Some(namespace.to_owned()))
    }
}
