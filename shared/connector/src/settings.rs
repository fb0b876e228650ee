//! What the connector is told: flags before the environment before a file.
//!
//! The file is TOML, or JSON with the member names of the InstaClaw connector's configuration (`enabled`, `clientId`, `clientSecret`, `systemPrompt`,
//! `debug`); either takes both kinds of names. So does the environment: `INSTACLAW_WS_URL`, `INSTACLAW_HEARTBEAT_INTERVAL` and
//! `INSTACLAW_TIMEOUT_THRESHOLD` (milliseconds) mean what they mean there.

use crate::gateway::{self, Mode};
use crate::timing::Timing;
use serde::Deserialize;
use std::fmt;
use std::time::Duration;

/// Where an OpenClaw gateway listens unless it is told otherwise.
pub const GATEWAY_URL: &str = "http://127.0.0.1:18789";

/// How many turns run at once, unless it is told otherwise.
pub const MAX_TURNS: usize = 10;

/// A text that is shown nowhere.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Keeps it.
    #[must_use]
    pub fn new(text: String) -> Secret {
        Secret(text)
    }

    /// The text.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// What flags, a file or the environment say; each may say any part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Told {
    /// `false` ends the connector with an error.
    pub enabled: Option<bool>,
    /// The bridge's channel: `wss://HOST/responses`.
    #[serde(alias = "wsUrl")]
    pub url: Option<String>,
    /// The agent's app key.
    #[serde(alias = "clientId", alias = "client_id")]
    pub app_key: Option<String>,
    /// Its secret.
    #[serde(alias = "clientSecret", alias = "client_secret")]
    pub app_secret: Option<Secret>,
    /// What every turn's instructions begin with.
    #[serde(alias = "systemPrompt")]
    pub system_prompt: Option<String>,
    /// Frames, heartbeats and attempts are told too.
    pub debug: Option<bool>,
    /// Milliseconds between two heartbeats.
    pub heartbeat_ms: Option<u64>,
    /// Milliseconds without a word after which a connection is dead.
    pub timeout_ms: Option<u64>,
    /// The gateway's address.
    pub gateway_url: Option<String>,
    /// Its token.
    pub gateway_token: Option<Secret>,
    /// Its hooks' token.
    pub hooks_token: Option<Secret>,
    /// `responses` or `hooks`.
    pub mode: Option<String>,
    /// `openclaw`, or `openclaw/AGENT`.
    pub model: Option<String>,
    /// In hooks mode: what sessions' keys begin with.
    pub hook_sessions: Option<String>,
    /// Turns at once.
    pub max_turns: Option<usize>,
    /// Seconds to wait for a gateway that is not there.
    pub gateway_wait_s: Option<u64>,
    /// Seconds that it may say nothing.
    pub gateway_silence_s: Option<u64>,
    /// Whether a socket that others can read is allowed: `ws://` to another machine.
    pub allow_plaintext: Option<bool>,
}

/// All of it, checked.
#[derive(Clone)]
pub struct Settings {
    /// The bridge's channel.
    pub url: String,
    /// The agent's app key.
    pub app_key: String,
    /// Its secret.
    pub app_secret: Secret,
    /// Frames, heartbeats and attempts are told too.
    pub debug: bool,
    /// The connector's times.
    pub timing: Timing,
    /// The gateway.
    pub gateway: gateway::Settings,
    /// Turns at once.
    pub max_turns: usize,
    /// Whether `ws://` to another machine is allowed.
    pub allow_plaintext: bool,
}

/// What is wrong with it. Nobody need try again before it is mended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// `enabled` is false.
    #[error("the connector is not enabled in its configuration; set enabled = true")]
    NotEnabled,
    /// Something is not said anywhere.
    #[error("missing required configuration: {0}")]
    Missing(&'static str),
    /// Something cannot be worked with.
    #[error("{0}")]
    Wrong(String),
}

