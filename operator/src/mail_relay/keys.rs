//! Which rotations of a relay's keys count now: the current one, and the previous one for a day.
//!
//! Pure, and without memory of its own: what it goes by is the document that is in use and the time written beside it.
//! A rotation that nobody remembers is not accepted. The document is read as loosely as possible, so that one in a later
//! format does not cost anybody a password.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ConfigMap;
use posthouse_config::{document, yaml};
use serde_json::Value;

use crate::labels;

/// How long the previous rotation is accepted: whoever reads a Secret only at its start is restarted within a day, or
/// knows why not.
pub const OVERLAP: SignedDuration = SignedDuration::from_hours(24);

/// How long a raise waits after the one before. Two keys are in use at most, so a second raise drops the first key; by
/// then every sender's Secret must have left it. Gateways read new files within two minutes.
const SETTLING: SignedDuration = SignedDuration::from_mins(10);

/// Rotations of `clients.keyRotation`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRotations {
    /// The current one: new passwords are made from it.
    pub current: u64,
    /// The one before, for as long as its passwords are accepted too.
    pub previous: Option<u64>,
    /// Since when the current one is in the document.
    pub since: Timestamp,
}

impl KeyRotations {
    /// All that are accepted, the current one first.
    pub fn accepted(&self) -> impl Iterator<Item = u64> {
        std::iter::once(self.current).chain(self.previous)
    }

    /// When they change by themselves: the previous one ends, or a raise that waits takes its turn.
    pub fn next_change(&self, spec_rotation: u64) -> Option<Timestamp> {
        self.previous?;
        let wait = if spec_rotation > self.current {
            SETTLING
        } else {
            OVERLAP
        };
        self.since.checked_add(wait).ok()
    }
}

/// The rotations that count now. `spec_rotation` is what the MailRelay asks for, `config` the ConfigMap with the document
/// as it is in the cluster.
///
/// A lowered rotation changes nothing: validation against what lives refuses it.
pub fn rotations(spec_rotation: u64, config: Option<&ConfigMap>, now: Timestamp) -> KeyRotations {
    // As precise as the times it is compared with.
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let document = config.and_then(LiveDocument::read);
    let Some((config, document)) = config.zip(document) else {
        return first(spec_rotation, now);
    };
    let Some(&current) = document.rotations.iter().max() else {
        return first(spec_rotation, now);
    };
    let since = written_time(config);
    let others = document.rotations.iter().copied();
    let previous = others.filter(|&rotation| rotation != current).max();
    let live = KeyRotations {
        current,
        // Without the time nobody knows when it ends.
        previous: previous.filter(|_| since.is_some_and(|since| is_within(since, OVERLAP, now))),
        since: since.or_else(|| creation_time(config)).unwrap_or(now),
    };
    let must_wait = live.previous.is_some() && is_within(live.since, SETTLING, now);
    if spec_rotation <= current || must_wait {
        return live;
    }
    KeyRotations {
        current: spec_rotation,
        previous: Some(current),
        since: now,
    }
}

const fn first(rotation: u64, now: Timestamp) -> KeyRotations {
    KeyRotations {
        current: rotation,
        previous: None,
        since: now,
    }
}

fn is_within(since: Timestamp, span: SignedDuration, now: Timestamp) -> bool {
    now.duration_since(since) < span
}

fn written_time(config: &ConfigMap) -> Option<Timestamp> {
    let annotations = config.metadata.annotations.as_ref()?;
    annotations.get(labels::KEY_ROTATION_TIME)?.parse().ok()
}

/// A time that does not move: a moving one would have every Secret written again each time it is looked at.
fn creation_time(config: &ConfigMap) -> Option<Timestamp> {
    Some(config.metadata.creation_timestamp.as_ref()?.0)
}

/// What the document in the cluster says about itself and its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveDocument {
    /// Its number.
    pub number: u64,
    /// The rotations of the relay keys it names.
    pub rotations: Vec<u64>,
}

