//! A call that was led elsewhere, passed on to its upstream under the rules of tools' calls; and what of it must not be told.

use crate::call::Caller;
use crate::credentials::Credentials;
use crate::elsewhere::Led;
use crate::redact::{REDACTED, Redaction};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clawbridge_config::{Algorithm, Carrier, CompiledTool, Effect, Encoding, Sign};
use clawbridge_outbound::{Received, Via, exchange};
use clawbridge_tasks::TaskError;
use reqwest::header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HOST, HeaderMap};
use url::form_urlencoded;

impl Caller {
    /// Passes `led`, a call of `tool` with this body, on to its upstream, which must be one that may be called; no redirect is followed. Of the
    /// answer one byte more is read than the tool takes, so that who takes it sees that there was more. It has the tool's time limit.
    ///
    /// # Errors
    /// There is no whole answer; the error says whether the upstream may have acted.
    pub async fn forward(&self, tool: &CompiledTool, led: &Led, body: Vec<u8>) -> Result<Received, TaskError> {
        let clients = self.clients();
        clients.check_literal(&led.url)?;
        let via = match tool.tool().effect {
            Effect::Unsafe => Via::Fresh,
            Effect::Read | Effect::Idempotent | Effect::Keyed => Via::Shared,
        };
        let client = match &tool.tool().tls {
            Some(tls) => {
                let credentials = Credentials::read(self.secrets(), self.deployment(), tool, None).await?;
                clients.get_identified(via, tls, &credentials.identity)?
            }
            None => clients.get(via)?,
        };
        let mut headers: HeaderMap = led.headers.clone();
        for name in [HOST, CONTENT_LENGTH, CONNECTION] {
            headers.remove(name);
        }
        let limit = tool.tool().timeout.duration();
        let mut request = client.request(led.method.clone(), led.url.clone()).headers(headers).timeout(limit);
        if !body.is_empty() {
            request = request.body(body);
        }
        exchange(request, tool.tool().max_response.bytes() + 1).await
    }
}

impl Led {
    /// The address with its credential masked.
    #[must_use]
    pub fn masked_url(&self) -> String {
        let Some(query) = self.url.query() else { return self.url.to_string() };
        let mask = |pair: &str| {
            let name = form_urlencoded::parse(pair.as_bytes()).next().map(|(name, _)| name.into_owned());
            match (pair.split_once('='), name) {
                (Some((raw, _)), Some(name)) if self.masked_query.contains(&name) => format!("{raw}={REDACTED}"),
                _ => pair.to_owned(),
            }
        };
        let masked: Vec<String> = query.split('&').map(mask).collect();
        let mut url = self.url.clone();
        url.set_query(None);
        url.set_fragment(None);
        format!("{url}?{}", masked.join("&"))
    }

    /// What must not be told of this call: what its credential and its signature are, as far as `tool` says how they are written; without
    /// it, all of what carries them.
    #[must_use]
    pub fn redaction(&self, tool: Option<&CompiledTool>) -> Redaction {
        let mut redaction = Redaction::default();
        for (name, value) in self.url.query_pairs() {
            if self.masked_query.iter().any(|masked| *masked == name) {
                redaction.add(&value);
            }
        }
        for value in self.masked_headers.iter().flat_map(|name| self.headers.get_all(name)) {
            let value = String::from_utf8_lossy(value.as_bytes());
            redaction.add(&value);
            // `Bearer …` and its like, where nothing says how long the scheme's name is.
            redaction.add(value.rsplit(' ').next().unwrap_or_default());
        }
        let Some(tool) = tool.map(CompiledTool::tool) else { return redaction };
        let value_of = |name: &str| self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        match tool.auth.as_ref().map(|auth| &auth.carrier) {
            Some(Carrier::Header { name, prefix }) => {
                redaction.add(value_of(name).strip_prefix(prefix.as_str()).unwrap_or_default());
            }
            Some(Carrier::Basic { .. }) => {
                let encoded = value_of(AUTHORIZATION.as_str()).strip_prefix("Basic ").unwrap_or_default();
                let both = STANDARD.decode(encoded).unwrap_or_default();
                let both = String::from_utf8_lossy(&both);
                redaction.add(&both);
                redaction.add(both.split_once(':').map_or("", |(_, password)| password));
            }
            Some(Carrier::Query { .. }) | None => {}
        }
        if let Some(sign) = &tool.sign {
            // It stands at the end of its header and is as long as its hash.
            let value = value_of(&sign.header);
            redaction.add(value.get(value.len().saturating_sub(signature_length(sign))..).unwrap_or_default());
        }
        redaction
    }
}