impl SettingsError {
    /// A stable word.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            SettingsError::NotEnabled => "CONNECTOR_NOT_ENABLED",
            SettingsError::Missing(_) => "CONNECTOR_SETTING_MISSING",
            SettingsError::Wrong(_) => "CONNECTOR_SETTING_WRONG",
        }
    }
}

impl Told {
    /// Reads a file. `is_json` as its name says.
    ///
    /// # Errors
    /// [`SettingsError::Wrong`]: with the place, and nothing of what stands there.
    pub fn of_file(text: &str, is_json: bool) -> Result<Told, SettingsError> {
        if is_json {
            serde_json::from_str(text).map_err(|error| {
                let what = if error.is_data() { "a member is unknown or of the wrong type" } else { "it is not JSON" };
                SettingsError::Wrong(format!("{what} (line {}, column {})", error.line(), error.column()))
            })
        } else {
            toml::from_str(text).map_err(|error| {
                let line = error.span().map_or(0, |span| text[..span.start.min(text.len())].lines().count().max(1));
                // The message names members and types; the text itself, which may be a secret, is only in the full form.
                let message: String = error.message().lines().next().unwrap_or_default().to_owned();
                SettingsError::Wrong(format!("line {line}: {message}"))
            })
        }
    }

    /// Reads the environment. A variable that is empty is none.
    ///
    /// # Errors
    /// [`SettingsError::Wrong`]: with the variable's name.
    pub fn of_environment(variable: impl Fn(&str) -> Option<String>) -> Result<Told, SettingsError> {
        let text = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let millis = |name: &str| match text(name).map(|value| value.trim().parse::<u64>()) {
            None => Ok(None),
            Some(Ok(value)) => Ok(Some(value)),
            Some(Err(_)) => Err(SettingsError::Wrong(format!("{name} is no number of milliseconds"))),
        };
        Ok(Told {
            url: text("CLAWBRIDGE_CHANNEL_URL").or_else(|| text("INSTACLAW_WS_URL")),
            app_key: text("CLAWBRIDGE_APP_KEY"),
            app_secret: text("CLAWBRIDGE_APP_SECRET").map(Secret::new),
            heartbeat_ms: millis("INSTACLAW_HEARTBEAT_INTERVAL")?,
            timeout_ms: millis("INSTACLAW_TIMEOUT_THRESHOLD")?,
            gateway_url: text("OPENCLAW_GATEWAY_URL"),
            gateway_token: text("OPENCLAW_GATEWAY_TOKEN").map(Secret::new),
            hooks_token: text("OPENCLAW_HOOKS_TOKEN").map(Secret::new),
            ..Told::default()
        })
    }

    /// What is said here, and for the rest what `other` says.
    #[must_use]
    pub fn or(self, other: Told) -> Told {
        Told {
            enabled: self.enabled.or(other.enabled),
            url: self.url.or(other.url),
            app_key: self.app_key.or(other.app_key),
            app_secret: self.app_secret.or(other.app_secret),
            system_prompt: self.system_prompt.or(other.system_prompt),
            debug: self.debug.or(other.debug),
            heartbeat_ms: self.heartbeat_ms.or(other.heartbeat_ms),
            timeout_ms: self.timeout_ms.or(other.timeout_ms),
            gateway_url: self.gateway_url.or(other.gateway_url),
            gateway_token: self.gateway_token.or(other.gateway_token),
            hooks_token: self.hooks_token.or(other.hooks_token),
            mode: self.mode.or(other.mode),
            model: self.model.or(other.model),
            hook_sessions: self.hook_sessions.or(other.hook_sessions),
            max_turns: self.max_turns.or(other.max_turns),
            gateway_wait_s: self.gateway_wait_s.or(other.gateway_wait_s),
            gateway_silence_s: self.gateway_silence_s.or(other.gateway_silence_s),
            allow_plaintext: self.allow_plaintext.or(other.allow_plaintext),
        }
    }

