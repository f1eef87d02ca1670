//! Stopping in stages: everything that runs watches one value that only moves forward.

use tokio::sync::watch;

/// How far a shutdown has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Not stopping.
    #[default]
    Running,
    /// The first signal came: not ready any more, but still accepting, since clients learn of it late.
    Lagging,
    /// No new sessions, no new attempts; what is under way may finish.
    Stopping,
    /// Time is up, or the second signal came: everything ends now.
    Aborting,
}

/// Watches the stage.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<Stage>);

impl Shutdown {
    /// The sender that moves the stage, and a watch of it.
    pub fn channel() -> (watch::Sender<Stage>, Self) {
        let (sender, receiver) = watch::channel(Stage::Running);
        (sender, Self(receiver))
    }

    /// The stage now.
    pub fn stage(&self) -> Stage {
        *self.0.borrow()
    }

    /// Waits until the stage is at least `stage`. A vanished sender counts as `Aborting`.
    pub async fn reached(&mut self, stage: Stage) {
        let _ = self.0.wait_for(|now| *now >= stage).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_later_stage_counts_as_an_earlier_one() {
        let (sender, mut shutdown) = Shutdown::channel();
        assert_eq!(shutdown.stage(), Stage::Running);
        sender.send_replace(Stage::Aborting);
        shutdown.reached(Stage::Stopping).await;
    }
}
