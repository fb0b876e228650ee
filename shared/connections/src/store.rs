//! Where connections are: the registry table's items and Secrets Manager's versions.
//!
//! A version is put with its id as the `ClientRequestToken` and the label `CLAWBRIDGE_PENDING`, which only keeps it from being the current one; it is
//! found by its id. `UpdateSecretVersionStage` moves `AWSCURRENT` only from the version that is named as having it.

use crate::item::{self, KIND};
use crate::name::ConnectionName;
use crate::record::{Change, Landed, Record, Rule};
use crate::revoke::RECOVERY_DAYS;
use crate::step::{Done, Failure};
use crate::version::{Held, Seen, VersionId};
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure;
use clawbridge_aws::explain;
use clawbridge_oauth::TokenSet;
use clawbridge_table::{n, s};

const CURRENT: &str = "AWSCURRENT";
const PENDING: &str = "CLAWBRIDGE_PENDING";

/// One page of connections, by name.
#[derive(Clone, Debug)]
pub struct Page {
    /// Their items.
    pub records: Vec<Record>,
    /// The last of them, where there are more.
    pub next: Option<ConnectionName>,
}

#[derive(Clone, Debug)]
pub(crate) struct Store {
    pub(crate) tables: aws_sdk_dynamodb::Client,
    pub(crate) secrets: aws_sdk_secretsmanager::Client,
    pub(crate) table: String,
    pub(crate) prefix: String,
}

fn failed(what: &str, reason: &str) -> Failure {
    Failure { code: "UNAVAILABLE", reason: format!("{what}: {reason}") }
}

fn table_failed(reason: &str) -> Failure {
    failed("the registry table", reason)
}

impl Store {
    fn secret(&self, name: &ConnectionName) -> String {
        format!("{}/connections/{name}", self.prefix)
    }

    fn secret_failed(&self, name: &ConnectionName, reason: &str) -> Done {
        Done::Failed(failed(&format!("the secret {}", self.secret(name)), reason))
    }

    pub(crate) async fn record(&self, name: &ConnectionName) -> Result<Option<Record>, Failure> {
        let read =
            self.tables.get_item().table_name(&self.table).key("kind", s(KIND)).key("name", s(&name.to_string()));
        let answer = read.consistent_read(true).send().await.map_err(|error| table_failed(&explain(&error)))?;
        answer.item.as_ref().map(item::read).transpose().map_err(|wrong| table_failed(&wrong.to_string()))
    }

