//! The signing secrets of a subscription, and the headers that they make.
//!
//! Two families of headers carry the same proof. `X-OpenClaw-Signature`, as the tutorial has it: the HMAC-SHA256 of the body in hexadecimal
//! digits, under the secret's text as it is. And Standard Webhooks (<https://github.com/standard-webhooks/standard-webhooks>): `webhook-id`,
//! `webhook-timestamp` and `webhook-signature`, under the bytes that follow `whsec_` in base64; under the secret's text where it has no
//! such prefix.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clawbridge_clock::Timestamp;
use clawbridge_signatures::{Outgoing, SignError, Source, sign};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::fmt;
use std::time::Duration;

/// The longest time for which two secrets sign.
pub const MAX_OVERLAP: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What the secrets that the standard has begin with.
const PREFIX: &str = "whsec_";

/// A version of a subscription's secret, as Secrets Manager has it. A rotation puts a new one; Secrets Manager itself keeps the one before
/// as `AWSPREVIOUS`, so that nobody has to read a secret to change it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    secret: String,
    /// Until then the version before signs as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    previous_until: Option<Timestamp>,
}

/// The secrets that a subscription's deliveries are signed with.
#[derive(Clone, PartialEq, Eq)]
pub struct Secrets {
    current: String,
    previous: Option<String>,
}

// They are not shown.
impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Document(…)")
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(…)")
    }
}

/// A secret on its way to the one who asked for it. Debug output does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct WrittenSecret(String);

impl WrittenSecret {
    /// One of these random bytes: `whsec_` and their base64.
    #[must_use]
    pub fn of(random: [u8; 32]) -> WrittenSecret {
        WrittenSecret(format!("{PREFIX}{}", STANDARD.encode(random)))
    }

    /// Its text.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for WrittenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WrittenSecret(…)")
    }
}

/// Why a text can be no secret, or a document holds none. It does not repeat it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretsError {
    /// Too short, too long, or not what headers and forms can carry.
    #[error("a secret has 16 to 256 visible ASCII characters; leave it out, and one is made")]
    Text,
    /// After `whsec_` there are not 24 to 64 bytes in base64.
    #[error("after whsec_ there are 24 to 64 bytes in base64; leave it out, and one is made")]
    Whsec,
    /// The document in Secrets Manager is not one of the bridge's.
    #[error("the secret of the subscription is not one that the bridge wrote; rotate it")]
    Document,
    /// The delivery's id cannot stand in a header.
    #[error("the delivery cannot be signed: {0}")]
    Sign(#[from] SignError),
}

/// Refuses a text that can be no secret.
///
/// # Errors
/// See [`SecretsError`].
pub fn check_secret(text: &str) -> Result<(), SecretsError> {
    if !(16..=256).contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(SecretsError::Text);
    }
    match text.strip_prefix(PREFIX) {
        Some(bare) => {
            let bytes = STANDARD.decode(bare).map_err(|_| SecretsError::Whsec)?;
            if (24..=64).contains(&bytes.len()) { Ok(()) } else { Err(SecretsError::Whsec) }
        }
        None => Ok(()),
    }
}

impl Document {
    /// The only secret, or, with a time, one beside which the version before goes on signing until then.
    #[must_use]
    pub fn new(secret: &str, previous_until: Option<Timestamp>) -> Document {
        Document { secret: secret.to_owned(), previous_until }
    }

    /// From its text.
    ///
    /// # Errors
    /// [`SecretsError::Document`].
    pub fn read(text: &[u8]) -> Result<Document, SecretsError> {
        serde_json::from_slice(text).map_err(|_| SecretsError::Document)
    }

    /// Its text.
    #[must_use]
    pub fn write(&self) -> String {
        json!(self).to_string()
    }

    /// Whether the version before signs as well.
    #[must_use]
    pub fn overlaps(&self, now: Timestamp) -> bool {
        self.previous_until.is_some_and(|until| until > now)
    }
}

impl Secrets {
    /// Those that sign now: the current version's, and the one's before where it still does.
    #[must_use]
    pub fn of(current: Document, previous: Option<Document>, now: Timestamp) -> Secrets {
        let previous = previous.filter(|_| current.overlaps(now)).map(|previous| previous.secret);
        Secrets { current: current.secret, previous }
    }

    /// The newest first.
    fn live(&self) -> Vec<&str> {
        [Some(self.current.as_str()), self.previous.as_deref()].into_iter().flatten().collect()
    }

    /// The headers of a delivery.
    ///
    /// `webhook-signature` has a signature of each live secret. `X-OpenClaw-Signature` holds one: while there are two secrets, the first
    /// attempt is signed with the older, which its receiver has had for long, the second with the newer, and so on in turns. So a receiver
    /// that knows either of them gets each delivery by its second attempt.
    ///
    /// # Errors
    /// [`SecretsError::Sign`].
    pub fn headers(
        &self,
        id: &str,
        body: &[u8],
        attempt: u32,
        now: Timestamp,
    ) -> Result<Vec<(String, String)>, SecretsError> {
        let live = self.live();
        let delivery = Outgoing { method: "POST", url: None, body, delivery_id: id, event_type: None };
        let of = |scheme: &str, secret: &str| -> Result<Vec<(String, String)>, SecretsError> {
            let document = json!({"scheme": scheme, "secrets": [secret]}).to_string();
            let source = Source::from_secret(document.as_bytes()).map_err(|_| SecretsError::Document)?;
            Ok(sign(&source, &delivery, now.seconds())?)
        };
        let mut headers: Vec<(String, String)> = Vec::new();
        for secret in &live {
            for (name, value) in of("standard-webhooks", &standard(secret))? {
                match headers.iter_mut().find(|(known, _)| *known == name) {
                    // The id and the time are the same for all of them.
                    Some((_, all)) if name == "webhook-signature" => *all = format!("{all} {value}"),
                    Some(_) => {}
                    None => headers.push((name, value)),
                }
            }
        }
        let older = self.previous.as_deref().filter(|_| attempt % 2 == 1);
        headers.extend(of("openclaw", older.unwrap_or(&self.current))?);
        Ok(headers)
    }

