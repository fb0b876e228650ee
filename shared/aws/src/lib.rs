//! The AWS SDK's configuration inside a Lambda function, and on one machine.
//!
//! Lambda hands a function its region and credentials in the environment, so the SDK's own configuration chain (files, SSO,
//! metadata service, STS) would only cost cold start. One HTTP client serves all services, over rustls with ring: aws-lc
//! spends some 50 ms of a cold start gathering entropy. AWS's endpoints are trusted through Amazon's own roots alone
//! (`amazon-roots.pem`, from <https://www.amazontrust.com/repository/>).

mod explain;

pub use explain::explain;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_async::rt::sleep::{SharedAsyncSleep, TokioSleep};
use aws_smithy_async::time::{SharedTimeSource, SystemTimeSource};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_runtime_api::client::behavior_version::BehaviorVersion;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::SdkConfig;
use aws_types::region::Region;
use std::time::Duration;

/// Amazon's root certificates, PEM.
const AMAZON_ROOTS: &[u8] = include_bytes!("../amazon-roots.pem");

/// Why no configuration could be made. All of them mean that the deployment is wrong, not the request.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AwsError {
    /// A variable that Lambda always sets is missing or empty.
    #[error("the environment variable {0} is not set; Lambda sets it, and so does `clawbridge dev`")]
    MissingVariable(&'static str),
    /// A variable is set to what cannot be used.
    #[error("the environment variable {0}: {1}")]
    InvalidVariable(&'static str, String),
    /// The embedded certificates could not be used.
    #[error("TLS could not be set up: {0}")]
    Tls(String),
}

/// Where the services are and who asks.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `AWS_REGION`.
    pub region: Option<String>,
    /// `AWS_ENDPOINT_URL`: one endpoint for every service, instead of AWS's own.
    pub endpoint_url: Option<String>,
    /// `AWS_ACCESS_KEY_ID`.
    pub access_key_id: Option<String>,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret_access_key: Option<Redacted>,
    /// `AWS_SESSION_TOKEN`.
    pub session_token: Option<Redacted>,
}

/// A credential: never printed.
#[derive(Clone)]
pub struct Redacted(String);

impl std::fmt::Debug for Redacted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

impl Environment {
    /// Reads the variables of this process.
    #[must_use]
    pub fn of_this_process() -> Environment {
        let read = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Environment {
            region: read("AWS_REGION").or_else(|| read("AWS_DEFAULT_REGION")),
            endpoint_url: read("AWS_ENDPOINT_URL"),
            access_key_id: read("AWS_ACCESS_KEY_ID"),
            secret_access_key: read("AWS_SECRET_ACCESS_KEY").map(Redacted),
            session_token: read("AWS_SESSION_TOKEN").map(Redacted),
        }
    }

    /// The local stack at `endpoint_url`, which checks no credentials.
    #[must_use]
    pub fn local(endpoint_url: &str) -> Environment {
        Environment {
            region: Some(LOCAL_REGION.to_owned()),
            endpoint_url: Some(endpoint_url.to_owned()),
            access_key_id: Some("local".to_owned()),
            secret_access_key: Some(Redacted("local".to_owned())),
            session_token: None,
        }
    }
}

/// The region that the local stack says it is.
pub const LOCAL_REGION: &str = "us-east-1";

/// The configuration that every service client is made from.
///
/// Limits: 1 s to connect, 3 s per try, at most three tries (standard mode, full jitter below a second), 8 s in all. A webhook
/// sender gives up after a few seconds, and what does not answer by then is better refused with `Retry-After`.
///
/// # Errors
/// [`AwsError::MissingVariable`] names the variable; [`AwsError::Tls`] means the embedded roots were refused.
pub fn sdk_config(environment: &Environment) -> Result<SdkConfig, AwsError> {
    let region = environment.region.clone().ok_or(AwsError::MissingVariable("AWS_REGION"))?;
    let key = environment.access_key_id.clone().ok_or(AwsError::MissingVariable("AWS_ACCESS_KEY_ID"))?;
    let secret = environment.secret_access_key.clone().ok_or(AwsError::MissingVariable("AWS_SECRET_ACCESS_KEY"))?;
    let token = environment.session_token.clone().map(|token| token.0);
    let credentials = Credentials::new(key, secret.0, token, None, "environment");
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(http_client()?)
        .sleep_impl(SharedAsyncSleep::new(TokioSleep::new()))
        .time_source(SharedTimeSource::new(SystemTimeSource::new()))
        .retry_config(RetryConfig::standard().with_max_attempts(3).with_initial_backoff(Duration::from_millis(50)))
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(Duration::from_secs(1))
                .operation_attempt_timeout(Duration::from_secs(3))
                .operation_timeout(Duration::from_secs(8))
                .build(),
        );
    if let Some(url) = &environment.endpoint_url {
        config = config.endpoint_url(url);
    }
    Ok(config.build())
}

fn http_client() -> Result<SharedHttpClient, AwsError> {
    let roots = TrustStore::empty().with_pem_certificate(AMAZON_ROOTS);
    let tls =
        TlsContext::builder().with_trust_store(roots).build().map_err(|error| AwsError::Tls(error.to_string()))?;
    Ok(Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).tls_context(tls).build_https())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_variable_is_named() {
        let complete = Environment::local("http://127.0.0.1:1");
        let cases: [(Environment, &str); 3] = [
            (Environment { region: None, ..complete.clone() }, "AWS_REGION"),
            (Environment { access_key_id: None, ..complete.clone() }, "AWS_ACCESS_KEY_ID"),
            (Environment { secret_access_key: None, ..complete.clone() }, "AWS_SECRET_ACCESS_KEY"),
        ];
        for (environment, name) in cases {
            assert_eq!(sdk_config(&environment).err(), Some(AwsError::MissingVariable(name)));
        }
        assert!(sdk_config(&complete).is_ok());
    }

    #[test]
    fn credentials_do_not_show_in_debug_output() {
        let environment = Environment {
            secret_access_key: Some(Redacted("hunter2".into())),
            ..Environment::local("http://127.0.0.1:1")
        };
        assert!(!format!("{environment:?}").contains("hunter2"));
    }
}
