//! Forms (`application/x-www-form-urlencoded`, WHATWG URL section 5), read as strictly as they are written: what two parsers could read
//! differently is no form here.

/// More fields than any sender's form has.
const MAX_FIELDS: usize = 1000;

/// The media type, without parameters.
pub(super) const CONTENT_TYPE: &str = "application/x-www-form-urlencoded";

/// What a form looks like, for a message.
pub(super) const EXPECTED: &str =
    "a form of at most 1000 fields name=value joined by &, percent-encoded UTF-8 in visible ASCII";

/// Whether a `content-type` names a form, whatever its parameters.
pub(super) fn is_content_type(value: &[u8]) -> bool {
    let essence = value.split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(CONTENT_TYPE.as_bytes())
}

/// The fields in the order sent, decoded; nothing when the bytes are not exactly a form. No bytes are a form without fields.
///
/// Parsers differ on a field without `=`, an empty field, a percent sign without two digits, bytes that are not UTF-8 and characters that
/// should have been encoded. No sender writes these, so they are refused.
pub(super) fn parse(body: &[u8]) -> Option<Vec<(String, String)>> {
    if body.is_empty() {
        return Some(Vec::new());
    }
    let mut fields = Vec::new();
    for field in body.split(|byte| *byte == b'&') {
        if fields.len() == MAX_FIELDS {
            return None;
        }
        let equals = field.iter().position(|byte| *byte == b'=')?;
        fields.push((decode(&field[..equals])?, decode(&field[equals + 1..])?));
    }
    Some(fields)
}

/// Undoes the encoding of a name or a value.
pub(crate) fn decode(text: &[u8]) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        rest = after;
        match first {
            b'+' => decoded.push(b' '),
            b'%' => {
                let mut byte = [0];
                hex::decode_to_slice(rest.get(..2)?, &mut byte).ok()?;
                decoded.push(byte[0]);
                rest = &rest[2..];
            }
            plain if plain.is_ascii_graphic() => decoded.push(*plain),
            _ => return None,
        }
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_form_is_read_in_one_way_or_not_at_all() {
        for (body, expected) in [
            ("", Some(vec![])),
            ("a=1", Some(vec![("a", "1")])),
            ("a=1&b=&a=2", Some(vec![("a", "1"), ("b", ""), ("a", "2")])),
            ("a=b=c", Some(vec![("a", "b=c")])),
            ("=1", Some(vec![("", "1")])),
            ("a=%2b+%2B%26%3D%25", Some(vec![("a", "+ +&=%")])),
            ("a=Zo%C3%AB+%F0%9F%A6%80", Some(vec![("a", "Zoë 🦀")])),
            ("a=1;b=2", Some(vec![("a", "1;b=2")])),
            ("a=%00", Some(vec![("a", "\0")])),
            ("a", None),
            ("a=1&", None),
            ("&a=1", None),
            ("a=1&&b=2", None),
            ("a=%", None),
            ("a=%2", None),
            ("a=%zz", None),
            ("a=%+1", None),
            ("a=%C3", None),
            ("a=%C3&b=%AB", None),
            ("a=%ED%A0%80", None),
            ("a=Zoë", None),
            ("a=1 2", None),
            ("a=1\r\n", None),
            ("\u{feff}a=1", None),
        ] {
            let expected = expected.map(|fields| fields.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect());
            assert_eq!(parse(body.as_bytes()), expected, "{body}");
        }
        assert!(parse(b"a=\xff").is_none());
    }

    #[test]
    fn a_form_has_a_largest_number_of_fields() {
        let form = |fields: usize| vec!["a=1"; fields].join("&");
        assert_eq!(parse(form(MAX_FIELDS).as_bytes()).map(|fields| fields.len()), Some(MAX_FIELDS));
        assert_eq!(parse(form(MAX_FIELDS + 1).as_bytes()), None);
        assert!(EXPECTED.contains(&MAX_FIELDS.to_string()));
    }

    #[test]
    fn a_media_type_may_have_parameters() {
        for (value, expected) in [
            ("application/x-www-form-urlencoded", true),
            ("Application/X-WWW-Form-URLEncoded ; charset=UTF-8", true),
            ("application/x-www-form-urlencoded2", false),
            ("application/json", false),
            ("application/json; application/x-www-form-urlencoded", false),
            ("", false),
        ] {
            assert_eq!(is_content_type(value.as_bytes()), expected, "{value}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(body in any::<Vec<u8>>()) {
            let _ = parse(&body);
        }

        #[test]
        fn text_like_a_form_does_not_panic(body in "[a%=&+0-9A-F]{0,40}") {
            let _ = parse(body.as_bytes());
        }
    }
}
