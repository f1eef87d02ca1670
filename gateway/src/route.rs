//! Routing: which upstreams may send a message to a recipient, and in which order.
//!
//! Pure: a document and an envelope in, a [`Way`] out. A way is an interned list of eligible targets by priority; two
//! recipients with the same list have the same way. Whether a target can take mail *now* is not asked here, so a way
//! stays true for as long as its document is in use. Weights mean what they mean in SRV records (RFC 2782).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use posthouse_config::{
    Document,
    document::{Route, Transport, Upstream},
};

use crate::mail::{Message, QueueId, Recipient};

/// One eligible target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The upstream's name.
    pub upstream: Arc<str>,
    /// Lower is used first.
    pub priority: u32,
    /// The share within one priority, at least 1.
    pub weight: u32,
}

/// The eligible targets of a recipient, lowest priority first. Without any, nothing may send it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// The targets.
    pub targets: Box<[Target]>,
    /// Their names in the same order.
    pub names: Arc<[Arc<str>]>,
    /// A target that is rate-limited for longer than this is passed over.
    pub spill: Duration,
}

impl Way {
    /// The position of an upstream.
    pub fn position(&self, upstream: &str) -> Option<usize> {
        self.names.iter().position(|name| &**name == upstream)
    }

    /// Whether the target at a position is of the first eligible priority.
    pub fn is_first_priority(&self, position: usize) -> bool {
        let first = self.targets.first().map(|target| target.priority);
        self.targets.get(position).map(|target| target.priority) == first
    }

    /// Of the positions that `usable` allows, those of the lowest priority, and among them one by weight and by hash
    /// of the queue id: the same message always gets the same one.
    pub fn pick(&self, id: QueueId, usable: impl Fn(usize) -> bool) -> Option<usize> {
        let lowest = (0..self.targets.len()).find(|&i| usable(i))?;
        let priority = self.targets.get(lowest)?.priority;
        let among = || {
            self.targets
                .iter()
                .enumerate()
                .filter(|(i, target)| target.priority == priority && usable(*i))
        };
        let total: u64 = among().map(|(_, target)| u64::from(target.weight)).sum();
        let mut point = hash(id) % total.max(1);
        for (i, target) in among() {
            let weight = u64::from(target.weight);
            if point < weight {
                return Some(i);
            }
            point -= weight;
        }
        Some(lowest)
    }
}

