//! One call of the API server: it ends in time, and what went wrong is told by cause.
//!
//! kube's client waits for an answer for ever unless told otherwise, so every call that is not a watch goes through
//! [`bounded`]. Causes follow the codes and reasons of the Kubernetes API conventions ("Response Status Kind"); no text
//! is searched. Each cause knows when another try makes sense.

use std::{future::Future, time::Duration};

use kube::{Error, core::Status};

/// How long a call may take. The API server itself gives up after a minute; nobody here has anything better to do with a
/// slow answer than to ask again.
pub const LIMIT: Duration = Duration::from_secs(10);

/// The wait after a cause that only a change of some object ends: not every object that could change is watched.
const LOOK_AGAIN: Duration = Duration::from_mins(5);

/// `Accept` for answers that hold an object's metadata and nothing else.
pub(crate) const METADATA_ONLY: &str =
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// The first wait of a back-off; each further one is twice as long.
const FIRST: Duration = Duration::from_secs(1);

/// No wait is longer than this.
const LONGEST: Duration = Duration::from_mins(5);

/// Why a call did not do what it was for.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// There is no such object, or no such kind.
    #[error("it does not exist")]
    NotFound(#[source] Box<Status>),
    /// There is such an object already.
    #[error("it exists already")]
    Exists(#[source] Box<Status>),
    /// Somebody else changed or replaced it, or owns a field of it.
    #[error("it was changed by somebody else")]
    Conflict(#[source] Box<Status>),
    /// What we asked for cannot be: mostly what a user wrote.
    #[error("the API server refuses it as invalid")]
    Invalid(#[source] Box<Status>),
    /// We may not: rights, admission or quota.
    #[error("the API server forbids it")]
    Forbidden(#[source] Box<Status>),
    /// The namespace is not there or is being deleted: nothing can be created in it.
    #[error("its namespace is gone or going")]
    NamespaceGone(#[source] Box<Status>),
    /// The API server cannot now: 429 or 5xx.
    #[error("the API server is busy")]
    Busy {
        /// When it asks to be asked again.
        after: Option<Duration>,
        /// What it said.
        source: Box<Status>,
    },
    /// No answer in time. Whether it was done is not known.
    #[error("no answer of the API server in {} s", LIMIT.as_secs())]
    TimedOut,
    /// The API server cannot be reached.
    #[error("the API server cannot be reached")]
    Unreachable(#[source] Error),
    /// The answer is not what it should be.
    #[error("the answer cannot be understood")]
    Malformed(#[source] Error),
}

/// When another try makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Soon, then ever later.
    BackOff,
    /// When the API server says.
    After(Duration),
    /// When some object changes; until then seldom.
    OnChange,
}

impl Retry {
    /// How long to wait after that many failures in a row, the last one counted. At most five minutes.
    pub fn delay(self, failures: u32) -> Duration {
        match self {
            Self::BackOff => {
                let factor = 2u32.saturating_pow(failures.saturating_sub(1));
                FIRST.saturating_mul(factor).min(LONGEST)
            }
            Self::After(delay) => delay.clamp(FIRST, LONGEST),
            Self::OnChange => LOOK_AGAIN,
        }
    }
}

impl CallError {
    /// When another try makes sense.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Busy { after, .. } => after.map_or(Retry::BackOff, Retry::After),
            Self::Invalid(_) | Self::NamespaceGone(_) => Retry::OnChange,
            // Rights and quota come back without any object of ours changing: look again ever later.
            Self::Forbidden(_)
            | Self::NotFound(_)
            | Self::Exists(_)
            | Self::Conflict(_)
            | Self::TimedOut
            | Self::Unreachable(_)
            | Self::Malformed(_) => Retry::BackOff,
        }
    }

    /// A word for metrics and logs.
    pub fn category(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "not_found",
            Self::Exists(_) => "exists",
            Self::Conflict(_) => "conflict",
            Self::Invalid(_) => "invalid",
            Self::Forbidden(_) => "forbidden",
            Self::NamespaceGone(_) => "namespace_gone",
            Self::Busy { .. } => "busy",
            Self::TimedOut => "timed_out",
            Self::Unreachable(_) => "unreachable",
            Self::Malformed(_) => "malformed",
        }
    }
}

impl From<Error> for CallError {
    fn from(error: Error) -> Self {
        match error {
            Error::Api(status) => Self::from(status),
            Error::SerdeError(_) | Error::FromUtf8(_) | Error::BuildRequest(_) => {
                Self::Malformed(error)
            }
            error => Self::Unreachable(error),
        }
    }
}

impl From<Box<Status>> for CallError {
    fn from(status: Box<Status>) -> Self {
        match status.code {
            // A missing namespace is named as the thing that is missing.
            404 if kind(&status) == "namespaces" => Self::NamespaceGone(status),
            404 => Self::NotFound(status),
            409 if status.is_already_exists() => Self::Exists(status),
            409 => Self::Conflict(status),
            403 if has_cause(&status, |cause| cause.reason == "NamespaceTerminating") => {
                Self::NamespaceGone(status)
            }
            401 | 403 => Self::Forbidden(status),
            // A patch that names another uid than the object's is refused as a change of an immutable field.
            422 if has_cause(&status, |cause| cause.field == "metadata.uid") => {
                Self::Conflict(status)
            }
            408 | 429 | 500..=599 => Self::Busy {
                after: retry_after(&status),
                source: status,
            },
            _ => Self::Invalid(status),
        }
    }
}

/// Waits for a call, at most [`LIMIT`].
///
/// # Errors
/// By cause. After [`CallError::TimedOut`] the call may have been done all the same.
pub async fn bounded<T>(
    call: impl Future<Output = Result<T, impl Into<CallError>>>,
) -> Result<T, CallError> {
    tokio::time::timeout(LIMIT, call)
        .await
        .map_err(|_| CallError::TimedOut)?
        .map_err(Into::into)
}

/// The resource that an answer is about, in plural.
fn kind(status: &Status) -> &str {
    status.details.as_ref().map_or("", |details| &details.kind)
}

/// Whether an answer gives such a cause.
pub(crate) fn has_cause(
    status: &Status,
    is: impl Fn(&kube::core::response::StatusCause) -> bool,
) -> bool {
    let details = status.details.as_ref();
    details.is_some_and(|details| details.causes.iter().any(is))
}

fn retry_after(status: &Status) -> Option<Duration> {
    let seconds = status.details.as_ref()?.retry_after_seconds;
    (seconds > 0).then(|| Duration::from_secs(seconds.into()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(status: serde_json::Value) -> CallError {
        let status: Status = serde_json::from_value(status).unwrap();
        CallError::from(Error::Api(Box::new(status)))
    }

    /// As kube-apiserver 1.34 says it.
    #[test]
    fn each_answer_has_its_cause() {
        for (answer, category, retry) in [
            (
                json!({"code": 404, "reason": "NotFound", "details": {"kind": "configmaps", "name": "a"}}),
                "not_found",
                Retry::BackOff,
            ),
            (
                json!({"code": 404, "reason": "NotFound", "details": {"kind": "namespaces", "name": "a"}}),
                "namespace_gone",
                Retry::OnChange,
            ),
            (
                json!({"code": 409, "reason": "AlreadyExists"}),
                "exists",
                Retry::BackOff,
            ),
            (
                json!({"code": 409, "reason": "Conflict"}),
                "conflict",
                Retry::BackOff,
            ),
            (
                json!({"code": 422, "reason": "Invalid", "details": {"causes": [
                    {"reason": "FieldValueInvalid", "field": "metadata.uid", "message": "field is immutable"}]}}),
                "conflict",
                Retry::BackOff,
            ),
            (
                json!({"code": 422, "reason": "Invalid", "details": {"causes": [{"field": "spec.type"}]}}),
                "invalid",
                Retry::OnChange,
            ),
            (
                json!({"code": 403, "reason": "Forbidden"}),
                "forbidden",
                Retry::BackOff,
            ),
            (
                json!({"code": 403, "reason": "Forbidden", "details": {"causes": [{"reason": "NamespaceTerminating"}]}}),
                "namespace_gone",
                Retry::OnChange,
            ),
            (
                json!({"code": 429, "reason": "TooManyRequests", "details": {"retryAfterSeconds": 7}}),
                "busy",
                Retry::After(Duration::from_secs(7)),
            ),
            (
                json!({"code": 503, "reason": "ServiceUnavailable"}),
                "busy",
                Retry::BackOff,
            ),
            (
                json!({"code": 504, "reason": "Timeout"}),
                "busy",
                Retry::BackOff,
            ),
            (
                json!({"code": 400, "reason": "BadRequest"}),
                "invalid",
                Retry::OnChange,
            ),
        ] {
            let error = of(answer.clone());
            assert_eq!(error.category(), category, "{answer}");
            assert_eq!(error.retry(), retry, "{answer}");
        }
    }

    #[test]
    fn waits_grow_and_have_an_end() {
        let seconds = |retry: Retry, failures| retry.delay(failures).as_secs();
        assert_eq!(seconds(Retry::BackOff, 0), 1);
        assert_eq!(seconds(Retry::BackOff, 1), 1);
        assert_eq!(seconds(Retry::BackOff, 4), 8);
        assert_eq!(seconds(Retry::BackOff, u32::MAX), 300);
        assert_eq!(seconds(Retry::After(Duration::ZERO), 1), 1);
        assert_eq!(seconds(Retry::After(Duration::from_hours(24)), 1), 300);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_without_an_answer_ends() {
        let before = tokio::time::Instant::now();
        let never = std::future::pending::<Result<(), Error>>();
        assert!(matches!(bounded(never).await, Err(CallError::TimedOut)));
        assert_eq!(before.elapsed(), LIMIT);
    }
}
