//! A MailSender on its way to a row in the senders file and a binding.
//!
//! In reading order: [`mod@validate`] looks at the object alone · [`mod@admit`] at what its relay grants · [`admission`] at all
//! senders of a relay · [`rotation`] which passwords are accepted · [`ledger`] since when, and by which gateway ·
//! [`binding`] what the Secret is to hold · [`build`] what the gateway and the application get · [`status`] what people
//! are told. All are pure; [`mod@reconcile`] joins them for one sender, for which [`mod@look`] gathers what is needed. On the
//! [`board`] stands what relays say.

pub mod admission;
pub mod admit;
pub mod binding;
pub mod board;
pub mod build;
pub mod ledger;
pub mod look;
pub mod reconcile;
pub mod rotation;
pub mod status;
pub mod validate;

pub use admission::{AcceptedSender, Admissions, Answer, SenderVerdict, admissions};
pub use admit::{Admitted, Refusal, admit};
pub use validate::{ValidSender, validate};
