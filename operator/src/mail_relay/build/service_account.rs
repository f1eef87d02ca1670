//! The gateways' ServiceAccount: a name for image pull secrets and workload identities, with no rights and no token.

use k8s_openapi::api::core::v1::ServiceAccount;

use super::{Request, owner::metadata};
use crate::names;

/// The ServiceAccount. Its pods get no token; what the user's annotations ask for is between them and their cloud.
pub fn build(request: &Request<'_>) -> ServiceAccount {
    let mut metadata = metadata(request, names::service_account(&request.valid.name));
    let given = request.relay.spec.service_account.as_ref();
    metadata.annotations = given
        .map(|account| account.annotations.clone())
        .filter(|annotations| !annotations.is_empty());
    ServiceAccount {
        metadata,
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
