//! An API server for tests of wire forms: it records what it is asked and answers by a function.
//!
//! What a real one does with the same requests is tested elsewhere.

use std::{
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
};

use http::{Request, Response};
use http_body_util::BodyExt;
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tower_test::mock;

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Method, path and query, as in `GET /api/v1/namespaces/a/secrets/b`.
    pub(crate) line: String,
    /// What the answer is to be like.
    pub(crate) accept: String,
    /// What the body is.
    pub(crate) content_type: String,
    /// The body; null without one.
    pub(crate) body: Value,
}

/// Everything that was asked, in order.
#[derive(Clone, Default)]
pub(crate) struct Record(Arc<Mutex<Vec<Asked>>>);

impl Record {
    pub(crate) fn all(&self) -> Vec<Asked> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The request lines alone.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.all().into_iter().map(|asked| asked.line).collect()
    }

    fn push(&self, asked: Asked) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(asked);
    }
}

/// A client of an API server that answers with a code and a body; `None` is no answer at all.
pub(crate) fn api_server(
    mut answer: impl FnMut(&Asked) -> Option<(u16, Value)> + Send + 'static,
) -> (Client, Record) {
    let (service, handle) = mock::pair::<Request<Body>, Response<Body>>();
    let record = Record::default();
    let recorded = record.clone();
    tokio::spawn(async move {
        let mut handle = pin!(handle);
        let mut unanswered = Vec::new();
        while let Some((request, send)) = handle.next_request().await {
            let asked = read(request).await;
            recorded.push(asked.clone());
            match answer(&asked) {
                Some((code, body)) => {
                    let body = Body::from(body.to_string().into_bytes());
                    let mut response = Response::new(body);
                    *response.status_mut() = code.try_into().unwrap();
                    send.send_response(response);
                }
                None => unanswered.push(send),
            }
        }
    });
    (Client::new(service, "default"), record)
}

async fn read(request: Request<Body>) -> Asked {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let header = |name| {
        let value: Option<&http::HeaderValue> = parts.headers.get(name);
        value.map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
    };
    Asked {
        line: format!("{} {}", parts.method, parts.uri),
        accept: header(http::header::ACCEPT),
        content_type: header(http::header::CONTENT_TYPE),
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    }
}

/// A failure as the API server says it.
#[expect(
    clippy::needless_pass_by_value,
    clippy::unnecessary_wraps,
    reason = "details are literals, and an answer is one that there may not be"
)]
pub(crate) fn failure(code: u16, reason: &str, details: Value) -> Option<(u16, Value)> {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "said by the test", "reason": reason, "details": details, "code": code,
    });
    Some((code, status))
}
