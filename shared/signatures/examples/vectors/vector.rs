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
        let request = Request { method: &self.method, url: self.url.as_deref(), query: "", headers, body: &body };
        match verify(&source, &request, self.now) {
            Ok(_) => Outcome::Verdict { valid: true, reason: "valid".into() },
            Err(refusal) => Outcome::Verdict { valid: false, reason: format!("{}: {refusal}", refusal.code()) },
        }
    }

    /// The source secret that stands for the vector's scheme.
    fn document(&self) -> Option<Value> {
        let scheme = match (self.provider.as_str(), self.scheme.as_str()) {
            ("openclaw", "shared-token-header") => "openclaw-token",
            ("gitlab", "shared-token-header") => "gitlab-token",
            ("openclaw", "raw-hex-ts") => {
                return Some(self.configured(json!({
                    "header": "X-OpenClaw-Signature", "signed": "{timestamp}.{body}",
                    "timestamp_header": "X-OpenClaw-Timestamp",
                })));
            }
            ("hook0", _) => {
                return Some(self.configured(json!({
                    "header": "X-Hook0-Signature", "prefix": "v0=", "list_separator": ",", "timestamp_prefix": "t=",
                    "signed": "{timestamp}.{body}",
                })));
            }
            ("generic", "hmac-sha1-raw-hex") => return Some(self.configured(json!({ "algorithm": "sha1" }))),
            ("generic", "hmac-sha256-raw-hex") => return Some(self.configured(json!({}))),
            ("generic", "hmac-sha512-raw-hex") => return Some(self.configured(json!({ "algorithm": "sha512" }))),
            ("standardwebhooks", _) => "standard-webhooks",
            (provider, _) => provider,
        };
        let entry = clawbridge_signatures::Scheme::parse(scheme).ok()?;
        let mut document = json!({ "scheme": scheme, "secrets": [self.secret] });
        match scheme {
            "aws-sns" => {
                document["keys"] = json!(self.secret);
                document["secrets"] = json!(["arn:aws:sns:us-west-2:123456789012:MyTopic"]);
            }
            "paypal" => {
                document["keys"] = json!(self.secret);
                document["secrets"] = json!([self.webhook_id()]);
            }
            "google-pubsub" => {
                document["keys"] = json!(self.secret);
                document["secrets"] = json!(["push@proj.iam.gserviceaccount.com"]);
                document["audience"] = json!("https://hooks.example.com/pubsub");
            }
            _ if entry.has_window() => document["tolerance_s"] = json!(self.tolerance_s),
            _ => {}
        }
        Some(document)
    }

    /// A vector of the configurable scheme.
    fn configured(&self, mut hmac: Value) -> Value {
        if hmac.get("header").is_none() {
            hmac["header"] = json!("X-Signature");
        }
        hmac["secret_encoding"] = json!(self.secret_encoding);
        if hmac.get("timestamp_header").is_some() || hmac.get("timestamp_prefix").is_some() {
            hmac["tolerance_s"] = json!(self.tolerance_s);
        }
        json!({ "scheme": "hmac", "secrets": [self.secret], "hmac": hmac })
    }

    /// The id of the webhook in PayPal's documentation, which the valid vector was made for.
    fn webhook_id(&self) -> &'static str {
        if self.name == "wrong_webhook_id" { "ANOTHERID" } else { "0NH55953DH663215D" }
    }
}
