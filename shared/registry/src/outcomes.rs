//! What came of wishes about accounts: `connection-outcome`/ID, for who asked for it through a function that may not do it itself.

use crate::{Registry, RegistryError};
use clawbridge_aws::explain;
use clawbridge_clock::Timestamp;
use clawbridge_table::{Reader, n, s};
use serde_json::Value;
use std::time::Duration;

/// Who asked looks within seconds.
const KEPT: Duration = Duration::from_secs(60 * 60);

impl Registry {
    /// Writes down what came of a wish. It holds no credential.
    ///
    /// # Errors
    /// [`RegistryError::Table`].
    pub async fn put_outcome(&self, id: &str, outcome: &Value, now: Timestamp) -> Result<(), RegistryError> {
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .item("kind", s("connection-outcome"))
            .item("name", s(id))
            .item("outcome", s(&outcome.to_string()))
            .item("expires_at", n(now.plus(KEPT).seconds()));
        put.send().await.map(drop).map_err(|error| RegistryError::Table(explain(&error)))
    }

    /// What came of a wish, once it is known.
    ///
    /// # Errors
    /// [`RegistryError::Table`].
    pub async fn outcome(&self, id: &str) -> Result<Option<Value>, RegistryError> {
        let Some(item) = self.item("connection-outcome", id).await? else { return Ok(None) };
        let wrong = |reason: String| RegistryError::Table(format!("connection-outcome: {reason}"));
        let text = Reader(&item).text("outcome").map_err(|error| wrong(error.to_string()))?;
        serde_json::from_str(text).map(Some).map_err(|error| wrong(error.to_string()))
    }
}
