//! Every metric of the gateway, by the names that are its interface.
//!
//! One registry per process, no global. Labels come only from closed or configured sets; counters of configured
//! labels are touched at zero when a document is read, those of a sender with its first message.

use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder, core::Collector, process_collector::ProcessCollector,
};

use posthouse_config::{
    Document,
    document::NO_UPSTREAM,
    reason::{Phase, Reason, UpstreamState},
};

/// How a session ended; the label `result`.
pub const SESSION_RESULTS: [&str; 7] = [
    "completed",
    "timed_out",
    "too_many_errors",
    "over_limit",
    "tls_failed",
    "client_gone",
    "aborted",
];

/// Why a message was refused; the label `reason` of `posthouse_messages_rejected_total`.
pub const REJECTIONS: [&str; 13] = [
    "authentication",
    "tls_required",
    "sender_not_allowed",
    "address_invalid",
    "too_many_recipients",
    "too_large",
    "content_invalid",
    "header_invalid",
    "loop",
    "backlog",
    "disk_full",
    "spool_failed",
    "draining",
];

/// What happened to a recipient; the label `outcome`.
pub const OUTCOMES: [&str; 5] = ["relayed", "deferred", "failed", "expired", "cancelled"];

/// States of queued messages, in the order in which they decide.
pub const QUEUE_STATES: [&str; 5] = ["in_flight", "pending", "deferred", "unconfirmed", "held"];

/// What our own messages are for; the label `kind` of `posthouse_reports_total`.
pub const REPORT_KINDS: [&str; 5] = ["failed", "expired", "delayed", "digest", "dropped"];

/// A step of an SMTP attempt: 5 ms to 5 min.
const PHASE_BUCKETS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 300.0,
];
/// From accepted to relayed: 10 ms to two days.
const LATENCY_BUCKETS: [f64; 15] = [
    0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 43_200.0, 86_400.0,
    172_800.0,
];
/// A sync of the disk: 10 µs to 10 s.
const SYNC_BUCKETS: [f64; 13] = [
    0.00001, 0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0, 10.0,
];

/// Every metric. Fields are named as the metric without `posthouse_` and `_total`.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // each field's promise is its help text below
pub struct Metrics {
    registry: Registry,
    pub sessions: IntGaugeVec,
    pub sessions_total: IntCounterVec,
    pub messages_accepted: IntCounterVec,
    pub messages_rejected: IntCounterVec,
    pub content_repairs: IntCounterVec,
    pub queue_messages: IntGaugeVec,
    pub queue_recipients: IntGaugeVec,
    pub queue_bytes: IntGauge,
    pub queue_oldest_message_age_seconds: Gauge,
    pub queue_deferrals: IntCounterVec,
    pub unconfirmed: IntCounterVec,
    pub recipients: IntCounterVec,
    pub upstream_up: IntGaugeVec,
    pub upstream_state: IntGaugeVec,
    pub upstream_failures: IntCounterVec,
    pub upstream_connections: IntGaugeVec,
    pub upstream_phase_duration_seconds: HistogramVec,
    pub relay_latency_seconds: HistogramVec,
    pub reports: IntCounterVec,
    pub spool_bytes: IntGauge,
    pub spool_free_bytes: IntGauge,
    pub spool_sync_seconds: Histogram,
    pub spool_damaged_records: IntCounter,
    pub spool_failed: IntGauge,
    pub certificate_expiry_timestamp_seconds: GaugeVec,
    pub config_generation: IntGauge,
    pub config_reload_failures: IntCounter,
    pub config_refused: IntGauge,
}

