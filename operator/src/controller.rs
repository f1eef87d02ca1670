//! The controller: one operator leads, and looks at each relay and sender whenever something concerns it.
//!
//! What is watched is in `stores`, what is decided in `mail_relay` and `mail_sender`; here they are joined, and here is
//! the error policy. The operator can be down for days: mail flows by what was written last.

mod upkeep;

use std::{convert::Infallible, future::Future, sync::Arc, time::Duration};

use futures::{StreamExt, stream};
use jiff::Timestamp;
use kube::{
    Client, Resource, ResourceExt,
    runtime::{
        controller::{self, Action, applier},
        reflector::{ObjectRef, Store},
    },
};
use posthouse_admin::admin::{Answer, Shown};
use posthouse_api::{MailRelay, MailSender};
use tokio::{
    sync::{mpsc, watch},
    task::{JoinError, JoinSet},
    time::{Instant, timeout},
};
use tracing::{info, warn};

use crate::{
    apply::{Applier, ApplyError},
    capabilities,
    context::{Context, Key, Memories},
    fence::Fence,
    gateways::{Gateways, RelayName, question},
    installation::{Installation, InstallationError},
    lease::Lease,
    mail_relay,
    mail_relay::plan::turns::Turns,
    mail_sender,
    mail_sender::board::Board,
    metrics::Metrics,
    names,
    problem::chain,
    recorder::Recorder,
    secret::writer::SecretWriter,
    settings::{Capabilities, Settings},
    stores::Stores,
    token_keys::TokenKeys,
    watch::{Triggers, Watches},
};

/// Reconciles of one kind that run at once: what they wait for is the API server, which should not feel it.
const CONCURRENCY: u16 = 8;

/// How soon what everything else needs is asked for again.
const AGAIN: Duration = Duration::from_secs(10);

/// How long the start waits for namespaces in which nothing can be listed; relays of the others go on then.
const FILLING: Duration = Duration::from_mins(1);

/// How long a connection may be silent. A watch says something every minute or so (bookmarks), and ends after less than
/// five; an API server that is gone without a word would be waited for without end.
const SILENCE: Duration = Duration::from_mins(6);

/// Why the controller ends.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is no way to the API server.
    #[error("find the API server")]
    Config(#[source] kube::Error),
    /// Another operator may lead now, so this one must not act any more.
    #[error("the lease was lost")]
    LeaseLost,
    /// A part of the operator panicked, or ended: without it nothing would be right.
    #[error("a part of the operator ended")]
    Part(#[source] Option<JoinError>),
}

/// What the admin port shows. Both operators serve it: a standby is ready, too.
pub struct Page(Metrics);

impl Page {
    /// Shows these metrics.
    pub const fn new(metrics: Metrics) -> Self {
        Self(metrics)
    }
}

impl Shown for Page {
    fn ready(&self) -> Result<(), String> {
        Ok(())
    }

    fn metrics(&self) -> Answer<'_, (String, &'static str)> {
        Box::pin(std::future::ready(self.0.encode()))
    }
}

/// Runs the controller until it is stopped or another operator leads.
///
/// # Errors
/// Why the process must end.
pub async fn run(
    settings: Settings,
    identity: String,
    metrics: Metrics,
    stopped: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let client = client().await?;
    let mut stopped = std::pin::pin!(stopped);
    let mut lease = Lease::new(client.clone(), &settings.namespace, names::LEASE, &identity);
    tokio::select! {
        () = lease.acquire() => {}
        () = &mut stopped => return Ok(()),
    }
    metrics.leader.set(1);
    let mut tasks = JoinSet::new();
    let result = tokio::select! {
        result = lead(client, settings, &identity, metrics.clone(), &mut tasks) => result,
        () = lease.lost() => Err(RunError::LeaseLost),
        () = &mut stopped => Ok(()),
    };
    // Nobody else may act before nothing of this process does.
    tasks.shutdown().await;
    metrics.leader.set(0);
    lease.release().await;
    result
}

/// A client that does not try again by itself: every call has its time, and who made it knows when another try makes
/// sense.
async fn client() -> Result<Client, RunError> {
    let config = kube::Config::infer().await;
    let mut config = config.map_err(|error| RunError::Config(kube::Error::InferConfig(error)))?;
    config.default_retry = false;
    config.read_timeout = Some(SILENCE);
    // From the request on, not from when the connection was last used.
    config.reset_reader_on_write = true;
    Client::try_from(config).map_err(RunError::Config)
}

