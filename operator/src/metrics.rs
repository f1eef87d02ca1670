//! What the operator counts. Names are interface: alerts and dashboards stand on them.
//!
//! Labels come from closed sets or are names of relays; the series of a relay go with it.

use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

/// The operator's metrics.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    /// Reconciles by kind and result: ok, failed.
    pub reconciles: IntCounterVec,
    /// Seconds of a reconcile, by kind.
    pub duration: HistogramVec,
    /// 1 while this operator leads.
    pub leader: IntGauge,
    /// 1 while the admission policy is known to keep the operator from Secrets that are not its own.
    pub secret_fence: IntGauge,
    /// Gateways by namespace, relay and state.
    pub gateways: IntGaugeVec,
    /// Volumes with mail and no gateway, by namespace and relay.
    pub volumes_stranded: IntGaugeVec,
    /// 1 for the status that a relay's condition has, by namespace, relay, type and status.
    pub conditions: IntGaugeVec,
}

impl Metrics {
    /// All of them, in a registry of their own.
    ///
    /// # Errors
    /// Two metrics of one name.
    pub fn new(version: &str) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let metrics = Self {
            reconciles: IntCounterVec::new(
                Opts::new("posthouse_operator_reconciles_total", "Reconciles."),
                &["kind", "result"],
            )?,
            duration: HistogramVec::new(
                HistogramOpts::new(
                    "posthouse_operator_reconcile_duration_seconds",
                    "How long a reconcile took.",
                ),
                &["kind"],
            )?,
            leader: gauge("posthouse_operator_leader", "1 while this operator leads.")?,
            secret_fence: gauge(
                "posthouse_operator_secret_fence",
                "1 while the admission policy is proved to keep the operator from Secrets that are not its own.",
            )?,
            gateways: gauges(
                "posthouse_operator_gateways",
                "Gateways by state.",
                &["namespace", "relay", "state"],
            )?,
            volumes_stranded: gauges(
                "posthouse_operator_volumes_stranded",
                "Volumes with mail and no gateway.",
                &["namespace", "relay"],
            )?,
            conditions: gauges(
                "posthouse_operator_relay_condition",
                "1 for the status that a relay's condition has.",
                &["namespace", "relay", "type", "status"],
            )?,
            registry,
        };
        metrics.register(version)?;
        Ok(metrics)
    }

    fn register(&self, version: &str) -> Result<(), prometheus::Error> {
        let build = gauges(
            "posthouse_operator_build_info",
            "The release.",
            &["version"],
        )?;
        build.with_label_values(&[version]).set(1);
        let collectors: [Box<dyn prometheus::core::Collector>; 9] = [
            Box::new(build),
            Box::new(self.reconciles.clone()),
            Box::new(self.duration.clone()),
            Box::new(self.leader.clone()),
            Box::new(self.secret_fence.clone()),
            Box::new(self.gateways.clone()),
            Box::new(self.volumes_stranded.clone()),
            Box::new(self.conditions.clone()),
            Box::new(prometheus::process_collector::ProcessCollector::for_self()),
        ];
        for collector in collectors {
            self.registry.register(collector)?;
        }
        for kind in ["MailRelay", "MailSender"] {
            for result in ["ok", "failed"] {
                self.reconciles.with_label_values(&[kind, result]);
            }
            self.duration.with_label_values(&[kind]);
        }
        Ok(())
    }

    /// The series of a relay that is gone go, too.
    pub fn forget(&self, namespace: &str, relay: &str) {
        for state in ["starting", "ready", "draining", "silent"] {
            // One that was never set is fine.
            let _ = self
                .gateways
                .remove_label_values(&[namespace, relay, state]);
        }
        let _ = self
            .volumes_stranded
            .remove_label_values(&[namespace, relay]);
        for condition in crate::condition::TYPES {
            for status in ["True", "False", "Unknown"] {
                let _ = self
                    .conditions
                    .remove_label_values(&[namespace, relay, condition, status]);
            }
        }
    }

    /// All of them as text, and its content type.
    pub fn encode(&self) -> (String, &'static str) {
        let mut text = Vec::new();
        // Writing to memory cannot fail, and a metric with a wrong name is refused when it is registered.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        (
            String::from_utf8_lossy(&text).into_owned(),
            prometheus::TEXT_FORMAT,
        )
    }
}

fn gauge(name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
    IntGauge::new(name, help)
}

fn gauges(name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, prometheus::Error> {
    IntGaugeVec::new(Opts::new(name, help), labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_without_a_relay_is_there_from_the_start() {
        let (text, _) = Metrics::new("1.2.3").unwrap().encode();
        for line in [
            "posthouse_operator_build_info{version=\"1.2.3\"} 1",
            "posthouse_operator_leader 0",
            "posthouse_operator_secret_fence 0",
            "posthouse_operator_reconciles_total{kind=\"MailRelay\",result=\"failed\"} 0",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }
}
