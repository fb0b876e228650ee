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
