//! Names: of tools, of their inputs' fields, of secrets.

use std::collections::HashSet;

/// The longest name of a tool.
const MAX_NAME: usize = 64;

/// `text` as lower-case words with `_` between them: `createOrderV2` is `create_order_v2`. Empty if it has no letter or digit of ASCII.
pub(crate) fn snake(text: &str) -> String {
    let mut name = String::new();
    let chars: Vec<char> = text.chars().take(1_000).collect();
    for (index, char) in chars.iter().enumerate() {
        if !char.is_ascii_alphanumeric() {
            if !name.is_empty() && !name.ends_with('_') {
                name.push('_');
            }
            continue;
        }
        let before = index.checked_sub(1).and_then(|before| chars.get(before));
        let after = chars.get(index + 1);
        // `orderId` has a new word at the I, `HTTPServer` at the S.
        let begins = char.is_ascii_uppercase()
            && (before.is_some_and(|before| before.is_ascii_lowercase() || before.is_ascii_digit())
                || (before.is_some_and(char::is_ascii_uppercase) && after.is_some_and(char::is_ascii_lowercase)));
        if begins && !name.is_empty() && !name.ends_with('_') {
            name.push('_');
        }
        name.push(char.to_ascii_lowercase());
    }
    name.trim_end_matches('_').to_owned()
}

/// Whether a jq program can write `.name`.
pub(crate) fn is_identifier(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// A name for a field of an input, that templates and jq programs can write: `filter[status]` is `filter_status`. One that is such a
/// name already stays as it is.
pub(crate) fn field(name: &str) -> String {
    if is_identifier(name) && name.len() <= MAX_NAME {
        return name.to_owned();
    }
    let mut field = snake(name);
    field.truncate(MAX_NAME);
    if is_identifier(&field) { field } else { format!("p_{field}").trim_end_matches('_').to_owned() }
}

/// Names that are given once.
#[derive(Debug, Default)]
pub(crate) struct Unique {
    taken: HashSet<String>,
    prefix: String,
}

impl Unique {
    /// Names that begin with `prefix`, which is at most half of a name.
    pub(crate) fn with_prefix(prefix: &str) -> Unique {
        Unique { taken: HashSet::new(), prefix: prefix.to_owned() }
    }

    /// `name` if nobody has it, else `name_2`, `name_3` and so on; shortened to what a tool's name can have.
    pub(crate) fn give(&mut self, name: &str) -> String {
        let name = if name.is_empty() { "tool" } else { name };
        let cut = |room: usize| name[..name.len().min(MAX_NAME - self.prefix.len() - room)].trim_end_matches('_');
        let mut given = format!("{}{}", self.prefix, cut(0));
        let mut number = 2_usize;
        while self.taken.contains(&given) {
            let end = format!("_{number}");
            given = format!("{}{}{end}", self.prefix, cut(end.len()));
            number += 1;
        }
        self.taken.insert(given.clone());
        given
    }

    /// Take a name out of what is given.
    pub(crate) fn reserve(&mut self, name: &str) {
        self.taken.insert(name.to_owned());
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.taken.contains(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ids_become_words() {
        for (text, expected) in [
            ("createOrder", "create_order"),
            ("CreateOrderV2", "create_order_v2"),
            ("listHTTPServers", "list_http_servers"),
            ("repos/list-for-org", "repos_list_for_org"),
            ("read_item_items__item_id__get", "read_item_items_item_id_get"),
            ("Orders.get by id", "orders_get_by_id"),
            ("ISSUES", "issues"),
            ("v2Orders", "v2_orders"),
            ("__x__", "x"),
            ("größe", "gr_e"),
            ("注文", ""),
            ("", ""),
        ] {
            assert_eq!(snake(text), expected, "{text}");
        }
    }

    #[test]
    fn fields_can_be_written_in_programs() {
        for (name, expected) in [
            ("order_id", "order_id"),
            ("orderId", "orderId"),
            ("_x", "_x"),
            ("filter[status]", "filter_status"),
            ("X-Request-Id", "x_request_id"),
            ("page.size", "page_size"),
            ("$top", "top"),
            ("2fa", "p_2fa"),
            ("注文", "p"),
        ] {
            assert_eq!(field(name), expected, "{name}");
        }
    }

    #[test]
    fn a_name_is_given_once_and_fits() {
        let mut names = Unique::with_prefix("shop_");
        assert_eq!(names.give("list_orders"), "shop_list_orders");
        assert_eq!(names.give("list_orders"), "shop_list_orders_2");
        assert_eq!(names.give("list_orders_2"), "shop_list_orders_2_2");
        assert_eq!(names.give("list_orders"), "shop_list_orders_3");
        assert_eq!(names.give(""), "shop_tool");
        let long = "a".repeat(100);
        assert_eq!(names.give(&long).len(), 64);
        let second = names.give(&long);
        assert!(second.len() == 64 && second.ends_with("_2"), "{second}");
    }

    proptest! {
        #[test]
        fn every_text_becomes_a_name(text in any::<String>()) {
            let name = Unique::default().give(&snake(&text));
            prop_assert!(!name.is_empty() && name.len() <= 64);
            prop_assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'));
            prop_assert!(is_identifier(&field(&text)), "{}", field(&text));
        }
    }
}
