//! What a message may hold, and the MD5 sums that clients compare.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

use super::error::{Code, SqsError};

/// A message attribute in the API's form. `BinaryValue` is base64.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Attribute {
    pub(super) data_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) string_value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) binary_value: Option<String>,
    #[serde(default, skip_serializing)]
    string_list_values: Vec<String>,
    #[serde(default, skip_serializing)]
    binary_list_values: Vec<String>,
}

pub(super) type Attributes = BTreeMap<String, Attribute>;

/// Refuses a body with a character that SQS does not carry. Source: API_SendMessage, `MessageBody` (the XML
/// characters).
pub(super) fn check_body(body: &str) -> Result<(), SqsError> {
    if body.is_empty() {
        return Err(SqsError::missing("MessageBody"));
    }
    match body.chars().find(|c| !is_carried(*c)) {
        None => Ok(()),
        Some(c) => Err(SqsError::rejected(
            Code::InvalidMessageContents,
            format!(
                "Invalid binary character '#x{:X}' was found in the message body, the set of allowed characters is #x9 | #xA | #xD | \
                 #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF",
                u32::from(c)
            ),
        )),
    }
}

fn is_carried(c: char) -> bool {
    matches!(c, '\u{9}' | '\u{A}' | '\u{D}' | '\u{20}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..)
}

/// The bytes of an attribute's value and the byte that says their kind in the checksum.
fn value(name: &str, attribute: &Attribute) -> Result<(u8, Vec<u8>), SqsError> {
    let reject = |message: String| SqsError::rejected(Code::InvalidParameterValue, message);
    if !attribute.string_list_values.is_empty() || !attribute.binary_list_values.is_empty() {
        return Err(SqsError::rejected(
            Code::UnsupportedOperation,
            "Message attribute list values in SendMessage operation are not supported.",
        ));
    }
    let kind = attribute.data_type.as_deref().unwrap_or_default();
    let empty = || {
        reject(format!(
            "The message attribute '{name}' must contain a non-empty value of the kind that its data type '{kind}' says."
        ))
    };
    match kind.split('.').next() {
        Some("String" | "Number") => {
            let text = attribute.string_value.as_deref().filter(|text| !text.is_empty()).ok_or_else(empty)?;
            if kind.starts_with("Number") && !is_number(text) {
                return Err(reject(format!("Can't cast the value of message (user) attribute '{name}' to a number.")));
            }
            match text.chars().find(|c| !is_carried(*c)) {
                None => Ok((1, text.as_bytes().to_vec())),
                Some(_) => {
                    Err(reject(format!("The message attribute '{name}' contains a character that SQS does not carry.")))
                }
            }
        }
        Some("Binary") => {
            let text = attribute.binary_value.as_deref().ok_or_else(empty)?;
            let bytes = STANDARD
                .decode(text)
                .map_err(|_| reject(format!("The value of the message attribute '{name}' is not base64.")))?;
            if bytes.is_empty() { Err(empty()) } else { Ok((2, bytes)) }
        }
        _ => Err(reject(format!(
            "The message attribute '{name}' has an invalid message attribute type, the set of supported type prefixes is Binary, \
             Number, and String."
        ))),
    }
}

fn is_number(text: &str) -> bool {
    text.parse::<f64>().is_ok_and(f64::is_finite)
}

/// Refuses attributes that SQS refuses and returns their size in bytes, which counts against the message's.
///
/// Source: Amazon SQS message attributes: 10 at most; names of 1 to 256 letters, digits, `_`, `-` and `.`.
pub(super) fn check_attributes(attributes: &Attributes) -> Result<usize, SqsError> {
    if attributes.len() > 10 {
        return Err(SqsError::rejected(
            Code::InvalidParameterValue,
            format!("Number of message attributes [{}] exceeds the allowed maximum [10].", attributes.len()),
        ));
    }
    let mut bytes = 0;
    for (name, attribute) in attributes {
        let lower = name.to_ascii_lowercase();
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        let dots = name.starts_with('.') || name.ends_with('.') || name.contains("..");
        let reserved = lower.starts_with("aws.") || lower.starts_with("amazon.");
        if name.is_empty() || name.len() > 256 || !name.bytes().all(fits) || dots || reserved {
            return Err(SqsError::rejected(
                Code::InvalidParameterValue,
                format!("Invalid message attribute name '{}'.", name.chars().take(256).collect::<String>()),
            ));
        }
        let (_, value) = value(name, attribute)?;
        bytes += name.len() + attribute.data_type.as_deref().map_or(0, str::len) + value.len();
    }
    Ok(bytes)
}

/// Lower-case hex MD5 of the bytes.
pub(super) fn md5_of(bytes: &[u8]) -> String {
    hex::encode(Md5::digest(bytes))
}

/// The checksum over attributes, or `None` if there are none.
///
/// Source: Amazon SQS message attributes, "Calculating the MD5 message digest for message attributes": in the order of
/// their names, name, type and value, each after its length as four bytes, and before the value 1 for text or 2 for
/// bytes.
pub(super) fn md5_of_attributes(attributes: &Attributes) -> Option<String> {
    if attributes.is_empty() {
        return None;
    }
    let mut sum = Md5::new();
    let mut part = |kind: Option<u8>, bytes: &[u8]| {
        sum.update(kind.as_slice());
        sum.update(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
        sum.update(bytes);
    };
    for (name, attribute) in attributes {
        let (kind, value) = value(name, attribute).ok()?;
        part(None, name.as_bytes());
        part(None, attribute.data_type.as_deref().unwrap_or_default().as_bytes());
        part(Some(kind), &value);
    }
    Some(hex::encode(sum.finalize()))
}

/// The attributes that a receiver asked for: `All` or `.*`, `prefix.*`, or names.
pub(super) fn select(attributes: Attributes, asked: &[String]) -> Attributes {
    let wanted = |name: &str| {
        asked.iter().any(|pattern| match pattern.as_str() {
            "All" | ".*" => true,
            pattern => pattern.strip_suffix(".*").map_or(pattern == name, |prefix| name.starts_with(prefix)),
        })
    };
    attributes.into_iter().filter(|(name, _)| wanted(name)).collect()
}

/// The checksum over the one system attribute that a sender can set, `AWSTraceHeader`.
pub(super) fn md5_of_trace(trace: &str) -> Option<String> {
    let attribute = Attribute {
        data_type: Some("String".to_owned()),
        string_value: Some(trace.to_owned()),
        binary_value: None,
        string_list_values: Vec::new(),
        binary_list_values: Vec::new(),
    };
    md5_of_attributes(&Attributes::from([("AWSTraceHeader".to_owned(), attribute)]))
}
