//! The item as DynamoDB has it.

use crate::name::ConnectionName;
use crate::record::{LastError, Lease, Record, Status};
use crate::version::VersionId;
use aws_sdk_dynamodb::types::AttributeValue;
use clawbridge_clock::Timestamp;
use clawbridge_table::{Item, Reader, WrongAttribute, n, s};
use std::collections::BTreeMap;

/// The partition of all connections.
pub(crate) const KIND: &str = "connection";

fn count(number: u64) -> AttributeValue {
    n(i64::try_from(number).unwrap_or(i64::MAX))
}

fn json(value: &impl serde::Serialize) -> AttributeValue {
    s(&serde_json::to_string(value).unwrap_or_default())
}

/// The whole item.
pub(crate) fn write(record: &Record) -> Item {
    let mut item: Item = [
        ("kind", s(KIND)),
        ("name", s(&record.name.to_string())),
        ("revision", count(record.revision)),
        ("writer", s(&record.writer)),
        ("status", s(record.status.as_str())),
        ("generation", count(record.generation)),
        ("scopes", json(&record.scopes)),
        ("asked_scopes", json(&record.asked_scopes)),
        ("connected_at", n(record.connected_at.millis())),
        ("failures", n(record.failures.into())),
        ("announced", AttributeValue::Bool(record.announced)),
        ("kept", json(&record.kept)),
        ("parameters", json(&record.parameters)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    let times = [
        ("token_expires_at", record.token_expires_at),
        ("obtained_at", record.obtained_at),
        ("last_refresh_at", record.last_refresh_at),
        ("cool_until", record.cool_until),
        ("last_error_at", record.last_error.as_ref().map(|error| error.at)),
        ("lease_until", record.lease.as_ref().map(|lease| lease.until)),
    ];
    let texts = [
        ("version_id", record.version.as_ref().map(VersionId::as_str)),
        ("last_error_code", record.last_error.as_ref().map(|error| error.code.as_str())),
        ("lease_owner", record.lease.as_ref().map(|lease| lease.owner.as_str())),
    ];
    item.extend(times.into_iter().filter_map(|(name, at)| Some((name.to_owned(), n(at?.millis())))));
    item.extend(texts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), s(text?)))));
    item
}

/// What an item says.
pub(crate) fn read(item: &Item) -> Result<Record, WrongAttribute> {
    let from = Reader(item);
    let wrong = |name: &str| WrongAttribute(name.to_owned());
    let time = |name: &str| Ok(from.optional(name, Reader::number)?.map(Timestamp::from_millis));
    let text = |name: &str| Ok(from.optional(name, Reader::text)?.map(str::to_owned));
    let last_error = match (text("last_error_code")?, time("last_error_at")?) {
        (Some(code), Some(at)) => Some(LastError { code, at }),
        _ => None,
    };
    let lease = match (text("lease_owner")?, time("lease_until")?) {
        (Some(owner), Some(until)) => Some(Lease { owner, until }),
        _ => None,
    };
    Ok(Record {
        name: from.text("name")?.parse::<ConnectionName>().map_err(|_| wrong("name"))?,
        revision: from.number("revision")?,
        writer: from.text("writer")?.to_owned(),
        status: Status::parse(from.text("status")?).ok_or_else(|| wrong("status"))?,
        generation: from.number("generation")?,
        version: text("version_id")?.map(VersionId::new),
        scopes: from.json::<Vec<String>>("scopes")?,
        asked_scopes: from.json::<Vec<String>>("asked_scopes")?,
        token_expires_at: time("token_expires_at")?,
        obtained_at: time("obtained_at")?,
        connected_at: Timestamp::from_millis(from.number("connected_at")?),
        last_refresh_at: time("last_refresh_at")?,
        failures: from.number("failures")?,
        cool_until: time("cool_until")?,
        last_error,
        lease,
        announced: item.get("announced").and_then(|value| value.as_bool().ok()).copied().unwrap_or(false),
        kept: from.json::<BTreeMap<String, String>>("kept")?,
        parameters: from.json::<BTreeMap<String, String>>("parameters")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_read_as_it_was_written() {
        let at = Timestamp::from_millis;
        let name: ConnectionName = "a/b".parse().expect("a name");
        let bare = Record::new(name, at(1));
        let full = Record {
            revision: 7,
            writer: "w".to_owned(),
            status: Status::NeedsReauth,
            generation: 3,
            version: Some(VersionId::of_first("n", 1)),
            scopes: vec!["x".to_owned()],
            asked_scopes: vec!["x".to_owned(), "y".to_owned()],
            token_expires_at: Some(at(2)),
            obtained_at: Some(at(3)),
            last_refresh_at: Some(at(4)),
            failures: 2,
            cool_until: Some(at(5)),
            last_error: Some(LastError { code: "invalid_grant".to_owned(), at: at(6) }),
            lease: Some(Lease { owner: "o".to_owned(), until: at(7) }),
            announced: true,
            kept: [("k".to_owned(), "v".to_owned())].into(),
            parameters: [("p".to_owned(), "q".to_owned())].into(),
            ..bare.clone()
        };
        for record in [bare, full] {
            assert_eq!(read(&write(&record)), Ok(record));
        }
    }
}
