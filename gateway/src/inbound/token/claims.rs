//! What a believed token says: until when, for whom, and under which ServiceAccount of which pod.

use std::{fmt, time::Duration};

use posthouse_config::senders::SenderAccount;
use serde_json::{Map, Value};

use super::{LEEWAY, LONGEST, TokenError};
use crate::mail::Timestamp;

/// The claims that count.
pub(super) struct Claims<'a> {
    pub(super) account: Account,
    all: &'a Map<String, Value>,
    /// Seconds since 1970 (RFC 7519 §2: `NumericDate`).
    issued: u64,
    expires: u64,
    not_before: u64,
}

/// A ServiceAccount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::inbound) struct Account {
    pub(super) namespace: String,
    pub(super) name: String,
    uid: String,
}

impl Account {
    /// As a MailSender has it.
    pub(super) fn listed(&self) -> SenderAccount {
        SenderAccount {
            name: self.name.clone(),
            uid: self.uid.clone(),
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl<'a> Claims<'a> {
    /// # Errors
    /// What every token of a pod has is missing.
    pub(super) fn of(all: &'a Map<String, Value>) -> Result<Self, TokenError> {
        let date = |name: &str| all.get(name).and_then(date);
        let (issued, expires) = (date("iat"), date("exp"));
        let not_before = match all.get("nbf") {
            None => Some(0),
            Some(_) => date("nbf"),
        };
        Ok(Self {
            account: account(all)?,
            all,
            issued: issued.ok_or(TokenError::Malformed)?,
            expires: expires.ok_or(TokenError::Malformed)?,
            not_before: not_before.ok_or(TokenError::Malformed)?,
        })
    }

    /// For how long it is valid from now on.
    pub(super) fn valid_for(&self, audience: &str, now: Timestamp) -> Result<Duration, TokenError> {
        if !self.is_for(audience) {
            return Err(TokenError::Audience(audience.to_owned()));
        }
        let now = Duration::from_millis(now.as_millis());
        let end = Duration::from_secs(self.expires).saturating_add(LEEWAY);
        let Some(lasts) = end.checked_sub(now).filter(|lasts| !lasts.is_zero()) else {
            return Err(TokenError::Expired);
        };
        if Duration::from_secs(self.not_before) > now.saturating_add(LEEWAY) {
            return Err(TokenError::NotYet);
        }
        match self.expires.checked_sub(self.issued) {
            Some(seconds) if Duration::from_secs(seconds) <= LONGEST => Ok(lasts),
            _ => Err(TokenError::TooLong),
        }
    }

    /// RFC 7519 §4.1.3: one audience or a list of them.
    fn is_for(&self, audience: &str) -> bool {
        match self.all.get("aud") {
            Some(Value::String(only)) => only == audience,
            Some(Value::Array(all)) => all.iter().any(|one| one == audience),
            _ => false,
        }
    }
}

/// RFC 7519 §2: a number, perhaps with a fraction.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "within the bounds that were asked for before"
)]
fn date(value: &Value) -> Option<u64> {
    /// Seconds until the year 10,000, far below what a fraction holds exactly.
    const MAXIMUM: u64 = 253_402_300_800;
    let whole = value.as_u64().or_else(|| {
        let seconds = value.as_f64()?;
        (0.0..1e12).contains(&seconds).then_some(seconds as u64)
    });
    whole.filter(|&seconds| seconds <= MAXIMUM)
}

/// The private claim of Kubernetes, in which a token bound to a pod names it
/// (`k8s.io/kubernetes/pkg/serviceaccount/claims.go`).
fn account(claims: &Map<String, Value>) -> Result<Account, TokenError> {
    let claim = claims.get("kubernetes.io").ok_or(TokenError::NoPod)?;
    let word = |object: &str, member: &str| {
        let word = claim.get(object)?.get(member)?.as_str()?;
        (!word.is_empty()).then(|| word.to_owned())
    };
    if word("pod", "name").is_none() || word("pod", "uid").is_none() {
        return Err(TokenError::NoPod);
    }
    let namespace = claim.get("namespace").and_then(Value::as_str);
    let account = Account {
        namespace: namespace.ok_or(TokenError::NoPod)?.to_owned(),
        name: word("serviceaccount", "name").ok_or(TokenError::NoPod)?,
        uid: word("serviceaccount", "uid").ok_or(TokenError::NoPod)?,
    };
    // What else it says about whose it is must say the same.
    let subject = format!(
        "system:serviceaccount:{}:{}",
        account.namespace, account.name
    );
    match claims.get("sub").and_then(Value::as_str) {
        Some(same) if same == subject => Ok(account),
        _ => Err(TokenError::Malformed),
    }
}
