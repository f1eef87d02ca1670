//! Requests in the name of the operator's ServiceAccount, by impersonation: what its rights and the admission policy let
//! it do, whatever its process would ask for.

use http::Request;
use serde_json::{Value, json};

use super::{NAME, NAMESPACE};
use crate::{Cluster, wait};

/// How a denial by the admission policy names it.
pub const DENIAL: &str = "ValidatingAdmissionPolicy 'posthouse-secret-fence'";

/// A request below `/api/v1/namespaces`: the code (200 for any success), and what is said.
pub fn ask(
    cluster: &Cluster,
    method: &str,
    path: &str,
    content: &str,
    body: &Value,
) -> (u16, String) {
    let body = if body.is_null() {
        Vec::new()
    } else {
        body.to_string().into_bytes()
    };
    let request = Request::builder()
        .method(method)
        .uri(format!("/api/v1/namespaces/{path}"))
        .header(
            "Impersonate-User",
            format!("system:serviceaccount:{NAMESPACE}:{NAME}"),
        )
        .header("Impersonate-Group", "system:serviceaccounts")
        .header("Impersonate-Group", "system:authenticated")
        .header("Content-Type", content)
        .body(body)
        .unwrap();
    match cluster.run(cluster.client().request_text(request)) {
        Ok(text) => (200, text),
        Err(kube::Error::Api(status)) => (status.code, status.message),
        Err(error) => panic!("{method} {path}: {error}"),
    }
}

/// Waits until the policy denies what it must deny, or until it does so no more: the API server takes a moment to take
/// up a change of its own policies.
pub fn wait_for_fence(cluster: &Cluster, stands: bool) {
    let path = format!("{NAMESPACE}/secrets?dryRun=All");
    let proof = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {"generateName": "proof-"},
    });
    wait::until_true("the admission policy is taken up", || {
        let (_, said) = ask(cluster, "POST", &path, "application/json", &proof);
        said.contains(DENIAL) == stands
    });
}
