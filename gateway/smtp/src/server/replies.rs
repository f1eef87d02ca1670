//! Everything the server says by itself, each with its enhanced status (RFC 2034, RFC 3463, RFC 5248).
//!
//! One bland sentence each: what happened inside is for the log.

use super::Rejection;
use crate::{
    EnhancedStatus, Reply, command::CommandError, line::LineFault, parameter::ParameterError,
    sasl::SaslError,
};

fn reply(code: u16, (class, subject, detail): (u8, u16, u16), text: &str) -> Reply {
    Reply::new(
        code,
        Some(EnhancedStatus::new(class, subject, detail)),
        text,
    )
}

/// The greeting has no enhanced status (RFC 2034 §4).
pub(super) fn greeting(hostname: &str) -> Reply {
    Reply::new(220, None, format!("{hostname} ESMTP Posthouse"))
}

/// Nor has the answer to EHLO.
pub(super) const fn hello(lines: Vec<String>) -> Reply {
    Reply {
        code: 250,
        enhanced: None,
        lines,
    }
}

pub(super) fn done() -> Reply {
    reply(250, (2, 0, 0), "Ok")
}

pub(super) fn bye() -> Reply {
    reply(221, (2, 0, 0), "Bye")
}

pub(super) fn help() -> Reply {
    reply(214, (2, 0, 0), "See RFC 5321")
}

/// RFC 5321 §3.5.3: a server may decline to tell who exists.
pub(super) fn cannot_verify() -> Reply {
    reply(252, (2, 1, 5), "Send some mail and see")
}

pub(super) fn start_tls() -> Reply {
    reply(220, (2, 0, 0), "Go ahead")
}

pub(super) fn sender_ok() -> Reply {
    reply(250, (2, 1, 0), "Sender ok")
}

pub(super) fn recipient_ok() -> Reply {
    reply(250, (2, 1, 5), "Recipient ok")
}

/// 354 has no enhanced status: RFC 3463 has no class for it.
pub(super) fn send_content() -> Reply {
    Reply::new(354, None, "End with CRLF . CRLF")
}

pub(super) fn authenticated() -> Reply {
    reply(235, (2, 7, 0), "Authenticated")
}

/// A prompt in Base64 (RFC 4954 §4).
pub(super) fn prompt(base64: &str) -> Reply {
    Reply::new(334, None, base64)
}

pub(super) fn too_many_errors() -> Reply {
    reply(421, (4, 7, 0), "Too many errors")
}

pub(super) fn too_many_logins() -> Reply {
    reply(421, (4, 7, 0), "Too many wrong passwords")
}

pub(super) fn not_http() -> Reply {
    reply(421, (4, 7, 0), "This is SMTP, not HTTP")
}

pub(super) fn say_hello_first() -> Reply {
    reply(503, (5, 5, 1), "Say EHLO first")
}

pub(super) fn out_of_order() -> Reply {
    reply(503, (5, 5, 1), "Command out of order")
}

pub(super) fn no_recipients() -> Reply {
    reply(554, (5, 5, 1), "No valid recipients")
}

/// RFC 3207 §4.
pub(super) fn tls_first() -> Reply {
    reply(530, (5, 7, 0), "Must issue a STARTTLS command first")
}

/// RFC 4954 §6.
pub(super) fn encryption_first() -> Reply {
    reply(538, (5, 7, 11), "Encryption required for authentication")
}

/// RFC 4954 §6. Also said to a client that is not let in without a login.
pub fn login_first() -> Reply {
    reply(530, (5, 7, 0), "Authentication required")
}

pub(super) fn not_offered() -> Reply {
    reply(502, (5, 5, 1), "Not offered here")
}

pub(super) fn already_done() -> Reply {
    reply(503, (5, 5, 1), "Already done")
}

pub(super) fn unknown_mechanism() -> Reply {
    reply(504, (5, 5, 4), "Unknown authentication mechanism")
}

pub(super) fn too_large() -> Reply {
    reply(552, (5, 3, 4), "Message too large")
}

/// RFC 6531 §3.5.
pub(super) fn needs_utf8() -> Reply {
    reply(553, (5, 6, 7), "The address needs SMTPUTF8")
}

/// RFC 5321 §4.5.3.1.10.
pub(super) fn too_many_recipients() -> Reply {
    reply(452, (4, 5, 3), "Too many recipients")
}

pub(super) fn line_fault(fault: LineFault) -> Reply {
    match fault {
        LineFault::BareLf => reply(500, (5, 5, 2), "Lines must end with CRLF"),
        LineFault::TooLong => reply(500, (5, 5, 2), "Line too long"),
    }
}

/// RFC 4954 §4, §6.
pub(super) fn sasl_fault(fault: LineFault) -> Reply {
    match fault {
        LineFault::BareLf => reply(501, (5, 5, 2), "Lines must end with CRLF"),
        LineFault::TooLong => reply(500, (5, 5, 6), "Authentication exchange line is too long"),
    }
}

pub(super) fn sasl_error(error: SaslError) -> Reply {
    match error {
        SaslError::Cancelled => reply(501, (5, 0, 0), "Authentication cancelled"),
        SaslError::NotBase64 => reply(501, (5, 5, 2), "Cannot decode the response"),
        SaslError::Syntax => reply(501, (5, 5, 4), "The response is not valid"),
        SaslError::Identity => reply(535, (5, 7, 8), "Authentication credentials invalid"),
    }
}

/// What is said to a line that is no command, and whether mail was refused with it.
pub(super) fn command_error(error: CommandError) -> (Reply, Option<Rejection>) {
    match error {
        CommandError::NotText => (reply(500, (5, 5, 2), "Line is not text"), None),
        CommandError::Http => (not_http(), None),
        CommandError::Unrecognized => (reply(500, (5, 5, 1), "Command not recognized"), None),
        CommandError::NotImplemented => (reply(502, (5, 5, 1), "Command not implemented"), None),
        CommandError::Arguments => (reply(501, (5, 5, 4), "Syntax error in arguments"), None),
        CommandError::ReversePath => (
            reply(501, (5, 1, 7), "Sender address is not valid"),
            Some(Rejection::AddressInvalid),
        ),
        CommandError::ForwardPath => (
            reply(501, (5, 1, 3), "Recipient address is not valid"),
            Some(Rejection::AddressInvalid),
        ),
        CommandError::Parameters(ParameterError::Unknown) => {
            (reply(555, (5, 5, 4), "Unknown parameter"), None)
        }
        CommandError::Parameters(
            ParameterError::Syntax | ParameterError::Value | ParameterError::Twice,
        ) => (reply(501, (5, 5, 4), "Syntax error in parameters"), None),
    }
}
