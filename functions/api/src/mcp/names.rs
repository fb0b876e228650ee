//! Names of tools as clients take them, `^[a-zA-Z0-9_-]{1,64}$`, each of one tool. Pure.

use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// The longest name.
const MAX: usize = 64;

/// What tools are called for clients: the tools' own names by those. `reserved` are taken already.
///
/// A name that clients take is kept. Another one has what they do not take replaced by `_`, and a hash of the whole added, so that no two become
/// one and the same tool has the same name whatever else is declared, unless another one is called exactly so.
pub(crate) fn of<'a>(tools: impl Iterator<Item = &'a str> + Clone, reserved: &[&str]) -> BTreeMap<String, &'a str> {
    let is_kept = |name: &str| is_taken(name) && !reserved.contains(&name);
    let mut names: BTreeMap<String, &'a str> =
        tools.clone().filter(|name| is_kept(name)).map(|name| (name.to_owned(), name)).collect();
    for tool in tools.filter(|name| !is_kept(name)) {
        let hash = hex::encode(Sha256::digest(tool.as_bytes()));
        let plain: String = tool.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
        let name = (8..=MAX - 1).step_by(8).map(|digits| {
            let digits = &hash[..digits];
            format!("{}_{digits}", &plain[..plain.len().min(MAX - 1 - digits.len())])
        });
        let name = name.into_iter().find(|name| !names.contains_key(name) && !reserved.contains(&name.as_str()));
        names.extend(name.map(|name| (name, tool)));
    }
    names
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

fn is_taken(name: &str) -> bool {
    (1..=MAX).contains(&name.len()) && name.chars().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(tools: &[&str], reserved: &[&str]) -> BTreeMap<String, String> {
        of(tools.iter().copied(), reserved).into_iter().map(|(name, tool)| (name, tool.to_owned())).collect()
    }

    #[test]
    fn names_that_clients_take_are_kept() {
        let long = "x".repeat(MAX);
        for name in ["charge", "Charge-2_b", &long] {
            assert_eq!(names(&[name], &[])[name], name);
        }
    }

    #[test]
    fn others_are_made_such_without_becoming_one() {
        let long = "é".repeat(80);
        let almost = format!("{}!", "x".repeat(64));
        let tools = ["a.b", "a b", "a_b", "task_get", "", "日本", &long, &almost, &"x".repeat(64)];
        let made = names(&tools, &["task_get"]);
        assert_eq!(made.len(), tools.len(), "{made:?}");
        assert!(made.keys().all(|name| is_taken(name) && name != "task_get"), "{made:?}");
        assert_eq!(made["a_b"], "a_b");
        // The same whatever else is declared.
        for tool in tools {
            let alone = names(&[tool], &["task_get"]);
            assert!(alone.keys().all(|name| made[name] == tool), "{tool}: {alone:?}");
        }
    }

    #[test]
    fn a_tool_that_is_called_as_another_would_be_keeps_its_name() {
        let made = names(&["a.b"], &[]).into_keys().next().expect("a name");
        let both = names(&["a.b", &made], &[]);
        assert_eq!((both.len(), both[&made].as_str()), (2, made.as_str()));
    }
}
