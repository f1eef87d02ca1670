//! Waiting for a client, but not for ever.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};

use crate::clock::{Clock, Monotonic};

/// What a future gives, or nothing if `until` comes first. A future that is ready costs no timer.
pub(super) async fn within<F: Future>(
    clock: &dyn Clock,
    until: Monotonic,
    future: F,
) -> Option<F::Output> {
    let mut future = pin!(future);
    if let Poll::Ready(output) = poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
    {
        return Some(output);
    }
    tokio::select! {
        biased;
        output = future => Some(output),
        () = clock.sleep_until(until) => None,
    }
}
