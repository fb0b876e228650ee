//! Amazon SNS over HTTPS (<https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html>).
//!
//! The proof is in the body: a signature by AWS over some of its members, with a certificate from an address that the body names. AWS signs
//! for every account, so a good signature says that *a* topic sent this; which topics may is the source's list, its secrets.
//!
//! Not signed, and so not vouched for: `UnsubscribeURL`, `MessageAttributes` and the headers. A message that was delivered raw is not signed at all.
//!
//! An `UnsubscribeConfirmation` is an event like any other. It tells that somebody ended the subscription; its `SubscribeURL` would undo that,
//! and is left to whoever reads the event.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::address::Address;
use super::rsa::Hash;
use super::{Asked, certificate, jwt};
use crate::refusal::Refusal;
use crate::request::Request;
use crate::source::Options;
use crate::verify::Wanted;

const CERTIFICATE_ADDRESS: &str = "https://sns.REGION.amazonaws.com/NAME.pem";

/// The members of a message that count. Each may be there once: which of two counts differs between readers.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Envelope {
    r#type: Option<String>,
    message_id: Option<String>,
    topic_arn: Option<String>,
    subject: Option<String>,
    message: Option<String>,
    timestamp: Option<String>,
    token: Option<String>,
    #[serde(rename = "SubscribeURL")]
    subscribe_url: Option<String>,
    signature_version: Option<String>,
    signature: Option<String>,
    #[serde(rename = "SigningCertURL")]
    signing_cert_url: Option<String>,
}

impl Envelope {
    fn read(body: &[u8]) -> Result<Self, Refusal> {
        let form = || Refusal::BodyMalformed {
            expected: "a message of SNS in its JSON form (if raw message delivery is on for the subscription, turn it off: raw messages are \
                       not signed)",
        };
        let envelope: Self = jwt::object(body).ok_or_else(form)?;
        if envelope.r#type.is_none() || envelope.topic_arn.is_none() {
            return Err(form());
        }
        Ok(envelope)
    }

    /// The text that is signed: each member that counts as its name and its value, a line each, in the order of the names.
    ///
    /// Only `Message` may have more than one line, as SNS keeps it: else a publisher could write one message that reads as another.
    fn signed(&self) -> Result<String, Refusal> {
        let control = match self.r#type.as_deref() {
            Some("Notification") => false,
            Some("SubscriptionConfirmation" | "UnsubscribeConfirmation") => true,
            _ => return Err(Refusal::BodyMalformed { expected: "a message of SNS of a Type that there is" }),
        };
        let (subject, subscribe_url, token) =
            if control { (&None, &self.subscribe_url, &self.token) } else { (&self.subject, &None, &None) };
        let members = [
            ("Message", &self.message, true),
            ("MessageId", &self.message_id, true),
            ("Subject", subject, false),
            ("SubscribeURL", subscribe_url, control),
            ("Timestamp", &self.timestamp, true),
            ("Token", token, control),
            ("TopicArn", &self.topic_arn, true),
            ("Type", &self.r#type, true),
        ];
        let mut text = String::new();
        for (name, value, needed) in members {
            match value {
                Some(value) if name == "Message" || !value.contains(['\n', '\r']) => {
                    // Writing to a String does not fail.
                    let _ = writeln!(text, "{name}\n{value}");
                }
                None if !needed => {}
                _ => return Err(Refusal::BodyMalformed { expected: "a message of SNS with all its members" }),
            }
        }
        Ok(text)
    }

    fn hash(&self) -> Result<Hash, Refusal> {
        match self.signature_version.as_deref() {
            Some("1") => Ok(Hash::Sha1),
            Some("2") => Ok(Hash::Sha256),
            _ => Err(Refusal::VersionUnsupported { place: "SignatureVersion".into(), accepted: "1 and 2" }),
        }
    }

    /// Where the certificate is, if SNS keeps its certificates there.
    fn certificate(&self) -> Result<&str, Refusal> {
        self.signing_cert_url
            .as_deref()
            .filter(|url| is_certificate_address(url))
            .ok_or_else(|| Refusal::KeyUrlForbidden { place: "SigningCertURL".into(), expected: CERTIFICATE_ADDRESS })
    }
}

fn is_certificate_address(url: &str) -> bool {
    Address::parse(url).is_some_and(|address| {
        is_sns(address.host) && address.file_in("/").is_some_and(|name| name.len() > 4 && name.ends_with(".pem"))
    })
}

