//! A provider as it is for one account: its own values in the place of names.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::model::{Jwt, Provider};
use crate::template::{Piece, pieces};

use super::text::CLIENT_ID;

/// The longest value, in bytes.
const MAX_VALUE_BYTES: usize = 128;

/// Why an account's values do not fit. It names the parameter and holds no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParameterError {
    /// The account has a value that the declaration has no use for.
    #[error("the provider has no parameter {name:?}")]
    Unknown {
        /// The parameter.
        name: String,
    },
    /// Neither the account nor the declaration has a value.
    #[error("the parameter {name:?} has no value")]
    Missing {
        /// The parameter.
        name: String,
    },
    /// A value with other characters than letters, digits, `.`, `_`, `-`, `@`, `+` and `:`, or too long, or of other characters than a host
    /// name has where it stands in one.
    #[error("the value of the parameter {name:?} has characters that do not belong where it goes")]
    Characters {
        /// The parameter.
        name: String,
    },
}

impl ParameterError {
    /// The stable code of the error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "PARAMETER_UNKNOWN",
            Self::Missing { .. } => "PARAMETER_MISSING",
            Self::Characters { .. } => "PARAMETER_INVALID",
        }
    }

    /// The name of the parameter.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Unknown { name } | Self::Missing { name } | Self::Characters { name } => name,
        }
    }
}

/// Whether a value can be one at all, wherever it goes.
pub(super) fn check_value(name: &str, value: &str) -> Result<(), ParameterError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@+:".contains(&byte);
    if value.len() <= MAX_VALUE_BYTES && value.bytes().all(is_plain) {
        Ok(())
    } else {
        Err(ParameterError::Characters { name: name.to_owned() })
    }
}

/// Where a value goes.
#[derive(Clone, Copy)]
enum Place {
    /// A host name.
    Host,
    /// The rest of an address.
    Address,
    /// A text, as it is.
    Text,
}

impl Provider {
    /// The declaration with everything filled in for an account, whose `own` values take the place of the declared ones: nothing in it is a
    /// template any more, and [`Provider::parameters`] are the values that were used.
    ///
    /// # Errors
    /// A value is missing, not known, or would change the structure of an address.
    pub fn for_account(&self, own: &BTreeMap<String, String>) -> Result<Provider, ParameterError> {
        for (name, value) in own {
            if !self.parameters.contains_key(name) {
                return Err(ParameterError::Unknown { name: name.clone() });
            }
            check_value(name, value)?;
        }
        let mut values = self.parameters.clone();
        values.extend(
            own.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name.clone(), value.clone())),
        );
        let address = |text: &Option<String>| text.as_deref().map(|text| self.address(text, &values)).transpose();
        let text = |text: &String| self.fill(text, Place::Text, &values);
        let texts = |texts: &[String]| texts.iter().map(text).collect::<Result<Vec<_>, _>>();
        let params = |params: &BTreeMap<String, String>| {
            params.iter().map(|(name, value)| Ok((name.clone(), text(value)?))).collect::<Result<BTreeMap<_, _>, _>>()
        };
        let claim = |claim: &Option<String>| claim.as_ref().map(text).transpose();
        let jwt = |jwt: &Jwt| {
            Ok(Jwt {
                issuer: claim(&jwt.issuer)?,
                subject: claim(&jwt.subject)?,
                audience: claim(&jwt.audience)?,
                key_id: claim(&jwt.key_id)?,
                ..*jwt
            })
        };
        Ok(Provider {
            issuer: address(&self.issuer)?,
            authorize_url: address(&self.authorize_url)?,
            token_url: address(&self.token_url)?,
            revoke_url: address(&self.revoke_url)?,
            device_url: address(&self.device_url)?,
            test_url: address(&self.test_url)?,
            scopes: texts(&self.scopes)?,
            optional_scopes: texts(&self.optional_scopes)?,
            authorize_params: params(&self.authorize_params)?,
            token_params: params(&self.token_params)?,
            jwt: self.jwt.as_ref().map(jwt).transpose()?,
            parameters: values.clone(),
            ..self.clone()
        })
    }

    fn address(&self, text: &str, values: &BTreeMap<String, String>) -> Result<String, ParameterError> {
        let start = text.find("://").map_or(0, |at| at + 3);
        let end = text[start..].find(['/', '?']).map_or(text.len(), |at| start + at);
        let host = self.fill(&text[..end], Place::Host, values)?;
        Ok(host + &self.fill(&text[end..], Place::Address, values)?)
    }

    fn fill(&self, text: &str, place: Place, values: &BTreeMap<String, String>) -> Result<String, ParameterError> {
        let mut filled = String::with_capacity(text.len());
        // A text that is no template is left as it is; a document with one is not accepted.
        for (_, piece) in pieces(text).unwrap_or_else(|_| vec![(0, Piece::Literal(text.to_owned()))]) {
            let field = match piece {
                Piece::Literal(literal) => {
                    filled.push_str(&literal);
                    continue;
                }
                Piece::Field(field) => field,
            };
            let name = field.path;
            let value = if name == CLIENT_ID { Some(&self.client_id) } else { values.get(&name) };
            let value = value.filter(|value| !value.is_empty());
            let value = value.ok_or_else(|| ParameterError::Missing { name: name.clone() })?;
            match place {
                Place::Text => filled.push_str(value),
                Place::Address if matches!(value.as_str(), "." | "..") => {
                    return Err(ParameterError::Characters { name });
                }
                Place::Address => push_encoded(&mut filled, value),
                Place::Host if is_in_host(value) => filled.push_str(value),
                Place::Host => return Err(ParameterError::Characters { name }),
            }
        }
        Ok(filled)
    }
}

/// Whether it can be a part of a host name: labels of letters, digits and hyphens.
fn is_in_host(value: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    value.split('.').all(is_label)
}

/// Percent-encoded but for unreserved characters (RFC 3986, section 2.3).
fn push_encoded(out: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
#[path = "account_tests.rs"]
mod tests;
