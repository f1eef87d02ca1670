//! The queue as a whole: over a real spool, with a double of relaying and a clock of its own.

use std::{sync::Arc, time::Duration};

use posthouse_config::reason::{Reason, UpstreamState};

use super::{
    deliver::{AttemptReport, Verdict},
    testing::*,
};
use crate::mail::State;

mod reports;
mod straight;
