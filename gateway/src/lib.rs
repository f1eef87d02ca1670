//! The data plane: accepts mail over SMTP, keeps it on stable storage, relays it to authenticated upstreams.
//!
//! Knows nothing of Kubernetes. A message meets the modules in this order:
//! [`inbound`] takes it · [`spool`] keeps it · [`route`] says where it may go · [`queue`] decides when it is attempted ·
//! [`outbound`] hands it to an upstream · [`dsn`] reports what failed.
//! Beside them: [`mail`] the plain vocabulary · [`clock`], [`shutdown`], [`metrics`] what everything is given ·
//! [`reload`] documents and secrets · [`status`], [`control`] how it is seen and steered ·
//! [`command`] the command line. Here they are joined, and nothing else is done.

pub mod clock;
pub mod command;
pub mod control;
pub mod dsn;
pub mod inbound;
pub mod mail;
pub mod metrics;
pub mod outbound;
pub mod queue;
pub mod reload;
pub mod route;
pub mod shutdown;
pub mod spool;
pub mod status;
mod stop;

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use posthouse_admin::admin::{self, Pages, Plain, Shown};
use posthouse_config::Snapshot;
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::{mpsc, watch},
    task::JoinSet,
};
use tracing::{error, info};

use crate::{
    clock::Clock,
    inbound::{Inbound, listener},
    mail::Redactor,
    metrics::Metrics,
    outbound::Outbound,
    queue::{QueueHandle, QueueParts, Recovered, deliver::Deliver},
    reload::{Folder, NoDocument, Reload, Stored},
    shutdown::{Shutdown, Stage},
    spool::{OpenError, Spool, SpoolFailure, SpoolOptions},
    status::{Board, Link, Running},
};

/// What a gateway is started with.
#[derive(Debug)]
pub struct Options {
    /// Where the document is.
    pub folder: Folder,
    /// Where mail is kept.
    pub spool: PathBuf,
    /// Which of the relay's gateways this is.
    pub ordinal: u32,
    /// Where the admin port is bound.
    pub admin: Option<SocketAddr>,
    /// Where the status port is bound, which only the operator can use; without it the admin port has the status.
    pub status: Option<SocketAddr>,
    /// The pod's uid, for status; empty outside a cluster.
    pub pod_uid: String,
    /// How addresses are logged.
    pub redactor: Arc<Redactor>,
}

