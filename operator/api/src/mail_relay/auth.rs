//! How we authenticate to an upstream: exactly one of a password, OAuth 2.0 and an AWS access key.
//!
//! Credentials are always in Secrets of the MailRelay's namespace; the operator mounts them and never reads them.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::{
    bounds,
    reference::{SecretKeyRef, SecretRef},
};

/// How we authenticate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.password), has(self.oauth2), has(self.awsAccessKey)].filter(x, x).size() == 1")
        .message("must have exactly one of password, oauth2 and awsAccessKey")
)]
pub struct Auth {
    /// A user name and a password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Password>,
    /// OAuth 2.0 access tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oauth2: Option<OAuth2>,
    /// An AWS access key, from which the SMTP password is derived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aws_access_key: Option<AwsAccessKey>,
}

/// A user name and a password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Password {
    /// A Secret with the keys username and password.
    pub secret_ref: SecretRef,
}

/// An AWS access key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AwsAccessKey {
    /// A Secret with the keys accessKeyId and secretAccessKey.
    pub secret_ref: SecretRef,
}

/// OAuth 2.0 access tokens, by exactly one grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.clientCredentials), has(self.refreshToken), has(self.serviceAccountKey)].filter(x, x).size() == 1")
        .message("must have exactly one of clientCredentials, refreshToken and serviceAccountKey")
)]
pub struct OAuth2 {
    /// The mailbox to authenticate as.
    #[schemars(schema_with = "bounds::address")]
    pub username: String,
    /// An application of its own right (RFC 6749 §4.4).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_credentials: Option<ClientCredentials>,
    /// A person's consent (RFC 6749 §6).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<RefreshToken>,
    /// A Google service account with domain-wide delegation (RFC 7523).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account_key: Option<ServiceAccountKey>,
}

/// An application of its own right, by exactly one proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.clientSecretRef), has(self.certificateRef), has(self.federatedToken)].filter(x, x).size() == 1")
        .message("must have exactly one of clientSecretRef, certificateRef and federatedToken")
)]
pub struct ClientCredentials {
    /// The directory.
    #[schemars(schema_with = "bounds::host")]
    pub tenant_id: String,
    /// The application.
    #[schemars(schema_with = "bounds::host")]
    pub client_id: String,
    /// A secret of the application.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_secret_ref: Option<SecretKeyRef>,
    /// A Secret of type kubernetes.io/tls with a certificate of the application.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_ref: Option<SecretRef>,
    /// A token of the gateways' ServiceAccount, which the directory trusts: no secret at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub federated_token: Option<FederatedToken>,
}

/// A token of the gateways' ServiceAccount.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct FederatedToken {
    /// The audience; absent is the one the provider asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::host")]
    pub audience: Option<String>,
}

/// A person's consent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RefreshToken {
    /// A Secret with the keys clientId, clientSecret and refreshToken.
    pub secret_ref: SecretRef,
}

/// A Google service account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAccountKey {
    /// The key file Google issued, in a Secret.
    pub secret_ref: SecretKeyRef,
}