/// What the leader does, in tasks that whoever asked for it ends.
async fn lead(
    client: Client,
    settings: Settings,
    identity: &str,
    metrics: Metrics,
    tasks: &mut JoinSet<()>,
) -> Result<(), RunError> {
    let (triggers, triggered) = Triggers::channel();
    let mut watches = Watches::new(
        client.clone(),
        &settings.relay_namespaces,
        triggers.clone(),
        tasks,
    );
    let stores = Stores::start(&mut watches);
    let fence = Fence::new(
        client.clone(),
        &settings.namespace,
        metrics.secret_fence.clone(),
    );
    // The leader ends by ending everything: nobody is told that it stopped leading.
    let (_leads, leading) = watch::channel(true);
    let (installation, installed) = watch::channel(None);
    let (failure, failed) = watch::channel(None);
    let capabilities = watch::Sender::new(kinds(&client).await);
    let (gateways, heard) = Gateways::new();
    let issuers = settings.service_account_issuers.clone();
    let context = Arc::new(Context {
        applier: Applier::new(client.clone()),
        secrets: SecretWriter::new(client.clone(), Arc::clone(&fence)),
        installation: installed,
        installation_failure: failed,
        gateways: Arc::clone(&gateways),
        token_keys: TokenKeys::new(client.clone(), issuers),
        capabilities: capabilities.subscribe(),
        board: Board::default(),
        recorder: Arc::new(Recorder::new(client.clone(), identity)),
        turns: Turns::default(),
        relays: Memories::default(),
        senders: Memories::default(),
        settings,
        stores,
        fence: Arc::clone(&fence),
        metrics,
        triggers,
    });
    let told = leading.clone();
    tasks.spawn(async move { fence.keep(told).await });
    tasks.spawn(keep_installation(
        client.clone(),
        Arc::clone(&context),
        installation,
        failure,
    ));
    tasks.spawn(async move { capabilities::keep(&client, &capabilities).await });
    let (keys, told) = (Arc::clone(&context.token_keys), leading.clone());
    tasks.spawn(async move { keys.keep(told).await });
    // A key of ours always makes settings; without them the gateway counts as not answering.
    let link = question::Link::new(|key| posthouse_config::link::client(key).ok());
    tasks.spawn(async move { gateways.poll(link, leading).await });
    tasks.spawn(pass_on(heard, context.triggers.clone()));
    tasks.spawn(look_again(Arc::clone(&context)));
    tasks.spawn(upkeep::tidy(Arc::clone(&context)));
    let ready = context.stores.ready().await;
    ready.map_err(|_| RunError::Part(None))?;
    for scope in context.stores.scopes() {
        tasks.spawn(upkeep::fill(Arc::clone(&context), scope));
    }
    if timeout(FILLING, context.stores.all_filled()).await.is_ok() {
        info!("caches are filled");
    } else {
        warn!("caches are filled, but not of every namespace that is served");
    }
    tasks.spawn(relays(Arc::clone(&context), triggered.relays));
    tasks.spawn(senders(context, triggered.senders));
    // Each of them runs for ever.
    let ended = tasks.join_next().await;
    Err(RunError::Part(ended.and_then(Result::err)))
}

