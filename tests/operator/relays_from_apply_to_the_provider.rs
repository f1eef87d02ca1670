//! `kubectl apply` of a MailRelay and a MailSender is all it takes: mail arrives at the provider, and the status says
//! what is true of it, also when the provider refuses the password; a corrected Secret is all it takes to go on.

use std::time::Instant;

use k8s_openapi::api::core::v1::{Event, Secret};
use posthouse_api::{
    MailRelay,
    mail_relay::status::{EndpointTlsStatus, MailRelayStatus},
};
use posthouse_tests::{
    Installation, Relay,
    relay::{self, BINDING, RELAY, SENDER, USER, condition, is},
    wait,
};

fn status(relay: &MailRelay) -> &MailRelayStatus {
    relay.status.as_ref().expect("a status")
}

/// What `kubectl get` shows in a column.
fn column(relay: &Relay, kind: &str, name: &str) -> String {
    let object = if kind == "mailrelay" { RELAY } else { SENDER };
    let table = relay.namespace().kubectl(&["get", kind, object], "");
    let mut lines = table.lines();
    let (head, row) = (lines.next().unwrap(), lines.next().unwrap());
    let at = head
        .find(&name.to_uppercase())
        .unwrap_or_else(|| panic!("{table}"));
    let cell = row.get(at..).unwrap_or_default();
    cell.split("  ").next().unwrap_or_default().to_owned()
}

/// Waits for an Event about the relay; its message.
fn wait_event(relay: &Relay, type_: &str, reason: &str) -> String {
    wait::until(&format!("a {type_} {reason}"), wait::SOON, || {
        let events = relay.namespace().list::<Event>("");
        let fits = |event: &Event| {
            event.involved_object.name.as_deref() == Some(RELAY)
                && event.type_.as_deref() == Some(type_)
                && event.reason.as_deref() == Some(reason)
        };
        events.into_iter().find(fits)?.message
    })
}

/// Waits until the status says that the provider refuses the password, and `where_`: on which gateways. The reason is
/// written at once, how many gateways it is seen on is a figure and may come a minute later.
fn wait_refused(relay: &Relay, where_: &str) -> MailRelay {
    let since = Instant::now();
    relay.wait_reason("UpstreamsHealthy", "AuthenticationFailed");
    eprintln!(
        "the refusal was told after {:.1} s",
        since.elapsed().as_secs_f64()
    );
    let found = relay.wait("the password is refused", |relay| {
        condition(relay, "UpstreamsHealthy").is_some_and(|condition| {
            condition.reason == "AuthenticationFailed" && condition.message.contains(where_)
        })
    });
    let message = &condition(&found, "UpstreamsHealthy").unwrap().message;
    let upstream = &status(&found).upstreams[0];
    assert_eq!(upstream.state, "AuthenticationFailed");
    let reply = upstream.reply.as_deref().unwrap_or_default();
    assert_eq!(reply, "Auth: 535 5.7.8 Wrong user name or password");
    assert!(message.contains(reply), "{message}");
    let remedy = upstream.remedy.as_deref().unwrap_or_default();
    let remedy = remedy.trim_end_matches('.');
    assert!(remedy.contains("the Secret"), "{remedy}");
    assert!(message.contains(remedy), "{message}");
    found
}

