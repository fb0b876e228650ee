//! Addresses that a request names: read as far as the rules of the providers go, and refused beyond.
//!
//! Deliberately less than a URL parser: what has two readings (user information, ports, upper-case hosts, backslashes, dots of a relative
//! path) is no address here, so that the client that is given it later cannot read it otherwise.

/// The longest address that is looked at. A confirmation address of SNS has some 400 characters.
const MAX_CHARS: usize = 2048;

/// An https address without port, user information and fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Address<'a> {
    pub(super) host: &'a str,
    /// With its leading slash.
    pub(super) path: &'a str,
    pub(super) query: Option<&'a str>,
}

impl<'a> Address<'a> {
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let plain = text.bytes().all(|b| b.is_ascii_graphic() && !b"\\#@\"<>".contains(&b));
        if text.len() > MAX_CHARS || !plain {
            return None;
        }
        let rest = text.strip_prefix("https://")?;
        let (host, rest) = rest.split_at(rest.find('/')?);
        let is_name = host.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.');
        if host.is_empty() || !is_name {
            return None;
        }
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (rest, None),
        };
        Some(Self { host, path, query })
    }

    /// The one segment after `folder`, when the path is that and there is no query.
    pub(super) fn file_in(&self, folder: &str) -> Option<&'a str> {
        let name = self.path.strip_prefix(folder).filter(|_| self.query.is_none())?;
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        (plain && !name.is_empty() && !name.contains("..") && name.len() <= 128).then_some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_address_has_one_reading() {
        let address = Address::parse("https://api.paypal.com/v1/certs/A-1?x=y").expect("an address");
        assert_eq!(address, Address { host: "api.paypal.com", path: "/v1/certs/A-1", query: Some("x=y") });
        for text in [
            "",
            "http://api.paypal.com/x",
            "HTTPS://api.paypal.com/x",
            "https://api.paypal.com",
            "https:///x",
            "https://API.paypal.com/x",
            "https://api.paypal.com:443/x",
            "https://a@api.paypal.com/x",
            "https://evil.example\\@api.paypal.com/x",
            "https://api.paypal.com/x#y",
            "https://api.paypal.com/x y",
            "https://api.paypal.com/x\n",
            "https://api.paypal.com/ü",
            " https://api.paypal.com/x",
            "https://evil.example?/api.paypal.com/x",
        ] {
            assert_eq!(Address::parse(text), None, "{text}");
        }
        assert_eq!(Address::parse(&format!("https://a/{}", "x".repeat(MAX_CHARS))), None);
    }

    #[test]
    fn a_file_is_one_plain_segment() {
        for (text, expected) in [
            ("https://h/certs/A-1.pem", Some("A-1.pem")),
            ("https://h/certs/", None),
            ("https://h/certs/a/b", None),
            ("https://h/certs/..", None),
            ("https://h/certs/../x", None),
            ("https://h/certs/%2e%2e", None),
            ("https://h/certs/a?b", None),
            ("https://h/certs/a?", None),
            ("https://h/other/a", None),
        ] {
            assert_eq!(Address::parse(text).expect(text).file_in("/certs/"), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(https://)?[a-z.]{0,9}[/?#@:]?\\PC{0,40}") {
            if let Some(address) = Address::parse(&text) {
                let query = address.query.map(|query| format!("?{query}")).unwrap_or_default();
                prop_assert_eq!(format!("https://{}{}{query}", address.host, address.path), text.clone());
                let _ = address.file_in("/");
            }
        }
    }
}
