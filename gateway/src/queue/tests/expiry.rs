//! When mail is given up for its age.

use super::*;

/// `retry.expirySeconds` and `heldExpirySeconds` of the tests' document.
const EXPIRY: Duration = Duration::from_hours(120);
const HELD_EXPIRY: Duration = Duration::from_hours(336);

/// Octets of one waiting message; a report has more.
const MAIL: u64 = CONTENT.len() as u64;

fn down(state: UpstreamState, bench: &Bench, failed: bool) -> UpstreamView {
    use crate::clock::Clock;
    UpstreamView {
        last_failure: failed.then(|| bench.clock.wall()),
        ..view(state, 0)
    }
}

#[tokio::test]
async fn an_attempt_in_vain_after_its_time_expires_it() {
    let bench = Bench::new(document(&["isp"], "", ""), ScriptedDeliver::new(&["isp"])).await;
    bench
        .deliver
        .answers(|attempt| all(attempt, || deferred(Reason::TransactionDeferred)));
    let mut mail = mail();
    mail.expiry_seconds = Some(300);
    let id = bench.accept(mail).await;
    for attempts in 1.. {
        bench.deliver.attempts(attempts).await;
        let figures = bench
            .until("the outcome", |figures| {
                figures.by_state[0] == 0 && figures.by_state[1] == 0
            })
            .await;
        // What is left is its report, which is deferred too.
        if bench.stored(id).await.is_none() {
            assert_eq!(figures.messages, 1);
            break;
        }
        bench.advance(Duration::from_mins(1)).await;
        bench.advance(Duration::from_mins(1)).await;
        bench.advance(Duration::from_mins(1)).await;
        assert!(attempts < 6, "never given up");
    }
    let waited = crate::clock::Clock::wall(&*bench.clock).since(START);
    assert!(
        waited >= Duration::from_mins(5) && waited <= Duration::from_mins(12),
        "{waited:?}"
    );
    assert!(
        bench
            .metrics
            .encode()
            .0
            .contains("posthouse_recipients_total{outcome=\"expired\",upstream=\"isp\"} 1")
    );
    bench.stop().await;
}

#[tokio::test]
async fn mail_of_a_dead_upstream_expires_only_after_a_probe_failed() {
    let bench = Bench::new(document(&["isp"], "", ""), ScriptedDeliver::new(&[])).await;
    bench
        .deliver
        .set("isp", down(UpstreamState::Unreachable, &bench, true));
    bench.accept(mail()).await;
    bench
        .until("a deferral", |figures| figures.by_state[2] == 1)
        .await;
    bench.advance(EXPIRY + HOUR).await;
    bench.advance(HOUR).await;
    assert_eq!(
        bench
            .until("it to stay", |figures| figures.by_state[2] == 1)
            .await
            .messages,
        1
    );
    bench
        .deliver
        .set("isp", down(UpstreamState::Unreachable, &bench, true));
    bench.advance(Duration::from_mins(2)).await;
    bench
        .until("its report alone", |figures| {
            figures.messages == 1 && figures.bytes != MAIL
        })
        .await;
    assert_eq!(bench.deliver.offered(), [], "it was never offered");
    assert!(
        bench
            .metrics
            .encode()
            .0
            .contains("posthouse_reports_total{kind=\"expired\"} 1")
    );
    bench.stop().await;
}

#[tokio::test]
async fn held_mail_lives_longer() {
    let bench = Bench::new(document(&["isp"], "", ""), ScriptedDeliver::new(&[])).await;
    bench.accept(mail()).await;
    bench
        .until("a message", |figures| figures.messages == 1)
        .await;
    bench.advance(EXPIRY + HOUR).await;
    bench.deliver.set(
        "isp",
        down(UpstreamState::AuthenticationFailed, &bench, true),
    );
    bench.advance(Duration::from_mins(2)).await;
    bench
        .until("a hold", |figures| {
            figures.by_state[4] == 1 && figures.bytes == MAIL
        })
        .await;
    bench.advance(HELD_EXPIRY).await;
    bench.deliver.set(
        "isp",
        down(UpstreamState::AuthenticationFailed, &bench, true),
    );
    bench.advance(Duration::from_mins(2)).await;
    bench
        .until("its report", |figures| figures.bytes != MAIL)
        .await;
    bench.stop().await;
}

#[tokio::test]
async fn mail_that_nothing_may_send_expires_without_an_attempt_and_its_report_is_dropped() {
    let routes =
        "routes: [{ name: d, recipientDomains: [other.example], targets: [{ upstream: isp }] }]\n";
    let bench = Bench::new(
        document(&["isp"], "", routes),
        ScriptedDeliver::new(&["isp"]),
    )
    .await;
    bench.accept(mail()).await;
    let figures = bench
        .until("a hold", |figures| figures.by_state[4] == 1)
        .await;
    assert_eq!(
        (
            figures.held_reasons[0].reason,
            figures.held_reasons[0].upstream.as_str()
        ),
        (Reason::NoEligibleTarget, "none")
    );
    bench.advance(HELD_EXPIRY + HOUR).await;
    bench
        .until("its report alone", |figures| {
            figures.messages == 1 && figures.bytes != MAIL
        })
        .await;
    bench.advance(HELD_EXPIRY).await;
    bench.advance(HOUR).await;
    bench
        .until("an empty queue", |figures| figures.messages == 0)
        .await;
    assert!(
        bench
            .metrics
            .encode()
            .0
            .contains("posthouse_reports_total{kind=\"dropped\"} 1")
    );
    bench.stop().await;
}
