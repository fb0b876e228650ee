//! What people and programs are told: no texts of turns, no secrets.

use crate::link::State;
use clawbridge_clock::Timestamp;
use clawbridge_responses::{ResponseId, SessionId};
use serde_json::{Value, json};
use std::time::Duration;

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Only with `debug`.
    Debug,
    /// What happens.
    Info,
    /// What somebody may have to look at.
    Warn,
    /// What somebody has to mend.
    Error,
}

impl Level {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        }
    }
}

/// What becomes of a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It came.
    Taken,
    /// It goes to the gateway.
    Begun,
    /// The gateway's answer has ended: `completed`, `incomplete` or `failed`, with the code of a failure.
    Ended(&'static str, Option<String>),
    /// Nobody wants it any more.
    Cancelled,
}

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The state has changed, or there is more to say about it.
    State {
        /// Which it is now.
        state: State,
        /// What led to it, and what to do.
        why: Option<String>,
        /// How many attempts have failed in a row.
        failures: u32,
        /// When the next one is made.
        again_in: Option<Duration>,
    },
    /// A turn.
    Turn {
        /// Which.
        response: ResponseId,
        /// Whose.
        session: Option<SessionId>,
        /// What becomes of it.
        step: Step,
    },
    /// Anything else.
    Line(Level, String),
}

impl Notice {
    /// How much it matters.
    #[must_use]
    pub fn level(&self) -> Level {
        match self {
            Notice::State { why: Some(_), failures: 1.., .. } => Level::Warn,
            Notice::State { .. } => Level::Info,
            Notice::Turn { step: Step::Taken, .. } => Level::Debug,
            Notice::Turn { step: Step::Ended("failed", _), .. } => Level::Warn,
            Notice::Turn { .. } => Level::Info,
            Notice::Line(level, _) => *level,
        }
    }

    /// As a line: `[TIME] [LEVEL] [connector] TEXT`.
    #[must_use]
    pub fn line(&self, at: Timestamp) -> String {
        let level = self.level().as_str().to_uppercase();
        let text = match self {
            Notice::State { state, why, failures, again_in } => {
                let mut text = state.as_str().to_owned();
                if let Some(again_in) = again_in {
                    text.push_str(&format!(
                        " in {:.1} s (attempt {})",
                        again_in.as_secs_f32(),
                        failures.saturating_add(1)
                    ));
                }
                if let Some(why) = why {
                    text.push_str(": ");
                    text.push_str(why);
                }
                text
            }
            Notice::Turn { response, session, step } => {
                let session = session.as_ref().map(|session| format!(" of {session}")).unwrap_or_default();
                let step = match step {
                    Step::Taken => "came".to_owned(),
                    Step::Begun => "begins".to_owned(),
                    Step::Ended(status, None) => (*status).to_owned(),
                    Step::Ended(status, Some(code)) => format!("{status} ({code})"),
                    Step::Cancelled => "cancelled".to_owned(),
                };
                format!("turn {response}{session} {step}")
            }
            Notice::Line(_, text) => text.clone(),
        };
        // A line stays one, whatever somebody else's words hold.
        let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        format!("[{}] [{level}] [connector] {text}", at.rfc3339())
    }

    /// As JSON, on one line.
    #[must_use]
    pub fn json(&self, at: Timestamp) -> String {
        let mut value = match self {
            Notice::State { state, why, failures, again_in } => json!({
                "event": "state", "state": state.as_str(), "why": why, "failures": failures,
                "again_in_ms": again_in.map(|again_in| u64::try_from(again_in.as_millis()).unwrap_or(u64::MAX)),
            }),
            Notice::Turn { response, session, step } => {
                let (step, status, code) = match step {
                    Step::Taken => ("taken", None, None),
                    Step::Begun => ("begun", None, None),
                    Step::Ended(status, code) => ("ended", Some(*status), code.as_deref()),
                    Step::Cancelled => ("cancelled", None, None),
                };
                json!({"event": "turn", "response": response, "session": session, "step": step, "status": status, "code": code})
            }
            Notice::Line(_, text) => json!({"event": "line", "text": text}),
        };
        if let Value::Object(members) = &mut value {
            members.retain(|_, value| !value.is_null());
            members.insert("time".to_owned(), at.rfc3339().into());
            members.insert("level".to_owned(), self.level().as_str().into());
        }
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_a_line_and_an_object() {
        let state = Notice::State {
            state: State::Reconnecting,
            why: Some("refused\nwith 401".to_owned()),
            failures: 2,
            again_in: Some(Duration::from_millis(4200)),
        };
        let at = Timestamp::from_millis(0);
        assert_eq!(
            state.line(at),
            "[1970-01-01T00:00:00.000Z] [WARN] [connector] reconnecting in 4.2 s (attempt 3): refused with 401"
        );
        let value: Value = serde_json::from_str(&state.json(at)).unwrap();
        assert_eq!(value["state"], "reconnecting");
        assert_eq!(value["again_in_ms"], 4200);
        let connected = Notice::State { state: State::Connected, why: None, failures: 0, again_in: None };
        assert_eq!(connected.line(at), "[1970-01-01T00:00:00.000Z] [INFO] [connector] connected");
    }
}