    /// `text` without any of them: a receiver may repeat in its answer what it knows.
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in self.live() {
            text = text.replace(secret, "***");
            if let Some(bare) = secret.strip_prefix(PREFIX) {
                text = text.replace(bare, "***");
            }
        }
        text
    }
}

/// The secret as the standard writes it.
fn standard(secret: &str) -> String {
    if secret.starts_with(PREFIX) { secret.to_owned() } else { format!("{PREFIX}{}", STANDARD.encode(secret)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hmac::{Hmac, KeyInit as _, Mac as _};
    use sha2::Sha256;

    const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

    fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length");
        mac.update(message);
        mac.finalize().into_bytes().to_vec()
    }

    fn value<'a>(headers: &'a [(String, String)], name: &str) -> &'a str {
        headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
    }

    #[test]
    fn a_delivery_is_signed_as_the_tutorial_and_as_the_standard_have_it() {
        for (secret, key) in [
            ("your-webhook-secret", b"your-webhook-secret".to_vec()),
            (WrittenSecret::of([7; 32]).reveal(), vec![7; 32]),
        ] {
            let headers =
                Secrets::of(Document::new(secret, None), None, NOW).headers("evt_1", b"{}", 1, NOW).expect("headers");
            assert_eq!(value(&headers, "x-openclaw-signature"), hex::encode(hmac(secret.as_bytes(), b"{}")));
            let expected = format!("v1,{}", STANDARD.encode(hmac(&key, b"evt_1.1790000000.{}")));
            assert_eq!(value(&headers, "webhook-signature"), expected);
            assert_eq!((value(&headers, "webhook-id"), value(&headers, "webhook-timestamp")), ("evt_1", "1790000000"));
            assert_eq!(headers.len(), 4, "{headers:?}");
        }
    }

    #[test]
    fn while_a_secret_is_rotated_both_sign_and_either_is_enough_by_the_second_attempt() {
        let until = NOW.plus(Duration::from_secs(60));
        let (older, newer) = (Document::new("the-older-secret", None), Document::new("the-newer-secret", Some(until)));
        let newer = Document::read(newer.write().as_bytes()).expect("the same");
        let secrets = Secrets::of(newer.clone(), Some(older.clone()), NOW);
        let bare = |secret: &str| hex::encode(hmac(secret.as_bytes(), b"{}"));
        for (attempt, secret) in [(1, "the-older-secret"), (2, "the-newer-secret"), (3, "the-older-secret")] {
            let headers = secrets.headers("evt_1", b"{}", attempt, NOW).expect("headers");
            assert_eq!(value(&headers, "x-openclaw-signature"), bare(secret), "attempt {attempt}");
            let both = value(&headers, "webhook-signature").split(' ').count();
            assert_eq!(both, 2, "{headers:?}");
        }
        let headers = Secrets::of(newer, Some(older), until).headers("evt_1", b"{}", 1, until).expect("headers");
        assert_eq!(value(&headers, "x-openclaw-signature"), bare("the-newer-secret"));
        assert!(!value(&headers, "webhook-signature").contains(' '));
    }

    #[test]
    fn what_can_be_no_secret_is_refused_and_not_repeated() {
        for good in ["your-webhook-secret", "your-secret-here", WrittenSecret::of([1; 32]).reveal()] {
            assert_eq!(check_secret(good), Ok(()), "{good}");
        }
        let long = "x".repeat(257);
        for (bad, error) in [
            ("", SecretsError::Text),
            ("too-short", SecretsError::Text),
            (long.as_str(), SecretsError::Text),
            ("with a space in it", SecretsError::Text),
            ("a-secret-with-\u{e9}-in-it", SecretsError::Text),
            ("whsec_not*base64*at*all", SecretsError::Whsec),
            ("whsec_AAAAAAAAAAAA", SecretsError::Whsec),
        ] {
            assert_eq!(check_secret(bad), Err(error.clone()), "{bad}");
            assert!(bad.is_empty() || !error.to_string().contains(bad));
        }
        assert_eq!(Document::read(b"whsec_x").expect_err("no document"), SecretsError::Document);
        let document = Document::new(WrittenSecret::of([9; 32]).reveal(), None);
        let secrets = Secrets::of(document.clone(), None, NOW);
        let shown = format!("{secrets:?} {document:?} {:?}", WrittenSecret::of([9; 32]));
        assert!(!shown.contains("CQkJ"), "{shown}");
        assert_eq!(secrets.redact(&format!("I know {}", WrittenSecret::of([9; 32]).reveal())), "I know ***");
    }
}
