//! An upstream that failed is tried again by the timetable, and what is known of it is shown.

use std::time::Duration;

use posthouse_config::reason::UpstreamState;

use super::{super::*, fixture::*, provider::*};

#[tokio::test]
async fn it_is_probed_by_the_timetable_until_it_answers() {
    let down = || vec![say("421 4.3.2 later")];
    let provider = Provider::start(vec![down(), down(), down(), probe()]).await;
    let fixture = Fixture::new(&upstream("a", provider.address.port(), ""), &[]);
    for minutes in [1, 5, 15] {
        let view = fixture.until("a", UpstreamState::Unreachable).await;
        let wait = view.retry_at.unwrap().since(fixture.clock.now());
        assert_eq!(wait, Duration::from_mins(minutes));
        let mut views = fixture.outbound.upstreams();
        views.borrow_and_update();
        fixture.clock.advance(wait);
        views.changed().await.unwrap();
    }
    let view = fixture.until("a", UpstreamState::Ready).await;
    assert_eq!(view.capacity, 1);
    assert_eq!(view.retry_at, None);
    assert_eq!(view.reply, None);
}

#[tokio::test]
async fn somebody_can_have_it_probed_now() {
    let provider = Provider::start(vec![vec![say("554 5.7.1 no")], probe()]).await;
    let fixture = Fixture::new(&upstream("a", provider.address.port(), ""), &[]);
    fixture.until("a", UpstreamState::Unreachable).await;
    fixture.outbound.probe("a");
    fixture.until("a", UpstreamState::Ready).await;
    fixture.outbound.probe("nobody");
}

#[tokio::test]
async fn a_changed_part_of_the_document_is_untried_and_the_rest_stays() {
    let (one, two) = (
        Provider::start(vec![probe()]).await,
        Provider::start(vec![probe(), probe()]).await,
    );
    let a = upstream("a", one.address.port(), "");
    let b = upstream("b", two.address.port(), "");
    let fixture = Fixture::new(&format!("{a}{b}"), &[]);
    fixture.until("a", UpstreamState::Ready).await;
    fixture.until("b", UpstreamState::Ready).await;
    let changed = upstream("b", two.address.port(), "limits: { maxConnections: 3 }");
    let mut views = fixture.outbound.upstreams();
    let since = |views: &Upstreams| views["a"].since;
    let before = since(&views.borrow_and_update());
    fixture.clock.advance(Duration::from_secs(1));
    fixture.change(&format!("{a}{changed}"), &[]);
    let is_new = |views: &Arc<Upstreams>| {
        views["b"].state == UpstreamState::Ready && views["b"].since > before
    };
    views.wait_for(is_new).await.unwrap();
    assert_eq!(since(&views.borrow()), before);
    fixture.change(&a, &[]);
    views
        .wait_for(|views| !views.contains_key("b"))
        .await
        .unwrap();
    assert!(
        !fixture
            .metrics
            .encode()
            .0
            .contains("posthouse_upstream_up{upstream=\"b\"}")
    );
}

#[tokio::test]
async fn an_upstream_nobody_knows_is_not_offered_anything() {
    let provider = Provider::start(vec![probe()]).await;
    let fixture = Fixture::ready(provider.address.port()).await;
    let mut offer = fixture.offer(message(1, 2), CONTENT);
    offer.upstream = "x".into();
    let report = fixture.outbound.offer(offer).await;
    assert_eq!(words(&report), [("not offered", None); 2]);
}

#[tokio::test]
async fn a_quiet_upstream_is_probed_after_six_hours() {
    let provider = Provider::start(vec![
        probe(),
        [hello(&[]), vec![say("421 gone"), Close]].concat(),
    ])
    .await;
    let fixture = Fixture::ready(provider.address.port()).await;
    fixture.clock.advance(Duration::from_hours(6));
    let view = fixture.until("a", UpstreamState::Unreachable).await;
    assert!(view.remedy.unwrap().contains("firewalls"));
}

#[tokio::test]
async fn a_relayed_message_is_shown_and_gives_it_more() {
    let provider = Provider::start(vec![[probe(), taken()].concat()]).await;
    let fixture = Fixture::ready(provider.address.port()).await;
    assert_eq!(fixture.view("a").capacity, 1);
    fixture.attempt(message(1, 1)).await;
    let view = fixture.view("a");
    assert_eq!(view.capacity, 2);
    assert!(view.last_relayed.is_some());
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_probe() {
    let mut provider = Provider::start(vec![vec![Stall]]).await;
    let fixture = Fixture::new(&upstream("a", provider.address.port(), ""), &[]);
    provider.stalled().await;
    fixture.stop(Stage::Stopping);
    fixture.ended().await;
}