/// The kinds the cluster has. Nothing is built before they are known: on OpenShift a pod template without its rule would
/// restart every gateway.
async fn kinds(client: &Client) -> Capabilities {
    loop {
        match capabilities::discover(client).await {
            Ok(found) => return found,
            Err(error) => warn!(error = chain(&error), "the cluster's kinds are not known"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// What was heard of gateways concerns their relays.
async fn pass_on(mut heard: mpsc::UnboundedReceiver<RelayName>, triggers: Triggers) {
    while let Some((namespace, name)) = heard.recv().await {
        triggers.relay(&namespace, &name);
    }
}

/// What concerns every relay: kinds that came or went, other keys of tokens, a fence that was proved or lost.
async fn look_again(context: Arc<Context>) {
    let mut capabilities = context.capabilities.clone();
    let mut keys = context.token_keys.watch();
    let mut fence = context.fence.watch();
    loop {
        let changed = tokio::select! {
            changed = capabilities.changed() => changed,
            changed = keys.changed() => changed,
            changed = fence.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
        context.look_at_everything();
    }
}

/// Reads the installation's keys, and makes them where there are none; until then no Secret is written and no relay
/// begins.
async fn keep_installation(
    client: Client,
    context: Arc<Context>,
    installation: watch::Sender<Option<Arc<Installation>>>,
    failure: watch::Sender<Option<Arc<InstallationError>>>,
) {
    loop {
        let namespace = &context.settings.namespace;
        match Installation::load(&client, namespace, &context.secrets, Timestamp::now()).await {
            Ok(loaded) => {
                info!("the installation's keys are read");
                installation.send_replace(Some(Arc::new(loaded)));
                context.look_at_everything();
                return std::future::pending().await;
            }
            Err(error) => {
                let text = chain(&error);
                warn!(error = text, "no keys of the installation");
                let before = failure.send_replace(Some(Arc::new(error)));
                // Each relay says why.
                if before.is_none_or(|before| chain(before.as_ref()) != text) {
                    context.look_at_everything();
                }
            }
        }
        let proof = async {
            if context.fence.is_proved() {
                std::future::pending::<()>().await;
            }
            context.fence.proved().await;
        };
        let _ = tokio::time::timeout(AGAIN, proof).await;
    }
}

async fn relays(context: Arc<Context>, triggered: mpsc::UnboundedReceiver<ObjectRef<MailRelay>>) {
    let store = context.stores.relays.clone();
    let reconcile = |relay: Arc<MailRelay>, context: Arc<Context>| async move {
        let (namespace, _) = key(relay.as_ref());
        let is_ending = relay.metadata.deletion_timestamp.is_some();
        if is_ending && upkeep::is_unknown(&context, &namespace) {
            // Nobody knows what it has, so nobody can say that it is drained.
            return Ok(Action::requeue(AGAIN));
        }
        let metrics = context.metrics.clone();
        let look = Box::pin(mail_relay::reconcile::reconcile(relay, context));
        timed("MailRelay", &metrics, look).await
    };
    let policy =
        |relay: &MailRelay, error: &mail_relay::reconcile::ReconcileError, context: &Context| {
            let failures = context.relays.recall(&key(relay)).failures;
            error.retry().delay(failures)
        };
    let gone = |relay: &Key, context: &Context| context.forget_relay(relay);
    drive(context, store, triggered, reconcile, policy, gone).await;
}

async fn senders(context: Arc<Context>, triggered: mpsc::UnboundedReceiver<ObjectRef<MailSender>>) {
    let store = context.stores.senders.clone();
    let reconcile = |sender: Arc<MailSender>, context: Arc<Context>| async move {
        let metrics = context.metrics.clone();
        timed(
            "MailSender",
            &metrics,
            mail_sender::look::look(sender, context),
        )
        .await
    };
    let policy = |sender: &MailSender, error: &ApplyError, context: &Context| {
        let failures = context.senders.recall(&key(sender)).failures;
        error.retry().delay(failures)
    };
    let gone = |sender: &Key, context: &Context| context.senders.forget(sender);
    drive(context, store, triggered, reconcile, policy, gone).await;
}

fn key(object: &impl ResourceExt) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// Looks at each object that is asked for, never twice at once at the same one, and again when it says so.
async fn drive<K, Look, Error>(
    context: Arc<Context>,
    store: Store<K>,
    triggered: mpsc::UnboundedReceiver<ObjectRef<K>>,
    reconcile: impl Fn(Arc<K>, Arc<Context>) -> Look,
    delay: impl Fn(&K, &Error, &Context) -> Duration,
    gone: impl Fn(&Key, &Context),
) where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + 'static,
    Look: Future<Output = Result<Action, Error>>,
    Error: std::error::Error + 'static,
{
    let queue = stream::unfold(triggered, |mut triggered| async {
        let object = triggered.recv().await?;
        Some((Ok::<_, Infallible>(object), triggered))
    });
    let policy = |object: Arc<K>, error: &Error, context: Arc<Context>| {
        let delay = delay(&object, error, &context);
        let (namespace, name) = key(object.as_ref());
        warn!(
            kind = %K::kind(&()),
            namespace, name, error = chain(error), again_seconds = delay.as_secs(),
            "reconcile failed"
        );
        Action::requeue(delay)
    };
    let config = controller::Config::default().concurrency(CONCURRENCY);
    applier(
        |object, context| Box::pin(reconcile(object, context)),
        policy,
        Arc::clone(&context),
        store,
        queue,
        config,
    )
    .for_each(|looked| {
        // Asked for after the last look at it has ended, so that nothing is remembered anew.
        if let Err(controller::Error::ObjectNotFound(object)) = looked {
            let key = (object.namespace.unwrap_or_default(), object.name);
            gone(&key, &context);
        }
        std::future::ready(())
    })
    .await;
}

async fn timed<T, E>(
    kind: &str,
    metrics: &Metrics,
    look: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let begun = Instant::now();
    let result = look.await;
    let word = if result.is_ok() { "ok" } else { "failed" };
    metrics.reconciles.with_label_values(&[kind, word]).inc();
    metrics
        .duration
        .with_label_values(&[kind])
        .observe(begun.elapsed().as_secs_f64());
    result
}
