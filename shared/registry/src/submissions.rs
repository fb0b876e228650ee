//! Calls that were handed in through the API and have no record yet.
//!
//! A task's record is made by the worker when it begins. Until then who asks for the task must not be told that there is none: it is noted here,
//! under the task's id, after the queue has taken it.

use crate::{Registry, RegistryError};
use clawbridge_aws::explain;
use clawbridge_clock::Timestamp;
use clawbridge_table::{Reader, WrongAttribute, n, s};
use std::time::Duration;

/// A message lives up to 14 days on the queue.
const KEPT: Duration = Duration::from_secs(15 * 24 * 60 * 60);

/// A call that was handed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// Task id.
    pub task: String,
    /// Tool name.
    pub tool: String,
    /// When the queue took it.
    pub at: Timestamp,
}

impl Registry {
    /// Notes a call that the queue has taken.
    ///
    /// # Errors
    /// [`RegistryError::Table`].
    pub async fn note_submitted(&self, submitted: &Submitted) -> Result<(), RegistryError> {
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .item("kind", s("submitted"))
            .item("name", s(&submitted.task))
            .item("tool", s(&submitted.tool))
            .item("at", n(submitted.at.millis()))
            .item("expires_at", n(submitted.at.plus(KEPT).seconds()));
        put.send().await.map_err(|error| RegistryError::Table(explain(&error)))?;
        Ok(())
    }

    /// The call that was handed in as this task.
    ///
    /// # Errors
    /// [`RegistryError::Table`].
    pub async fn submitted(&self, task: &str) -> Result<Option<Submitted>, RegistryError> {
        let Some(item) = self.item("submitted", task).await? else { return Ok(None) };
        let from = Reader(&item);
        let read = || -> Result<Submitted, WrongAttribute> {
            let at = Timestamp::from_millis(from.number("at")?);
            Ok(Submitted { task: task.to_owned(), tool: from.text("tool")?.to_owned(), at })
        };
        read().map(Some).map_err(|wrong| RegistryError::Table(format!("submitted: {wrong}")))
    }
}
