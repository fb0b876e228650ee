//! What an SDK error means, in one line that holds no payload.
//!
//! The SDK's own rendering prints raw responses, and the response of GetSecretValue is a secret.

use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use std::error::Error;

/// One line: the service's code and message, or how the call failed before there was an answer. At most some 300 characters.
pub fn explain<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> String {
    let text = match error {
        SdkError::ServiceError(context) => {
            let error = context.err();
            format!("{}: {}", error.code().unwrap_or("unknown error"), error.message().unwrap_or("no message"))
        }
        SdkError::TimeoutError(_) => "no answer in time".to_owned(),
        SdkError::DispatchFailure(failure) => {
            let cause = failure.as_connector_error().map(|error| innermost(error)).unwrap_or_default();
            format!("could not be reached: {cause}")
        }
        SdkError::ResponseError(_) => "the answer could not be read".to_owned(),
        SdkError::ConstructionFailure(_) => "the request could not be built".to_owned(),
        _ => "failed".to_owned(),
    };
    text.chars().take(300).collect()
}

fn innermost(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
