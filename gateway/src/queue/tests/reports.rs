//! Who is told what, exactly once.

use super::*;
use crate::mail::{Kind, Message};

fn is_report(message: &Message) -> bool {
    message.kind == Kind::Report
}

/// Fails mail, relays reports and remembers them.
fn failing(bench: &Bench) -> std::sync::Arc<std::sync::Mutex<Vec<std::sync::Arc<Message>>>> {
    let reports = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = reports.clone();
    bench.deliver.answers(move |attempt| {
        if is_report(&attempt.message) {
            seen.lock().unwrap().push(attempt.message.clone());
            return all(attempt, relayed);
        }
        all(attempt, failed)
    });
    reports
}

#[tokio::test]
async fn one_report_for_all_that_failed_in_one_attempt() {
    let bench = Bench::new(document(&["isp"], "", ""), ScriptedDeliver::new(&["isp"])).await;
    let reports = failing(&bench);
    let id = bench
        .accept(message(
            0,
            "a.b",
            "u@x.example",
            &["x@c.example", "y@c.example"],
        ))
        .await;
    bench.deliver.attempts(2).await;
    bench
        .until("an empty queue", |figures| figures.messages == 0)
        .await;
    let reports = reports.lock().unwrap().clone();
    assert_eq!(reports.len(), 1);
    assert_eq!(
        reports[0].recipients[0].forward_path.as_str(),
        "u@x.example"
    );
    assert_eq!(reports[0].id, id.report(2));
    assert_eq!(reports[0].sender.to_string(), "posthouse");
    let failures = bench.handle.account().await.unwrap().failures;
    assert_eq!((failures[0].sender.as_str(), failures[0].count), ("a.b", 2));
    assert!(
        bench
            .metrics
            .encode()
            .0
            .contains("posthouse_reports_total{kind=\"failed\"} 1")
    );
    bench.stop().await;
}

#[tokio::test]
async fn a_report_that_fails_is_dropped_and_counted() {
    let bench = Bench::new(document(&["isp"], "", ""), ScriptedDeliver::new(&["isp"])).await;
    bench.deliver.answers(|attempt| all(attempt, failed));
    bench.accept(mail()).await;
    bench.deliver.attempts(2).await;
    bench
        .until("an empty queue", |figures| figures.messages == 0)
        .await;
    assert_eq!(bench.deliver.offered().len(), 2);
    assert!(
        bench
            .metrics
            .encode()
            .0
            .contains("posthouse_reports_total{kind=\"dropped\"} 1")
    );
    bench.stop().await;
}

#[tokio::test]
async fn nobody_is_told_where_nobody_is_to_be_told() {
    let bench = Bench::new(document(&["isp"], "", ""), ScriptedDeliver::new(&["isp"])).await;
    let reports = failing(&bench);
    let mut null = mail();
    null.reverse_path = posthouse_smtp::ReversePath::Null;
    bench.accept(null).await;
    let mut never = mail();
    never.recipients[0].notify = Some("NEVER".into());
    bench.accept(never).await;
    bench.deliver.attempts(2).await;
    bench
        .until("an empty queue", |figures| figures.messages == 0)
        .await;
    assert_eq!(reports.lock().unwrap().len(), 0);
    bench.stop().await;
}

#[tokio::test]
async fn one_report_after_a_crash() {
    let bench = Bench::new(document(&["isp"], "", ""), ScriptedDeliver::new(&["isp"])).await;
    // The report's own attempt never comes to an end before the crash.
    bench.deliver.answers(|attempt| {
        if is_report(&attempt.message) {
            all(attempt, || Verdict::NotOffered(None))
        } else {
            all(attempt, failed)
        }
    });
    let id = bench.accept(mail()).await;
    bench
        .until("the report alone", |figures| {
            figures.messages == 1 && figures.bytes > 100
        })
        .await;
    let bench = bench
        .crash(document(&["isp"], "", ""), ScriptedDeliver::new(&["isp"]))
        .await;
    bench.deliver.attempts(1).await;
    bench
        .until("an empty queue", |figures| figures.messages == 0)
        .await;
    let offered: Vec<QueueId> = bench
        .deliver
        .offered()
        .into_iter()
        .map(|(_, id, _)| id)
        .collect();
    assert_eq!(
        offered,
        [id.report(1)],
        "the original is gone, its report is there once"
    );
    bench.stop().await;
}
