//! Values for the tests of queue, routing and reports.

use std::sync::Arc;

use posthouse_config::Document;
use posthouse_smtp::{Mailbox, ReversePath};

use crate::mail::{
    Body, ContentFacts, Edits, Kind, Message, Origin, QueueId, Recipient, SenderIdentity, Timestamp,
};

/// A document with these upstreams, some YAML list items of further ones, and routes (empty: everything to all).
pub(crate) fn document(upstreams: &[&str], more: &str, routes: &str) -> Arc<Document> {
    let list: String = upstreams
        .iter()
        .map(|name| format!("  - {{ name: {name}, transport: {{ smtp: {{ host: {name}.example, port: 465, tls: {{ mode: Implicit }} }} }} }}\n"))
        .collect();
    let targets: Vec<String> = upstreams.iter().map(|name| format!("{{ upstream: {name} }}")).collect();
    let routes = if routes.is_empty() {
        format!("routes: [{{ name: default, targets: [{}] }}]\n", targets.join(", "))
    } else {
        routes.to_owned()
    };
    let text = format!(
        "format: 1\nnumber: 1\ngeneration: 1\nrelay: {{ namespace: mail-system, name: outbound }}\nhostname: mail.example.com\nreplicas: 1\nlisteners:\n  - {{ name: plain, protocol: Smtp, address: \"127.0.0.1:2525\", tls: Disabled }}\nreports: {{ sender: postmaster@mail.example.com }}\nretry: {{ initialSeconds: 60, maximumSeconds: 7200, expirySeconds: 432000, heldExpirySeconds: 1209600 }}\nupstreams:\n{list}{more}{routes}"
    );
    Arc::new(Document::parse(&text).unwrap())
}

/// When messages of the tests were accepted: the manual clock's start.
pub(crate) const START: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// A message of `sender` (`name.namespace`) as an address to some recipients.
pub(crate) fn message(sequence: u64, sender: &str, from: &str, recipients: &[&str]) -> Message {
    let (name, namespace) = sender.rsplit_once('.').unwrap();
    let from = Mailbox::parse(from).unwrap();
    Message {
        id: QueueId::new(1, sequence),
        generation: 0,
        kind: Kind::Mail,
        accepted: START,
        expiry_seconds: None,
        listener: "plain".into(),
        sender: SenderIdentity::Sender { namespace: namespace.into(), name: name.into() },
        client: None,
        reverse_path: ReversePath::Mailbox(from.clone()),
        envid: None,
        return_full: false,
        body: Body::Unspecified,
        smtputf8: false,
        recipients: recipients
            .iter()
            .map(|address| Recipient {
                forward_path: Mailbox::parse(address).unwrap(),
                orcpt: None,
                notify: None,
                progress: crate::mail::Progress::default(),
            })
            .collect(),
        from: vec![from],
        message_id: format!("<{sequence}@test.example>").into(),
        facts: ContentFacts { length: 100, ..ContentFacts::default() },
        edits: Edits::default(),
        origin: Origin::Here,
    }
}