impl Metrics {
    /// All metrics, registered in a registry of their own.
    ///
    /// # Errors
    /// Only if two metrics had one name, which a test rules out.
    #[expect(clippy::too_many_lines, reason = "one flat table")]
    pub fn new(version: &str) -> Result<Self, prometheus::Error> {
        let r = Registry::new();
        r.register(Box::new(ProcessCollector::for_self()))?;
        let build_info = gauges(
            &r,
            "build_info",
            "Always 1; the label tells the release.",
            &["version"],
        )?;
        build_info.with_label_values(&[version]).set(1);
        let metrics = Self {
            sessions: gauges(&r, "sessions", "Open SMTP sessions.", &["listener"])?,
            sessions_total: counters(
                &r,
                "sessions_total",
                "SMTP sessions that ended, by how.",
                &["listener", "result"],
            )?,
            messages_accepted: counters(
                &r,
                "messages_accepted_total",
                "Messages on stable storage and confirmed to the client.",
                &["listener", "sender"],
            )?,
            messages_rejected: counters(
                &r,
                "messages_rejected_total",
                "Commands and messages refused, by cause.",
                &["listener", "reason"],
            )?,
            content_repairs: counters(
                &r,
                "content_repairs_total",
                "Octets repaired in content: bare LF, bare CR, NUL.",
                &["sender", "kind"],
            )?,
            queue_messages: gauges(
                &r,
                "queue_messages",
                "Messages not settled yet, each as the first state among its recipients.",
                &["state"],
            )?,
            queue_recipients: gauges(
                &r,
                "queue_recipients",
                "Recipients not settled yet, by the upstream they wait for.",
                &["upstream", "state"],
            )?,
            queue_bytes: register(
                &r,
                IntGauge::with_opts(opts("queue_bytes", "Octets of content not settled yet."))?,
            )?,
            queue_oldest_message_age_seconds: register(
                &r,
                Gauge::with_opts(opts(
                    "queue_oldest_message_age_seconds",
                    "Age of the oldest message not settled yet, 0 without any.",
                ))?,
            )?,
            queue_deferrals: counters(
                &r,
                "queue_deferrals_total",
                "Recipients that could not be relayed yet, by cause.",
                &["upstream", "reason"],
            )?,
            unconfirmed: counters(
                &r,
                "unconfirmed_total",
                "Final dots without a reply: each may become a duplicate.",
                &["upstream"],
            )?,
            recipients: counters(
                &r,
                "recipients_total",
                "Outcomes of recipients.",
                &["upstream", "outcome"],
            )?,
            upstream_up: gauges(
                &r,
                "upstream_up",
                "1 while the upstream takes mail.",
                &["upstream"],
            )?,
            upstream_state: gauges(
                &r,
                "upstream_state",
                "1 for the state the upstream is in, 0 for all others.",
                &["upstream", "state"],
            )?,
            upstream_failures: counters(
                &r,
                "upstream_failures_total",
                "Failures of the upstream as a whole, by the state they lead to.",
                &["upstream", "reason"],
            )?,
            upstream_connections: gauges(
                &r,
                "upstream_connections",
                "Open connections.",
                &["upstream"],
            )?,
            upstream_phase_duration_seconds: histograms(
                &r,
                "upstream_phase_duration_seconds",
                "How long a step of an attempt took.",
                &["upstream", "phase"],
                &PHASE_BUCKETS,
            )?,
            relay_latency_seconds: histograms(
                &r,
                "relay_latency_seconds",
                "From accepted to relayed.",
                &["upstream"],
                &LATENCY_BUCKETS,
            )?,
            reports: counters(
                &r,
                "reports_total",
                "Reports written, by kind, and reports dropped.",
                &["kind"],
            )?,
            spool_bytes: register(
                &r,
                IntGauge::with_opts(opts("spool_bytes", "Octets the spool takes on disk."))?,
            )?,
            spool_free_bytes: register(
                &r,
                IntGauge::with_opts(opts(
                    "spool_free_bytes",
                    "Octets free on the spool's file system.",
                ))?,
            )?,
            spool_sync_seconds: register(
                &r,
                Histogram::with_opts(
                    HistogramOpts::from(opts(
                        "spool_sync_seconds",
                        "How long a sync of the log took.",
                    ))
                    .buckets(SYNC_BUCKETS.to_vec()),
                )?,
            )?,
            spool_damaged_records: register(
                &r,
                IntCounter::with_opts(opts(
                    "spool_damaged_records_total",
                    "Records that could not be read.",
                ))?,
            )?,
            spool_failed: register(
                &r,
                IntGauge::with_opts(opts("spool_failed", "1 while the spool cannot be used."))?,
            )?,
            certificate_expiry_timestamp_seconds: register(
                &r,
                GaugeVec::new(
                    opts(
                        "certificate_expiry_timestamp_seconds",
                        "When the listener's certificate ends.",
                    ),
                    &["role"],
                )?,
            )?,
            config_generation: register(
                &r,
                IntGauge::with_opts(opts(
                    "config_generation",
                    "The MailRelay's generation in use.",
                ))?,
            )?,
            config_reload_failures: register(
                &r,
                IntCounter::with_opts(opts(
                    "config_reload_failures_total",
                    "Documents refused while running.",
                ))?,
            )?,
            config_refused: register(
                &r,
                IntGauge::with_opts(opts(
                    "config_refused",
                    "1 while the document in the folder is refused and another one is in use.",
                ))?,
            )?,
            registry: r,
        };
        metrics.touch_closed_sets();
        Ok(metrics)
    }

