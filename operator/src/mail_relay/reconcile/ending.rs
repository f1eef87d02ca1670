//! The way of a relay that is being deleted: its gateways are drained, then the anchor goes, and with it everything.
//!
//! The live document is changed in one word, `replicas`: the spec may be invalid by now. Owners are not touched any
//! more: on foreground deletion the garbage collector takes our MailRelay out of the children's owners, and writing it
//! back would be a fight.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use std::sync::Arc;

use super::{Look, Next, ReconcileError, UNDER_WAY};
use crate::{
    apply::{ApplyError, Owner},
    call::CallError,
    labels,
    mail_relay::{
        Audience,
        apply::Target,
        build,
        plan::{self, Plan},
        status::ApplyOutcome,
        validate,
    },
    names,
    problem::chain,
};

impl Look<'_> {
    pub(super) async fn end(&mut self) -> Result<Next, ReconcileError> {
        let relay = Arc::clone(&self.facts.relay);
        if !relay
            .finalizers()
            .iter()
            .any(|finalizer| finalizer == labels::FINALIZER)
        {
            return Ok(Next::Gone);
        }
        let plan = plan::ending(&self.facts);
        if !plan.is_over {
            let result = self.drain(&plan).await;
            let (findings, valid) = validate(&relay, Audience::Cluster);
            let outcome = match &result {
                Ok(()) => ApplyOutcome::NotTried,
                Err(error) => ApplyOutcome::Failed {
                    message: chain(error),
                },
            };
            self.tell(&findings, &[], valid.as_ref(), Some(&plan), &outcome)
                .await?;
            result?;
            return Ok(Next::Again(UNDER_WAY));
        }
        self.remove_claims(&plan).await?;
        self.remove_anchor().await?;
        let applier = &self.context.applier;
        // The store may still show a relay that is gone, and by then its gateways are forgotten: told before, or told
        // again, it would be of nothing that was known.
        if applier.remove_finalizer(relay.as_ref()).await? {
            self.context.publish(Arc::clone(&relay), plan.notices);
        }
        Ok(Next::Gone)
    }

    /// One step: the document and the StatefulSet as the plan wants them.
    async fn drain(&self, plan: &Plan) -> Result<(), ReconcileError> {
        let relay = &self.facts.relay;
        let uid = relay.uid().unwrap_or_default();
        let target = Target {
            applier: &self.context.applier,
            stores: &self.context.stores,
            owner: Owner {
                namespace: &self.key.0,
                relay: &self.key.1,
                uid: &uid,
                relay_uids: &self.facts.relay_uids,
            },
            capabilities: self.facts.capabilities,
        };
        let children = &self.facts.children;
        let config = children.config.as_deref();
        if let Some(changed) =
            config.and_then(|live| build::with_replicas(live, plan.document_replicas))
        {
            target
                .one(&changed, config.map(|live| &live.metadata))
                .await?;
        }
        if let Some(set) = children.stateful_set.as_deref() {
            let now = set.spec.as_ref().and_then(|spec| spec.replicas);
            let wanted = i32::try_from(plan.replicas).unwrap_or(i32::MAX);
            if now != Some(wanted) {
                self.context.applier.patch_replicas(set, wanted).await?;
            }
        }
        self.remove_claims(plan).await
    }

    pub(super) async fn remove_claims(&self, plan: &Plan) -> Result<(), ReconcileError> {
        for claim in &plan.delete_claims {
            self.context
                .applier
                .delete_claim(&self.key.0, claim)
                .await?;
        }
        Ok(())
    }

    /// The children's last owner goes.
    async fn remove_anchor(&self) -> Result<(), ReconcileError> {
        let name = names::anchor(&self.key.1);
        let Some(anchor) = self.context.stores.config_maps.find(&self.key.0, &name) else {
            return Ok(());
        };
        let object = plan::Object {
            name,
            uid: anchor.uid().unwrap_or_default(),
        };
        match self
            .context
            .applier
            .delete_object::<ConfigMap>(&self.key.0, &object)
            .await
        {
            Err(ApplyError::Call {
                source: CallError::NotFound(_),
                ..
            }) => Ok(()),
            result => Ok(result?),
        }
    }
}
