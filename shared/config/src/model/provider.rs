//! An OAuth provider, as a document declares it with what its ready-made declaration adds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::tool::Tls;
use super::words::{Assertion, ClientAuth, Grant, IssuerCheck, Revocation, TokenBody};
use crate::provider::Lifetime;

/// An OAuth 2.0 authorization server and the client that this stack is there.
///
/// Addresses, scopes, further parameters and the claims of assertions are templates: `{name}` stands for one of the
/// [`parameters`](Provider::parameters), which an account can set for itself, `{client_id}` for the client identifier, `{{` and `}}` for braces.
/// [`Provider::for_account`] fills them in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// The name of the ready-made declaration that it began with, `use` in a document. Nothing depends on it any more; people are told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// What people call it, on the page where they land after consent.
    pub title: String,
    /// How tokens are obtained.
    pub grant: Grant,
    /// The issuer identifier (RFC 8414, section 2). Endpoints that are not declared are discovered below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The authorization endpoint (RFC 6749, section 3.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorize_url: Option<String>,
    /// The token endpoint (RFC 6749, section 3.2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_url: Option<String>,
    /// Where tokens are revoked, in the way of [`Provider::revocation`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoke_url: Option<String>,
    /// The device authorization endpoint (RFC 8628, section 3.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_url: Option<String>,
    /// An address that a valid token can GET, for `connections test`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_url: Option<String>,
    /// The client identifier. Empty where an assertion is all that counts (Google's service accounts).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub client_id: String,
    /// How the client proves itself at the token endpoint.
    pub client_auth: ClientAuth,
    /// The name of the secret with the client secret, or the private key (PEM) where the client or the grant signs: `clawbridge/providers/NAME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// What is asked for, and must be granted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// What is asked for as well, after [`scopes`](Provider::scopes), and may be missing from an answer: what a person can decline, and what
    /// the provider grants without saying so (Microsoft's `offline_access`) or by another name (Google's `email`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub optional_scopes: Vec<String>,
    /// What stands between two scopes, in requests and in answers: a space (RFC 6749, section 3.3), or what the provider made of it.
    pub scope_separator: String,
    /// Whether PKCE is used (RFC 7636, S256).
    pub pkce: bool,
    /// Further parameters of the authorization request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub authorize_params: BTreeMap<String, String>,
    /// Further parameters of token requests.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub token_params: BTreeMap<String, String>,
    /// How token requests are written.
    pub token_body: TokenBody,
    /// Where the token stands in a token response, names of fields separated by dots, where it is not at the top (Slack's user tokens: `authed_user`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_at: Option<String>,
    /// Further fields of a token response that are kept with the token set and shown with the connection (`instance_url`, `team.id`). Never a credential.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keep: Vec<String>,
    /// How long an access token is taken to live whose answer does not say so. `None`: until it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_lifetime: Option<Lifetime>,
    /// How long before its expiry a token is refreshed.
    pub refresh_before: Lifetime,
    /// How long tasks wait for a connection that has to be authorised again, before they fail.
    pub wait: Lifetime,
    /// Whether an authorization response must name its issuer (RFC 9207).
    pub iss: IssuerCheck,
    /// How tokens are revoked.
    pub revocation: Revocation,
    /// Assertions (RFC 7523): what `private_key_jwt` and the grant `jwt_bearer` say and how they are signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwt: Option<Jwt>,
    /// Whether tokens are bound to a key of the connection (RFC 9449).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dpop: bool,
    /// The client certificate for its token endpoint (RFC 8705), and the authority to trust.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Values of the names in addresses and texts; an account's own take their place. An empty value must be set by each account.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
}

/// How assertions are made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jwt {
    /// The signature algorithm.
    pub algorithm: Assertion,
    /// The header's `kid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// `iss` of a `jwt_bearer` grant. `None`: the client id, or `client_email` of the key's JSON file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// `sub` of a `jwt_bearer` grant. `None`: the issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// `aud`. `None`: the token endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// Whether scopes are a claim of the assertion (Google) rather than a parameter of the request.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub scope_claim: bool,
}
