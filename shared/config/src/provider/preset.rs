//! Ready-made declarations of providers, `use = "NAME"`.

use std::sync::LazyLock;

use toml::de::DeTable;

use crate::diagnostic::Code;
use crate::model::Grant;
use crate::node::{Data, Entry, Node};
use crate::reader::{Fields, Reader, nearest, short};

/// Tables that a document adds to. Whatever else it says takes the place of what is ready-made.
const ADDED_TO: [&str; 5] = ["parameters", "authorize_params", "token_params", "jwt", "tls"];

/// A ready-made declaration: what is known about a provider from its documentation.
#[derive(Debug)]
pub struct Preset {
    /// Its name.
    pub name: String,
    /// What people call the provider.
    pub title: String,
    /// The pages that it is made of.
    pub sources: Vec<String>,
    /// What a document has to say where the provider's documentation says nothing.
    pub needs: Option<String>,
    /// The grants that it knows what to do for, the first by itself.
    pub grants: Vec<Grant>,
    entries: Vec<Entry>,
}

/// All ready-made declarations, in the order of their names.
#[must_use]
pub fn presets() -> &'static [Preset] {
    static PRESETS: LazyLock<Vec<Preset>> = LazyLock::new(|| read(include_str!("presets.toml")));
    &PRESETS
}

fn read(text: &str) -> Vec<Preset> {
    let (table, _) = DeTable::parse_recoverable(text);
    let Data::Table(presets) = Node::from_toml(text, table.get_ref()).data else { return Vec::new() };
    let mut presets: Vec<Preset> = presets.into_iter().filter_map(preset).collect();
    presets.sort_by(|a, b| a.name.cmp(&b.name));
    presets
}

fn preset(entry: Entry) -> Option<Preset> {
    let Data::Table(mut entries) = entry.node.data else { return None };
    let text = |entries: &[Entry], key: &str| match &entries.iter().find(|entry| entry.key == key)?.node.data {
        Data::Text(text) => Some(text.value.clone()),
        _ => None,
    };
    let title = text(&entries, "title")?;
    let needs = text(&entries, "needs");
    let sources = match &entries.iter().find(|entry| entry.key == "sources")?.node.data {
        Data::Array(items) => items,
        _ => return None,
    };
    let sources = sources.iter().filter_map(|item| match &item.data {
        Data::Text(text) => Some(text.value.clone()),
        _ => None,
    });
    let sources = sources.collect();
    let default = text(&entries, "grant")?;
    let mut grants: Vec<Grant> = Grant::ALL.to_vec();
    grants.retain(|grant| grant.as_str() == default || entries.iter().any(|entry| entry.key == grant.as_str()));
    grants.sort_by_key(|grant| grant.as_str() != default);
    entries.retain(|entry| !["sources", "needs"].contains(&entry.key.as_str()));
    Some(Preset { name: entry.key, title, sources, needs, grants, entries })
}

/// The ready-made declaration that a document names, and where it does.
#[derive(Clone, Copy)]
pub(super) struct Chosen {
    pub(super) preset: &'static Preset,
    at: Option<usize>,
}

/// The one that `use` names. `None` if there is none of that name, which has been reported.
pub(super) fn chosen(reader: &mut Reader<'_>, own: &Fields<'_>) -> Option<Option<Chosen>> {
    if own.entry("use").is_none() {
        return Some(None);
    }
    let found = reader.optional(own, "use")?;
    let preset = presets().iter().find(|preset| preset.name == found.value());
    if preset.is_none() {
        let names: Vec<&str> = presets().iter().map(|preset| preset.name.as_str()).collect();
        let message = format!("{} is {:?}, which is none of {}", found.path, short(found.value()), names.join(", "));
        reader.error(Code::InvalidValue, &found.path, found.at, message).suggestion =
            nearest(found.value(), &names).map(|near| format!("did you mean {near:?}?"));
    }
    Some(Some(Chosen { preset: preset?, at: found.at }))
}

impl Chosen {
    /// What the document says, and where it says nothing, what is ready-made. The latter is found where the document names it.
    pub(super) fn fill_in(self, own: &Fields<'_>) -> Node {
        let says = |key: &str, word: &str| {
            let said = own.entry(key).map(|entry| &entry.node.data);
            matches!(said, Some(Data::Text(text)) if text.value == word)
        };
        let default = self.preset.grants.first().copied().unwrap_or(Grant::AuthorizationCode);
        let grant = Grant::ALL.iter().copied().find(|grant| says("grant", grant.as_str())).unwrap_or(default);
        let is_of_a_grant = |entry: &&Entry| Grant::ALL.iter().any(|grant| grant.as_str() == entry.key);
        // Who says that there is no way to revoke does not want the address of one.
        let is_wanted = |entry: &&Entry| entry.key != "revoke_url" || !says("revocation", "never");
        let (of_grants, of_all): (Vec<&Entry>, Vec<&Entry>) = self.preset.entries.iter().partition(is_of_a_grant);
        let of_all: Vec<Entry> = of_all.into_iter().filter(is_wanted).cloned().collect();
        let of_grant = of_grants.into_iter().find(|entry| entry.key == grant.as_str());
        let ready = match of_grant.map(|entry| &entry.node.data) {
            Some(Data::Table(of_grant)) => merged(of_grant, &of_all),
            _ => of_all,
        };
        let ready: Vec<Entry> = ready.iter().map(|entry| placed(entry, self.at)).collect();
        let own_entries: Vec<Entry> = own.entries().iter().filter(|entry| entry.key != "use").cloned().collect();
        Node { at: own.at, data: Data::Table(merged(&own_entries, &ready)) }
    }
}

/// The entries of `first`, and those of `second` that it does not have.
fn merged(first: &[Entry], second: &[Entry]) -> Vec<Entry> {
    let mut entries = first.to_vec();
    for other in second {
        let Some(entry) = entries.iter_mut().find(|entry| entry.key == other.key) else {
            entries.push(other.clone());
            continue;
        };
        if let (Data::Table(mine), Data::Table(others), true) =
            (&entry.node.data, &other.node.data, ADDED_TO.contains(&other.key.as_str()))
        {
            entry.node.data = Data::Table(merged(mine, others));
        }
    }
    entries
}

/// The entry, as if all of it stood at one place.
fn placed(entry: &Entry, at: Option<usize>) -> Entry {
    Entry { key: entry.key.clone(), key_at: at, node: node_placed(&entry.node, at) }
}

fn node_placed(node: &Node, at: Option<usize>) -> Node {
    let data = match &node.data {
        Data::Text(text) => Data::Text(text.unwritten()),
        Data::Array(items) => Data::Array(items.iter().map(|item| node_placed(item, at)).collect()),
        Data::Table(entries) => Data::Table(entries.iter().map(|entry| placed(entry, at)).collect()),
        other => other.clone(),
    };
    Node { at, data }
}

#[cfg(test)]
#[path = "preset_tests.rs"]
mod tests;
