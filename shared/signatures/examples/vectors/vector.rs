//! One signature vector: how its scheme is named here, and the verdict on it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clawbridge_signatures::{Request, Source, verify};
use serde::Deserialize;
use serde_json::{Value, json};

/// A file of vectors.
#[derive(Deserialize)]
pub(crate) struct Vectors {
    pub(crate) vectors: Vec<Vector>,
}

/// A request, the secret it is checked with, the expected verdict.
#[derive(Deserialize)]
pub(crate) struct Vector {
    pub(crate) provider: String,
    pub(crate) scheme: String,
    pub(crate) name: String,
    secret: String,
    secret_encoding: String,
    headers: Vec<(String, String)>,
    body_base64: String,
    now: i64,
    method: String,
    url: Option<String>,
    expect: String,
    tolerance_s: Option<u32>,
    pub(crate) strictness: String,
    pub(crate) decided: Option<String>,
}

/// What came of a vector.
pub(crate) enum Outcome {
    /// No scheme here can express it.
    Unsupported,
    /// The verdict, and the words for it.
    Verdict { valid: bool, reason: String },
}

impl Vector {
    /// What was decided here where receivers may differ, what is expected otherwise.
    pub(crate) fn expectation(&self) -> &str {
        self.decided.as_deref().unwrap_or(&self.expect)
    }

    pub(crate) fn expects_valid(&self) -> bool {
        self.expectation().split(':').next() == Some("valid")
    }

    pub(crate) fn run(&self) -> Outcome {
        let Some(document) = self.document() else { return Outcome::Unsupported };
        let source = match Source::from_secret(document.to_string().as_bytes()) {
            Ok(source) => source,
            Err(problem) => return Outcome::Verdict { valid: false, reason: problem.to_string() },
        };
        let body = STANDARD.decode(&self.body_base64).expect("body_base64 is base64");
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let request = Request { method: &self.method, url: self.url.as_deref(), headers, body: &body };
        match verify(&source, &request, self.now) {
            Ok(_) => Outcome::Verdict { valid: true, reason: "valid".into() },
            Err(refusal) => Outcome::Verdict { valid: false, reason: format!("{}: {refusal}", refusal.code()) },
        }
    }

    /// The source secret that stands for the vector's scheme.
    fn document(&self) -> Option<Value> {
        let preset = match (self.scheme.as_str(), self.provider.as_str()) {
            ("stripe-v1", _) => Some("stripe"),
            ("hub-sha256", _) => Some("github"),
            ("raw-hex", "openclaw") => Some("openclaw"),
            ("raw-hex", "byterover") => Some("byterover"),
            ("shared-token-header", "openclaw") => Some("openclaw-token"),
            ("standard-webhooks-v1", _) if !self.has_header_like("svix-") => Some("standard-webhooks"),
            _ => None,
        };
        if let Some(scheme) = preset {
            return Some(json!({ "scheme": scheme, "secrets": [self.secret], "tolerance_s": self.tolerance_s }));
        }
        let mut hmac = self.configured()?;
        hmac["secret_encoding"] = match self.secret_encoding.as_str() {
            _ if self.scheme == "standard-webhooks-v1" => json!("whsec"),
            encoding @ ("utf8" | "hex" | "base64") => json!(encoding),
            _ => return None,
        };
        if hmac.get("timestamp_header").is_some() || hmac.get("timestamp_prefix").is_some() {
            hmac["tolerance_s"] = json!(self.tolerance_s);
        }
        Some(json!({ "scheme": "hmac", "secrets": [self.secret], "hmac": hmac }))
    }

    fn has_header_like(&self, prefix: &str) -> bool {
        self.headers.iter().any(|(name, _)| name.to_ascii_lowercase().starts_with(prefix))
    }

    /// Schemes without a row of their own that the configurable one expresses.
    fn configured(&self) -> Option<Value> {
        Some(match (self.scheme.as_str(), self.provider.as_str()) {
            ("hmac-sha256-raw-hex", _) => json!({ "header": "X-Signature" }),
            ("hmac-sha512-raw-hex", _) => json!({ "header": "X-Signature", "algorithm": "sha512" }),
            ("raw-hex", "dropbox") => json!({ "header": "X-Dropbox-Signature" }),
            ("raw-hex-ts", "openclaw") => json!({
                "header": "X-OpenClaw-Signature", "signed": "{timestamp}.{body}", "timestamp_header": "X-OpenClaw-Timestamp",
            }),
            ("standard-webhooks-v1", "svix") => json!({
                "header": "svix-signature", "prefix": "v1,", "list_separator": " ", "encoding": "base64",
                "signed": "{id}.{timestamp}.{body}", "timestamp_header": "svix-timestamp", "delivery_header": "svix-id",
            }),
            ("slack-v0", _) => json!({
                "header": "X-Slack-Signature", "prefix": "v0=", "signed": "v0:{timestamp}:{body}",
                "timestamp_header": "X-Slack-Request-Timestamp",
            }),
            ("zoom-v0", _) => json!({
                "header": "x-zm-signature", "prefix": "v0=", "signed": "v0:{timestamp}:{body}",
                "timestamp_header": "x-zm-request-timestamp",
            }),
            ("shopify-b64", _) => json!({ "header": "X-Shopify-Hmac-Sha256", "encoding": "base64" }),
            ("typeform-b64", _) => json!({ "header": "Typeform-Signature", "prefix": "sha256=", "encoding": "base64" }),
            ("x-b64", _) => {
                json!({ "header": "x-twitter-webhooks-signature", "prefix": "sha256=", "encoding": "base64" })
            }
            ("raw-b64", "line") => json!({ "header": "x-line-signature", "encoding": "base64" }),
            ("raw-b64", "hookdeck") => json!({ "header": "x-hookdeck-signature", "encoding": "base64" }),
            ("hub-sha256-notion", _) => json!({ "header": "X-Notion-Signature", "prefix": "sha256=" }),
            ("hub-sha256-legacyname", _) => json!({ "header": "X-Hub-Signature", "prefix": "sha256=" }),
            ("airtable-mac", _) => json!({ "header": "X-Airtable-Content-MAC", "prefix": "hmac-sha256=" }),
            ("square-url-b64", _) => json!({
                "header": "x-square-hmacsha256-signature", "encoding": "base64", "signed": "{url}{body}",
            }),
            ("list-v1-hex", _) => json!({ "header": "X-PagerDuty-Signature", "prefix": "v1=", "list_separator": "," }),
            ("calendly-v1", _) => json!({
                "header": "Calendly-Webhook-Signature", "prefix": "v1=", "list_separator": ",", "timestamp_prefix": "t=",
                "signed": "{timestamp}.{body}",
            }),
            ("paddle-h1", _) => json!({
                "header": "Paddle-Signature", "prefix": "h1=", "list_separator": ";", "timestamp_prefix": "ts=",
                "signed": "{timestamp}:{body}",
            }),
            _ => return None,
        })
    }
}
