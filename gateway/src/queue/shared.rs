//! What the queue's task and its jobs share.

use std::sync::Arc;

use posthouse_config::Snapshot;
use tokio::sync::mpsc;

use super::{deliver::Deliver, hold::HoldSet, intake::Inbox, job::Event};
use crate::{
    clock::Clock, mail::Redactor, metrics::Metrics, route::Router, shutdown::Shutdown, spool::Spool,
};

/// What everything of the queue is given.
pub(crate) struct Shared {
    pub(crate) spool: Spool,
    pub(crate) deliver: Arc<dyn Deliver>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Metrics,
    pub(crate) redactor: Arc<Redactor>,
    pub(crate) shutdown: Shutdown,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) holds: Arc<HoldSet>,
    /// Never more than three per job, and jobs are bounded.
    pub(crate) events: mpsc::UnboundedSender<Event>,
}

/// The configuration that one job goes by from its beginning to its end.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) router: Arc<Router>,
}
