//! What is written is read; what is not known is carried along or refused.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use posthouse_config::reason::{Phase, Reason};
use posthouse_smtp::{Mailbox, ReversePath};
use proptest::{collection::vec, option, prelude::*};

use super::{
    accept::{self, Mark, StoredContent},
    field::{FieldError, put},
    *,
};
use crate::mail::{
    Body, Client, ContentFacts, Edits, Kind, Message, Origin, Progress, Recipient, SenderIdentity,
    State, Timestamp,
};

fn mailbox() -> impl Strategy<Value = Mailbox> {
    ("[a-z0-9]{1,20}", "[a-z]{1,10}\\.example")
        .prop_map(|(local, domain)| Mailbox::parse(&format!("{local}@{domain}")).unwrap())
}

fn text() -> impl Strategy<Value = Box<str>> {
    "\\PC{0,30}".prop_map(String::into_boxed_str)
}

fn time() -> impl Strategy<Value = Timestamp> {
    any::<u64>().prop_map(Timestamp::from_millis)
}

fn progress() -> impl Strategy<Value = Progress> {
    let state = (0u8..=8).prop_map(|code| State::from_code(code).unwrap());
    let counts = (any::<u32>(), any::<u16>(), any::<u16>(), any::<u16>());
    let words = (
        option::of(proptest::sample::select(Reason::ALL)),
        option::of(proptest::sample::select(Phase::ALL)),
    );
    let texts = (option::of(text()), option::of(text()));
    let times = (option::of(time()), option::of(time()));
    (state, counts, words, texts, times).prop_map(
        |(state, counts, (reason, phase), (upstream, reply), (first_refusal, next_attempt))| {
            Progress {
                state,
                reason,
                upstream,
                phase,
                reply,
                attempts: counts.0,
                refusals: counts.1,
                lost: counts.2,
                unconfirmed: counts.3,
                first_refusal,
                next_attempt,
            }
        },
    )
}

fn recipient() -> impl Strategy<Value = Recipient> {
    (
        mailbox(),
        option::of(text()),
        option::of(text()),
        progress(),
    )
        .prop_map(|(forward_path, orcpt, notify, progress)| Recipient {
            forward_path,
            orcpt,
            notify,
            progress,
        })
}

fn sender() -> impl Strategy<Value = SenderIdentity> {
    prop_oneof![
        (text(), text()).prop_map(|(namespace, name)| SenderIdentity::Sender { namespace, name }),
        Just(SenderIdentity::Anonymous),
        Just(SenderIdentity::Posthouse),
    ]
}

fn client() -> impl Strategy<Value = Client> {
    let address = prop_oneof![
        any::<u32>().prop_map(|bits| IpAddr::from(Ipv4Addr::from(bits))),
        any::<u128>().prop_map(|bits| IpAddr::from(Ipv6Addr::from(bits))),
    ];
    (address, text()).prop_map(|(address, hello)| Client { address, hello })
}

fn facts() -> impl Strategy<Value = ContentFacts> {
    (
        any::<u64>(),
        any::<(u32, u32)>(),
        any::<(bool, bool, bool)>(),
    )
        .prop_map(
            |(length, (header_length, longest_line), (eight_bit, header_utf8, signed))| {
                ContentFacts {
                    length,
                    header_length,
                    longest_line,
                    eight_bit,
                    header_utf8,
                    signed,
                }
            },
        )
}

fn edits() -> impl Strategy<Value = Edits> {
    let ranges = vec(
        any::<(u32, u32)>().prop_map(|(start, end)| start..end),
        0..3,
    );
    (vec(any::<u8>(), 0..40), ranges).prop_map(|(prepend, remove)| Edits { prepend, remove })
}

prop_compose! {
    fn message()(
        sequence in 0u64..1 << 48,
        (generation, expiry_seconds) in (any::<u32>(), option::of(any::<u32>())),
        kind in proptest::sample::select(vec![Kind::Mail, Kind::Report, Kind::Probe]),
        body in proptest::sample::select(vec![Body::Unspecified, Body::SevenBit, Body::EightBitMime]),
        (accepted, listener, message_id, envid) in (time(), text(), text(), option::of(text())),
        (sender, client, facts, edits) in (sender(), option::of(client()), facts(), edits()),
        reverse_path in option::of(mailbox()),
        (recipients, from) in (vec(recipient(), 1..4), vec(mailbox(), 0..3)),
        (return_full, smtputf8, sibling) in any::<(bool, bool, bool)>(),
    ) -> Message {
        Message {
            id: QueueId::new(7, sequence),
            generation,
            kind,
            accepted,
            expiry_seconds,
            listener,
            sender,
            client,
            reverse_path: reverse_path.map_or(ReversePath::Null, ReversePath::Mailbox),
            envid,
            return_full,
            body,
            smtputf8,
            recipients,
            from,
            message_id,
            facts,
            edits,
            origin: if sibling { Origin::Sibling } else { Origin::Here },
        }
    }
}

/// The octets of a record as they are on the disk, with this marker.
fn written(encoded: &Encoded, marker: &Marker) -> Vec<u8> {
    let mut out = Vec::new();
    encoded.write_to(marker, &mut out);
    assert_eq!(out.len(), encoded.length());
    out
}

const MARKER: Marker = *b"marker of a test";

