//! Mail that may have killed the process.

use super::*;

async fn over_deaths(deaths: u8, messages: usize) -> Bench {
    let bench = Bench::new(document(&["isp"], "", ""), ScriptedDeliver::new(&[])).await;
    for _ in 0..messages {
        bench.accept(mail()).await;
    }
    bench.until("the mail", |figures| figures.messages == messages as u64).await;
    bench.crash_often(deaths, document(&["isp"], "", ""), ScriptedDeliver::new(&["isp"])).await
}

#[tokio::test]
async fn suspects_are_attempted_one_at_a_time() {
    let bench = over_deaths(2, 20).await;
    // Counted by the figures while the script runs: never two in flight.
    let mut most = 0;
    for _ in 0..200 {
        let figures = bench.handle.figures().await.unwrap();
        most = most.max(figures.by_state[0]);
        if figures.messages == 0 {
            break;
        }
        tokio::task::yield_now().await;
    }
    bench.until("an empty queue", |figures| figures.messages == 0).await;
    assert!(most <= 1, "{most} at once");
    assert_eq!(bench.deliver.offered().len(), 20);
    bench.stop().await;
}

#[tokio::test]
async fn in_flight_at_three_deaths_is_held_and_tried_once_a_day() {
    let bench = over_deaths(3, 1).await;
    let figures = bench.until("a hold", |figures| figures.by_state == [0, 0, 0, 0, 1]).await;
    assert_eq!(figures.held_reasons[0].reason, Reason::Poison);
    assert_eq!(bench.deliver.offered(), []);
    bench.advance(DAY).await;
    bench.until("an empty queue", |figures| figures.messages == 0).await;
    bench.stop().await;
}
