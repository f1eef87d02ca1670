//! What the leader does beside looking at objects: it waits for caches, namespace by namespace, and forgets what is gone.
//!
//! A namespace in which the operator may list nothing is no reason to leave the others alone; what is in it is not known,
//! so its relays are told that they are not served, and one that is being deleted waits.

use std::{sync::Arc, time::Duration};

use kube::runtime::reflector::ObjectRef;
use posthouse_api::MailRelay;
use tokio::time::interval;

use super::key;
use crate::{
    context::{Context, Key},
    watch::Scope,
};

/// How often what is remembered of objects that are gone is forgotten.
const TIDY: Duration = Duration::from_mins(10);

/// Forgets what nobody will ask for again. A MailSender has no finalizer, so its end is mostly not seen.
pub(super) async fn tidy(context: Arc<Context>) {
    let mut often = interval(TIDY);
    // The first tick comes at once, and there is nothing yet.
    often.tick().await;
    loop {
        often.tick().await;
        let is_there = |(namespace, name): &Key| {
            let reference = ObjectRef::new(name).within(namespace);
            context.stores.senders.get(&reference).is_some()
        };
        context.senders.keep_only(is_there);
        context.secrets.tidy();
    }
}

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