proptest! {
    #[test]
    fn a_message_is_read_as_it_was_written(message in message(), content in vec(any::<u8>(), 0..200)) {
        let stored = StoredContent::Inline(Bytes::from(content.clone()));
        let octets = written(&accept::encode(&message, message.generation, &stored), &MARKER);
        let (head, payload) = read(&octets, &MARKER).unwrap();
        prop_assert_eq!(head.id, message.id);
        let read = accept::read(head.id, payload).unwrap();
        prop_assert_eq!(&read.message, &message);
        prop_assert_eq!(read.content, Some(StoredContent::Inline(&content[..])));
        prop_assert_eq!(accept::facts_of(payload), (message.generation, u32::try_from(message.recipients.len()).unwrap()));
        // Envelope alone, content cut off.
        let cut = &payload[..payload.len() - content.len()];
        prop_assert_eq!(accept::read_envelope(head.id, payload).unwrap().unwrap().message, message.clone());
        if !content.is_empty() {
            prop_assert!(accept::read_envelope(head.id, &cut[..cut.len() - 20]).is_none());
        }
    }

    #[test]
    fn folding_keeps_everything_but_what_it_replaces(message in message(), new in progress(), deaths in 0u8..9) {
        let stored = StoredContent::File { length: 1 << 33, crc: 5 };
        let encoded = accept::encode(&message, message.generation, &stored);
        let octets = written(&encoded, &MARKER);
        let (head, payload) = read(&octets, &MARKER).unwrap();
        let mut fields = Vec::new();
        // Of a newer release: to be carried along.
        put(&mut fields, 99, b"unknown");
        fields.extend_from_slice(payload);
        let mut progress = Vec::new();
        progress::write_outcomes(&mut progress, &[crate::mail::Outcome { recipient: 0, progress: new.clone() }]);
        let outcomes = progress::read_outcomes(&progress).unwrap();
        let mark = Mark { deaths, in_flight: deaths == 3 };
        let folded = accept::fold(head.id, head.flags, &fields, 4, mark, &|r| {
            (r == 0).then_some(outcomes[0].progress)
        }).unwrap();
        let octets = written(&folded, &MARKER);
        let (head, payload) = read(&octets, &MARKER).unwrap();
        let mut expected = message;
        expected.generation = 4;
        expected.recipients[0].progress = new;
        let read = accept::read(head.id, payload).unwrap();
        prop_assert_eq!(read.message, expected);
        prop_assert_eq!(read.content, Some(StoredContent::File { length: 1 << 33, crc: 5 }));
        prop_assert_eq!(accept::read_mark(payload).unwrap(), mark);
        prop_assert_eq!(head.has(MARKED), mark != Mark::default());
        prop_assert!(payload.windows(7).any(|w| w == b"unknown"));
        prop_assert!(accept::read_envelope(head.id, payload).unwrap().is_ok());
    }

    #[test]
    fn no_octets_break_a_reader(octets in vec(any::<u8>(), 0..300)) {
        let id = QueueId::new(1, 1);
        let _ = accept::read(id, &octets);
        let _ = accept::read_envelope(id, &octets);
        let _ = accept::read_mark(&octets);
        for outcome in progress::read_outcomes(&octets).unwrap_or_default() {
            let _ = outcome.decode();
        }
        prop_assert!(read(&octets, &MARKER).is_none());
        let marked = [&MARKER[..], &octets].concat();
        prop_assert!(scan(&marked, 0, &MARKER).found.is_empty());
    }
}

#[test]
fn what_must_be_understood_and_is_not_is_refused_at_every_level() {
    let mut payload = Vec::new();
    put(&mut payload, 128, b"");
    let id = QueueId::new(1, 1);
    assert_eq!(
        accept::read(id, &payload).unwrap_err(),
        FieldError::Newer(128)
    );
    assert_eq!(
        progress::read_outcomes(&payload).err(),
        Some(FieldError::Newer(128))
    );
    let mut recipient = Vec::new();
    put(&mut recipient, progress::RECIPIENT, &payload);
    assert_eq!(
        progress::read_outcomes(&recipient).err(),
        Some(FieldError::Newer(128))
    );
    let mut inner = Vec::new();
    put(&mut inner, progress::PROGRESS, &payload);
    let mut recipient = Vec::new();
    put(&mut recipient, progress::RECIPIENT, &inner);
    let outcomes = progress::read_outcomes(&recipient).unwrap();
    assert_eq!(outcomes[0].decode().err(), Some(FieldError::Newer(128)));
}

#[test]
fn a_joined_record_counts_only_behind_its_predecessor() {
    let record = |n| {
        Encoded::new(
            RecordType::Remove,
            0,
            QueueId::new(1, n),
            Bytes::new(),
            |_| {},
        )
    };
    let mut log = written(&record(1), &MARKER);
    log.extend(written(&record(2), &MARKER));
    log.extend(written(&record(3).joined(), &MARKER));
    let ids = |log: &[u8]| -> Vec<u64> {
        scan(log, 0, &MARKER)
            .found
            .iter()
            .map(|f| f.head.id.sequence())
            .collect()
    };
    assert_eq!(ids(&log), [1, 2, 3]);
    log[OVERHEAD + 20] ^= 1;
    assert_eq!(ids(&log), [1]);
}

#[test]
fn a_record_of_another_use_of_the_file_is_none() {
    let record = Encoded::new(
        RecordType::Remove,
        0,
        QueueId::new(1, 1),
        Bytes::new(),
        |_| {},
    );
    let other = written(&record, b"another marker..");
    // As content of a message, and as what a recycled file holds.
    let outer = Encoded::new(
        RecordType::Accept,
        0,
        QueueId::new(1, 2),
        Bytes::from(other.clone()),
        |_| {},
    );
    let mut log = written(&outer, &MARKER);
    log.extend(other);
    let scan = scan(&log, 0, &MARKER);
    assert_eq!(scan.found.len(), 1);
    assert_eq!((scan.damage.len(), scan.torn), (0, None));
}
