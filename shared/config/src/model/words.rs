//! The words that a document chooses from.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $text)] $variant,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The word for it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// An HTTP method (RFC 9110, section 9; RFC 5789 for PATCH).
    Method {
        /// Read.
        Get = "GET",
        /// Read the headers only.
        Head = "HEAD",
        /// Whatever the API makes of it.
        Post = "POST",
        /// Replace.
        Put = "PUT",
        /// Change.
        Patch = "PATCH",
        /// Remove.
        Delete = "DELETE",
    }
}

impl Method {
    /// Whether a request of this method has the tool's input as its body, if nothing else is said.
    #[must_use]
    pub fn has_body(self) -> bool {
        matches!(self, Self::Post | Self::Put | Self::Patch)
    }

    /// What repeating a request of this method does, if nothing else is said (RFC 9110, section 9.2).
    #[must_use]
    pub fn effect(self, has_idempotency_header: bool) -> Effect {
        match self {
            Self::Get | Self::Head => Effect::Read,
            Self::Put | Self::Delete => Effect::Idempotent,
            Self::Post | Self::Patch if has_idempotency_header => Effect::Keyed,
            Self::Post | Self::Patch => Effect::Unsafe,
        }
    }
}

words! {
    /// What the tasks do that stand behind one that is parked.
    #[derive(Default)]
    OnParked {
        /// They wait until a person has settled it: nobody knows whether it was done, and they may count on that.
        #[default]
        Wait = "wait",
        /// They run.
        Skip = "skip",
    }
}

words! {
    /// What a repeated request does: it decides what happens when it is not known whether one went through.
    Effect {
        /// Changes nothing: it is repeated.
        Read = "read",
        /// Leaves what one request leaves: it is repeated.
        Idempotent = "idempotent",
        /// The API takes a key and acts once per key: it is repeated with the same key.
        Keyed = "keyed",
        /// Acts again: it is not repeated.
        Unsafe = "unsafe",
    }
}

words! {
    /// The hash under an HMAC (RFC 2104, FIPS 180-4).
    Algorithm {
        /// SHA-1: what some APIs still ask for; sound as a MAC (RFC 6151, section 2).
        Sha1 = "sha1",
        /// SHA-256.
        Sha256 = "sha256",
        /// SHA-512.
        Sha512 = "sha512",
    }
}

words! {
    /// How a signature is written.
    Encoding {
        /// Hexadecimal digits in lower case.
        Hex = "hex",
        /// Base64, padded (RFC 4648, section 4).
        Base64 = "base64",
    }
}

words! {
    /// How the key of a signature is written in its secret.
    SecretEncoding {
        /// The secret's text is the key.
        Utf8 = "utf8",
        /// Hexadecimal digits.
        Hex = "hex",
        /// Base64, padded or not.
        Base64 = "base64",
        /// `whsec_` and Base64, as Standard Webhooks write it.
        Whsec = "whsec",
    }
}

words! {
    /// How a signature's time is written.
    TimestampUnit {
        /// Seconds since 1970.
        Seconds = "s",
        /// Milliseconds since 1970.
        Millis = "ms",
        /// `2026-11-21T03:40:00Z` (RFC 3339).
        Rfc3339 = "rfc3339",
    }
}

words! {
    /// What tells where the next page of a list is.
    PageKind {
        /// A cursor in the answer.
        Cursor = "cursor",
        /// Its number.
        Page = "page",
        /// The number of items before it.
        Offset = "offset",
        /// Its address: in the header `Link` (RFC 8288), or in the answer.
        Link = "link",
    }
}