/// `sns.REGION.amazonaws.com`, in China with `.cn`.
///
/// The region must look like one. `sns.s3-us-west-2.amazonaws.com` has the same end and is somebody's bucket.
fn is_sns(host: &str) -> bool {
    let region = host
        .strip_prefix("sns.")
        .and_then(|rest| rest.strip_suffix(".amazonaws.com").or_else(|| rest.strip_suffix(".amazonaws.com.cn")));
    region.is_some_and(is_region)
}

/// Such as `us-east-1` and `us-gov-west-1`.
fn is_region(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [area, directions @ .., number] = &parts[..] else { return false };
    let letters = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase());
    area.len() == 2
        && letters(area)
        && (1..=2).contains(&directions.len())
        && directions.iter().all(|part| letters(part))
        && (1..=2).contains(&number.len())
        && number.bytes().all(|b| b.is_ascii_digit())
}

pub(super) fn wanted(request: &Request<'_>) -> Result<Wanted, Refusal> {
    let envelope = Envelope::read(request.body)?;
    // Nothing is fetched for a message that could not be verified with it.
    envelope.hash()?;
    envelope.signed()?;
    signature(&envelope)?;
    Ok(Wanted::at(envelope.certificate()?.to_owned()))
}

fn signature(envelope: &Envelope) -> Result<Vec<u8>, Refusal> {
    let text = envelope.signature.as_deref().ok_or_else(|| Refusal::SignatureMissing { place: "Signature".into() })?;
    STANDARD.decode(text).map_err(|_| Refusal::SignatureMalformed {
        header: "Signature".into(),
        expected: "an RSA signature in base64".into(),
    })
}

pub(super) fn verify(asked: &Asked<'_>) -> Result<usize, Refusal> {
    let envelope = Envelope::read(asked.request.body)?;
    let (signature, hash, signed) = (signature(&envelope)?, envelope.hash()?, envelope.signed()?);
    // Where keys are pinned as well: a message that names another address is not from SNS.
    envelope.certificate()?;
    let key = certificate::key(asked, "SigningCertURL")?;
    if !key.signed(hash, signed.as_bytes(), &signature) {
        return Err(Refusal::KeyMismatch { place: "SigningCertURL".into() });
    }
    let topic = envelope.topic_arn.unwrap_or_default();
    asked
        .source
        .keys()
        .position(|listed| listed == topic.as_bytes())
        .ok_or_else(|| Refusal::SenderNotListed { place: "TopicArn".into(), listed: asked.source.secret_count() })
}

/// Where the subscription is confirmed that a *verified* body asks to confirm, if it is one and the address is SNS's.
pub(crate) fn confirmation(body: &[u8]) -> Option<String> {
    let envelope = Envelope::read(body).ok()?;
    if envelope.r#type.as_deref() != Some("SubscriptionConfirmation") {
        return None;
    }
    let url = envelope.subscribe_url?;
    let address = Address::parse(&url)?;
    let mut actions = address.query?.split('&').filter_map(|pair| pair.strip_prefix("Action="));
    let confirms = actions.next() == Some("ConfirmSubscription") && actions.next().is_none();
    (is_sns(address.host) && address.path == "/" && confirms).then_some(url)
}

/// A secret of such a source is a topic that may send.
pub(super) fn topic(text: &str) -> Result<Vec<u8>, &'static str> {
    let parts: Vec<&str> = text.splitn(7, ':').collect();
    let ["arn", partition, "sns", region, account, name] = parts[..] else {
        return Err(
            "is not a topic's ARN, as in arn:aws:sns:us-east-1:123456789012:orders; a source lists the topics that may send to it",
        );
    };
    let is_partition = partition == "aws" || partition.strip_prefix("aws-").is_some_and(|rest| !rest.is_empty());
    if !is_partition || !is_region(region) {
        return Err(
            "is a topic's ARN with a partition or region that there is not; copy the ARN from the topic's page",
        );
    }
    if account.len() != 12 || !account.bytes().all(|b| b.is_ascii_digit()) {
        return Err("is a topic's ARN without a 12-digit account number; copy the ARN from the topic's page");
    }
    let bare = name.strip_suffix(".fifo").unwrap_or(name);
    let plain = bare.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if bare.is_empty() || name.len() > 256 || !plain {
        return Err(
            "is a topic's ARN with a name that no topic can have (wildcards are not supported); list each topic",
        );
    }
    Ok(text.as_bytes().to_vec())
}