    /// Touches every series of a document's listeners and upstreams, so that rates start from zero.
    pub fn touch(&self, document: &Document) {
        for listener in &document.listeners {
            let name = listener.name.as_str();
            self.sessions.with_label_values(&[name]);
            touch_each(&self.sessions_total, name, SESSION_RESULTS);
            touch_each(&self.messages_rejected, name, REJECTIONS);
        }
        for upstream in document
            .upstreams
            .iter()
            .map(|upstream| upstream.name.as_str())
        {
            self.touch_upstream(upstream);
            self.upstream_up.with_label_values(&[upstream]);
            self.upstream_connections.with_label_values(&[upstream]);
            self.unconfirmed.with_label_values(&[upstream]);
            self.relay_latency_seconds.with_label_values(&[upstream]);
            touch_each(
                &self.upstream_failures,
                upstream,
                UpstreamState::ALL
                    .iter()
                    .filter(|state| !matches!(state, UpstreamState::Untried | UpstreamState::Ready))
                    .map(|state| state.as_label()),
            );
            for state in UpstreamState::ALL {
                self.upstream_state
                    .with_label_values(&[upstream, state.as_label()]);
            }
            for phase in [Phase::Connect, Phase::Tls, Phase::Auth] {
                self.upstream_phase_duration_seconds
                    .with_label_values(&[upstream, phase.as_label()]);
            }
            self.upstream_phase_duration_seconds
                .with_label_values(&[upstream, "transaction"]);
        }
    }

    /// All metrics in the text format of Prometheus, and its content type.
    pub fn encode(&self) -> (String, &'static str) {
        (
            TextEncoder::new()
                .encode_to_string(&self.registry.gather())
                .unwrap_or_default(),
            prometheus::TEXT_FORMAT,
        )
    }

    fn touch_closed_sets(&self) {
        for state in QUEUE_STATES {
            self.queue_messages.with_label_values(&[state]);
        }
        for kind in REPORT_KINDS {
            self.reports.with_label_values(&[kind]);
        }
        self.touch_upstream(NO_UPSTREAM);
    }

    fn touch_upstream(&self, upstream: &str) {
        touch_each(&self.recipients, upstream, OUTCOMES);
        touch_each(
            &self.queue_deferrals,
            upstream,
            Reason::ALL.iter().map(|reason| reason.as_label()),
        );
        for state in QUEUE_STATES {
            self.queue_recipients.with_label_values(&[upstream, state]);
        }
    }
}

fn touch_each<'a>(
    counters: &IntCounterVec,
    first: &str,
    seconds: impl IntoIterator<Item = &'a str>,
) {
    for second in seconds {
        counters.with_label_values(&[first, second]);
    }
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("posthouse")
}

fn register<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: C,
) -> Result<C, prometheus::Error> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec, prometheus::Error> {
    register(registry, IntCounterVec::new(opts(name, help), labels)?)
}

fn gauges(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntGaugeVec, prometheus::Error> {
    register(registry, IntGaugeVec::new(opts(name, help), labels)?)
}

fn histograms(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
    buckets: &[f64],
) -> Result<HistogramVec, prometheus::Error> {
    register(
        registry,
        HistogramVec::new(
            HistogramOpts::from(opts(name, help)).buckets(buckets.to_vec()),
            labels,
        )?,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_closed_sets_start_at_zero() {
        let (text, _) = Metrics::new("0.0.0").unwrap().encode();
        for line in [
            "posthouse_build_info{version=\"0.0.0\"} 1",
            "posthouse_queue_messages{state=\"held\"} 0",
            "posthouse_recipients_total{outcome=\"relayed\",upstream=\"none\"} 0",
            "posthouse_spool_damaged_records_total 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
    }
}
