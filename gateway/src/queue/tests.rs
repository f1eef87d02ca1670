//! The queue as a whole: over a real spool, with a double of relaying and a clock of its own.

use std::time::Duration;

use posthouse_config::reason::{Reason, UpstreamState};

use super::{
    deliver::{AttemptReport, UpstreamView, Verdict},
    testing::*,
};
use crate::mail::{Message, QueueId, State};

mod damage;
mod expiry;
mod fairness;
mod holds;
mod model;
mod parts;
mod reports;
mod routing;
mod senders;
mod stopping;
mod straight;

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

fn mail() -> Message {
    message(0, "checkout.shop", "u@shop.example", &["x@c.example"])
}

fn relayed() -> Verdict {
    Verdict::Relayed(evidence("250 2.0.0 taken"))
}

fn failed() -> Verdict {
    Verdict::Failed(Reason::RecipientRefused, evidence("550 5.1.1 no such user"))
}
