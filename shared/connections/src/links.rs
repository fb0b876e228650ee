//! Links to connect an account with, and the consents that are under way: items of the registry table that are gone after a while.
//!
//! The table has hashes of tickets, states and cookies only, so that who reads it can neither open a link nor answer in a person's place. A link
//! may be opened several times (previews of messages do it): each opening begins a consent of its own, and the first that is stored uses the link up.

use crate::name::ConnectionName;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use clawbridge_aws::explain;
use clawbridge_clock::Timestamp;
use clawbridge_oauth::{Browser, State, Ticket};
use clawbridge_table::{Item, Reader, WrongAttribute, n, s};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a link can be opened, and how long a consent may take.
pub const LIFETIME: Duration = Duration::from_secs(10 * 60);

/// How long an item is kept after that, so that a person who comes late is told so.
const REMEMBERED: Duration = Duration::from_secs(60 * 60);

const LINK: &str = "oauth-link";
const STATE: &str = "oauth-state";

/// The table did not answer, or has something else there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the registry table: {0}")]
pub struct LinkError(String);

impl From<WrongAttribute> for LinkError {
    fn from(wrong: WrongAttribute) -> LinkError {
        LinkError(wrong.to_string())
    }
}

/// A link, as the table has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Of its ticket.
    pub hash: String,
    /// What is to be connected.
    pub name: ConnectionName,
    /// The account's own values of the provider's parameters.
    pub parameters: BTreeMap<String, String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When the account was connected with it.
    pub completed_at: Option<Timestamp>,
}

/// A consent that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    /// The link's hash.
    pub link: String,
    /// The provider that was asked.
    pub provider: String,
    /// The hash of the cookie of the browser that began.
    pub browser: String,
    /// When it began.
    pub created_at: Timestamp,
    /// When it was answered.
    pub used_at: Option<Timestamp>,
}

/// Whether ten minutes are over.
#[must_use]
pub fn has_expired(created_at: Timestamp, now: Timestamp) -> bool {
    created_at.plus(LIFETIME) <= now
}

/// The links of a stack. Clones share the client.
#[derive(Clone, Debug)]
pub struct Links {
    tables: Client,
    table: String,
}

impl Links {
    /// In the registry table named `table`.
    #[must_use]
    pub fn new(tables: Client, table: String) -> Links {
        Links { tables, table }
    }

    /// Makes the link of `ticket`.
    ///
    /// # Errors
    /// It is not stored.
    pub async fn make(
        &self,
        ticket: &Ticket,
        name: &ConnectionName,
        parameters: &BTreeMap<String, String>,
        now: Timestamp,
    ) -> Result<(), LinkError> {
        let item = [
            ("connection", s(&name.to_string())),
            ("parameters", s(&serde_json::to_string(parameters).unwrap_or_default())),
        ];
        self.put(LINK, &ticket.hash(), item, now).await
    }

    /// The link with this ticket's hash.
    ///
    /// # Errors
    /// The table did not answer.
    pub async fn find(&self, hash: &str) -> Result<Option<Link>, LinkError> {
        let Some(item) = self.get(LINK, hash).await? else { return Ok(None) };
        let from = Reader(&item);
        let name = from.text("connection")?.parse().map_err(|_| LinkError(format!("{LINK}: connection is no name")))?;
        let parameters = from.json("parameters")?;
        Ok(Some(Link {
            hash: hash.to_owned(),
            name,
            parameters,
            created_at: moment(&from, "created_at")?,
            completed_at: optional_moment(&from, "used_at")?,
        }))
    }

    /// Writes down that a consent begins.
    ///
    /// # Errors
    /// It is not stored.
    pub async fn begin(&self, state: &State, link: &Link, browser: &Browser, now: Timestamp) -> Result<(), LinkError> {
        let item = [("link", s(&link.hash)), ("provider", s(link.name.provider())), ("browser", s(&browser.hash()))];
        self.put(STATE, &state.hash(), item, now).await
    }

