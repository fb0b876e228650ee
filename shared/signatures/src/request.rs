//! A request as it was received: method, URL, headers with their duplicates, raw body.

/// A request to verify. Nothing in it is trusted, and `Debug` shows neither body nor header values.
#[derive(Clone)]
pub struct Request<'a> {
    /// The method as sent, `POST` for nearly every sender. Only schemes that sign it read it.
    pub method: &'a str,
    /// The public URL that the sender was given, with its query string. Only schemes that sign it need it. It must come from configuration:
    /// what a gateway passes on (stage, internal host, port) is not what the sender signed.
    pub url: Option<&'a str>,
    /// The query string as received, still encoded, without the question mark; empty when there is none. Handshakes ask there.
    pub query: &'a str,
    /// All the headers.
    pub headers: Headers<'a>,
    /// The body exactly as received: not parsed, not re-encoded.
    pub body: &'a [u8],
}

impl std::fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("headers", &self.headers)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// Header fields in the order received. Names compare without case; duplicates stay visible.
///
/// ```
/// # use clawbridge_signatures::Headers;
/// let headers: Headers = [("X-Event", &b"push"[..])].into_iter().collect();
/// assert_eq!(headers.all("x-event").count(), 1);
/// ```
#[derive(Clone, Default)]
pub struct Headers<'a>(Vec<(&'a str, &'a [u8])>);

/// More than one field has the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Duplicated;

impl<'a> Headers<'a> {
    /// Every value of the header, in order.
    pub fn all<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'a [u8]> + 's {
        self.0.iter().filter(move |(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }

    /// The names, in order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'a str> + '_ {
        self.0.iter().map(|(name, _)| *name)
    }

    /// The value of a header that must not be repeated.
    pub(crate) fn one(&self, name: &str) -> Result<Option<&'a [u8]>, Duplicated> {
        let mut values = self.all(name);
        let first = values.next();
        if values.next().is_some() { Err(Duplicated) } else { Ok(first) }
    }
}

impl<'a> FromIterator<(&'a str, &'a [u8])> for Headers<'a> {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a [u8])>>(fields: I) -> Self {
        Self(fields.into_iter().collect())
    }
}

// Values can be credentials (a shared token, a signature), so only the names are shown.
impl std::fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_compare_without_case_and_duplicates_show() {
        let headers: Headers<'_> = [("X-A", &b"1"[..]), ("x-b", b"2"), ("x-B", b"3")].into_iter().collect();
        assert_eq!(headers.one("x-a"), Ok(Some(&b"1"[..])));
        assert_eq!(headers.one("X-B"), Err(Duplicated));
        assert_eq!(headers.one("x-c"), Ok(None));
        assert_eq!(headers.all("x-b").collect::<Vec<_>>(), [b"2", b"3"]);
    }

    #[test]
    fn values_are_not_shown() {
        let headers: Headers<'_> = [("Authorization", &b"Bearer tok"[..])].into_iter().collect();
        assert_eq!(format!("{headers:?}"), "[\"Authorization\"]");
        let request = Request {
            method: "POST",
            url: Some("https://h.example/?key=tok"),
            query: "key=tok",
            headers,
            body: b"tok",
        };
        assert!(!format!("{request:?}").contains("tok"));
    }
}
