//! Random words that link the steps of a flow: 256 bits each, base64url (RFC 4648, section 5), 43 characters. Each is a capability: it is in
//! an address, a cookie or nowhere; tables have its hash.

use std::fmt;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::encoding::{base64url, from_base64url};

macro_rules! word {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(String);

        impl $name {
            /// Of random bytes.
            #[must_use]
            pub fn new(random: [u8; 32]) -> Self {
                Self(base64url(&random))
            }

            /// From what somebody sent: only what [`Self::new`] could have made.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                let is_one = text.len() == 43 && from_base64url(text).is_some_and(|bytes| bytes.len() == 32);
                is_one.then(|| Self(text.to_owned()))
            }

            /// As it is sent. It belongs into no log line, table or error text.
            #[must_use]
            pub fn expose(&self) -> &str {
                &self.0
            }

            /// What a table has in its place: SHA-256, in hexadecimal digits.
            #[must_use]
            pub fn hash(&self) -> String {
                hex::encode(Sha256::digest(self.0.as_bytes()))
            }

            /// Whether it is the one with this hash, in a time that does not tell where they differ.
            #[must_use]
            pub fn has_hash(&self, hash: &str) -> bool {
                self.hash().as_bytes().ct_eq(hash.as_bytes()).into()
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
            }
        }

        impl Eq for $name {}

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($name)).finish_non_exhaustive()
            }
        }
    };
}

word! {
    /// The end of a link with which a person connects an account.
    Ticket
}

word! {
    /// The parameter `state` of one authorization request (RFC 6749, section 10.12).
    State
}

word! {
    /// The cookie's value: which browser an authorization began in.
    Browser
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_read_back_and_known_by_its_hash() {
        let state = State::new([7; 32]);
        assert_eq!(state.expose().len(), 43);
        assert_eq!(State::parse(state.expose()), Some(state.clone()));
        assert!(state.has_hash(&state.hash()));
        assert!(!state.has_hash(&State::new([8; 32]).hash()));
        assert!(!state.has_hash(""));
        assert_ne!(state, State::new([8; 32]));
        assert_eq!(format!("{state:?}"), "State(..)");
    }

    #[test]
    fn only_what_could_have_been_made_is_read() {
        let good = Ticket::new([255; 32]);
        let long = format!("{}A", good.expose());
        // The last of 43 characters carries four bits: a word has one spelling.
        let other = format!("{}9", &good.expose()[..42]);
        for bad in ["", "a", "+".repeat(43).as_str(), "é".repeat(21).as_str(), &long, &other, &good.expose()[..42]] {
            assert_eq!(Ticket::parse(bad), None, "{bad}");
        }
    }
}
