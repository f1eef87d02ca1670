//! The caches of everything that is watched, in one value that everybody shares.
//!
//! Read-only: what a reconcile goes by is copied out of here once, at its beginning.

use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{ConfigMap, Namespace, PersistentVolumeClaim, Pod, Service, ServiceAccount},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
};
use kube::{core::PartialObjectMeta, runtime::reflector::Store};
use posthouse_api::{MailRelay, MailSender};

use crate::watch::{Scoped, Watches};

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
        }
    }

    /// Waits until every cache holds everything there is: a reconcile that sees half of it would take the rest away.
    ///
    /// # Errors
    /// A watch has ended, which happens only when the process does.
    pub async fn ready(&self) -> Result<(), kube::runtime::reflector::store::WriterDropped> {
        self.relays.wait_until_ready().await?;
        self.senders.wait_until_ready().await?;
        self.namespaces.wait_until_ready().await?;
        self.service_accounts.wait_until_ready().await?;
        self.stateful_sets.ready().await?;
        self.config_maps.ready().await?;
        self.pods.ready().await?;
        self.claims.ready().await?;
        self.services.ready().await?;
        self.network_policies.ready().await?;
        self.disruption_budgets.ready().await
    }
}
