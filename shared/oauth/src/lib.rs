//! OAuth 2.0, the client's side: what is asked of an authorization server, and what its answers mean.
//!
//! Pure: bytes, times and random bytes come as arguments, requests and verdicts go out. `clawbridge-connections` sends and stores.
//!
//! Declarations come filled in for an account (`Provider::for_account`). In the order of a flow: [`Endpoints`] of a declaration (with [`discovery`] where it names only an issuer), [`authorization_url`],
//! [`Callback`], [`Asking`] for token requests, [`Expected`] for what comes back, [`scopes`] for what was granted of what was asked.

mod answer;
mod assertion;
mod authorize;
mod callback;
mod cookie;
mod device;
pub mod discovery;
mod doctor;
mod dpop;
mod encoding;
mod endpoints;
mod failure;
mod fields;
mod jws;
mod pkce;
mod request;
mod response;
mod revocation;
pub mod scopes;
mod token_set;
mod verdict;
mod word;

pub use answer::{Refused, Retry};
pub use assertion::{Claims, MAX_ASSERTION};
pub use authorize::{AuthorizeError, Consent, authorization_url};
pub use callback::{AuthorizationCode, Callback, MAX_CALLBACK_BYTES, Outcome};
pub use cookie::{COOKIE, Cookie, LOOPBACK_COOKIE};
pub use device::{DeviceAnswer, DeviceAuthorization};
pub use doctor::{Finding, Level, Observed, RedirectUriError, check, redirect_uri};
pub use dpop::{DpopKey, nonce};
pub use endpoints::{EndpointError, Endpoints, is_loopback};
pub use failure::Failure;
pub use fields::Answer;
pub use jws::{KeyError, SigningKey};
pub use pkce::{MIN_KEY_BYTES, Verifier, WeakKey};
pub use request::{Asking, Credential, Presented, Request, RequestError};
pub use response::Expected;
pub use token_set::{TokenKind, TokenSet, Unreadable};
pub use word::{Browser, State, Ticket};
