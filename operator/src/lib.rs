//! The control plane: turns MailRelay and MailSender objects into gateways.
//!
//! In reading order: [`command`] the command line · [`crds`] prints the definitions · [`input`] the objects given ·
//! [`check`] finds everything wrong with them · [`schema`] what a definition says · [`unsupported`] what is not built ·
//! [`mail_relay`], [`mail_sender`] from an object to its children · [`grant`] who may send · [`address`] patterns ·
//! [`certificate`] our own authority · [`names`], [`labels`] of children · [`settings`] what it was told · [`render`] and [`local`] a gateway without a cluster ·
//! [`call`], [`apply`], [`capabilities`], [`token_keys`] how the API server is asked · [`fence`], [`installation`] what Secrets
//! need · [`gateways`] how gateways are asked · [`problem`], [`report`] what people are told.
//!
//! `mail_relay` and `mail_sender` have pure `validate` and `build` modules: no client, no clock, no files.

pub mod address;
pub mod apply;
pub mod call;
pub mod capabilities;
#[cfg(test)]
mod cases;
pub mod certificate;
pub mod check;
pub mod command;
pub mod crds;
pub mod fence;
pub mod gateways;
pub mod grant;
pub mod input;
pub mod installation;
pub mod labels;
pub mod local;
pub mod mail_relay;
pub mod mail_sender;
pub mod names;
pub mod problem;
pub mod render;
pub mod report;
pub mod schema;
pub mod secret;
pub mod settings;
#[cfg(test)]
mod testing;
pub mod token_keys;
pub mod unsupported;