/// How many characters a signature has.
fn signature_length(sign: &Sign) -> usize {
    let bytes: usize = match sign.algorithm {
        Algorithm::Sha1 => 20,
        Algorithm::Sha256 => 32,
        Algorithm::Sha512 => 64,
    };
    match sign.encoding {
        Encoding::Hex => 2 * bytes,
        Encoding::Base64 => bytes.div_ceil(3) * 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clawbridge_config::check;
    use reqwest::header::{HeaderName, HeaderValue};
    use reqwest::{Method, Url};

    fn led(url: &str, headers: &[(&str, &str)], masked_query: &[&str], masked_headers: &[&str]) -> Led {
        let pair = |(name, value): &(&str, &str)| {
            (HeaderName::from_bytes(name.as_bytes()).expect("a name"), HeaderValue::from_str(value).expect("a value"))
        };
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Led {
            tool: "t".into(),
            method: Method::GET,
            url: Url::parse(url).expect("a URL"),
            headers: headers.iter().map(pair).collect(),
            masked_query: owned(masked_query),
            masked_headers: owned(masked_headers),
        }
    }

    #[test]
    fn the_credential_in_an_address_is_masked_and_nothing_else() {
        for (url, names, masked) in [
            ("https://a.example/?x=1&api%20key=s&y", ["api key"], "https://a.example/?x=1&api%20key=[redacted]&y"),
            ("https://a.example/?key=a&key=b#", ["key"], "https://a.example/?key=[redacted]&key=[redacted]"),
            ("https://a.example/key=a", ["key"], "https://a.example/key=a"),
            ("https://a.example/?keys=a&key", ["key"], "https://a.example/?keys=a&key"),
        ] {
            assert_eq!(led(url, &[], &names, &[]).masked_url(), masked);
        }
    }

    #[test]
    fn what_a_call_must_not_tell_is_found_in_what_it_carries() {
        let secret = "secret = \"clawbridge/tools/a\"";
        let hex = "0123456789abcdef".repeat(4);
        let header = [("x-key", "Key=secret-1"), ("x-s", &format!("t=17636964,v1={hex}"))];
        // user:password
        let basic = [("authorization", "Basic dXNlcjpzZWNyZXQtMg==")];
        let rows: [(&str, Led, Vec<&str>, Vec<&str>); 4] = [
            (
                &format!(
                    "auth = {{ {secret}, header = \"X-Key\", prefix = \"Key=\" }}\nsign = {{ {secret}, header = \"X-S\" }}"
                ),
                led("https://a.example/", &header, &[], &["x-key", "x-s"]),
                vec!["secret-1", &hex],
                vec!["17636964", "Key="],
            ),
            (
                &format!("auth = {{ {secret}, basic = true }}"),
                led("https://a.example/", &basic, &[], &["authorization"]),
                vec!["secret-2", "user:secret-2", "dXNlcjpzZWNyZXQtMg=="],
                vec!["Basic "],
            ),
            (
                &format!("auth = {{ {secret}, query = \"key\" }}"),
                led("https://a.example/?key=secret%2F3&x=public-1", &[], &["key"], &[]),
                vec!["secret/3", "secret%2F3"],
                vec!["public-1"],
            ),
            (
                &format!("auth = {{ {secret} }}"),
                led("https://a.example/", &[("authorization", "Bearer secret-4")], &[], &["authorization"]),
                vec!["secret-4"],
                vec!["Bearer "],
            ),
        ];
        for (tool, led, secrets, public) in rows {
            let text = format!("[tools.t]\nmethod = \"GET\"\nurl = \"https://a.example/\"\n{tool}\n");
            let (config, diagnostics) = check(&text);
            let config = config.unwrap_or_else(|| panic!("{diagnostics:?}")).compile().expect("a configuration");
            let redaction = led.redaction(config.tool("t"));
            for secret in &secrets {
                assert_eq!(redaction.text(&format!("<{secret}>")), "<[redacted]>", "{tool}");
            }
            for text in &public {
                assert_eq!(redaction.text(text), *text, "{tool}");
            }
        }
    }

    #[test]
    fn without_the_tool_all_of_what_carries_a_secret_is_one() {
        let led = led("https://a.example/?key=secret-3", &[("x-key", "Token secret-1")], &["key"], &["x-key"]);
        assert_eq!(led.redaction(None).text("secret-1 secret-3 Token secret-1"), "[redacted] [redacted] [redacted]");
    }
}