/// Why a gateway does not start, or ends.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Two metrics have one name.
    #[error("cannot register metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// No document that could be used.
    #[error(transparent)]
    Document(#[from] NoDocument),
    /// A port cannot be had.
    #[error("{what}: cannot listen on {address}: {source}")]
    Bind {
        /// The listener, or the port.
        what: String,
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The spool cannot be used before a person changes something.
    #[error(transparent)]
    Spool(#[from] OpenError),
    /// The spool failed while running; what the disk holds counts, and is read at the next start.
    #[error("the spool has failed: {0}")]
    SpoolFailed(SpoolFailure),
    /// A part of the gateway panicked. The process ends, since without it mail would be taken and not relayed.
    #[error("a part of the gateway failed: {0}")]
    Part(#[source] tokio::task::JoinError),
    /// The control socket cannot be had.
    #[error("control socket {path}: {source}")]
    Control {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Runs a gateway until it is stopped: by the first message of `stops` in good order, by the second at once.
///
/// # Errors
/// What keeps it from starting, or the failure of the spool that ended it.
pub async fn run(
    options: Options,
    clock: Arc<dyn Clock>,
    stops: mpsc::UnboundedReceiver<()>,
) -> Result<(), RunError> {
    let metrics = Metrics::new(env!("CARGO_PKG_VERSION"))?;
    let stored = Stored::new(&options.spool);
    let reload = Reload::start(
        options.folder.clone(),
        stored,
        metrics.clone(),
        Arc::clone(&options.redactor),
    )?;
    let (stage, shutdown) = Shutdown::channel();
    let mut tasks = JoinSet::new();
    tasks.spawn(stop::run(
        stops,
        stage,
        reload.snapshot(),
        options.ordinal,
        Arc::clone(&clock),
    ));
    let board = Board::new(
        metrics.clone(),
        reload.snapshot(),
        reload.status(),
        shutdown.clone(),
        options.ordinal,
        options.pod_uid.clone(),
    );
    let board = Arc::new(board);
    show(&options, &board, reload.snapshot(), &mut tasks).await?;
    let sockets = bind_listeners(&reload.snapshot().borrow())?;
    let gateway = Gateway {
        options,
        clock,
        metrics,
        shutdown,
        board,
        snapshot: reload.snapshot(),
    };
    let result = gateway.serve(reload, sockets).await;
    // What is left answers probes and waits for signals.
    tasks.abort_all();
    result
}

/// What the wiring needs from start to end.
struct Gateway {
    options: Options,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    shutdown: Shutdown,
    board: Arc<Board>,
    snapshot: watch::Receiver<Arc<Snapshot>>,
}

impl Gateway {
    async fn serve(
        self,
        reload: Reload,
        sockets: Vec<(Arc<str>, TcpSocket)>,
    ) -> Result<(), RunError> {
        let (spool, recovered) = match self.open_spool().await {
            Ok(opened) => opened,
            Err(error) if error.is_for_a_person() => return Err(error.into()),
            Err(error) => return self.stay_up(&error).await,
        };
        reload.keep();
        let mut ending = JoinSet::new();
        ending.spawn(reload.run(Arc::clone(&self.clock), self.shutdown.clone()));
        let outbound = Outbound::new(
            self.snapshot.clone(),
            spool.captured_dir(),
            self.options.ordinal,
            Arc::clone(&self.clock),
            self.metrics.clone(),
        );
        let upstreams = outbound.upstreams();
        let (task, queue) = queue::queue(
            self.queue_parts(&spool, Arc::new(Arc::clone(&outbound))),
            recovered,
        );
        let inbound = Inbound::new(self.inbound_parts(&spool, queue.clone()));
        let socket = spool.socket_path();
        let control = control::bind(&socket).map_err(|source| RunError::Control {
            path: socket,
            source,
        })?;
        ending.spawn(outbound.run(self.shutdown.clone()));
        ending.spawn(task.run());
        ending.spawn(control::serve(
            control,
            queue.clone(),
            self.shutdown.clone(),
        ));
        for (name, socket) in sockets {
            ending.spawn(listen(Arc::clone(&inbound), name, socket));
        }
        self.board.runs(Running {
            spool: spool.clone(),
            inbound,
            queue,
            upstreams,
        });
        tokio::select! {
            failure = spool.failed() => return Err(RunError::SpoolFailed(failure)),
            ended = all(ending) => ended?,
        }
        spool.close().await;
        info!("stopped");
        Ok(())
    }

    /// Opens the spool on a thread that may block, and gives the queue everything that is found in it.
    async fn open_spool(&self) -> Result<(Spool, Recovered), OpenError> {
        let snapshot = Arc::clone(&self.snapshot.borrow());
        let options = SpoolOptions {
            path: self.options.spool.clone(),
            segment_bytes: snapshot.document.spool.segment_bytes,
        };
        let (clock, metrics) = (Arc::clone(&self.clock), self.metrics.clone());
        let path = options.path.clone();
        let opening = tokio::task::spawn_blocking(move || {
            let mut recovered = Recovered::new(snapshot, &*clock);
            let mut messages = 0_u64;
            let spool = Spool::open(options, Arc::clone(&clock), metrics, &mut |queued| {
                messages += 1;
                recovered.add(queued);
            })?;
            info!(messages, "spool open");
            Ok((spool, recovered))
        });
        opening.await.unwrap_or_else(|error| {
            Err(OpenError::Io {
                path,
                source: std::io::Error::other(error),
            })
        })
    }

    fn queue_parts(&self, spool: &Spool, deliver: Arc<dyn Deliver>) -> QueueParts {
        QueueParts {
            spool: spool.clone(),
            deliver,
            snapshots: self.snapshot.clone(),
            clock: Arc::clone(&self.clock),
            metrics: self.metrics.clone(),
            redactor: Arc::clone(&self.options.redactor),
            shutdown: self.shutdown.clone(),
        }
    }

    fn inbound_parts(&self, spool: &Spool, queue: QueueHandle) -> inbound::Parts<Spool> {
        inbound::Parts {
            store: spool.clone(),
            intake: Arc::new(queue),
            snapshot: self.snapshot.clone(),
            clock: Arc::clone(&self.clock),
            metrics: self.metrics.clone(),
            redactor: Arc::clone(&self.options.redactor),
            shutdown: self.shutdown.clone(),
            ordinal: self.options.ordinal,
        }
    }

    /// A disk that fails or is full must be seen, not hidden in a loop of restarts: the admin port stays.
    async fn stay_up(&self, error: &OpenError) -> Result<(), RunError> {
        error!(%error, "the spool cannot be used; taking no mail until it is looked after");
        self.board.failed(error);
        self.shutdown.clone().reached(Stage::Stopping).await;
        Ok(())
    }
}

/// Waits until every part has ended in good order.
async fn all(mut parts: JoinSet<()>) -> Result<(), RunError> {
    while let Some(ended) = parts.join_next().await {
        ended.map_err(RunError::Part)?;
    }
    Ok(())
}

/// Opens the ports on which the gateway is seen, from its start to its end.
async fn show(
    options: &Options,
    board: &Arc<Board>,
    snapshot: watch::Receiver<Arc<Snapshot>>,
    tasks: &mut JoinSet<()>,
) -> Result<(), RunError> {
    let shown = || Arc::clone(board) as Arc<dyn Shown>;
    if let Some(address) = options.admin {
        let listener = bind("admin", address).await?;
        let pages = if options.status.is_some() {
            Pages::Probes
        } else {
            Pages::All
        };
        tasks.spawn(admin::serve_pages(listener, Plain, pages, shown()));
    }
    if let Some(address) = options.status {
        let listener = bind("status", address).await?;
        let link = Link::new(snapshot);
        tasks.spawn(admin::serve_pages(listener, link, Pages::Status, shown()));
    }
    Ok(())
}

async fn bind(port: &str, address: SocketAddr) -> Result<TcpListener, RunError> {
    let bound = async {
        let listener = TcpListener::bind(address).await?;
        info!(listener = port, address = %listener.local_addr()?, "listening");
        Ok(listener)
    };
    bound.await.map_err(|source| RunError::Bind {
        what: format!("{port} port"),
        address,
        source,
    })
}

/// Binds every listener of the document. Bound now, so that a port in use is told before a long recovery; listened on
/// later, when there is a place for mail.
fn bind_listeners(snapshot: &Snapshot) -> Result<Vec<(Arc<str>, TcpSocket)>, RunError> {
    let bind = |listener: &posthouse_config::document::Listener| {
        let socket = listener::bind(listener.address).map_err(|source| RunError::Bind {
            what: format!("listener {}", listener.name),
            address: listener.address,
            source,
        })?;
        Ok((Arc::from(listener.name.as_str()), socket))
    };
    snapshot.document.listeners.iter().map(bind).collect()
}

async fn listen(inbound: Arc<Inbound<Spool>>, name: Arc<str>, socket: TcpSocket) {
    if let Err(error) = inbound.serve(Arc::clone(&name), socket).await {
        error!(%error, listener = %name, "listener ended");
    }
}
