//! Reaching a stack: the one on this machine, or a deployed one.

use crate::cli::Global;
use crate::failure::Failure;
use crate::stack::Stack;
use aws_sdk_secretsmanager::Client as SecretsClient;
use clawbridge_aws::{Environment, explain, sdk_config};
use clawbridge_channel::Channel;
use clawbridge_connections::links::Links;
use clawbridge_connections::{Connections, Settings};
use clawbridge_events::Events;
use clawbridge_limits::Limits;
use clawbridge_queue::{Queue, Queues};
use clawbridge_registry::Registry;
use clawbridge_submit::Desk;
use clawbridge_tasks::Tasks;
use std::path::Path;
use std::time::Duration;

/// Where `clawbridge dev` listens unless it is told otherwise.
pub(super) const DEFAULT_LOCAL: &str = "http://127.0.0.1:3001";

/// A stack with the clients to work on it.
pub(crate) struct Reached {
    pub(crate) stack: Stack,
    pub(crate) events: Events,
    pub(crate) tasks: Tasks,
    pub(crate) limits: Limits,
    pub(crate) registry: Registry,
    pub(crate) secrets: SecretsClient,
    tables: aws_sdk_dynamodb::Client,
    sqs: aws_sdk_sqs::Client,
    gateway: aws_sdk_apigatewaymanagement::Client,
}

impl Reached {
    /// The stack that the command line means.
    pub(crate) async fn stack(global: &Global) -> Result<Reached, Failure> {
        match &global.stack {
            Some(name) => {
                let mut stack = Stack::named(name);
                if let Some(prefix) = &global.secret_prefix {
                    stack.secret_prefix.clone_from(prefix);
                }
                Reached::with(stack, &Environment::of_this_process())
            }
            None => {
                let stack = local(global).await?;
                let environment = Environment::local(stack.endpoint_url.as_deref().unwrap_or_default());
                Reached::with(stack, &environment)
            }
        }
    }

    fn with(stack: Stack, environment: &Environment) -> Result<Reached, Failure> {
        let config = sdk_config(environment).map_err(|error| {
            let message = format!("{error}. For a deployed stack: eval \"$(aws configure export-credentials --format env)\" and set AWS_REGION");
            Failure::new("NO_CREDENTIALS", message)
        })?;
        let tables = aws_sdk_dynamodb::Client::new(&config);
        Ok(Reached {
            events: Events::new(tables.clone(), stack.events_table.clone()),
            tasks: Tasks::new(tables.clone(), stack.tasks_table.clone()),
            // It reads and removes, and writes nothing that bears its name.
            limits: Limits::new(&tables, stack.limits_table.clone(), String::new()),
            registry: Registry::new(tables.clone(), stack.registry_table.clone()),
            secrets: SecretsClient::new(&config),
            sqs: aws_sdk_sqs::Client::new(&config),
            gateway: aws_sdk_apigatewaymanagement::Client::new(&config),
            tables,
            stack,
        })
    }

    /// The stack's connections.
    pub(crate) fn connections(&self) -> Connections {
        let settings = Settings {
            registry_table: self.stack.registry_table.clone(),
            secret_prefix: self.stack.secret_prefix.clone(),
        };
        Connections::new(self.tables.clone(), self.secrets.clone(), settings)
    }

    /// The links with which accounts are connected.
    pub(crate) fn links(&self) -> Links {
        Links::new(self.tables.clone(), self.stack.registry_table.clone())
    }

    /// The stack's channel, to ask how agents are: it posts nothing from here.
    pub(crate) async fn channel(&self) -> Result<Channel, Failure> {
        let work = self.queue_url(&self.stack.queue).await?;
        let interactive = self.queue_url(&self.stack.interactive_queue).await?;
        let queues = Queues::new(self.sqs.clone(), work, interactive);
        let (table, registry, pace) =
            (self.stack.channel_table.clone(), self.registry.clone(), clawbridge_channel::Pace::default());
        let settings = clawbridge_channel::Settings { table, registry, pace };
        Ok(Channel::new(self.tables.clone(), queues, self.gateway.clone(), settings))
    }

    /// Where people and providers reach the stack, if that is known here.
    pub(crate) fn public_url(&self) -> Option<&str> {
        self.stack.told_url.as_deref().or(self.stack.public_url.as_deref())
    }

    /// The stack's queue of what nobody waits for.
    pub(crate) async fn queue(&self) -> Result<Queue, Failure> {
        Ok(Queue::new(self.sqs.clone(), self.queue_url(&self.stack.queue).await?))
    }

    /// Where calls are handed in.
    pub(crate) async fn desk(&self) -> Result<Desk, Failure> {
        let work = self.queue_url(&self.stack.queue).await?;
        let interactive = self.queue_url(&self.stack.interactive_queue).await?;
        Ok(Desk::new(self.tasks.clone(), Queues::new(self.sqs.clone(), work, interactive)))
    }

    async fn queue_url(&self, name: &str) -> Result<String, Failure> {
        let answer = self.sqs.get_queue_url().queue_name(name).send().await;
        let answer = answer.map_err(|error| unreachable("QUEUE_UNAVAILABLE", &explain(&error)))?;
        answer.queue_url.ok_or_else(|| unreachable("QUEUE_UNAVAILABLE", "no queue URL"))
    }
}

/// The stack did not do what it was asked.
pub(crate) fn unreachable(code: &'static str, reason: &str) -> Failure {
    Failure::new(code, reason)
}

/// Asks the running `clawbridge dev` what it is made of.
pub(crate) async fn local(global: &Global) -> Result<Stack, Failure> {
    let url = match &global.local {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => remembered().unwrap_or_else(|| DEFAULT_LOCAL.to_owned()),
    };
    let failed = |reason: String| {
        Failure::new(
            "NOT_RUNNING",
            format!(
                "nothing answers at {url} ({reason}); start the bridge with `cargo run`, or name its private port with --local"
            ),
        )
    };
    let client = http_client()?;
    let answer = client.get(&url).send().await.map_err(|error| failed(cause(&error)))?;
    let body = answer.bytes().await.map_err(|error| failed(cause(&error)))?;
    serde_json::from_slice(&body)
        .map_err(|_| failed("what answers is not the private port of clawbridge dev".to_owned()))
}

/// A plain client for this machine and for the stack's own address.
pub(crate) fn http_client() -> Result<reqwest::Client, Failure> {
    clawbridge_outbound::client_for_commands(Duration::from_secs(30))
        .map_err(|error| Failure::new("HTTP_CLIENT", error.message))
}

/// The last cause of a failed request, without its URL.
pub(crate) fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

fn remembered() -> Option<String> {
    let text = std::fs::read_to_string(Stack::remembered_at(Path::new(".clawbridge"))).ok()?;
    serde_json::from_str::<Stack>(&text).ok()?.endpoint_url
}
