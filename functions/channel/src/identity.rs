//! What a client that connects says about who it is. Pure.

use crate::event::Event;
use clawbridge_access::{AgentKeyError, Presented, PresentedAgent, TokenError};

/// The subprotocol that browsers offer beside `bearer.TOKEN`, since they can set no header.
pub(crate) const SUBPROTOCOL: &str = "clawbridge.v1";

/// How a connector of ours says that it is one.
const CONNECTOR: &str = "x-clawbridge-connector";

/// Who somebody says they are.
#[derive(Debug)]
pub(crate) enum Identity {
    Agent { presented: PresentedAgent, is_ours: bool },
    User { presented: Presented, subprotocol: Option<&'static str> },
}

/// Why somebody cannot be anybody.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Nobody {
    Agent(AgentKeyError),
    User(TokenError),
}

impl Identity {
    pub(crate) fn of(event: &Event) -> Result<Identity, Nobody> {
        let (key, secret) = (event.header("x-app-key"), event.header("x-app-secret"));
        if key.is_some() || secret.is_some() {
            let presented = PresentedAgent::parse(key, secret).map_err(Nobody::Agent)?;
            let is_ours = event.header(CONNECTOR) == Some("bridge.v1");
            return Ok(Identity::Agent { presented, is_ours });
        }
        let offered: Vec<&str> =
            event.header("sec-websocket-protocol").unwrap_or_default().split(',').map(str::trim).collect();
        let subprotocol = offered.contains(&SUBPROTOCOL).then_some(SUBPROTOCOL);
        let of_protocol = offered.iter().find_map(|name| name.strip_prefix("bearer."));
        let header = match (event.header("authorization"), of_protocol) {
            (Some(header), _) => Some(header.to_owned()),
            (None, Some(token)) => Some(format!("Bearer {token}")),
            (None, None) => None,
        };
        let presented = Presented::parse(header.as_deref()).map_err(Nobody::User)?;
        Ok(Identity::User { presented, subprotocol })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clawbridge_access::{AppKey, AppSecret, Token};
    use serde_json::json;

    fn identity(headers: serde_json::Value) -> Result<Identity, Nobody> {
        let event = json!({"headers": headers, "requestContext": {"routeKey": "$connect", "connectionId": "c"}});
        Identity::of(&serde_json::from_value(event).expect("an event"))
    }

    #[test]
    fn agents_bring_two_headers_and_users_a_token_in_a_header_or_a_subprotocol() {
        let (key, secret, token) = (AppKey::of([1; 16]), AppSecret::of([2; 32]), Token::of([3; 32]));
        let (key, secret, token) = (key.as_str(), secret.reveal(), token.reveal());
        let agent = identity(json!({"X-App-Key": key, "x-app-secret": secret}));
        assert!(matches!(agent, Ok(Identity::Agent { is_ours: false, .. })));
        let ours = json!({"x-app-key": key, "x-app-secret": secret, "x-clawbridge-connector": "bridge.v1"});
        assert!(matches!(identity(ours), Ok(Identity::Agent { is_ours: true, .. })));
        let user = identity(json!({"authorization": format!("Bearer {token}")}));
        assert!(matches!(user, Ok(Identity::User { subprotocol: None, .. })));
        let browser = identity(json!({"Sec-WebSocket-Protocol": format!("clawbridge.v1, bearer.{token}")}));
        assert!(matches!(browser, Ok(Identity::User { subprotocol: Some(SUBPROTOCOL), .. })));
    }

    #[test]
    fn who_brings_nothing_or_half_of_it_is_nobody() {
        let key = AppKey::of([1; 16]);
        for (headers, expected) in [
            (json!(null), Nobody::User(TokenError::Missing)),
            (json!({"authorization": "Basic x"}), Nobody::User(TokenError::Header)),
            (json!({"sec-websocket-protocol": "bearer.x"}), Nobody::User(TokenError::Malformed)),
            (json!({"x-app-key": key.as_str()}), Nobody::Agent(AgentKeyError::Missing)),
            (json!({"x-app-key": key.as_str(), "x-app-secret": "x"}), Nobody::Agent(AgentKeyError::Malformed)),
        ] {
            assert_eq!(identity(headers).expect_err("nobody"), expected);
        }
    }
}
