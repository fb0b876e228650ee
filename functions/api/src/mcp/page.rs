//! Pages of a list that is sorted by name. Pure.

use super::rpc::RpcError;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ops::Bound;

/// Tools of a page.
pub(crate) const SIZE: usize = 50;

/// The marks of a cursor of this list.
const MARK: &str = "tools:";

/// Entries of a page, and the cursor of the next one.
type Page<'m, T> = (Vec<(&'m String, &'m T)>, Option<String>);

/// The page that `params` ask for, and the cursor of the next one. What is declared meanwhile shifts no page: a cursor is a name.
///
/// # Errors
/// The cursor is none.
pub(crate) fn of<'m, T>(all: &'m BTreeMap<String, T>, params: &Value) -> Result<Page<'m, T>, RpcError> {
    let after = match &params["cursor"] {
        Value::Null => None,
        Value::String(cursor) => Some(read(cursor).ok_or_else(wrong)?),
        _ => return Err(wrong()),
    };
    let from = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
    let mut rest = all.range::<String, _>((from, Bound::Unbounded));
    let page: Vec<(&String, &T)> = rest.by_ref().take(SIZE).collect();
    let last = page.last().filter(|_| rest.next().is_some());
    let next = last.map(|(name, _)| URL_SAFE_NO_PAD.encode(format!("{MARK}{name}")));
    Ok((page, next))
}

fn wrong() -> RpcError {
    RpcError::params("`cursor` is none of this list; begin again without it")
}

fn read(cursor: &str) -> Option<String> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    String::from_utf8(bytes).ok()?.strip_prefix(MARK).map(str::to_owned)
}

/// The result of `tools/list`.
pub(crate) fn result(tools: Vec<Value>, next: Option<String>) -> Value {
    let mut result = json!({ "tools": tools });
    if let Some(next) = next {
        result["nextCursor"] = json!(next);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(count: usize) -> BTreeMap<String, usize> {
        (0..count).map(|n| (format!("tool_{n:03}"), n)).collect()
    }

    #[test]
    fn pages_lead_through_the_whole_list_and_each_entry_comes_once() {
        for count in [0, 1, SIZE, SIZE + 1, 2 * SIZE, 2 * SIZE + 7] {
            let all = all(count);
            let (mut seen, mut params) = (Vec::new(), Value::Null);
            loop {
                let (page, next) = of(&all, &params).expect("a page");
                seen.extend(page.into_iter().map(|(_, n)| *n));
                let Some(next) = next else { break };
                params = json!({ "cursor": next });
            }
            assert_eq!(seen, (0..count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_cursor_of_anything_else_is_refused() {
        for cursor in [json!("x"), json!("???"), json!(7), json!(URL_SAFE_NO_PAD.encode("other:a")), json!("")] {
            let all = all(1);
            let refused = of(&all, &json!({ "cursor": cursor })).map_err(|error| error.code);
            assert_eq!(refused.err(), Some(-32602), "{cursor}");
        }
        // One whose tool is gone goes on where it was.
        let cursor = URL_SAFE_NO_PAD.encode("tools:tool_000x");
        let all = all(2);
        assert_eq!(of(&all, &json!({ "cursor": cursor })).expect("a page").0, [(&"tool_001".to_owned(), &1)]);
    }
}
