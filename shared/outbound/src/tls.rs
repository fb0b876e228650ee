//! How a tool's connections are secured: the public authorities or the tool's own, with a client certificate or without.

use clawbridge_config::Tls;
use clawbridge_secrets::SecretValue;
use clawbridge_tasks::{Class, Code, TaskError};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{AlertDescription, ClientConfig, RootCertStore};
use std::error::Error;
use std::io;
use std::sync::Arc;

/// Certificates and a key, as their secrets hold them: PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The client's certificate chain and private key.
    pub certificate: Option<SecretValue>,
    /// The authorities' certificates.
    pub authority: Option<SecretValue>,
}

/// The secret that bridge.toml calls `declared` does not hold what it should. `what` holds nothing of it.
#[must_use]
pub fn unusable(declared: &str, what: &str) -> TaskError {
    let message = format!("the secret {declared} {what}; set it again: `clawbridge secret set {declared}`");
    TaskError::unsent(Code::CredentialUnavailable, Class::Auth, message)
}

/// The configuration for a tool's `tls` with what its secrets hold. Without both, that of all others.
///
/// # Errors
/// [`Code::CredentialUnavailable`] where a secret does not hold what it should.
pub(crate) fn client_config(declared: Option<&Tls>, identity: &Identity) -> Result<ClientConfig, TaskError> {
    let authority = declared.and_then(|tls| tls.ca.as_deref()).zip(identity.authority.as_ref());
    let roots = match authority {
        Some((name, pem)) => authorities(name, pem.expose())?,
        None => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| {
            let message = format!("the HTTP client could not be set up: {error}");
            TaskError::unsent(Code::Unavailable, Class::Transient, message)
        })?
        .with_root_certificates(roots);
    match declared.and_then(|tls| tls.secret.as_deref()).zip(identity.certificate.as_ref()) {
        None => Ok(builder.with_no_client_auth()),
        Some((name, pem)) => {
            let (chain, key) = certificate(name, pem.expose())?;
            // What rustls says names no part of the key.
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| unusable(name, &format!("does not hold a certificate and its key ({error})")))
        }
    }
}

fn authorities(name: &str, pem: &[u8]) -> Result<RootCertStore, TaskError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let is_added = certificate.ok().is_some_and(|certificate| roots.add(certificate).is_ok());
        if !is_added {
            return Err(unusable(name, "holds something that is no certificate in PEM"));
        }
    }
    if roots.is_empty() {
        return Err(unusable(name, "holds no certificate in PEM"));
    }
    Ok(roots)
}

type ChainAndKey = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn certificate(name: &str, pem: &[u8]) -> Result<ChainAndKey, TaskError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    let chain = chain.ok_or_else(|| unusable(name, "holds no certificate in PEM"))?;
    let key = PrivateKeyDer::from_pem_slice(pem)
        .map_err(|_| unusable(name, "holds no private key in PEM (PKCS #8, PKCS #1 or SEC 1, not encrypted)"))?;
    Ok((chain, key))
}

/// What the upstream has against the client's certificate, if that is why a connection failed. It has carried out nothing then: TLS refuses
/// before HTTP begins, though with TLS 1.3 the client may have sent its request by the time that it learns so.
pub(crate) fn refusal(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let alert = match tls_error(error)? {
        rustls::Error::AlertReceived(alert) => alert,
        _ => return None,
    };
    match alert {
        AlertDescription::CertificateRequired => Some("it wants one"),
        AlertDescription::CertificateExpired => Some("it has expired"),
        AlertDescription::CertificateRevoked => Some("it was revoked"),
        AlertDescription::UnknownCA => Some("it does not know the authority"),
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::AccessDenied => Some("it does not accept it"),
        _ => None,
    }
}

/// The error of TLS among the causes. `io::Error` does not name what it holds as its source.
fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}
