//! Children into the API server, one after the other, in an order in which nothing points at what is not there yet.
//!
//! The children are taken apart member by member, so that a new kind of child that nobody applies does not compile.

use std::sync::Arc;

use k8s_openapi::{
    api::{core::v1::ConfigMap, networking::v1::NetworkPolicy},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Resource, ResourceExt,
    api::ApiResource,
    core::{DynamicObject, GroupVersionKind},
    runtime::reflector::ObjectRef,
};
use posthouse_api::MailRelay;
use serde::Serialize;

use super::build::{self, Children, service_monitor};
use crate::{
    apply::{Applier, ApplyError, Owner},
    names,
    settings::Capabilities,
    stores::Stores,
};

/// Where children go, and what is known of those that are there.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// Writes.
    pub applier: &'a Applier,
    /// The caches.
    pub stores: &'a Stores,
    /// Whose children they are.
    pub owner: Owner<'a>,
    /// Kinds that not every cluster has.
    pub capabilities: Capabilities,
}

impl Target<'_> {
    /// Applies the children of a relay, but for the senders file: see [`Self::senders`].
    ///
    /// # Errors
    /// At the first child that is somebody else's or cannot be written; those before it stay written.
    pub async fn apply(&self, children: Children) -> Result<(), ApplyError> {
        let Children {
            service_account,
            config,
            senders: _,
            authority,
            service,
            headless_service,
            stateful_set,
            pod_disruption_budget,
            network_policy,
            service_monitor,
            prometheus_rule,
        } = children;
        let (stores, namespace) = (self.stores, self.owner.namespace);
        let account = ObjectRef::new(&service_account.name_any()).within(namespace);
        self.one(
            &service_account,
            meta(stores.service_accounts.get(&account).as_ref()),
        )
        .await?;
        let map = |map: &ConfigMap| stores.config_maps.find(namespace, &map.name_any());
        if let Some(authority) = &authority {
            self.one(authority, meta(map(authority).as_ref())).await?;
        } else {
            let name = names::ca_config_map(self.owner.relay);
            self.none::<ConfigMap>(&name).await?;
        }
        // Before the pods: what a gateway goes by is there when it starts.
        self.one(&config, meta(map(&config).as_ref())).await?;
        for service in [&service, &headless_service] {
            let live = stores.services.find(namespace, &service.name_any());
            self.one(service, meta(live.as_ref())).await?;
        }
        let name = names::workload(self.owner.relay);
        match &network_policy {
            Some(policy) => {
                let live = stores.network_policies.find(namespace, &name);
                self.one(policy, meta(live.as_ref())).await.map(drop)?;
            }
            None => self.none::<NetworkPolicy>(&name).await?,
        }
        let live = stores.disruption_budgets.find(namespace, &name);
        self.one(&pod_disruption_budget, meta(live.as_ref()))
            .await?;
        let live = stores.stateful_sets.find(namespace, &name);
        self.one(&stateful_set, meta(live.as_ref())).await?;
        let kinds = self.capabilities;
        self.monitor("ServiceMonitor", service_monitor, kinds.service_monitor)
            .await?;
        self.monitor("PrometheusRule", prometheus_rule, kinds.prometheus_rule)
            .await
    }

    /// Applies the senders file. It goes first and waits for nothing: it is where consent that was withdrawn ends.
    ///
    /// # Errors
    /// As [`Self::one`].
    pub async fn senders(&self, senders: &ConfigMap) -> Result<(), ApplyError> {
        let name = senders.name_any();
        let live = self.stores.config_maps.find(self.owner.namespace, &name);
        self.one(senders, meta(live.as_ref())).await.map(drop)
    }

    /// Applies the anchor, whose uid the other children need.
    ///
    /// # Errors
    /// As [`Self::one`].
    pub async fn anchor(&self, relay: &MailRelay) -> Result<ConfigMap, ApplyError> {
        let anchor = build::anchor(relay);
        let live = self
            .stores
            .config_maps
            .find(self.owner.namespace, &anchor.name_any());
        let metadata = self.one(&anchor, meta(live.as_ref())).await?;
        Ok(ConfigMap { metadata, ..anchor })
    }

    /// Applies one child and gives its metadata as it is now.
    ///
    /// # Errors
    /// When it is somebody else's, or by the cause of the failed call.
    pub async fn one<K>(
        &self,
        child: &K,
        live: Option<&ObjectMeta>,
    ) -> Result<ObjectMeta, ApplyError>
    where
        K: Resource<DynamicType = ()> + Serialize,
    {
        self.applier.apply(child, live, &self.owner).await
    }

    /// There must be no such child: one of ours goes.
    async fn none<K: Resource<DynamicType = ()>>(&self, name: &str) -> Result<(), ApplyError> {
        let resource = ApiResource::erase::<K>(&());
        self.applier.delete_ours(&resource, name, &self.owner).await
    }

    /// An object of the Prometheus operator. Its kind may not exist, and nobody watches it: it is written again when it
    /// is to be different, and when another operator takes over.
    async fn monitor(
        &self,
        kind: &str,
        child: Option<DynamicObject>,
        kind_exists: bool,
    ) -> Result<(), ApplyError> {
        let (group, version) = service_monitor::API_VERSION
            .split_once('/')
            .unwrap_or_default();
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        match child {
            Some(child) => self
                .applier
                .apply_unwatched(&resource, &child, &self.owner)
                .await
                .map(drop),
            None if kind_exists => {
                let name = names::workload(self.owner.relay);
                self.applier
                    .delete_ours(&resource, &name, &self.owner)
                    .await
            }
            None => Ok(()),
        }
    }
}

/// What the API server knew last of an object.
fn meta<K: Resource>(object: Option<&Arc<K>>) -> Option<&ObjectMeta> {
    object.map(|object| object.meta())
}
