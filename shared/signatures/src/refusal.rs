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
}

impl Refusal {
    /// A stable code for logs and metrics.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::SignatureMissing { .. } => "SIGNATURE_MISSING",
            Self::SignatureMalformed { .. } => "SIGNATURE_MALFORMED",
            Self::SignatureMismatch { .. } => "SIGNATURE_MISMATCH",
            Self::HeaderDuplicated { .. } => "HEADER_DUPLICATED",
            Self::TimestampMissing { .. } => "TIMESTAMP_MISSING",
            Self::TimestampMalformed { .. } => "TIMESTAMP_MALFORMED",
            Self::TimestampTooOld { .. } => "TIMESTAMP_STALE",
            Self::TimestampTooFarAhead { .. } => "TIMESTAMP_AHEAD",
            Self::DeliveryIdMissing { .. } => "DELIVERY_ID_MISSING",
            Self::UrlUnknown => "URL_UNKNOWN",
        }
    }

    /// Whether another secret of the same source could change the verdict. Only then is the previous version of a rotating source secret
    /// worth fetching.
    pub const fn another_secret_may_match(&self) -> bool {
        matches!(self, Self::SignatureMismatch { .. })
    }
}
