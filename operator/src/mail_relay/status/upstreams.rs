//! `UpstreamsHealthy`: whether providers take our mail, by the gateway that knows worst of each.
//!
//! Gateways learn for themselves, so one may be refused where another is not. An upstream that one gateway has not
//! tried is what the others say of it. Answers of silent gateways do not count: an old state is no state.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use posthouse_api::mail_relay::status::UpstreamStatus;
use posthouse_config::{document::Route, reason::UpstreamState, status};

use super::{
    Observed,
    figures::{time, whole},
    gateways::Gateway,
    reason::{Reason, Verdict},
};
use crate::condition::clipped;

/// The most characters of a reply or a remedy in status (`maxLength`), which counts characters; octets are no fewer.
const SENTENCE_OCTETS: usize = 1_024;

/// What of a reply goes into a condition's message.
const QUOTED_OCTETS: usize = 512;

/// One upstream over all gateways that answer.
struct Upstream<'a> {
    /// As the gateway that knows worst of it has it.
    worst: &'a status::UpstreamStatus,
    /// Gateways with that state.
    affected: usize,
    last_relayed: Option<jiff::Timestamp>,
}

/// Upstreams as reported, in the order of the spec.
pub(super) struct Upstreams<'a> {
    known: Vec<Upstream<'a>>,
    /// What each answering gateway says.
    reports: Vec<&'a [status::UpstreamStatus]>,
    /// How many upstreams the spec has.
    all: usize,
}

