//! Secrets and keys that are made here, of randomness from the operating system.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clawbridge_access::{AppKey, AppSecret, Token};
use clawbridge_oauth::Ticket;
use clawbridge_signatures::Scheme;
use clawbridge_trace::TraceContext;

/// A random signing secret of 256 bits in the form that the scheme's providers use.
pub(crate) fn signing_secret(scheme: Scheme) -> String {
    let bytes = bytes();
    match scheme.name() {
        "standard-webhooks" => format!("whsec_{}", STANDARD.encode(bytes)),
        "stripe" => format!("whsec_{}", hex::encode(bytes)),
        _ => hex::encode(bytes),
    }
}

/// A random key of 256 bits, in hexadecimal.
pub(crate) fn key() -> String {
    hex::encode(bytes())
}

/// An idempotency key that nobody else has.
pub(crate) fn idempotency_key() -> String {
    hex::encode(&bytes()[..16])
}

/// A token of the API.
pub(crate) fn token() -> Token {
    Token::of(bytes())
}

/// The app key of a new agent.
pub(crate) fn app_key() -> AppKey {
    let mut random = [0; 16];
    random.copy_from_slice(&bytes()[..16]);
    AppKey::of(random)
}

/// An agent's app secret.
pub(crate) fn app_secret() -> AppSecret {
    AppSecret::of(bytes())
}

/// The ticket of a link to connect an account with.
pub(crate) fn ticket() -> Ticket {
    Ticket::new(bytes())
}

/// A trace that begins here.
pub(crate) fn trace() -> TraceContext {
    let mut name = [0; 16];
    name.copy_from_slice(&bytes()[..16]);
    TraceContext::begin(u128::from_be_bytes(name))
}

/// A number from 0 to 1, for spreading what would happen together.
pub(crate) fn chance() -> f64 {
    let [first, second, ..] = bytes();
    f64::from(u16::from_le_bytes([first, second])) / f64::from(u16::MAX)
}

/// 256 random bits.
fn bytes() -> [u8; 32] {
    let mut bytes = [0; 32];
    // Without randomness no secret may be made, and a process whose system has none has nothing better to do.
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}
