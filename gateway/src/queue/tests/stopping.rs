//! Stopping.

use super::*;
use crate::shutdown::Stage;

#[tokio::test]
async fn no_attempt_begins_after_the_stop_and_the_mail_stays() {
    let bench = Bench::new(document(&["isp"], "", ""), ScriptedDeliver::new(&["isp"])).await;
    bench
        .until("a start", |figures| figures.messages == 0)
        .await;
    bench.stage.send_replace(Stage::Stopping);
    let id = bench.accept(mail()).await;
    assert!(bench.stored(id).await.is_some());
    let deliver = bench.deliver.clone();
    bench.stop().await;
    assert_eq!(deliver.offered(), []);
}

#[tokio::test]
async fn an_attempt_that_a_stop_cut_off_is_pending() {
    let bench = Bench::new(document(&["isp"], "", ""), ScriptedDeliver::new(&["isp"])).await;
    bench.deliver.set("isp", view(UpstreamState::Ready, 1));
    bench
        .deliver
        .answers(|attempt| all(attempt, || deferred(Reason::Stopped)));
    let id = bench.accept(mail()).await;
    bench.deliver.attempts(1).await;
    bench.stage.send_replace(Stage::Stopping);
    let progress = bench.stored(id).await.unwrap().recipients[0]
        .progress
        .clone();
    assert_eq!((progress.state, progress.attempts), (State::Pending, 0));
    bench.stop().await;
}
