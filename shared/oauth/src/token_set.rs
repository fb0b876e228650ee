//! What a connection's secret holds.

use clawbridge_clock::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The tokens of one authorised account, with what is needed to use and to refresh them. It is the value of the secret
/// `clawbridge/connections/PROVIDER/ACCOUNT` and is nowhere else. Debug output shows no token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenSet {
    /// The form: 1.
    pub v: u32,
    /// Counts the token sets of a connection, from 1: each refresh and each new consent makes the next.
    pub generation: u64,
    /// What calls carry.
    pub access_token: String,
    /// How they carry it.
    pub kind: TokenKind,
    /// What makes the next token set. `None`: the provider gave none, or the grant needs none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
    /// When the access token expires. `None`: nobody said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When the refresh token expires, where the provider says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_expires_at: Option<Timestamp>,
    /// What was granted. Where the answer does not say, it is what was asked for (RFC 6749, section 5.1).
    #[serde(default)]
    pub scopes: Vec<String>,
    /// When the answer came.
    pub obtained_at: Timestamp,
    /// The private key that the tokens are bound to (RFC 9449): PKCS #8, Base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dpop_key: Option<String>,
    /// Fields of the answer that the provider's declaration keeps, by name. No credential.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub kept: BTreeMap<String, String>,
    /// The account's own values of the provider's parameters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
}

/// How an access token is sent (RFC 6749, section 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenKind {
    /// RFC 6750.
    Bearer,
    /// RFC 9449: with a proof for each request.
    Dpop,
}

/// A secret that holds no token set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the secret holds no token set of a form that this version knows")]
pub struct Unreadable;

impl TokenSet {
    /// From a secret's value.
    ///
    /// # Errors
    /// It is no token set; nothing of it is repeated.
    pub fn read(bytes: &[u8]) -> Result<TokenSet, Unreadable> {
        serde_json::from_slice::<TokenSet>(bytes).ok().filter(|set| set.v == 1).ok_or(Unreadable)
    }

    /// As a secret's value.
    #[must_use]
    pub fn write(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl fmt::Debug for TokenSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenSet")
            .field("generation", &self.generation)
            .field("expires_at", &self.expires_at)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}
