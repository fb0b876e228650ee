//! The source document that stands for a vector's scheme.

use clawbridge_signatures::{Scheme, Source, SourceError};
use serde_json::{Value, json};

use crate::form::Vector;

/// Whose push the vectors of Pub/Sub are, and what they are made out to.
const PUBSUB_ACCOUNT: &str = "push@proj.iam.gserviceaccount.com";
const PUBSUB_AUDIENCE: &str = "https://hooks.example.com/pubsub";
/// The topic of the vectors of SNS.
const TOPIC: &str = "arn:aws:sns:us-west-2:123456789012:MyTopic";
/// The webhook of PayPal's documentation, which the valid vector was made for.
const PAYPAL_WEBHOOK: &str = "0NH55953DH663215D";

/// The source that a vector is checked against; nothing when no scheme here can express it.
pub(crate) fn source(vector: &Vector) -> Option<Result<Source, SourceError>> {
    let document = document(vector)?;
    let mut windowed = document.clone();
    if let Some(tolerance_s) = vector.tolerance_s {
        match windowed.get_mut("hmac") {
            Some(hmac) if !hmac["timestamp_header"].is_null() || !hmac["timestamp_prefix"].is_null() => {
                hmac["tolerance_s"] = json!(tolerance_s);
            }
            Some(_) => {}
            None => windowed["tolerance_s"] = json!(tolerance_s),
        }
    }
    let read = |document: &Value| Source::from_secret(document.to_string().as_bytes());
    Some(match read(&windowed) {
        // A scheme without a window: nothing to set.
        Err(SourceError::BadOption { option: "tolerance_s", .. }) => read(&document),
        other => other,
    })
}

fn document(vector: &Vector) -> Option<Value> {
    if let Some(hmac) = configured(vector) {
        return Some(json!({ "scheme": "hmac", "secrets": [vector.secret], "hmac": hmac }));
    }
    let scheme = scheme(vector)?;
    let mut listed = json!({ "scheme": scheme });
    // Pinned: whether a certificate's dates fit is no matter of the vector, some of which are older than the certificate made for them.
    if vector.secret_encoding.starts_with("x509-pem") {
        listed["keys"] = json!(vector.secret);
    }
    let listed = |secret: &str| {
        let mut document = listed.clone();
        document["secrets"] = json!([secret]);
        document
    };
    Some(match scheme {
        "aws-sns" => listed(TOPIC),
        "paypal" => listed(if vector.name == "wrong_webhook_id" { "1AB23456CD789012E" } else { PAYPAL_WEBHOOK }),
        "google-pubsub" => {
            let mut document = listed(PUBSUB_ACCOUNT);
            document["audience"] = json!(PUBSUB_AUDIENCE);
            document
        }
        _ => listed(&vector.secret),
    })
}

/// The provider's key set, where the vector has one: what a receiver would have fetched.
pub(crate) fn key(vector: &Vector) -> Option<&[u8]> {
    vector.secret_encoding.starts_with("jwks").then_some(vector.secret.as_bytes())
}

/// The scheme of a vector, by its provider, or by the name of its scheme where the provider has no scheme of its own.
fn scheme(vector: &Vector) -> Option<&'static str> {
    let named = match (vector.provider.as_str(), vector.scheme.as_str()) {
        ("openclaw", "shared-token-header") => "openclaw-token",
        ("gitlab", "shared-token-header") => "gitlab-token",
        ("standardwebhooks", _) => "standard-webhooks",
        (provider, _) => provider,
    };
    let by_form = match vector.scheme.as_str() {
        "stripe-v1" => "stripe",
        "hub-sha256" => "github",
        "slack-v0" => "slack",
        "standard-webhooks-v1" | "standard-webhooks-v1a" => "standard-webhooks",
        _ => named,
    };
    [named, by_form].into_iter().find_map(|name| Scheme::parse(name).ok()).map(Scheme::name)
}

/// The options of the configurable scheme, for vectors of no provider and for forms that no scheme has.
fn configured(vector: &Vector) -> Option<Value> {
    let mut hmac = match (vector.provider.as_str(), vector.scheme.as_str()) {
        ("openclaw", "raw-hex-ts") => json!({
            "header": "X-OpenClaw-Signature", "signed": "{timestamp}.{body}", "timestamp_header": "X-OpenClaw-Timestamp",
        }),
        ("hook0", _) => json!({
            "header": "X-Hook0-Signature", "prefix": "v0=", "list_separator": ",", "timestamp_prefix": "t=",
            "signed": "{timestamp}.{body}",
        }),
        (_, scheme) => {
            let (algorithm, encoding) = scheme.strip_prefix("hmac-")?.split_once("-raw-")?;
            let encoding = if encoding == "b64" { "base64" } else { encoding };
            json!({ "header": "X-Signature", "algorithm": algorithm, "encoding": encoding })
        }
    };
    hmac["secret_encoding"] = json!(vector.secret_encoding);
    Some(hmac)
}