/// A well spread number from a queue id (the finaliser of `SplitMix64`). It only spreads; nothing depends on it being
/// hard to guess.
pub(crate) fn hash(id: QueueId) -> u64 {
    let mut x = id.sequence() ^ 0x9e37_79b9_7f4a_7c15;
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The routes of one document.
#[derive(Debug)]
pub struct Router {
    document: Arc<Document>,
    names: HashMap<String, Arc<str>>,
    /// Interned by route and the set of its targets that are eligible, one bit each: a route has at most 32.
    ways: Mutex<HashMap<(usize, u32), Arc<Way>>>,
}

/// The route number of mail that no route matches.
const NO_ROUTE: usize = usize::MAX;

impl Router {
    /// Routes by a document.
    pub fn new(document: Arc<Document>) -> Self {
        let names = document
            .upstreams
            .iter()
            .map(|upstream| (upstream.name.clone(), Arc::from(upstream.name.as_str())))
            .collect();
        Self {
            document,
            names,
            ways: Mutex::default(),
        }
    }

    /// The document.
    pub fn document(&self) -> &Arc<Document> {
        &self.document
    }

    /// The way of one recipient of a message. Equal ways are one allocation, so they may be compared by pointer.
    pub fn way(&self, message: &Message, recipient: &Recipient) -> Arc<Way> {
        let found = self
            .document
            .routes
            .iter()
            .enumerate()
            .find(|(_, route)| matches(route, message, recipient));
        let key = found.map_or((NO_ROUTE, 0), |(i, route)| {
            (i, self.eligible(route, message))
        });
        // A poisoned map is still a map of finished ways.
        let mut ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(way) = ways.get(&key) {
            return Arc::clone(way);
        }
        let built = self.build(found.map(|(_, route)| route), key.1);
        let way = ways
            .values()
            .find(|way| ***way == built)
            .map_or_else(|| Arc::new(built), Arc::clone);
        ways.insert(key, Arc::clone(&way));
        way
    }

    /// Which targets of a route may send a message, as a set of bits.
    fn eligible(&self, route: &Route, message: &Message) -> u32 {
        let mut set = 0;
        for (i, target) in route.targets.iter().take(32).enumerate() {
            let upstream = self.document.upstream(&target.upstream);
            if upstream.is_some_and(|upstream| may_send(upstream, message)) {
                set |= 1 << i;
            }
        }
        set
    }

    fn build(&self, route: Option<&Route>, set: u32) -> Way {
        let mut targets: Vec<Target> = route
            .iter()
            .flat_map(|route| route.targets.iter().take(32).enumerate())
            .filter(|(i, _)| set & (1 << i) != 0)
            .filter_map(|(_, target)| {
                Some(Target {
                    upstream: Arc::clone(self.names.get(&target.upstream)?),
                    priority: target.priority,
                    weight: target.weight.max(1),
                })
            })
            .collect();
        targets.sort_by_key(|target| target.priority);
        Way {
            names: targets
                .iter()
                .map(|target| Arc::clone(&target.upstream))
                .collect(),
            targets: targets.into(),
            spill: Duration::from_secs(route.map_or(0, |route| route.spill_seconds).into()),
        }
    }
}

/// Whether every list a route gives matches; none given matches everything.
fn matches(route: &Route, message: &Message, recipient: &Recipient) -> bool {
    let address = |patterns: &[posthouse_config::AddressPattern],
                   mailbox: Option<&posthouse_smtp::Mailbox>| {
        patterns.is_empty()
            || mailbox.is_some_and(|mailbox| {
                patterns
                    .iter()
                    .any(|pattern| pattern.matches(mailbox.local_part(), mailbox.domain()))
            })
    };
    address(&route.sender_domains, message.author())
        && address(&route.recipient_domains, Some(&recipient.forward_path))
        && (route.namespaces.is_empty()
            || message
                .sender
                .namespace()
                .is_some_and(|namespace| route.namespaces.iter().any(|n| n == namespace)))
}

/// Whether an upstream may send for a message's author. A folder on disk may for everyone.
fn may_send(upstream: &Upstream, message: &Message) -> bool {
    match (&upstream.transport, message.author()) {
        (Transport::Capture(_), _) => true,
        (Transport::Smtp(_), Some(author)) => {
            upstream.may_send_for(author.local_part(), author.domain())
        }
        (Transport::Smtp(_), None) => upstream.senders.is_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::testing::{document, message};

    const ROUTES: &str = r#"
routes:
  - { name: gov, recipientDomains: ["*.gov.example"], targets: [{ upstream: b }] }
  - { name: shop, senderDomains: [shop.example], namespaces: [shop], targets: [{ upstream: a, priority: 20 }, { upstream: b, priority: 10 }, { upstream: narrow }] }
  - { name: default, targets: [{ upstream: a, weight: 3 }, { upstream: b }] }
"#;

    fn router() -> Router {
        let narrow = "  - { name: narrow, senders: [other.example], transport: { capture: {} } }\n  - { name: strict, senders: [strict.example], transport: { smtp: { host: x.example, port: 25, tls: { mode: StartTls } } } }\n";
        Router::new(document(&["a", "b"], narrow, ROUTES))
    }

    fn names(way: &Way) -> Vec<&str> {
        way.names.iter().map(|name| &**name).collect()
    }

    #[test]
    fn the_first_route_that_matches_decides_and_targets_are_sorted_by_priority() {
        let router = router();
        let mut message = message(
            1,
            "checkout.shop",
            "u@shop.example",
            &["x@a.gov.example", "x@b.example"],
        );
        let gov = router.way(&message, &message.recipients[0]);
        assert_eq!(names(&gov), ["b"]);
        let shop = router.way(&message, &message.recipients[1]);
        // A capture is eligible for every sender.
        assert_eq!(names(&shop), ["narrow", "b", "a"]);
        assert!(shop.is_first_priority(0) && !shop.is_first_priority(1));
        message.sender = crate::mail::SenderIdentity::Anonymous;
        assert_eq!(
            names(&router.way(&message, &message.recipients[1])),
            ["a", "b"]
        );
    }

    #[test]
    fn an_upstream_of_other_senders_is_not_eligible() {
        let only = "routes: [{ name: d, targets: [{ upstream: strict }] }]\n";
        let strict = "  - { name: strict, senders: [strict.example], transport: { smtp: { host: x.example, port: 25, tls: { mode: StartTls } } } }\n";
        let router = Router::new(document(&["a"], strict, only));
        for (from, expected) in [("u@strict.example", 1), ("u@a.example", 0)] {
            let message = message(1, "a.b", from, &["x@c.example"]);
            assert_eq!(
                router.way(&message, &message.recipients[0]).targets.len(),
                expected,
                "{from}"
            );
        }
    }

    #[test]
    fn equal_ways_are_one() {
        let router = router();
        let a = message(1, "a.b", "u@x.example", &["x@c.example"]);
        let b = message(2, "c.d", "u@y.example", &["x@d.example"]);
        assert!(Arc::ptr_eq(
            &router.way(&a, &a.recipients[0]),
            &router.way(&b, &b.recipients[0])
        ));
    }

    #[test]
    fn weight_spreads_and_a_message_keeps_its_target() {
        let router = router();
        let probe = message(1, "a.b", "u@x.example", &["x@c.example"]);
        let way = router.way(&probe, &probe.recipients[0]);
        let picks: Vec<_> = (0..4000)
            .map(|i| way.pick(QueueId::new(7, i), |_| true).unwrap())
            .collect();
        let first = picks.iter().filter(|&&i| i == 0).count();
        assert!(
            (2800..3200).contains(&first),
            "{first} of 4000 with weight 3:1"
        );
        assert_eq!(way.pick(QueueId::new(7, 0), |_| true), Some(picks[0]));
        assert_eq!(way.pick(QueueId::new(7, 0), |i| i == 1), Some(1));
        assert_eq!(way.pick(QueueId::new(7, 0), |_| false), None);
    }
}