    /// Writes the change if nobody has written since.
    pub(crate) async fn write(&self, change: &Change) -> Result<Landed, Failure> {
        let put = self
            .tables
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item::write(&change.after)))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let put = match change.before {
            0 => put.condition_expression("attribute_not_exists(revision)"),
            before => put
                .condition_expression("revision = :before")
                .expression_attribute_values(":before", n(i64::try_from(before).unwrap_or(i64::MAX))),
        };
        let written = || Landed::Written(Box::new(change.after.clone()));
        let current = match put.send().await {
            Ok(_) => return Ok(written()),
            Err(SdkError::ServiceError(context)) if context.err().is_conditional_check_failed_exception() => {
                match context.into_err() {
                    PutItemError::ConditionalCheckFailedException(failed) => failed.item,
                    _ => None,
                }
            }
            Err(error) => return Err(table_failed(&explain(&error))),
        };
        let current = current.as_ref().map(item::read).transpose();
        let current = current.map_err(|wrong| table_failed(&wrong.to_string()))?;
        match change.rule(current.as_ref()) {
            // The SDK tried twice: the first try took effect and its answer was lost.
            Rule::Written => Ok(written()),
            Rule::Lost => Ok(Landed::Lost(current.map(Box::new))),
            Rule::Write => Err(table_failed("a condition failed that its own item fulfils")),
        }
    }

    pub(crate) async fn list(&self, after: Option<&ConnectionName>, limit: usize) -> Result<Page, Failure> {
        let start = after.map(|name| [("kind".to_owned(), s(KIND)), ("name".to_owned(), s(&name.to_string()))].into());
        let query = self
            .tables
            .query()
            .table_name(&self.table)
            .key_condition_expression("kind = :kind")
            .expression_attribute_values(":kind", s(KIND))
            .set_exclusive_start_key(start)
            .limit(i32::try_from(limit.clamp(1, 100)).unwrap_or(100));
        let answer = query.send().await.map_err(|error| table_failed(&explain(&error)))?;
        let records: Result<Vec<Record>, _> = answer.items.unwrap_or_default().iter().map(item::read).collect();
        let records = records.map_err(|wrong| table_failed(&wrong.to_string()))?;
        let more = answer.last_evaluated_key.is_some();
        let next = records.last().filter(|_| more).map(|record| record.name.clone());
        Ok(Page { records, next })
    }

    /// The version in use, or the one that is named.
    pub(crate) async fn read(&self, name: &ConnectionName, version: Option<&VersionId>) -> Done {
        let get = self.secrets.get_secret_value().secret_id(self.secret(name));
        let get = match version {
            Some(version) => get.version_id(version.as_str()),
            None => get.version_stage(CURRENT),
        };
        let output = match get.send().await {
            Ok(output) => output,
            Err(error) => {
                let said = error.as_service_error();
                return if said.is_some_and(|error| error.is_resource_not_found_exception()) {
                    Done::Secret(Seen::Missing)
                } else if said.is_some_and(|error| error.is_invalid_request_exception()) {
                    Done::Secret(Seen::Deleting)
                } else {
                    self.secret_failed(name, &explain(&error))
                };
            }
        };
        let set = output.secret_string.as_deref().map(|text| TokenSet::read(text.as_bytes()));
        match (set, output.version_id) {
            (Some(Ok(set)), Some(id)) => Done::Secret(Seen::Held(Box::new(Held { version: VersionId::new(id), set }))),
            _ => {
                let reason =
                    format!("the secret {}: it holds no token set; connect the account again", self.secret(name));
                Done::Failed(Failure { code: "TOKEN_SET_UNREADABLE", reason })
            }
        }
    }

    pub(crate) async fn create(&self, name: &ConnectionName, held: &Held) -> Done {
        let create = self.secrets.create_secret().name(self.secret(name)).secret_string(held.set.write());
        match create.client_request_token(held.version.as_str()).send().await {
            Ok(_) => Done::Stored,
            Err(error) => {
                let said = error.as_service_error();
                if said.is_some_and(|error| error.is_resource_exists_exception()) {
                    Done::Taken
                } else if said.is_some_and(|error| error.is_invalid_request_exception()) {
                    Done::Gone
                } else {
                    self.secret_failed(name, &explain(&error))
                }
            }
        }
    }

    pub(crate) async fn stash(&self, name: &ConnectionName, held: &Held) -> Done {
        let put = self.secrets.put_secret_value().secret_id(self.secret(name)).secret_string(held.set.write());
        match put.client_request_token(held.version.as_str()).version_stages(PENDING).send().await {
            Ok(_) => Done::Stored,
            Err(error) => {
                let said = error.as_service_error();
                if said.is_some_and(|error| error.is_resource_exists_exception()) {
                    Done::Taken
                } else if said.is_some_and(|error| {
                    error.is_resource_not_found_exception() || error.is_invalid_request_exception()
                }) {
                    Done::Gone
                } else {
                    self.secret_failed(name, &explain(&error))
                }
            }
        }
    }

    pub(crate) async fn promote(&self, name: &ConnectionName, from: &VersionId, to: &VersionId) -> Done {
        let update = self.secrets.update_secret_version_stage().secret_id(self.secret(name)).version_stage(CURRENT);
        match update.remove_from_version_id(from.as_str()).move_to_version_id(to.as_str()).send().await {
            Ok(_) => Done::Promoted,
            Err(error) => {
                let said = error.as_service_error();
                if said.is_some_and(|error| {
                    error.is_invalid_parameter_exception() || error.is_resource_not_found_exception()
                }) {
                    Done::NotInUse
                } else if said.is_some_and(|error| error.is_invalid_request_exception()) {
                    Done::Gone
                } else {
                    self.secret_failed(name, &explain(&error))
                }
            }
        }
    }

    pub(crate) async fn restore(&self, name: &ConnectionName) -> Done {
        match self.secrets.restore_secret().secret_id(self.secret(name)).send().await {
            Ok(_) => Done::Restored,
            Err(error) => self.secret_failed(name, &explain(&error)),
        }
    }

    pub(crate) async fn delete(&self, name: &ConnectionName) -> Done {
        let delete = self.secrets.delete_secret().secret_id(self.secret(name)).recovery_window_in_days(RECOVERY_DAYS);
        match delete.send().await {
            Ok(_) => Done::Deleted,
            Err(error)
                if error.as_service_error().is_some_and(|error| {
                    error.is_resource_not_found_exception() || error.is_invalid_request_exception()
                }) =>
            {
                Done::Deleted
            }
            Err(error) => self.secret_failed(name, &explain(&error)),
        }
    }
}