    /// The consent with this state.
    ///
    /// # Errors
    /// The table did not answer.
    pub async fn begun(&self, state: &State) -> Result<Option<Begun>, LinkError> {
        let Some(item) = self.get(STATE, &state.hash()).await? else { return Ok(None) };
        let from = Reader(&item);
        Ok(Some(Begun {
            link: from.text("link")?.to_owned(),
            provider: from.text("provider")?.to_owned(),
            browser: from.text("browser")?.to_owned(),
            created_at: moment(&from, "created_at")?,
            used_at: optional_moment(&from, "used_at")?,
        }))
    }

    /// Uses up a state. `false`: it was used before, and what came now counts for nothing.
    ///
    /// # Errors
    /// The table did not answer: it may be used up.
    pub async fn spend(&self, state: &State, now: Timestamp) -> Result<bool, LinkError> {
        self.mark(STATE, &state.hash(), now).await
    }

    /// Uses up a link. `false`: an account was connected with it before.
    ///
    /// # Errors
    /// The table did not answer: it may be used up.
    pub async fn complete(&self, link: &Link, now: Timestamp) -> Result<bool, LinkError> {
        self.mark(LINK, &link.hash, now).await
    }

    /// Gives a link back that was used up at `used_at`, for an account that could not be stored then.
    ///
    /// # Errors
    /// The table did not answer: a new link has to be made.
    pub async fn reopen(&self, link: &Link, used_at: Timestamp) -> Result<(), LinkError> {
        let update = self
            .tables
            .update_item()
            .table_name(&self.table)
            .key("kind", s(LINK))
            .key("name", s(&link.hash))
            .update_expression("REMOVE used_at")
            .condition_expression("used_at = :at")
            .expression_attribute_values(":at", n(used_at.millis()));
        update.send().await.map(drop).map_err(|error| LinkError(explain(&error)))
    }

    async fn put<const N: usize>(
        &self,
        kind: &str,
        hash: &str,
        item: [(&str, aws_sdk_dynamodb::types::AttributeValue); N],
        now: Timestamp,
    ) -> Result<(), LinkError> {
        let mut item: Item = item.map(|(name, value)| (name.to_owned(), value)).into();
        let own = [
            ("kind", s(kind)),
            ("name", s(hash)),
            ("created_at", n(now.millis())),
            ("expires_at", n(now.plus(LIFETIME + REMEMBERED).seconds())),
        ];
        item.extend(own.map(|(name, value)| (name.to_owned(), value)));
        let put = self.tables.put_item().table_name(&self.table).set_item(Some(item)).send().await;
        put.map(drop).map_err(|error| LinkError(explain(&error)))
    }

    async fn get(&self, kind: &str, hash: &str) -> Result<Option<Item>, LinkError> {
        let get = self.tables.get_item().table_name(&self.table).key("kind", s(kind)).key("name", s(hash));
        let answer = get.consistent_read(true).send().await.map_err(|error| LinkError(explain(&error)))?;
        Ok(answer.item)
    }

    async fn mark(&self, kind: &str, hash: &str, now: Timestamp) -> Result<bool, LinkError> {
        let update = self
            .tables
            .update_item()
            .table_name(&self.table)
            .key("kind", s(kind))
            .key("name", s(hash))
            .update_expression("SET used_at = :now")
            .condition_expression("attribute_exists(created_at) AND attribute_not_exists(used_at)")
            .expression_attribute_values(":now", n(now.millis()));
        match update.send().await {
            Ok(_) => Ok(true),
            Err(SdkError::ServiceError(context)) if context.err().is_conditional_check_failed_exception() => Ok(false),
            Err(error) => Err(LinkError(explain(&error))),
        }
    }
}

fn moment(from: &Reader<'_>, name: &str) -> Result<Timestamp, WrongAttribute> {
    from.number(name).map(Timestamp::from_millis)
}

fn optional_moment(from: &Reader<'_>, name: &str) -> Result<Option<Timestamp>, WrongAttribute> {
    from.optional(name, |from, name| moment(&from, name))
}