impl LiveDocument {
    /// Reads a ConfigMap; `None` where it holds no document with a number.
    pub fn read(config: &ConfigMap) -> Option<Self> {
        let text = config.data.as_ref()?.get(document::FILE_NAME)?;
        let document: Value = yaml::from_str(text).ok()?;
        let keys = document
            .pointer("/keys/relay")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        Some(Self {
            number: document.get("number")?.as_u64()?,
            rotations: keys
                .filter_map(|key| key.get("rotation")?.as_u64())
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

    use super::*;

    const NOW: &str = "2026-11-22T12:00:00Z";

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn config(text: &str, since: Option<&str>) -> ConfigMap {
        let annotations = since.map(|since| {
            BTreeMap::from([(labels::KEY_ROTATION_TIME.to_owned(), since.to_owned())])
        });
        ConfigMap {
            metadata: ObjectMeta {
                annotations,
                creation_timestamp: Some(Time(at("2026-01-01T00:00:00Z"))),
                ..ObjectMeta::default()
            },
            data: Some(BTreeMap::from([(
                document::FILE_NAME.to_owned(),
                text.to_owned(),
            )])),
            ..ConfigMap::default()
        }
    }

    fn with_keys(rotations: &[u64], since: Option<&str>) -> ConfigMap {
        let keys: Vec<_> = rotations
            .iter()
            .map(|rotation| format!("{{ rotation: {rotation}, path: relay-{rotation}.key }}"))
            .collect();
        let text = format!(
            "format: 9\nnumber: 7\nkeys: {{ relay: [{}], unknown: true }}\n",
            keys.join(", ")
        );
        config(&text, since)
    }

    /// The current rotation, the previous one, and since when, as `2 1 2026-11-22T12:00:00Z`.
    fn told(spec: u64, config: Option<&ConfigMap>) -> String {
        let KeyRotations {
            current,
            previous,
            since,
        } = rotations(spec, config, at(NOW));
        let previous = previous.map_or_else(|| "-".to_owned(), |previous| previous.to_string());
        format!("{current} {previous} {since}")
    }

    #[test]
    fn the_former_rotation_stays_for_a_day() {
        let created = "2026-01-01T00:00:00Z";
        let day = "2026-11-21T12:00:00Z";
        let second_less = "2026-11-21T12:00:01Z";
        let nine_minutes = "2026-11-22T11:51:00Z";
        let ten_minutes = "2026-11-22T11:50:00Z";
        for (spec, live, since, expected) in [
            // Nothing raised.
            (1, &[1][..], Some(day), format!("1 - {day}")),
            // Raised now: the former one is the previous.
            (2, &[1], Some(day), format!("2 1 {NOW}")),
            (9, &[4], None, format!("9 4 {NOW}")),
            // Raised before: until the day is over.
            (2, &[2, 1], Some(second_less), format!("2 1 {second_less}")),
            (2, &[1, 2], Some(second_less), format!("2 1 {second_less}")),
            (2, &[2, 1], Some(day), format!("2 - {day}")),
            // The time is lost.
            (2, &[2, 1], None, format!("2 - {created}")),
            (2, &[2, 1], Some("yesterday"), format!("2 - {created}")),
            // Raised twice in short order: the second waits until the first has arrived.
            (
                3,
                &[2, 1],
                Some(nine_minutes),
                format!("2 1 {nine_minutes}"),
            ),
            (3, &[2, 1], Some(ten_minutes), format!("3 2 {NOW}")),
            (3, &[2], Some(nine_minutes), format!("3 2 {NOW}")),
            // Lowered: refused elsewhere, and nothing that works changes.
            (1, &[2], Some(day), format!("2 - {day}")),
        ] {
            assert_eq!(
                told(spec, Some(&with_keys(live, since))),
                expected,
                "{spec} {live:?} {since:?}"
            );
        }
    }

    #[test]
    fn without_a_document_the_rotation_begins_now() {
        let fresh = format!("3 - {NOW}");
        assert_eq!(told(3, None), fresh);
        assert_eq!(told(3, Some(&ConfigMap::default())), fresh);
        assert_eq!(told(3, Some(&config("{", Some(NOW)))), fresh);
        assert_eq!(told(3, Some(&config("number: 1", Some(NOW)))), fresh);
    }

    #[test]
    fn it_says_when_it_changes_by_itself() {
        let live = with_keys(&[2, 1], Some("2026-11-22T11:51:00Z"));
        let rotations = rotations(2, Some(&live), at(NOW));
        assert_eq!(rotations.next_change(2), Some(at("2026-11-23T11:51:00Z")));
        assert_eq!(rotations.next_change(3), Some(at("2026-11-22T12:01:00Z")));
        assert_eq!(first(1, at(NOW)).next_change(1), None);
    }

    #[test]
    fn a_later_format_is_read_for_what_matters() {
        assert_eq!(
            LiveDocument::read(&with_keys(&[2, 1], None)),
            Some(LiveDocument {
                number: 7,
                rotations: vec![2, 1]
            })
        );
        assert_eq!(LiveDocument::read(&config("keys: {}", None)), None);
    }
}
