use super::*;
use clawbridge_config::{ClientAuth, Grant, IssuerCheck, Lifetime, Revocation, TokenBody};

pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

/// A provider that declares as little as one can.
pub(crate) fn provider() -> Provider {
    Provider {
        preset: None,
        title: "Example".into(),
        grant: Grant::AuthorizationCode,
        issuer: None,
        authorize_url: Some("https://login.example.com/authorize".into()),
        token_url: Some("https://login.example.com/token".into()),
        revoke_url: Some("https://login.example.com/revoke".into()),
        device_url: None,
        test_url: None,
        client_id: "the-client".into(),
        client_auth: ClientAuth::Post,
        secret: None,
        scopes: vec![],
        scope_separator: " ".into(),
        pkce: true,
        authorize_params: BTreeMap::new(),
        token_params: BTreeMap::new(),
        token_body: TokenBody::Form,
        token_at: None,
        keep: vec![],
        token_lifetime: None,
        refresh_before: Lifetime::of_seconds(300),
        wait: Lifetime::of_seconds(3600),
        iss: IssuerCheck::IfPresent,
        revocation: Revocation::Rfc7009,
        jwt: None,
        dpop: false,
        tls: None,
        parameters: BTreeMap::new(),
    }
}
