//! How a session with an upstream is opened: our name, TLS, and the credential, if its files are there.

use posthouse_config::{
    Document, Snapshot,
    document::{Auth, SmtpTransport, UpstreamTlsMode},
};
use posthouse_smtp::client::{Credentials, Plan, Security};

use super::opening::OpenError;

/// The plan for an upstream of the snapshot's document.
///
/// # Errors
/// A file of its credential is absent.
pub(crate) fn plan(smtp: &SmtpTransport, snapshot: &Snapshot) -> Result<Plan, OpenError> {
    let document = &snapshot.document;
    let credentials = match &smtp.auth {
        None => None,
        Some(Auth::Password { username, password }) => Some(Credentials {
            username: read(username, snapshot)?,
            password: read(password, snapshot)?,
        }),
    };
    Ok(Plan {
        hostname: document.hostname.clone(),
        security: security(smtp, document),
        credentials,
    })
}

/// Credentials go in clear only where the document trusts loopback, and only there.
fn security(smtp: &SmtpTransport, document: &Document) -> Security {
    match smtp.tls.mode {
        UpstreamTlsMode::None if document.loopback_is_trusted && smtp.is_loopback() => {
            Security::ClearToLoopback
        }
        UpstreamTlsMode::None => Security::Clear,
        UpstreamTlsMode::StartTls => Security::StartTls,
        UpstreamTlsMode::Implicit => Security::Implicit,
    }
}

fn read(path: &str, snapshot: &Snapshot) -> Result<String, OpenError> {
    snapshot
        .text(path)
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
        .ok_or_else(|| OpenError::CredentialMissing(path.to_owned()))
}
