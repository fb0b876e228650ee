//! What Secrets Manager refuses, and how it says so in the JSON protocol.

use crate::api::ApiError;

/// Why Secrets Manager did not do what was asked. Names and values of secrets are not quoted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretsError {
    /// There is no such secret or version: create it, or correct the name.
    #[error("ResourceNotFoundException: {0}")]
    NotFound(String),
    /// A secret of that name, or a version of that token with another value, exists: choose another name or token.
    #[error("ResourceExistsException: {0}")]
    Exists(String),
    /// The request is wrong in itself: correct it.
    #[error("InvalidParameterException: {0}")]
    InvalidParameter(String),
    /// The request does not fit the state that the secret is in, such as being deleted: change that state first.
    #[error("InvalidRequestException: {0}")]
    InvalidRequest(String),
    /// A page's token is not one that a list returned: start the list again.
    #[error("InvalidNextTokenException: the NextToken is not one that a list returned")]
    InvalidNextToken,
    /// The state could not be read or written: look at the disk, then try again.
    #[error("the local secrets cannot be read or written: {0}")]
    Storage(String),
}

impl SecretsError {
    pub(super) fn parameter(message: impl Into<String>) -> Self {
        Self::InvalidParameter(message.into())
    }

    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "ResourceNotFoundException",
            Self::Exists(_) => "ResourceExistsException",
            Self::InvalidParameter(_) => "InvalidParameterException",
            Self::InvalidRequest(_) => "InvalidRequestException",
            Self::InvalidNextToken => "InvalidNextTokenException",
            Self::Storage(_) => "InternalServiceError",
        }
    }

    pub(super) fn message(&self) -> String {
        match self {
            Self::NotFound(message)
            | Self::Exists(message)
            | Self::InvalidParameter(message)
            | Self::InvalidRequest(message) => message.clone(),
            Self::InvalidNextToken | Self::Storage(_) => self.to_string(),
        }
    }
}

impl From<rusqlite::Error> for SecretsError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Storage(error.to_string())
    }
}

impl From<SecretsError> for ApiError {
    fn from(error: SecretsError) -> Self {
        let status = if matches!(error, SecretsError::Storage(_)) { 500 } else { 400 };
        Self { status, kind: error.code(), query_code: None, message: error.message() }
    }
}
