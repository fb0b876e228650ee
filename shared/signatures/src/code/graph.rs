//! Microsoft Graph: each notification of a request repeats the `clientState` that its subscription was made with. Nothing is signed.
//! <https://learn.microsoft.com/graph/change-notifications-delivery-webhooks>

use serde::Deserialize;

use super::Asked;
use crate::mac::same_token;
use crate::refusal::Refusal;

const EXPECTED: &str = "a JSON object with a list `value` of notifications";

#[derive(Deserialize)]
struct Notifications {
    value: Vec<Notification>,
}

#[derive(Deserialize)]
struct Notification {
    #[serde(rename = "clientState")]
    client_state: Option<String>,
}

/// Every notification must have one of the source's secrets; while one is rotated they may differ. The last one's index counts.
pub(super) fn verify(asked: &Asked<'_>) -> Result<usize, Refusal> {
    let notifications: Notifications =
        serde_json::from_slice(asked.request.body).map_err(|_| Refusal::BodyMalformed { expected: EXPECTED })?;
    let mut index = Err(Refusal::BodyMalformed { expected: EXPECTED });
    for notification in notifications.value {
        let state = notification.client_state.filter(|state| !state.is_empty());
        let state = state.ok_or_else(|| Refusal::SignatureMissing { place: "clientState of a notification".into() })?;
        let matching = asked.source.keys().position(|key| same_token(state.as_bytes(), key));
        let mismatch = Refusal::SignatureMismatch { secrets: asked.source.secret_count() };
        index = Ok(index.unwrap_or(0).max(matching.ok_or(mismatch)?));
    }
    index
}
