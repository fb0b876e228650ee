//! Amazon SNS: the message is signed with a certificate of Amazon's, whose address it names; any topic of anybody's is signed so, which is why a
//! source lists its own. <https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html>

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::Asked;
use super::rsa::{Hash, by_certificate};
use crate::refusal::Refusal;
use crate::request::Request;
use crate::verify::Wanted;

const EXPECTED: &str = "an SNS message (is raw message delivery on? it is not signed: turn it off)";
const CERTIFICATE: &str = "SigningCertURL in the body";
const ADDRESS: &str = "https://sns.REGION.amazonaws.com/NAME.pem";

/// Signed in this order, those that are there.
const NOTIFICATION: [&str; 6] = ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"];
const CONTROL: [&str; 7] = ["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"];

fn envelope(body: &[u8]) -> Result<Map<String, Value>, Refusal> {
    serde_json::from_slice(body).map_err(|_| Refusal::BodyMalformed { expected: EXPECTED })
}

fn text<'m>(message: &'m Map<String, Value>, name: &str) -> Option<&'m str> {
    message.get(name).and_then(Value::as_str)
}

pub(super) fn wanted(request: &Request<'_>) -> Result<Wanted, Refusal> {
    let message = envelope(request.body)?;
    certificate_address(&message).map(Wanted::at)
}

fn certificate_address(message: &Map<String, Value>) -> Result<String, Refusal> {
    let missing = || Refusal::SignatureMissing { place: CERTIFICATE.into() };
    let url = text(message, "SigningCertURL").or_else(|| text(message, "SigningCertUrl")).ok_or_else(missing)?;
    let good = at_amazon(url).is_some_and(|path| {
        let name = path.strip_suffix(".pem").unwrap_or_default();
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    });
    if good {
        Ok(url.to_owned())
    } else {
        Err(Refusal::KeyUrlForbidden { place: CERTIFICATE.into(), expected: ADDRESS })
    }
}

/// What follows `https://sns.REGION.amazonaws.com/`, also in China.
fn at_amazon(url: &str) -> Option<&str> {
    let (host, path) = url.strip_prefix("https://")?.split_once('/')?;
    let region = host.strip_prefix("sns.")?;
    let region = region.strip_suffix(".amazonaws.com").or_else(|| region.strip_suffix(".amazonaws.com.cn"))?;
    // A region and nothing else: `sns.s3-us-west-2.amazonaws.com` is somebody's bucket.
    let parts: Vec<&str> = region.split('-').collect();
    let [area, middle @ .., number] = parts.as_slice() else { return None };
    let good = area.len() == 2
        && !middle.is_empty()
        && middle.iter().all(|part| !part.is_empty())
        && [area].into_iter().chain(middle).all(|part| part.bytes().all(|byte| byte.is_ascii_lowercase()))
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit());
    good.then_some(path)
}

/// The address that begins a subscription, of a message that was verified.
pub(crate) fn confirmation(body: &[u8]) -> Option<String> {
    let message = envelope(body).ok()?;
    let url = text(&message, "SubscribeURL").filter(|_| text(&message, "Type") == Some("SubscriptionConfirmation"))?;
    let query = at_amazon(url)?.strip_prefix('?')?;
    let confirms = query.split('&').any(|pair| pair == "Action=ConfirmSubscription");
    (confirms && url.len() <= 2048 && url.bytes().all(|byte| byte.is_ascii_graphic())).then(|| url.to_owned())
}