    /// All of it, checked.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub fn settled(self) -> Result<Settings, SettingsError> {
        let filled = |text: Option<String>| text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let wrong = |what: &str| Err(SettingsError::Wrong(what.to_owned()));
        if self.enabled == Some(false) {
            return Err(SettingsError::NotEnabled);
        }
        let url = filled(self.url).ok_or(SettingsError::Missing(
            "the address of the bridge's channel: --url, CLAWBRIDGE_CHANNEL_URL or `url`, wss://HOST/responses",
        ))?;
        let app_key = filled(self.app_key).ok_or(SettingsError::Missing(
            "the agent's app key must be provided and non-empty: --app-key, CLAWBRIDGE_APP_KEY, `app_key` or `clientId`",
        ))?;
        let app_secret = filled(self.app_secret.map(|secret| secret.0)).map(Secret).ok_or(SettingsError::Missing(
            "the agent's app secret must be provided and non-empty: CLAWBRIDGE_APP_SECRET, `app_secret` or `clientSecret` in the file, or --app-secret-stdin",
        ))?;
        let mode = match self.mode.as_deref() {
            None | Some("responses") => Mode::Responses,
            Some("hooks") => Mode::Hooks,
            Some(_) => return wrong("mode is neither responses nor hooks"),
        };
        let model = filled(self.model).unwrap_or_else(|| "openclaw/main".to_owned());
        if model != "openclaw" && model.strip_prefix("openclaw/").is_none_or(str::is_empty) {
            return wrong("model is neither openclaw nor openclaw/AGENT");
        }
        let mut timing = Timing::default();
        if let Some(heartbeat) = self.heartbeat_ms {
            timing.heartbeat = Duration::from_millis(heartbeat);
            timing.dead_after = timing.heartbeat.saturating_mul(3);
        }
        if let Some(threshold) = self.timeout_ms {
            timing.dead_after = Duration::from_millis(threshold);
        }
        if timing.heartbeat < Duration::from_millis(10) || timing.heartbeat > Duration::from_secs(540) {
            return wrong(
                "the heartbeat's interval is not between 10 and 540000 ms; AWS cuts connections that are idle for ten minutes",
            );
        }
        if timing.dead_after <= timing.heartbeat {
            return wrong(
                "the timeout's threshold must be longer than the heartbeat's interval: three times as long is usual",
            );
        }
        let token = match mode {
            Mode::Responses => self.gateway_token,
            Mode::Hooks => self.hooks_token,
        };
        let max_turns = self.max_turns.unwrap_or(MAX_TURNS);
        if !(1..=1000).contains(&max_turns) {
            return wrong("max_turns is not between 1 and 1000");
        }
        let gateway_url = filled(self.gateway_url).unwrap_or_else(|| GATEWAY_URL.to_owned());
        if !gateway_url.starts_with("http://") && !gateway_url.starts_with("https://") {
            return wrong("the gateway's address begins with neither http:// nor https://");
        }
        Ok(Settings {
            url,
            app_key,
            app_secret,
            debug: self.debug.unwrap_or(false),
            timing,
            gateway: gateway::Settings {
                url: gateway_url,
                token: filled(token.map(|token| token.0)),
                mode,
                model,
                system_prompt: filled(self.system_prompt),
                hook_sessions: filled(self.hook_sessions),
                wait: Duration::from_secs(self.gateway_wait_s.unwrap_or(60)),
                silence: Duration::from_secs(self.gateway_silence_s.unwrap_or(600).max(1)),
            },
            max_turns,
            allow_plaintext: self.allow_plaintext.unwrap_or(false),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLUGIN: &str =
        r#"{"enabled": true, "clientId": "k", "clientSecret": "s3cret", "systemPrompt": "Be kind.", "debug": true}"#;

    fn environment(pairs: &'static [(&'static str, &'static str)]) -> Result<Told, SettingsError> {
        Told::of_environment(|name| {
            pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn refused(told: Told) -> SettingsError {
        told.settled().err().expect("it is refused")
    }

    #[test]
    fn the_plugins_configuration_and_environment_are_understood() {
        let file = Told::of_file(PLUGIN, true).unwrap();
        let environment = environment(&[
            ("INSTACLAW_WS_URL", "wss://x.example/responses"),
            ("INSTACLAW_HEARTBEAT_INTERVAL", "20000"),
            ("INSTACLAW_TIMEOUT_THRESHOLD", "50000"),
        ]);
        let settings = environment.unwrap().or(file).settled().unwrap();
        assert_eq!((settings.url.as_str(), settings.app_key.as_str()), ("wss://x.example/responses", "k"));
        assert_eq!(settings.app_secret.expose(), "s3cret");
        assert_eq!(settings.gateway.system_prompt.as_deref(), Some("Be kind."));
        assert_eq!((settings.timing.heartbeat.as_secs(), settings.timing.dead_after.as_secs()), (20, 50));
        assert!(settings.debug);
        assert_eq!(settings.gateway.url, GATEWAY_URL);
        assert_eq!((settings.gateway.model.as_str(), settings.max_turns), ("openclaw/main", 10));
    }

    #[test]
    fn flags_come_before_the_environment_and_that_before_the_file() {
        let file = Told::of_file("url = 'wss://file'\napp_key = 'file'\nclient_secret = 'file'\n", false).unwrap();
        let environment = environment(&[("INSTACLAW_WS_URL", "wss://env"), ("CLAWBRIDGE_APP_KEY", "env")]).unwrap();
        let flags = Told { url: Some("wss://flag".to_owned()), ..Told::default() };
        let settings = flags.or(environment).or(file).settled().unwrap();
        assert_eq!((&*settings.url, &*settings.app_key, settings.app_secret.expose()), ("wss://flag", "env", "file"));
        let defaults = settings.timing;
        assert_eq!((defaults.heartbeat.as_secs(), defaults.dead_after.as_secs()), (30, 90));
    }

    #[test]
    fn what_is_wrong_is_named_and_no_secret_is() {
        let full =
            || Told::of_file(PLUGIN, true).unwrap().or(Told { url: Some("wss://x".to_owned()), ..Told::default() });
        assert!(full().settled().is_ok());
        for (told, code, words) in [
            (Told { enabled: Some(false), ..full() }, "CONNECTOR_NOT_ENABLED", "enabled = true"),
            (Told { url: None, ..full() }, "CONNECTOR_SETTING_MISSING", "CLAWBRIDGE_CHANNEL_URL"),
            (Told { app_key: Some("  ".to_owned()), ..full() }, "CONNECTOR_SETTING_MISSING", "clientId"),
            (
                Told { app_secret: Some(Secret::new(String::new())), ..full() },
                "CONNECTOR_SETTING_MISSING",
                "clientSecret",
            ),
            (Told { mode: Some("x".to_owned()), ..full() }, "CONNECTOR_SETTING_WRONG", "mode"),
            (Told { model: Some("gpt".to_owned()), ..full() }, "CONNECTOR_SETTING_WRONG", "openclaw/AGENT"),
            (Told { heartbeat_ms: Some(0), ..full() }, "CONNECTOR_SETTING_WRONG", "heartbeat"),
            (Told { timeout_ms: Some(30_000), ..full() }, "CONNECTOR_SETTING_WRONG", "threshold"),
            (Told { max_turns: Some(0), ..full() }, "CONNECTOR_SETTING_WRONG", "max_turns"),
            (Told { gateway_url: Some("x:1".to_owned()), ..full() }, "CONNECTOR_SETTING_WRONG", "http://"),
        ] {
            let error = refused(told);
            assert_eq!(error.code(), code);
            assert!(error.to_string().contains(words), "{error}");
        }
        assert!(environment(&[("INSTACLAW_HEARTBEAT_INTERVAL", "30s")]).is_err());
        for (text, is_json) in [
            ("app_secret = s3cret", false),
            ("clientSecretX = 's3cret'", false),
            (r#"{"clientSecret": ["s3cret"]}"#, true),
        ] {
            let error = Told::of_file(text, is_json).err().unwrap().to_string();
            assert!(!error.contains("s3cret"), "{error}");
        }
        assert!(!format!("{:?}", full()).contains("s3cret"));
    }
}
