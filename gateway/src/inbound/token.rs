//! Tokens of ServiceAccounts: whose they are, and whether they are any good, by the issuers' public keys alone.
//!
//! Pure: the documents, the token and the time are arguments, and nobody is asked. A token is believed if a key of one of
//! the document's issuers signed it, it is meant for this relay, it is valid now and for a day at most, and a pod runs
//! under it (RFC 7519; Kubernetes' `kubernetes.io` claim). Its ServiceAccount must then be the one that a MailSender
//! names, by uid: a namesake that somebody made later is somebody else.

mod claims;
mod json;
mod jws;
mod unknown;

use std::{sync::Arc, time::Duration};

use posthouse_config::{
    Snapshot,
    document::{Issuer, Tokens},
    senders::{Sender, SenderAccount},
};

use crate::mail::Timestamp;

pub(super) use unknown::UnknownKeys;

use claims::{Account, Claims};
use jws::{Jws, KeyFault};

/// Clocks of machines differ by less (RFC 7519 §4.1.4: "usually no more than a few minutes").
const LEEWAY: Duration = Duration::from_mins(1);

/// A token that is lost is lost for a day at most.
const LONGEST: Duration = Duration::from_hours(24);

/// What a token proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Accepted {
    /// The user name of the MailSender.
    pub(super) username: Arc<str>,
    /// What was shown.
    pub(super) proof: TokenProof,
    /// For how long a login with it would go on being accepted.
    pub(super) lasts: Duration,
}

/// By what a token was accepted. It holds as long as all of that does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TokenProof {
    sender_uid: Box<str>,
    account: SenderAccount,
    issuer: Box<str>,
    audience: Box<str>,
}

impl TokenProof {
    /// Whether the token would still be accepted for a sender, were it not for time.
    pub(super) fn holds(&self, snapshot: &Snapshot, sender: &Sender) -> bool {
        *sender.uid == *self.sender_uid
            && sender.service_accounts.contains(&self.account)
            && snapshot.document.tokens.as_ref().is_some_and(|tokens| {
                *tokens.audience == *self.audience && issuers(tokens, &self.issuer).next().is_some()
            })
    }
}

/// Why a token is not accepted. What is not yet proved is told to the log alone; the rest also to the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TokenError {
    #[error("tokens are not accepted here")]
    NotOffered,
    #[error("it is no signed JSON web token")]
    Malformed,
    #[error("its algorithm is not supported, or not that of its key")]
    Algorithm,
    #[error("its issuer is not believed")]
    Issuer,
    #[error("no known key of its issuer has the id {0:?}")]
    UnknownKey(String),
    #[error("its signature is wrong")]
    Signature,
    #[error("it is not for the audience {0}")]
    Audience(String),
    #[error("it has expired")]
    Expired,
    #[error("it is not valid yet")]
    NotYet,
    #[error("it is valid for longer than 24 hours")]
    TooLong,
    #[error("it is not bound to a pod")]
    NoPod,
    #[error("ServiceAccount {0} is in no MailSender of its namespace")]
    NotListed(Account),
    #[error("ServiceAccount {0} is another one than the one of that name in the MailSender")]
    Namesake(Account),
    #[error("ServiceAccount {0} is not in the MailSender of this user name")]
    OtherSender(Account),
    #[error("ServiceAccount {0} is in several MailSenders: give a user name, <name>.<namespace>")]
    Several(Account),
}

/// Whether a password is meant as a token: three parts of Base64 with dots between (RFC 7515 §7.1), which no derived
/// password has.
pub(super) fn is_token(password: &[u8]) -> bool {
    let is_part = |part: &[u8]| {
        let is_base64 = |octet: &u8| octet.is_ascii_alphanumeric() || b"-_".contains(octet);
        !part.is_empty() && part.iter().all(is_base64)
    };
    let parts = password.split(|&octet| octet == b'.');
    parts.clone().count() == 3 && parts.clone().all(is_part)
}

/// Judges a token, shown with or without a user name.
pub(super) fn judge(
    snapshot: &Snapshot,
    username: Option<&str>,
    token: &[u8],
    now: Timestamp,
) -> Result<Accepted, TokenError> {
    let tokens = snapshot.document.tokens.as_ref();
    let tokens = tokens.ok_or(TokenError::NotOffered)?;
    let token = Jws::parse(token).ok_or(TokenError::Malformed)?;
    let issuer = verify(tokens, &token)?;
    let claims = Claims::of(&token.claims)?;
    let lasts = claims.valid_for(&tokens.audience, now)?;
    let sender = sender(snapshot, username, &claims.account)?;
    Ok(Accepted {
        username: sender.username().into(),
        proof: TokenProof {
            sender_uid: sender.uid.as_str().into(),
            account: claims.account.listed(),
            issuer: issuer.into(),
            audience: tokens.audience.as_str().into(),
        },
        lasts,
    })
}

fn issuers<'a>(tokens: &'a Tokens, name: &'a str) -> impl Iterator<Item = &'a Issuer> {
    tokens
        .issuers
        .iter()
        .filter(move |issuer| issuer.issuer == name)
}

/// Believes what a token says once a key of the issuer it names has signed it; gives back the issuer.
fn verify<'a>(tokens: &Tokens, token: &'a Jws<'_>) -> Result<&'a str, TokenError> {
    let issuer = token.claims.get("iss").and_then(|issuer| issuer.as_str());
    let issuer = issuer.ok_or(TokenError::Malformed)?;
    if issuers(tokens, issuer).next().is_none() {
        return Err(TokenError::Issuer);
    }
    let keys = issuers(tokens, issuer).flat_map(|issuer| &issuer.keys);
    let mut error = TokenError::UnknownKey(token.key_id.clone());
    // RFC 7517 §4.5: two keys of different kinds may have one id.
    for key in keys.filter(|key| key.get("kid").and_then(|id| id.as_str()) == Some(&token.key_id)) {
        match token.verify(key) {
            Ok(()) => return Ok(issuer),
            // As if it were not there (RFC 7517 §5).
            Err(KeyFault::NotUnderstood) => {}
            Err(KeyFault::OtherAlgorithm) => {
                if error != TokenError::Signature {
                    error = TokenError::Algorithm;
                }
            }
            Err(KeyFault::Signature) => error = TokenError::Signature,
        }
    }
    Err(error)
}

/// The MailSender that a ServiceAccount may use: the one of the user name, else the only one it is in.
fn sender<'a>(
    snapshot: &'a Snapshot,
    username: Option<&str>,
    account: &Account,
) -> Result<&'a Sender, TokenError> {
    let mentions = |sender: &&Sender| {
        sender.namespace == account.namespace
            && sender
                .service_accounts
                .iter()
                .any(|listed| listed.name == account.name)
    };
    let is_listed = |sender: &Sender| sender.service_accounts.contains(&account.listed());
    if let Some(username) = username {
        let named = snapshot.senders.by_username(username).filter(mentions);
        let named = named.ok_or_else(|| TokenError::OtherSender(account.clone()))?;
        return if is_listed(named) {
            Ok(named)
        } else {
            Err(TokenError::Namesake(account.clone()))
        };
    }
    let mut named = snapshot.senders.senders.iter().filter(mentions).peekable();
    if named.peek().is_none() {
        return Err(TokenError::NotListed(account.clone()));
    }
    let mut listed = named.filter(|sender| is_listed(sender));
    let only = listed.next();
    let only = only.ok_or_else(|| TokenError::Namesake(account.clone()))?;
    match listed.next() {
        None => Ok(only),
        Some(_) => Err(TokenError::Several(account.clone())),
    }
}

#[cfg(test)]
pub(super) mod tests;