#[test]
fn and_back_when_the_password_was_wrong() {
    let Some(cluster) = Installation::shared() else {
        return;
    };
    let relay = Relay::prepare(&cluster);
    relay.apply_account("mistyped");
    relay.apply_authority();
    relay.apply();
    relay.apply_sender(SENDER);

    // Without any mail: the gateways try the account by themselves.
    relay.wait("it is ready", |relay| is(relay, "Ready", "True"));
    let found = wait_refused(&relay, "on 2 of 2 gateways");
    let message = &condition(&found, "UpstreamsHealthy").unwrap().message;
    assert!(
        message.ends_with("; route default has no target left"),
        "{message}"
    );
    for type_ in ["Accepted", "ResolvedRefs", "Programmed", "Ready"] {
        assert!(is(&found, type_, "True"), "{:#?}", status(&found));
    }
    assert_eq!(relay.provider().commands_of("MAIL"), 0);
    wait_event(&relay, "Warning", "AuthenticationFailed");
    relay.apply_account(relay::PASSWORD);
    relay.wait_reason("UpstreamsHealthy", "Relaying");
    wait_event(&relay, "Normal", "Relaying");
    let pods = relay.pods();
    assert_eq!(pods.len(), 2);

    endpoints_and_binding(&relay);
    relay.relay(0, "one");
    relay.relay(1, "two");
    let mails = relay.provider().mails();
    assert!(mails.iter().all(|mail| mail.secure));
    assert!(mails.iter().all(|mail| mail.user.as_deref() == Some(USER)));
    figures(&relay);

    relay.provider_wants("changed");
    relay.submit(0, "held");
    wait_refused(&relay, "on 1 of 2 gateways");
    let found = relay.wait("mail is held", |relay| {
        status(relay)
            .queue
            .as_ref()
            .is_some_and(|queue| queue.held == 1)
    });
    assert_eq!(status(&found).mail.as_deref(), Some("AuthenticationFailed"));
    assert!(is(&found, "Ready", "True"), "applications can go on");
    assert!(is(&found, "QueueHealthy", "True"));
    assert_eq!(column(&relay, "mailrelay", "Held"), "1");
    assert_eq!(column(&relay, "mailrelay", "Mail"), "AuthenticationFailed");
    relay.wait_sender("its mail is held", |sender| {
        let status = sender.status.as_ref();
        let queue = status.and_then(|status| status.queue.as_ref());
        queue.is_some_and(|queue| queue.held == 1)
    });
    assert_eq!(column(&relay, "mailsender", "Held"), "1");

    relay.apply_account("changed");
    relay.wait_relayed("held");
    relay.wait_reason("UpstreamsHealthy", "Relaying");
    relay.relay(1, "four");
    let subjects = relay.provider().subjects();
    assert!(subjects.values().all(|&count| count == 1), "{subjects:?}");
    assert_eq!(relay.pods(), pods, "nothing was restarted");
}

/// Where applications are told to connect, and with what.
fn endpoints_and_binding(relay: &Relay) {
    let namespace = relay.namespace().name();
    let host = format!("{RELAY}.{namespace}.svc");
    let found = relay.namespace().get::<MailRelay>(RELAY);
    let endpoints = &status(&found).endpoints;
    assert_eq!(endpoints.len(), 1);
    assert_eq!(
        (endpoints[0].name.as_str(), endpoints[0].host.as_str()),
        ("submission", host.as_str())
    );
    assert_eq!(
        (endpoints[0].port, endpoints[0].tls),
        (587, EndpointTlsStatus::StartTls)
    );
    let sender = relay.wait_sender("it is ready", |sender| {
        let conditions = sender.status.iter().flat_map(|status| &status.conditions);
        let mut ready = conditions.filter(|condition| condition.type_ == "Ready");
        ready.any(|condition| condition.status == "True")
    });
    let name = sender.status.unwrap().binding.map(|binding| binding.name);
    assert_eq!(name.as_deref(), Some(BINDING));
    let secret = relay.namespace().get::<Secret>(BINDING);
    let data = secret.data.unwrap();
    let text = |key: &str| String::from_utf8(data[key].0.clone()).unwrap();
    assert_eq!(secret.type_.as_deref(), Some("servicebinding.io/smtp"));
    assert_eq!(text("host"), host);
    assert_eq!(text("port"), "587");
    assert_eq!(text("tls"), "starttls");
    assert_eq!(text("username"), format!("{SENDER}.{namespace}"));
    assert_eq!(
        text("uri"),
        format!(
            "smtp://{}:{}@{host}:587",
            text("username"),
            text("password")
        )
    );
}

/// What the status says when all is well.
fn figures(relay: &Relay) {
    let found = relay.wait("the queue is empty", |relay| {
        let status = status(relay);
        let is_empty = status
            .queue
            .as_ref()
            .is_some_and(|queue| queue.messages == 0);
        is_empty && status.senders == Some(1)
    });
    let told = status(&found);
    assert_eq!(told.upstream_summary.as_deref(), Some("1/1"));
    assert_eq!(told.mail.as_deref(), Some("Flowing"));
    assert_eq!((told.replicas, told.ready_replicas), (Some(2), Some(2)));
    assert_eq!(told.observed_generation, found.metadata.generation);
    assert!(condition(&found, "Stalled").is_none());
    for (name, value) in [
        ("Ready", "True"),
        ("Mail", "Flowing"),
        ("Replicas", "2"),
        ("Queued", "0"),
        ("Held", "0"),
        ("Upstreams", "1/1"),
    ] {
        assert_eq!(column(relay, "mailrelay", name), value, "{name}");
    }
    for (name, value) in [("Ready", "True"), ("Relay", RELAY), ("Secret", BINDING)] {
        assert_eq!(column(relay, "mailsender", name), value, "{name}");
    }
}
