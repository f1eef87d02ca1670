//! What the leader does beside looking at objects: it waits for caches, namespace by namespace.
//!
//! A namespace in which the operator may list nothing is no reason to leave the others alone; what is in it is not known,
//! so its relays are told that they are not served, and one that is being deleted waits.

use std::sync::Arc;

use posthouse_api::MailRelay;

use super::key;
use crate::{context::Context, watch::Scope};

/// Waits until everything in a scope is known, and then has its relays looked at, which were left alone or told so.
pub(super) async fn fill(context: Arc<Context>, scope: Scope) {
    if context.stores.fill(&scope).await.is_ok() {
        let is_in = |relay: &MailRelay| scope.is_none() || relay.metadata.namespace == scope;
        for relay in context.stores.relays.state_filter(is_in) {
            let (namespace, name) = key(relay.as_ref());
            context.triggers.relay(&namespace, &name);
        }
    }
    // Of a watch that ended its own task tells.
    std::future::pending::<()>().await;
}

/// Whether relays of a namespace are served, but what is in it is not known.
pub(super) fn is_unknown(context: &Context, namespace: &str) -> bool {
    context.settings.relay_namespaces.serve(namespace) && !context.stores.is_filled(namespace)
}