impl<'a> Upstreams<'a> {
    pub(super) fn of(observed: &Observed, gateways: &[Gateway<'a>]) -> Self {
        let reports: Vec<_> = gateways
            .iter()
            .filter_map(Gateway::report)
            .map(|report| report.status.upstreams.as_slice())
            .filter(|upstreams| !upstreams.is_empty())
            .collect();
        let spec = &observed.facts.relay.spec.upstreams;
        let known = spec
            .iter()
            .filter_map(|upstream| one(&upstream.name, &reports))
            .collect();
        Self {
            known,
            reports,
            all: spec.len(),
        }
    }

    pub(super) fn status(&self) -> Vec<UpstreamStatus> {
        let sentence = |text: &Option<String>| {
            let text = text.clone()?;
            Some(clipped(text, SENTENCE_OCTETS))
        };
        self.known
            .iter()
            .map(|upstream| UpstreamStatus {
                name: upstream.worst.name.clone(),
                state: upstream.worst.state.as_str().to_owned(),
                since: time(&upstream.worst.since).map(|since| Time(whole(since))),
                reply: sentence(&upstream.worst.reply),
                remedy: sentence(&upstream.worst.remedy),
                last_relayed_time: upstream.last_relayed.map(|time| Time(whole(time))),
            })
            .collect()
    }

    /// Healthy upstreams and all, as in 2/3; absent while no gateway answers.
    pub(super) fn summary(&self) -> Option<String> {
        let healthy = self
            .known
            .iter()
            .filter(|upstream| is_healthy(upstream.worst.state));
        (!self.reports.is_empty()).then(|| format!("{}/{}", healthy.count(), self.all))
    }

    pub(super) fn verdict(&self, routes: &[Route]) -> Verdict {
        if self.reports.is_empty() {
            return Verdict::unknown(Reason::NoReport, "no gateway has reported its upstreams");
        }
        let failing: Vec<_> = self
            .known
            .iter()
            .filter_map(|upstream| Some((failure(upstream.worst.state)?, upstream)))
            .collect();
        if let Some(reason) = failing.iter().map(|(reason, _)| *reason).min() {
            let mut texts: Vec<_> = failing
                .iter()
                .map(|(_, upstream)| self.text(upstream))
                .collect();
            texts.push(self.routes(routes));
            return Verdict::fails(reason, texts.join("; "));
        }
        let untried: Vec<_> = self
            .known
            .iter()
            .filter(|upstream| upstream.worst.state == UpstreamState::Untried)
            .map(|upstream| upstream.worst.name.as_str())
            .collect();
        if untried.len() == self.known.len() {
            return Verdict::unknown(Reason::Untried, "no upstream was tried yet");
        }
        let throttled = self.named(UpstreamState::Throttled, "asked us to slow down");
        let untried = self.named(UpstreamState::Untried, "was not tried yet");
        let text = std::iter::once("upstreams take mail".to_owned())
            .chain(throttled)
            .chain(untried);
        Verdict::holds(Reason::Relaying, text.collect::<Vec<_>>().join("; "))
    }

    fn named(&self, state: UpstreamState, what: &str) -> impl Iterator<Item = String> {
        self.known
            .iter()
            .filter(move |upstream| upstream.worst.state == state)
            .map(move |upstream| format!("{} {what}", upstream.worst.name))
    }

    /// One upstream that takes no mail: where, what the provider says, and what a person can do.
    fn text(&self, upstream: &Upstream) -> String {
        let (affected, all) = (upstream.affected, self.reports.len());
        let worst = upstream.worst;
        let mut text = format!(
            "upstream {} is {} on {affected} of {all} gateways",
            worst.name, worst.state
        );
        if let Some(reply) = &worst.reply {
            text = format!("{text}, {:?}", clipped(reply.clone(), QUOTED_OCTETS));
        }
        if let Some(remedy) = &worst.remedy {
            // A sentence of its own in the gateway's words; here more follows.
            text = format!("{text}: {}", remedy.trim_end_matches('.'));
        }
        text
    }

    /// Which routes can still be used, and on how many gateways.
    fn routes(&self, routes: &[Route]) -> String {
        let all = self.reports.len();
        let cut_off: Vec<_> = routes
            .iter()
            .filter_map(|route| {
                let usable = self
                    .reports
                    .iter()
                    .filter(|report| is_usable(route, report))
                    .count();
                match usable {
                    0 => Some(format!("route {} has no target left", route.name)),
                    some if some < all => Some(format!(
                        "route {} has a target on {some} of {all} gateways",
                        route.name
                    )),
                    _ => None,
                }
            })
            .collect();
        if routes.is_empty() {
            "which routes have a target is not known while the spec is invalid".to_owned()
        } else if cut_off.is_empty() {
            "every route still has a target".to_owned()
        } else if cut_off.len() < routes.len() {
            format!(
                "{}; every other route still has a target",
                cut_off.join("; ")
            )
        } else {
            cut_off.join("; ")
        }
    }
}

/// Whether one gateway has a target on a route that takes mail, or may.
fn is_usable(route: &Route, report: &[status::UpstreamStatus]) -> bool {
    route.targets.iter().any(|target| {
        report
            .iter()
            .any(|upstream| upstream.name == target.upstream && failure(upstream.state).is_none())
    })
}

fn one<'a>(name: &str, reports: &[&'a [status::UpstreamStatus]]) -> Option<Upstream<'a>> {
    let rows: Vec<_> = reports
        .iter()
        .filter_map(|report| report.iter().find(|upstream| upstream.name == name))
        .collect();
    let worst = rows.iter().map(|row| badness(row.state)).max()?;
    let of_worst = || rows.iter().filter(|row| badness(row.state) == worst);
    Some(Upstream {
        // RFC 3339 in UTC sorts as text.
        worst: of_worst().min_by_key(|row| &row.since)?,
        affected: of_worst().count(),
        last_relayed: rows
            .iter()
            .filter_map(|row| time(row.last_relayed_time.as_deref()?))
            .max(),
    })
}

/// Why an upstream takes no mail, in the order of the API's table; absent if it does, may, or asks for time.
const fn failure(state: UpstreamState) -> Option<Reason> {
    match state {
        UpstreamState::Untried | UpstreamState::Ready | UpstreamState::Throttled => None,
        UpstreamState::AuthenticationFailed => Some(Reason::AuthenticationFailed),
        UpstreamState::CredentialMissing => Some(Reason::CredentialMissing),
        UpstreamState::TlsFailed => Some(Reason::TlsFailed),
        UpstreamState::Unreachable => Some(Reason::Unreachable),
        UpstreamState::Refused => Some(Reason::Refused),
        UpstreamState::QuotaExhausted => Some(Reason::QuotaExhausted),
    }
}

const fn is_healthy(state: UpstreamState) -> bool {
    matches!(state, UpstreamState::Ready | UpstreamState::Throttled)
}

/// The greater, the worse.
const fn badness(state: UpstreamState) -> u8 {
    match state {
        UpstreamState::Untried => 0,
        UpstreamState::Ready => 1,
        UpstreamState::Throttled => 2,
        UpstreamState::QuotaExhausted => 3,
        UpstreamState::Refused => 4,
        UpstreamState::Unreachable => 5,
        UpstreamState::TlsFailed => 6,
        UpstreamState::CredentialMissing => 7,
        UpstreamState::AuthenticationFailed => 8,
    }
}
