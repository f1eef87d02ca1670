//! Who may send, and as whom: decided with values, before content is stored.
//!
//! Three questions, in the order they can be answered: who is the client (at MAIL), may it use this reverse-path (at
//! MAIL), may it use these `From:` and `Sender:` addresses (when the header section is complete).

use std::{net::IpAddr, sync::Arc};

use posthouse_config::{
    AddressPattern, Snapshot,
    document::{Listener, Protocol},
    senders::Sender,
};
use posthouse_smtp::{
    Mailbox, ReversePath,
    address_list::{self, AddressListError},
    header::HeaderSection,
    server::Login,
};

use super::{
    authentication::Proof,
    refusal::{self, Refusal},
};
use crate::mail::SenderIdentity;

/// A client that may send.
#[derive(Clone, Debug)]
pub(super) struct Admitted {
    snapshot: Arc<Snapshot>,
    who: Who,
}

#[derive(Clone, Copy, Debug)]
enum Who {
    /// Its position among the snapshot's senders.
    Sender(usize),
    Anonymous,
}

impl Admitted {
    /// Finds out who a client is by its login, else by its network.
    pub(super) fn identify(
        snapshot: &Arc<Snapshot>,
        listener: &Listener,
        login: &Login,
        address: IpAddr,
    ) -> Result<Self, Refusal> {
        let who = match login {
            Login::As(username) => {
                Who::Sender(position(snapshot, username).ok_or_else(refusal::sender_unknown)?)
            }
            Login::Nobody if is_anonymous(snapshot, listener, address) => Who::Anonymous,
            Login::Nobody => return Err(refusal::login_required()),
        };
        Ok(Self {
            snapshot: Arc::clone(snapshot),
            who,
        })
    }

    /// Whether what it once proved still holds.
    pub(super) fn is_proved_by(&self, proof: &Proof) -> bool {
        self.sender()
            .is_some_and(|sender| proof.holds(&self.snapshot, sender))
    }

    /// Its name.
    pub(super) fn identity(&self) -> SenderIdentity {
        self.sender()
            .map_or(SenderIdentity::Anonymous, |sender| SenderIdentity::Sender {
                namespace: sender.namespace.as_str().into(),
                name: sender.name.as_str().into(),
            })
    }

    /// When its mail expires, if sooner than the relay's.
    pub(super) fn expiry_seconds(&self) -> Option<u32> {
        self.sender()?.expiry_seconds
    }

    /// With more than this waiting, it is told to come later.
    pub(super) fn queued_limit(&self) -> Option<u32> {
        self.sender()?.limits.queued_messages
    }

    /// Whether it may have failures reported there. The null reverse-path is anybody's: what counts is `From:`.
    pub(super) fn may_use(&self, path: &ReversePath) -> Result<(), Refusal> {
        path.mailbox().map_or(Ok(()), |mailbox| {
            self.may_send_as("Sender address", mailbox)
        })
    }

    /// The addresses of `From:`, all of them allowed, those of `Sender:` too. Without `From:` it is the reverse-path
    /// (RFC 6409 §8.1).
    pub(super) fn authors(
        &self,
        header: &HeaderSection,
        content: &[u8],
        reverse_path: &ReversePath,
    ) -> Result<Vec<Mailbox>, Refusal> {
        let authors = match single(header, content, "From")? {
            Some(addresses) => addresses,
            None => vec![reverse_path.mailbox().cloned().ok_or_else(|| {
                refusal::header_invalid("There is no From field, and no reverse-path to make one")
            })?],
        };
        for author in &authors {
            self.may_send_as("From address", author)?;
        }
        if let Some(senders) = single(header, content, "Sender")? {
            // RFC 5322 §3.6.2: one mailbox.
            if senders.len() > 1 {
                return Err(refusal::header_invalid("Sender must hold one address"));
            }
            for sender in &senders {
                self.may_send_as("Sender field address", sender)?;
            }
        }
        Ok(authors)
    }

    fn may_send_as(&self, place: &str, mailbox: &Mailbox) -> Result<(), Refusal> {
        let allowed = self.allowed();
        let fits =
            |pattern: &AddressPattern| pattern.matches(mailbox.local_part(), mailbox.domain());
        if allowed.iter().any(fits) {
            return Ok(());
        }
        Err(refusal::address_not_allowed(
            place,
            mailbox,
            &self.identity(),
            allowed,
        ))
    }

    fn allowed(&self) -> &[AddressPattern] {
        match self.who {
            Who::Sender(_) => self.sender().map_or(&[], |sender| &sender.from),
            Who::Anonymous => {
                let anonymous = self.snapshot.document.anonymous.as_ref();
                anonymous.map_or(&[], |anonymous| &anonymous.sender_domains)
            }
        }
    }

    fn sender(&self) -> Option<&Sender> {
        match self.who {
            Who::Sender(position) => self.snapshot.senders.senders.get(position),
            Who::Anonymous => None,
        }
    }
}

fn position(snapshot: &Snapshot, username: &str) -> Option<usize> {
    let (name, namespace) = username.rsplit_once('.')?;
    snapshot
        .senders
        .senders
        .iter()
        .position(|sender| sender.name == name && sender.namespace == namespace)
}

/// Whether a client that did not authenticate may send at all. Loopback is inside the networks only where the
/// document trusts it: behind a sidecar or a port forward everybody comes from there.
fn is_anonymous(snapshot: &Snapshot, listener: &Listener, address: IpAddr) -> bool {
    let address = address.to_canonical();
    listener.protocol == Protocol::Smtp
        && snapshot
            .document
            .anonymous
            .as_ref()
            .is_some_and(|anonymous| {
                if address.is_loopback() {
                    snapshot.document.loopback_is_trusted
                } else {
                    anonymous
                        .networks
                        .iter()
                        .any(|network| network.contains(address))
                }
            })
}

/// The addresses of a field that may stand there once. Two of them, or one that readers could take differently, are
/// never passed on.
fn single(
    header: &HeaderSection,
    content: &[u8],
    name: &str,
) -> Result<Option<Vec<Mailbox>>, Refusal> {
    let mut fields = header.named(content, name);
    let Some(field) = fields.next() else {
        return Ok(None);
    };
    if fields.next().is_some() {
        return Err(refusal::header_invalid(format!(
            "There must be one {name} field"
        )));
    }
    address_list::parse(field.body_in(content))
        .map(Some)
        .map_err(|error| refusal::header_invalid(describe(name, error)))
}

fn describe(name: &str, error: AddressListError) -> String {
    let text = error.to_string();
    let rest = text.strip_prefix("the field").unwrap_or(&text);
    format!("The {name} field{rest}")
}
