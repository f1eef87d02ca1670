//! A MailSender on its way to a row in the senders file and a binding.
//!
//! `validate` looks at the object alone, `admit` at what its relay grants, `admission` at all senders of a relay, and
//! `build` makes what the gateway and the application get. All are pure.

pub mod admission;
pub mod admit;
pub mod build;
pub mod rotation;
pub mod validate;

pub use admission::{AcceptedSender, Admissions, SenderVerdict, admissions};
pub use admit::{Admitted, Refusal, admit};
pub use validate::{ValidSender, validate};
