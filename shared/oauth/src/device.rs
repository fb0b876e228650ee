//! A person consents on another device (RFC 8628).

use std::fmt;
use std::time::Duration;

use crate::answer::Refused;
use crate::endpoints::usable;
use crate::fields::{Answer, seconds, text};
use crate::response::Expected;
use crate::token_set::TokenSet;
use crate::verdict::{refusal, said, unexpected};

/// What a device authorization response says (RFC 8628, section 3.2). Debug output shows no code.
#[derive(Clone, PartialEq, Eq)]
pub struct DeviceAuthorization {
    /// What the bridge polls with. A secret.
    pub device_code: String,
    /// What the person types.
    pub user_code: String,
    /// Where the person types it.
    pub verification_uri: String,
    /// The same with the code in it.
    pub verification_uri_complete: Option<String>,
    /// How long the codes are good.
    pub lifetime: Duration,
    /// How long to wait between two polls, at least.
    pub interval: Duration,
}

/// What a poll brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceAnswer {
    /// The person has consented.
    Tokens(Box<TokenSet>),
    /// Not yet: asked again after the interval.
    Pending,
    /// Not yet: asked again after the interval, which is 5 seconds longer from now on (RFC 8628, section 3.5).
    SlowDown,
    /// The person took too long; the flow begins anew.
    Expired,
    /// The person said no.
    Denied,
}

impl Expected<'_> {
    /// The codes of a device authorization response.
    ///
    /// # Errors
    /// The server refuses, or sent something else.
    pub fn device(&self, answer: &Answer<'_>) -> Result<DeviceAuthorization, Refused> {
        let fields = answer.fields();
        if let Some(refused) = refusal(answer, fields.as_ref(), self.now) {
            return Err(refused);
        }
        let lacking = || unexpected(answer, "sent no device authorization");
        let fields = fields.ok_or_else(lacking)?;
        let printed = |name| text(&fields, name).filter(|text| text.len() <= 2048 && !text.contains(char::is_control));
        // Google says verification_url.
        let uri = printed("verification_uri").or_else(|| printed("verification_url"));
        // A person is told to go there.
        let is_page = |uri: &&str| usable(uri).is_ok();
        let uri = uri.filter(is_page).ok_or_else(lacking)?;
        let positive =
            |name| seconds(&fields, name).and_then(|value| u64::try_from(value).ok()).filter(|value| *value > 0);
        Ok(DeviceAuthorization {
            device_code: printed("device_code").ok_or_else(lacking)?.to_owned(),
            user_code: printed("user_code").filter(|code| code.len() <= 64).ok_or_else(lacking)?.to_owned(),
            verification_uri: uri.to_owned(),
            verification_uri_complete: printed("verification_uri_complete").filter(is_page).map(str::to_owned),
            lifetime: Duration::from_secs(positive("expires_in").unwrap_or(300).min(3600)),
            interval: Duration::from_secs(positive("interval").unwrap_or(5).min(300)),
        })
    }

    /// What came of a poll.
    ///
    /// # Errors
    /// The server refuses for another reason than the person's, or sent something else.
    pub fn poll(&self, answer: &Answer<'_>) -> Result<DeviceAnswer, Refused> {
        // GitHub sends them under 200; a server in trouble is not asked about the person.
        let said = answer.fields().as_ref().and_then(said).filter(|_| answer.status < 500);
        for (code, outcome) in [
            ("authorization_pending", DeviceAnswer::Pending),
            ("slow_down", DeviceAnswer::SlowDown),
            ("expired_token", DeviceAnswer::Expired),
            ("access_denied", DeviceAnswer::Denied),
        ] {
            if said.as_ref().is_some_and(|said| said.is(code)) {
                return Ok(outcome);
            }
        }
        self.tokens(answer).map(|set| DeviceAnswer::Tokens(Box::new(set)))
    }
}

impl fmt::Debug for DeviceAuthorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceAuthorization")
            .field("lifetime", &self.lifetime)
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}
