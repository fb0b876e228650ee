//! Why a request was refused: one value per thing that the operator would look at.

/// Why a request is not a delivery of its source. The text is for the operator's log, not for the sender: it never holds a secret, the
/// expected signature or a received value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No signature (or no token) in the place where the scheme puts it.
    #[error(
        "no signature: {place} is missing; check that the sender is configured with a secret and with this source's scheme"
    )]
    SignatureMissing {
        /// The header, or the element within it.
        place: String,
    },
    /// There is a signature, but not in the form of this scheme.
    #[error("malformed signature in {header}: expected {expected}; check the scheme of this source")]
    SignatureMalformed {
        /// The header.
        header: String,
        /// The form that the scheme has.
        expected: String,
    },
    /// None of the secrets made any of the signatures over these bytes.
    #[error(
        "signature mismatch: none of the source's {secrets} secrets signed these bytes; check that the secret is the one shown for this \
         endpoint and that nothing in between changes the body"
    )]
    SignatureMismatch {
        /// How many secrets were tried.
        secrets: usize,
    },
    /// The provider's public key did not make the signature over these bytes.
    #[error(
        "signature mismatch: the key that {place} names did not sign these bytes; check that nothing in between changes them"
    )]
    KeyMismatch {
        /// The header or member that names the key.
        place: String,
    },
    /// A header that must have one value was sent more than once.
    #[error("{header} was sent more than once: which of them counts is undefined, so none does")]
    HeaderDuplicated {
        /// The header.
        header: String,
    },
    /// No timestamp in the place where the scheme puts it.
    #[error("no timestamp: {place} is missing; check the scheme of this source")]
    TimestampMissing {
        /// The header, or the element within it.
        place: String,
    },
    /// The timestamp is not in the form of this scheme, or there are two different ones.
    #[error("malformed timestamp in {header}: expected {expected}, once")]
    TimestampMalformed {
        /// The header.
        header: String,
        /// The form that the scheme has.
        expected: &'static str,
    },
    /// Correctly signed, too long ago: a replay, a very late delivery, or a slow clock at the sender.
    #[error("the signature is {age_s} s old and may be {tolerance_s} s old: a replay, or clocks that differ")]
    TimestampTooOld {
        /// Seconds since the timestamp, rounded up.
        age_s: u64,
        /// Seconds allowed.
        tolerance_s: u32,
    },
    /// Correctly signed, for a time that has not come: clocks that differ.
    #[error("the signature is dated {ahead_s} s ahead and may be {tolerance_s} s ahead: clocks that differ")]
    TimestampTooFarAhead {
        /// Seconds until the timestamp, rounded up.
        ahead_s: u64,
        /// Seconds allowed.
        tolerance_s: u32,
    },
    /// The scheme signs the delivery's id and the header that carries it is missing or empty.
    #[error("no delivery id: {header} is missing and the signature covers it")]
    DeliveryIdMissing {
        /// The header.
        header: String,
    },
    /// The scheme signs the URL and the caller did not say what it is.
    #[error("the signature covers the public URL, which is not known; configure the URL that the sender was given")]
    UrlUnknown,
    /// The scheme takes its proof from the body, and the body is not of its form.
    #[error("the body is not {expected}, which is where this scheme has its proof; check the scheme of this source")]
    BodyMalformed {
        /// The form that the scheme has.
        expected: &'static str,
    },
    /// The request names a version or an algorithm that the scheme does not have, or no longer.
    #[error("{place} names a version or an algorithm that is not accepted; accepted: {accepted}")]
    VersionUnsupported {
        /// The header or member that names it.
        place: String,
        /// What is accepted.
        accepted: &'static str,
    },
    /// The request wants its key fetched from an address that the provider does not use: nothing was fetched.
    #[error("{place} leads to an address that the keys of this provider never come from; expected {expected}")]
    KeyUrlForbidden {
        /// The header or member with the address.
        place: String,
        /// What such an address looks like.
        expected: &'static str,
    },
    /// The public key that the request was signed with is not among those at hand.
    #[error("the key that {place} names is not known; the provider's keys must be fetched (again)")]
    KeyUnknown {
        /// The header or member that names it.
        place: String,
    },
    /// What was fetched, or pinned in the source, is not a key of the form that the scheme has.
    #[error("the provider's key cannot be used: {problem}")]
    KeyInvalid {
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A token that is correctly signed and says something else than it must.
    #[error("the token's {claim} is not what this source expects: {expected}")]
    ClaimMismatch {
        /// The claim (RFC 7519 section 4).
        claim: &'static str,
        /// What is expected; never what was received.
        expected: String,
    },
    /// Correctly signed by the provider, for something that this source does not list as its own.
    #[error("{place} is not one of the {listed} that this source lists as its secrets; add it if it is yours")]
    SenderNotListed {
        /// The header or member.
        place: String,
        /// How many are listed.
        listed: usize,
    },
}

impl Refusal {
    /// A stable code for logs and metrics.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::SignatureMissing { .. } => "SIGNATURE_MISSING",
            Self::SignatureMalformed { .. } => "SIGNATURE_MALFORMED",
            // Which of the two is the scheme's business; the operator looks at the same things.
            Self::SignatureMismatch { .. } | Self::KeyMismatch { .. } => "SIGNATURE_MISMATCH",
            Self::HeaderDuplicated { .. } => "HEADER_DUPLICATED",
            Self::TimestampMissing { .. } => "TIMESTAMP_MISSING",
            Self::TimestampMalformed { .. } => "TIMESTAMP_MALFORMED",
            Self::TimestampTooOld { .. } => "TIMESTAMP_STALE",
            Self::TimestampTooFarAhead { .. } => "TIMESTAMP_AHEAD",
            Self::DeliveryIdMissing { .. } => "DELIVERY_ID_MISSING",
            Self::UrlUnknown => "URL_UNKNOWN",
            Self::BodyMalformed { .. } => "BODY_MALFORMED",
            Self::VersionUnsupported { .. } => "VERSION_UNSUPPORTED",
            Self::KeyUrlForbidden { .. } => "KEY_URL_FORBIDDEN",
            Self::KeyUnknown { .. } => "KEY_UNKNOWN",
            Self::KeyInvalid { .. } => "KEY_INVALID",
            Self::ClaimMismatch { .. } => "CLAIM_MISMATCH",
            Self::SenderNotListed { .. } => "SENDER_NOT_LISTED",
        }
    }

    /// Whether another secret of the same source could change the verdict. Only then is the previous version of a rotating source secret
    /// worth fetching.
    pub const fn another_secret_may_match(&self) -> bool {
        matches!(self, Self::SignatureMismatch { .. } | Self::SenderNotListed { .. } | Self::ClaimMismatch { .. })
    }
}
