//! What happens to skills, as events of the bridge.

use crate::bridge_event::BridgeEvent;
use crate::message::MessageError;
use clawbridge_clock::Timestamp;
use serde_json::json;

/// What happened to a skill. It is made only where a route listens, like those of tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SkillEvent<'a> {
    /// Its name.
    pub skill: &'a str,
    /// The version that was installed, or removed.
    pub version: &'a str,
    /// The version in whose place it came.
    pub replaces: Option<&'a str>,
    /// The configuration version that it came or went with: part of the delivery id.
    pub config_version: u64,
    /// Who wanted it: `token:NAME` or `operator`.
    pub by: &'a str,
    /// Whether it was removed.
    pub is_removal: bool,
}

impl SkillEvent<'_> {
    /// The event's type, which routes name: `skill.installed` or `skill.removed`.
    #[must_use]
    pub fn event_type(&self) -> &'static str {
        if self.is_removal { "skill.removed" } else { "skill.installed" }
    }

    /// The texts of its messages: `data` is `{skill, version, replaces, config_version, by}`, the delivery id `skill/NAME/CONFIG_VERSION`.
    ///
    /// # Errors
    /// See [`MessageError`].
    pub fn messages(&self, now: Timestamp) -> Result<Vec<String>, MessageError> {
        let data = json!({"skill": self.skill, "version": self.version, "replaces": self.replaces,
            "config_version": self.config_version, "by": self.by});
        let delivery_id = format!("skill/{}/{}", self.skill, self.config_version);
        BridgeEvent { data, ..BridgeEvent::of(self.event_type(), delivery_id, now) }.messages(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Body, Message};
    use clawbridge_packed::Packed;
    use serde_json::Value;

    #[test]
    fn a_skills_event_says_what_came_with_which_version_and_has_the_same_id_each_time() {
        let event = SkillEvent {
            skill: "stripe",
            version: "1.1.0",
            replaces: Some("1.0.0"),
            config_version: 7,
            by: "token:ci",
            is_removal: false,
        };
        for (is_removal, kind) in [(false, "skill.installed"), (true, "skill.removed")] {
            let event = SkillEvent { is_removal, ..event };
            let texts = event.messages(Timestamp::from_millis(1_700_000_000_000)).expect("messages");
            let [text] = texts.as_slice() else { panic!("{texts:?}") };
            let Ok(Message::Event(event)) = Message::decode(text) else { panic!("{text}") };
            assert_eq!((event.r#type.as_str(), event.delivery_id.as_str()), (kind, "skill/stripe/7"));
            let Body::Inline { encoding, data } = event.body else { panic!("no body") };
            let body = Packed { encoding, bytes: data }.unpack(1024).expect("a body");
            let body: Value = serde_json::from_slice(&body).expect("JSON");
            let data = json!({"skill": "stripe", "version": "1.1.0", "replaces": "1.0.0", "config_version": 7, "by": "token:ci"});
            assert_eq!(body, json!({"event": kind, "timestamp": "2023-11-14T22:13:20.000Z", "data": data}));
        }
    }
}
