//! What differs between two documents.

use serde::Serialize;
use serde_json::Value;

/// One value that is not the same in two documents.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// Where: `tools.notify.attempts`. Routes go by their names: `routes.payments.filter`.
    pub path: String,
    /// What it was. Null: it was not there.
    pub before: Value,
    /// What it is. Null: it is not there any more.
    pub after: Value,
}

/// What differs between two documents as JSON, in the order of the paths. A tool, route or provider that came or went is one difference.
#[must_use]
pub fn differences(before: &Value, after: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare("", before, after, 0, &mut found);
    found
}

/// Members of a document (its depth 2) come and go as wholes; below them each value is told.
const MEMBERS: usize = 2;

fn compare(path: &str, before: &Value, after: &Value, depth: usize, found: &mut Vec<Difference>) {
    if before == after {
        return;
    }
    let (old, new) = match (fields(before), fields(after)) {
        (Some(old), Some(new)) => (old, new),
        // A table that one of them leaves out has no members there.
        (None, Some(new)) if before.is_null() && depth < MEMBERS => (Vec::new(), new),
        (Some(old), None) if after.is_null() && depth < MEMBERS => (old, Vec::new()),
        _ => {
            return found.push(Difference { path: path.to_owned(), before: before.clone(), after: after.clone() });
        }
    };
    let was = found.len();
    let mut names: Vec<&str> = old.iter().chain(&new).map(|(name, _)| *name).collect();
    names.sort_unstable();
    names.dedup();
    let of = |fields: &[(&str, &Value)], name: &str| {
        fields.iter().find(|(field, _)| *field == name).map_or(Value::Null, |(_, value)| (*value).clone())
    };
    for name in names {
        let below = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        compare(&below, &of(&old, name), &of(&new, name), depth + 1, found);
    }
    if found.len() == was {
        // The same members in another order.
        found.push(Difference { path: path.to_owned(), before: before.clone(), after: after.clone() });
    }
}

/// The fields of a table, or of a list of tables that have names of their own.
fn fields(value: &Value) -> Option<Vec<(&str, &Value)>> {
    match value {
        Value::Object(fields) => Some(fields.iter().map(|(name, value)| (name.as_str(), value)).collect()),
        Value::Array(items) => {
            let named: Option<Vec<(&str, &Value)>> =
                items.iter().map(|item| Some((item.get("name")?.as_str()?, item))).collect();
            named.filter(|named| {
                let mut names: Vec<&str> = named.iter().map(|(name, _)| *name).collect();
                names.sort_unstable();
                names.windows(2).all(|pair| pair[0] != pair[1])
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn members_come_and_go_as_wholes_and_below_them_each_value_is_told() {
        let before = json!({"tools": {"a": {"attempts": 1, "url": "u"}, "b": {"url": "v"}}, "routes": [{"name": "r", "tool": "a"}, {"name": "s", "tool": "b"}]});
        let after = json!({"tools": {"a": {"attempts": 2, "url": "u"}, "c": {"url": "w"}}, "routes": [{"name": "s", "tool": "c"}, {"name": "r", "tool": "a"}], "providers": {"p": {"title": "P"}}});
        let told: Vec<(String, Value, Value)> =
            differences(&before, &after).into_iter().map(|one| (one.path, one.before, one.after)).collect();
        let expected = [
            ("providers.p", Value::Null, json!({"title": "P"})),
            ("routes.s.tool", json!("b"), json!("c")),
            ("tools.a.attempts", json!(1), json!(2)),
            ("tools.b", json!({"url": "v"}), Value::Null),
            ("tools.c", Value::Null, json!({"url": "w"})),
        ];
        assert_eq!(told, expected.map(|(path, before, after)| (path.to_owned(), before, after)));
        assert_eq!(differences(&before, &before), []);
        let swapped = json!({"routes": [{"name": "s", "tool": "b"}, {"name": "r", "tool": "a"}]});
        let order = differences(&json!({"routes": before["routes"]}), &swapped);
        assert_eq!(order.iter().map(|one| one.path.as_str()).collect::<Vec<_>>(), ["routes"]);
    }
}
