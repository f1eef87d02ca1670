//! The control plane: turns MailRelay and MailSender objects into gateways.
//!
//! In reading order:
//! - the command line: [`command`], [`run`], [`render`] and [`local`], [`check`], [`crds`]; [`input`] the objects given
//! - the controller: [`controller`] one leads ([`lease`]) and looks at what changed ([`watch`], [`stores`], [`context`])
//! - from an object to its children: [`mail_relay`], [`mail_sender`]; [`grant`] who may send, [`address`] patterns
//! - what a definition says: [`schema`], [`unsupported`] what is not built
//! - writing: [`call`] one call, [`apply`] children, [`secret`] and [`fence`] Secrets, [`condition`] and [`events`]
//! - what is ours: [`names`], [`labels`], [`installation`] keys, [`certificate`] our own authority, [`token_keys`]
//! - what is seen: [`gateways`] asks them, [`metrics`], [`recorder`]
//! - what it was told: [`settings`], [`capabilities`]; [`quantity`] of storage
//! - what people are told: [`problem`], [`report`]
//!
//! `mail_relay` and `mail_sender` have pure `validate`, `plan`, `build` and `status`: no client, no clock, no files.

pub mod address;
pub mod apply;
pub mod call;
pub mod capabilities;
#[cfg(test)]
mod cases;
pub mod certificate;
pub mod check;
pub mod command;
pub mod condition;
pub mod context;
pub mod controller;
pub mod crds;
pub mod events;
pub mod fence;
pub mod gateways;
pub mod grant;
pub mod input;
pub mod installation;
pub mod labels;
pub mod lease;
pub mod local;
pub mod mail_relay;
pub mod mail_sender;
pub mod metrics;
pub mod names;
pub mod problem;
pub mod quantity;
pub mod recorder;
pub mod render;
pub mod report;
pub mod run;
pub mod schema;
pub mod secret;
pub mod settings;
pub mod stores;
#[cfg(test)]
mod testing;
pub mod token_keys;
pub mod unsupported;
pub mod watch;