pub(super) fn check_options(options: &Options) -> Result<(), (&'static str, String)> {
    certificate::check_pinned(options.keys.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Source;
    use crate::code::testdata::{CERTIFICATE, sign};
    use crate::request::Headers;
    use crate::verify::{verify_with, wanted};
    use proptest::prelude::*;
    use proptest::sample::Index;
    use serde_json::{Value, json};

    const NOW: i64 = 1_790_000_000;
    const TOPIC: &str = "arn:aws:sns:us-west-2:123456789012:orders";
    const CERT_URL: &str =
        "https://sns.us-west-2.amazonaws.com/SimpleNotificationService-0123456789abcdef0123456789abcdef.pem";

    /// A message with a signature by the test key.
    fn signed(mut message: Value) -> Vec<u8> {
        let text = Envelope::read(message.to_string().as_bytes()).and_then(|e| e.signed()).unwrap_or_default();
        message["Signature"] = json!(STANDARD.encode(sign(text.as_bytes())));
        message.to_string().into_bytes()
    }

    fn notification() -> Value {
        json!({
            "Type": "Notification", "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324", "TopicArn": TOPIC, "Subject": "Über",
            "Message": "one\nMessageId\ntwo", "Timestamp": "2026-09-21T14:13:20.000Z", "SignatureVersion": "2",
            "SigningCertURL": CERT_URL, "UnsubscribeURL": "https://sns.us-west-2.amazonaws.com/?Action=Unsubscribe",
        })
    }

    fn confirmation_of(kind: &str) -> Value {
        json!({
            "Type": kind, "MessageId": "165545c9-2a5c-472c-8df2-7ff2be2b3b1b", "Token": "2336412f37", "TopicArn": TOPIC,
            "Message": "You have chosen to subscribe", "Timestamp": "2026-09-21T14:13:20.000Z", "SignatureVersion": "2",
            "SubscribeURL": format!("https://sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=2336412f37"),
            "SigningCertURL": CERT_URL,
        })
    }

    fn source(topics: &[&str]) -> Source {
        Source::from_secret(json!({ "scheme": "aws-sns", "secrets": topics }).to_string().as_bytes()).expect("a source")
    }

    fn outcome(body: &[u8]) -> Result<usize, &'static str> {
        let source = source(&["arn:aws:sns:us-west-2:123456789012:other", TOPIC]);
        let request = Request { method: "POST", url: None, query: "", headers: Headers::default(), body };
        verify_with(&source, &request, Some(CERTIFICATE.as_bytes()), NOW)
            .map(|verified| verified.secret_index())
            .map_err(|refusal| refusal.code())
    }

    #[test]
    fn every_kind_of_message_is_verified() {
        assert_eq!(outcome(&signed(notification())), Ok(1));
        let mut bare = notification();
        bare["Subject"] = Value::Null;
        assert_eq!(outcome(&signed(bare)), Ok(1));
        for kind in ["SubscriptionConfirmation", "UnsubscribeConfirmation"] {
            assert_eq!(outcome(&signed(confirmation_of(kind))), Ok(1), "{kind}");
        }
        // Made with `openssl dgst -sha1 -sign`: ring signs no SHA-1.
        let mut old = notification();
        old["SignatureVersion"] = json!("1");
        old["Signature"] = json!(include_str!("../../testdata/sns-sha1.txt").trim());
        assert_eq!(outcome(old.to_string().as_bytes()), Ok(1));
        old["SignatureVersion"] = json!("2");
        assert_eq!(outcome(old.to_string().as_bytes()), Err("SIGNATURE_MISMATCH"));
    }

    #[test]
    fn a_changed_member_is_refused() {
        for (name, value) in [
            ("Message", json!("one")),
            ("MessageId", json!("22b80b92-fdea-4c2c-8f9d-bdfb0c7bf325")),
            ("Subject", json!("Uber")),
            ("Subject", Value::Null),
            ("Timestamp", json!("2026-09-21T14:13:20.001Z")),
            ("TopicArn", json!("arn:aws:sns:us-west-2:123456789012:other")),
        ] {
            let mut message: Value = serde_json::from_slice(&signed(notification())).expect("a message");
            message[name] = value;
            assert_eq!(outcome(message.to_string().as_bytes()), Err("SIGNATURE_MISMATCH"), "{name}");
        }
        for name in ["SubscribeURL", "Token"] {
            let mut message: Value =
                serde_json::from_slice(&signed(confirmation_of("SubscriptionConfirmation"))).expect("a message");
            message[name] = json!("https://evil.example/");
            assert_eq!(outcome(message.to_string().as_bytes()), Err("SIGNATURE_MISMATCH"), "{name}");
        }
    }

    #[test]
    fn what_is_not_a_signed_message_says_why() {
        let with = |name: &str, value: Value| {
            let mut message = notification();
            message[name] = value;
            signed(message)
        };
        for (body, expected) in [
            (b"".to_vec(), "BODY_MALFORMED"),
            (b"Hello world".to_vec(), "BODY_MALFORMED"),
            (br#"{"order":7}"#.to_vec(), "BODY_MALFORMED"),
            (br#"["Notification","1"]"#.to_vec(), "BODY_MALFORMED"),
            (with("Type", json!("Other")), "BODY_MALFORMED"),
            (with("Message", json!(7)), "BODY_MALFORMED"),
            (with("Message", Value::Null), "BODY_MALFORMED"),
            (with("MessageId", json!("a\nSubject\nb")), "BODY_MALFORMED"),
            (with("Subject", json!("a\nb")), "BODY_MALFORMED"),
            (with("SignatureVersion", json!("3")), "VERSION_UNSUPPORTED"),
            (with("SignatureVersion", Value::Null), "VERSION_UNSUPPORTED"),
            (with("SigningCertURL", Value::Null), "KEY_URL_FORBIDDEN"),
            (with("TopicArn", json!("arn:aws:sns:us-west-2:999999999999:orders")), "SENDER_NOT_LISTED"),
            (notification().to_string().into_bytes(), "SIGNATURE_MISSING"),
        ] {
            assert_eq!(outcome(&body), Err(expected), "{}", String::from_utf8_lossy(&body));
        }
        // Two readers could differ on which Message was signed.
        let text = String::from_utf8(signed(notification())).expect("text");
        let twice = text.replacen('{', r#"{"Message":"pay twice","#, 1);
        assert_eq!(outcome(twice.as_bytes()), Err("BODY_MALFORMED"));
    }

    #[test]
    fn a_certificate_comes_from_sns_or_not_at_all() {
        let asked = |url: &str| {
            let mut message = notification();
            message["SigningCertURL"] = json!(url);
            let body = signed(message);
            let request = Request { method: "POST", url: None, query: "", headers: Headers::default(), body: &body };
            wanted(&source(&[TOPIC]), &request).map(|wanted| wanted.map(|wanted| wanted.url().to_owned()))
        };
        for url in [
            CERT_URL,
            "https://sns.us-gov-west-1.amazonaws.com/SimpleNotificationService-1.pem",
            "https://sns.ap-southeast-5.amazonaws.com/x.pem",
            "https://sns.cn-north-1.amazonaws.com.cn/SimpleNotificationService-1.pem",
        ] {
            assert_eq!(asked(url), Ok(Some(url.to_owned())));
        }
        for url in [
            "",
            "https://sns.us-west-2.amazonaws.com/",
            "https://sns.us-west-2.amazonaws.com/.pem",
            "https://sns.us-west-2.amazonaws.com/x.txt",
            "https://sns.us-west-2.amazonaws.com/a/x.pem",
            "https://sns.us-west-2.amazonaws.com/x.pem?a=b",
            "https://sns.us-west-2.amazonaws.com/x.pem#.pem",
            "https://sns.us-west-2.amazonaws.com:8443/x.pem",
            "https://sns.us-west-2.amazonaws.com@evil.example/x.pem",
            "http://sns.us-west-2.amazonaws.com/x.pem",
            "https://sns.us-west-2.amazonaws.com.evil.example/x.pem",
            "https://sns.us-west-2.amazonaws.com.de/x.pem",
            "https://evil-sns.us-west-2.amazonaws.com/x.pem",
            "https://sns.amazonaws.com/x.pem",
            "https://s3.amazonaws.com/sns.us-east-1.amazonaws.com/x.pem",
            "https://sns.s3.amazonaws.com/x.pem",
            "https://sns.s3-us-west-2.amazonaws.com/x.pem",
            "https://sns.s3-website-us-west-2.amazonaws.com/x.pem",
            "https://sns.s3.us-west-2.amazonaws.com/x.pem",
            "https://sns.evil.us-west-2.amazonaws.com/x.pem",
        ] {
            assert_eq!(asked(url).map_err(|refusal| refusal.code()), Err("KEY_URL_FORBIDDEN"), "{url}");
        }
    }

    #[test]
    fn only_a_confirmation_at_sns_is_called() {
        let good = confirmation_of("SubscriptionConfirmation");
        assert_eq!(confirmation(good.to_string().as_bytes()).as_deref(), good["SubscribeURL"].as_str());
        assert_eq!(confirmation(confirmation_of("UnsubscribeConfirmation").to_string().as_bytes()), None);
        assert_eq!(confirmation(notification().to_string().as_bytes()), None);
        assert_eq!(confirmation(b"{}"), None);
        for url in [
            "https://evil.example/?Action=ConfirmSubscription",
            "http://sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription",
            "https://sns.us-west-2.amazonaws.com/?Action=DeleteTopic",
            "https://sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription&Action=DeleteTopic",
            "https://sns.us-west-2.amazonaws.com/?XAction=ConfirmSubscription",
            "https://sns.us-west-2.amazonaws.com/a?Action=ConfirmSubscription",
            "https://sns.us-west-2.amazonaws.com/",
        ] {
            let mut other = good.clone();
            other["SubscribeURL"] = json!(url);
            assert_eq!(confirmation(other.to_string().as_bytes()), None, "{url}");
        }
    }

    #[test]
    fn a_secret_is_a_topics_arn() {
        for good in [
            TOPIC,
            "arn:aws-cn:sns:cn-north-1:123456789012:a_b-C.fifo",
            "arn:aws-us-gov:sns:us-gov-east-1:123456789012:x",
        ] {
            assert_eq!(topic(good).as_deref(), Ok(good.as_bytes()));
        }
        for (bad, words) in [
            ("", "ARN"),
            ("orders", "ARN"),
            ("arn:aws:sqs:us-east-1:123456789012:orders", "ARN"),
            ("arn:aws:sns:us-east-1:123456789012:orders:0d2f7a5e-8f3a-4a0c", "ARN"),
            ("arn:aws:sns:us-east-1:12345678901:orders", "12-digit"),
            ("arn:aws:sns:us-east-1:123456789012:*", "wildcards"),
            ("arn:aws:sns:us-east-1:123456789012:", "name"),
            ("arn:aws:sns:*:123456789012:orders", "region"),
            ("arn:elsewhere:sns:us-east-1:123456789012:orders", "partition"),
        ] {
            assert!(topic(bad).expect_err(bad).contains(words), "{bad}");
        }
    }

    #[test]
    fn a_fetched_certificate_has_dates_and_a_pinned_one_has_the_operator() {
        let body = signed(notification());
        let request = Request { method: "POST", url: None, query: "", headers: Headers::default(), body: &body };
        let code = |source: &Source, key: Option<&str>, now| {
            verify_with(source, &request, key.map(str::as_bytes), now).map(drop).map_err(|refusal| refusal.code())
        };
        let fetching = source(&[TOPIC]);
        let pinned = json!({ "scheme": "aws-sns", "secrets": [TOPIC], "keys": CERTIFICATE }).to_string();
        let pinned = Source::from_secret(pinned.as_bytes()).expect("a source");
        for (now, expected) in [(1_577_836_799, Err("KEY_INVALID")), (NOW, Ok(())), (2_524_608_001, Err("KEY_INVALID"))]
        {
            assert_eq!(code(&fetching, Some(CERTIFICATE), now), expected, "{now}");
            assert_eq!(code(&pinned, None, now), Ok(()), "{now}");
        }
        assert_eq!(code(&fetching, None, NOW), Err("KEY_UNKNOWN"));
        assert_eq!(code(&fetching, Some("<html>"), NOW), Err("KEY_INVALID"));
        assert_eq!(code(&pinned, Some("<html>"), NOW), Ok(()));
        assert_eq!(wanted(&pinned, &request), Ok(None));
    }

    proptest! {
        #[test]
        fn a_changed_byte_of_what_is_signed_is_refused(at in any::<Index>(), change in "[a-zA-Z0-9 :.-]") {
            let mut message: Value = serde_json::from_slice(&signed(notification())).expect("a message");
            let names = ["Type", "MessageId", "TopicArn", "Subject", "Message", "Timestamp", "Signature"];
            let name = names[at.index(names.len())];
            let text = message[name].as_str().expect("a text").to_owned();
            let place = at.index(text.chars().count());
            let changed: String =
                text.chars().enumerate().map(|(i, c)| if i == place { change.chars().next().unwrap_or(c) } else { c }).collect();
            prop_assume!(changed != text);
            message[name] = json!(changed);
            prop_assert!(outcome(message.to_string().as_bytes()).is_err());
        }

        #[test]
        fn no_body_panics(noise in "[{}\\[\\]\":,a-zA-Z]{0,80}", kind in "[A-Za-z]{0,12}", text in "\\PC{0,40}") {
            prop_assert!(outcome(noise.as_bytes()).is_err());
            let made = json!({ "Type": kind, "TopicArn": text, "Message": text, "SigningCertURL": text, "SubscribeURL": text });
            prop_assert!(outcome(made.to_string().as_bytes()).is_err());
            prop_assert_eq!(confirmation(made.to_string().as_bytes()), None);
            let _ = topic(&text);
        }
    }
}