pub(super) fn verify(asked: &Asked<'_>) -> Result<usize, Refusal> {
    let message = envelope(asked.request.body)?;
    // Also where the certificate is pinned: an address elsewhere is never Amazon's message.
    certificate_address(&message)?;
    let hash = match text(&message, "SignatureVersion") {
        Some("1") => Hash::Sha1,
        Some("2") => Hash::Sha256,
        _ => {
            let place = "SignatureVersion in the body".to_owned();
            return Err(Refusal::VersionUnsupported { place, accepted: "1 and 2" });
        }
    };
    let place = || "Signature in the body".to_owned();
    let signature = text(&message, "Signature").ok_or_else(|| Refusal::SignatureMissing { place: place() })?;
    let signature = STANDARD
        .decode(signature)
        .map_err(|_| Refusal::SignatureMalformed { header: place(), expected: "padded base64".into() })?;
    let names: &[&str] = match text(&message, "Type") {
        Some("Notification") => &NOTIFICATION,
        Some("SubscriptionConfirmation" | "UnsubscribeConfirmation") => &CONTROL,
        _ => return Err(Refusal::BodyMalformed { expected: EXPECTED }),
    };
    let mut signed = String::new();
    for name in names {
        match message.get(*name) {
            // Where one member ends is not signed: only the message itself may have lines.
            Some(Value::String(value)) if *name == "Message" || !value.contains('\n') => {
                signed.extend([name, "\n", value, "\n"]);
            }
            None | Some(Value::Null) => {}
            Some(_) => return Err(Refusal::BodyMalformed { expected: EXPECTED }),
        }
    }
    let key = asked.key.ok_or_else(|| Refusal::KeyUnknown { place: CERTIFICATE.into() })?;
    if !by_certificate(key, hash, signed.as_bytes(), &signature)? {
        return Err(Refusal::SignatureMismatch { secrets: asked.source.secret_count() });
    }
    let topic = text(&message, "TopicArn").unwrap_or_default();
    let listed = asked.source.keys().position(|key| key == topic.as_bytes());
    let listed_count = asked.source.secret_count();
    listed.ok_or_else(|| Refusal::SenderNotListed { place: "TopicArn".into(), listed: listed_count })
}

/// A topic's ARN.
pub(super) fn topic(text: &str) -> Result<Vec<u8>, &'static str> {
    let parts: Vec<&str> = text.split(':').collect();
    match parts.as_slice() {
        ["arn", _, "sns", region, account, name]
            if !region.is_empty()
                && account.len() == 12
                && account.bytes().all(|b| b.is_ascii_digit())
                && !name.is_empty() =>
        {
            Ok(text.as_bytes().to_vec())
        }
        _ => Err("is not the ARN of an SNS topic, as in arn:aws:sns:us-east-1:123456789012:orders"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_amazons_own_addresses_are_fetched_or_called() {
        let pem = |url: &str| {
            let message = serde_json::json!({"SigningCertURL": url});
            certificate_address(message.as_object().expect("an object")).is_ok()
        };
        assert!(pem("https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-0a.pem"));
        assert!(pem("https://sns.cn-north-1.amazonaws.com.cn/SimpleNotificationService-0a.pem"));
        for url in [
            "http://sns.eu-central-1.amazonaws.com/a.pem",
            "https://sns.eu-central-1.amazonaws.com:443/a.pem",
            "https://sns.eu-central-1.amazonaws.com@evil.example/a.pem",
            "https://evil.example/sns.eu-central-1.amazonaws.com/a.pem",
            "https://sns.evil.example/a.pem",
            "https://sns.s3-us-west-2.amazonaws.com/a.pem",
            "https://sns.s3.amazonaws.com/a.pem",
            "https://sns.a.b.amazonaws.com/a.pem",
            "https://sns.s3.amazonaws.com.evil.example/a.pem",
            "https://sns.eu-central-1.amazonaws.com/a/../b.pem",
            "https://sns.eu-central-1.amazonaws.com/a.pem?x",
            "https://sns.eu-central-1.amazonaws.com/.pem",
            "https://sns.eu-central-1.amazonaws.com/a.txt",
        ] {
            assert!(!pem(url), "{url}");
        }
        let confirm = |url: &str| {
            let message = serde_json::json!({"Type": "SubscriptionConfirmation", "SubscribeURL": url});
            confirmation(message.to_string().as_bytes())
        };
        let good = "https://sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription&TopicArn=arn&Token=t";
        assert_eq!(confirm(good).as_deref(), Some(good));
        assert_eq!(confirm("https://sns.us-west-2.amazonaws.com/?Action=Unsubscribe&Token=t"), None);
        assert_eq!(confirm("https://evil.example/?Action=ConfirmSubscription"), None);
    }
}
