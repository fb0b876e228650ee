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

words! {
    /// How tokens are obtained.
    Grant {
        /// A person consents in a browser (RFC 6749, section 4.1).
        AuthorizationCode = "authorization_code",
        /// The client for itself (RFC 6749, section 4.4).
        ClientCredentials = "client_credentials",
        /// An assertion that a key signs (RFC 7523, section 2.1): service accounts.
        JwtBearer = "jwt_bearer",
        /// A person consents on another device (RFC 8628).
        DeviceCode = "device_code",
    }
}

impl Grant {
    /// Whether a person has to consent.
    #[must_use]
    pub fn needs_a_person(self) -> bool {
        matches!(self, Self::AuthorizationCode | Self::DeviceCode)
    }
}

words! {
    /// How the client proves itself at the token endpoint (OpenID Connect Core, section 9, and RFC 8705, section 2).
    ClientAuth {
        /// A public client.
        None = "none",
        /// The client secret in the header `Authorization`.
        Basic = "basic",
        /// The client secret in the body.
        Post = "post",
        /// A signed assertion (RFC 7523, section 2.2).
        PrivateKeyJwt = "private_key_jwt",
        /// The client certificate (RFC 8705).
        Tls = "tls",
    }
}

words! {
    /// How a token request is written.
    TokenBody {
        /// A form (RFC 6749).
        Form = "form",
        /// A JSON object, as some providers want it.
        Json = "json",
    }
}

words! {
    /// Whether an authorization response must name its issuer (RFC 9207).
    IssuerCheck {
        /// It must.
        Required = "required",
        /// If it does, it must be the right one.
        IfPresent = "if_present",
    }
}

words! {
    /// How tokens are revoked at a provider.
    Revocation {
        /// RFC 7009.
        Rfc7009 = "rfc7009",
        /// The token in the body, without the client's proof (Google).
        Token = "token",
        /// `DELETE` with the client's Basic proof and the token as JSON (GitHub).
        Github = "github",
        /// `GET` with the token itself as proof (Slack).
        Bearer = "bearer",
        /// `DELETE` of the address with the refresh token at its end (HubSpot).
        DeletePath = "delete_path",
        /// `DELETE` with the token in the header `X-Shopify-Access-Token` (Shopify).
        Shopify = "shopify",
        /// `client_id` and the account that the token response named (Stripe Connect).
        Deauthorize = "deauthorize",
        /// The provider has no way: only the person can, in the provider's settings.
        Never = "never",
    }
}

words! {
    /// The signature of an assertion (RFC 7518, section 3.1, and RFC 8037).
    Assertion {
        /// RSASSA-PKCS1-v1_5 with SHA-256.
        Rs256 = "RS256",
        /// RSASSA-PSS with SHA-256.
        Ps256 = "PS256",
        /// ECDSA with P-256 and SHA-256.
        Es256 = "ES256",
        /// Ed25519.
        EdDsa = "EdDSA",
    }
}
