//! Revocation: RFC 7009, and what providers have in its place.

use clawbridge_config::{Method, Revocation, TokenBody};
use serde_json::json;

use crate::encoding::percent;
use crate::request::{Asking, Request, RequestError, written};
use crate::token_set::TokenSet;

/// The field of Stripe's token response that names the account, which the declaration keeps.
const STRIPE_ACCOUNT: &str = "stripe_user_id";

impl Asking<'_> {
    /// The request that makes a token set worthless. With a refresh token, that one is revoked: the access tokens that came of it go with it
    /// (RFC 7009, section 2.1). `None`: the provider has no way.
    ///
    /// Whatever is answered but a 2xx, the tokens may still be good: RFC 7009 answers 200 for a token that it does not know.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub fn revocation(&self, set: &TokenSet) -> Result<Option<Request>, RequestError> {
        let provider = self.provider;
        if provider.revocation == Revocation::Never {
            return Ok(None);
        }
        let url = self.endpoints.revoke()?;
        let accept = || vec![("accept", "application/json".to_owned())];
        let bare = |method, url: String, name, value: String| Request {
            method,
            url,
            headers: vec![("accept", "application/json".to_owned()), (name, value)],
            body: Vec::new(),
        };
        let (token, hint) = match &set.refresh_token {
            Some(token) => (token, "refresh_token"),
            None => (&set.access_token, "access_token"),
        };
        Ok(Some(match provider.revocation {
            Revocation::Never => return Ok(None),
            Revocation::Rfc7009 => {
                let pairs = vec![("token".into(), token.clone()), ("token_type_hint".into(), hint.into())];
                self.proven(url, pairs)?
            }
            Revocation::Token => {
                written(Method::Post, url, accept(), &[("token".into(), token.clone())], TokenBody::Form)
            }
            Revocation::Github => {
                let mut request = bare(Method::Delete, url.to_owned(), "authorization", self.basic()?);
                request.headers.push(("content-type", "application/json".into()));
                request.body = json!({"access_token": set.access_token}).to_string().into_bytes();
                request
            }
            Revocation::Bearer => {
                bare(Method::Get, url.to_owned(), "authorization", format!("Bearer {}", set.access_token))
            }
            Revocation::DeletePath => {
                let token = set.refresh_token.as_deref().ok_or(RequestError::Lacking("refresh token"))?;
                let url = format!("{}/{}", url.trim_end_matches('/'), percent(token));
                Request { method: Method::Delete, url, headers: accept(), body: Vec::new() }
            }
            Revocation::Shopify => {
                bare(Method::Delete, url.to_owned(), "x-shopify-access-token", set.access_token.clone())
            }
            Revocation::Deauthorize => {
                let account = set.kept.get(STRIPE_ACCOUNT).ok_or(RequestError::Lacking("kept field stripe_user_id"))?;
                let mut headers = accept();
                headers.push(("authorization", format!("Bearer {}", self.secret()?)));
                let pairs =
                    [("client_id".into(), provider.client_id.clone()), (STRIPE_ACCOUNT.into(), account.clone())];
                written(Method::Post, url, headers, &pairs, TokenBody::Form)
            }
        }))
    }
}
