//! What a stack is made of, by name: the same in `infra/template.yaml` and on one machine.

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The stage of the WebSocket API: standard clients append it to the address that they are given.
pub(crate) const CHANNEL_STAGE: &str = "responses";

/// Names and addresses of one deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stack {
    /// `local`, or the CloudFormation stack's name.
    pub(crate) name: String,
    /// Where the AWS services are, if not at AWS's own endpoints.
    pub(crate) endpoint_url: Option<String>,
    /// Where webhooks are posted: `…/hooks/SOURCE`. Unknown for a deployed stack unless it is given.
    pub(crate) public_url: Option<String>,
    /// What stands before `/hooks/SOURCE` in the addresses that providers were given, where it is another (a tunnel): some sign it.
    pub(crate) told_url: Option<String>,
    /// The queue's name.
    pub(crate) queue: String,
    /// The name of the queue of what somebody waits for.
    pub(crate) interactive_queue: String,
    /// The dead-letter queue's name, of both.
    pub(crate) dead_letter_queue: String,
    /// The events table.
    pub(crate) events_table: String,
    /// The tasks table.
    pub(crate) tasks_table: String,
    /// The registry table.
    pub(crate) registry_table: String,
    /// The limits table.
    pub(crate) limits_table: String,
    /// The channel table.
    pub(crate) channel_table: String,
    /// Where users and agents connect. Unknown for a deployed stack unless it is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) channel_url: Option<String>,
    /// What the names of the stack's secrets begin with.
    pub(crate) secret_prefix: String,
    /// Where tools' calls are led instead of to their upstreams, if they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) upstreams: Option<LedTo>,
}

/// What stands in the upstreams' place, on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LedTo {
    /// Its address.
    pub(crate) url: String,
    /// Whether calls go on from there to their upstreams.
    pub(crate) is_way_out: bool,
}

impl Stack {
    /// The stack called `name`. The names follow from it as in the template.
    pub(crate) fn named(name: &str) -> Stack {
        Stack {
            name: name.to_owned(),
            endpoint_url: None,
            public_url: None,
            told_url: None,
            queue: format!("{name}-work"),
            interactive_queue: format!("{name}-interactive"),
            dead_letter_queue: format!("{name}-dead"),
            events_table: format!("{name}-events"),
            tasks_table: format!("{name}-tasks"),
            registry_table: format!("{name}-registry"),
            limits_table: format!("{name}-limits"),
            channel_table: format!("{name}-channel"),
            channel_url: None,
            secret_prefix: "clawbridge".to_owned(),
            upstreams: None,
        }
    }

    /// The stack of `clawbridge dev`, with its services at `endpoint_url` and its webhooks at `public_url`.
    pub(crate) fn local(endpoint_url: &str, public_url: &str) -> Stack {
        Stack {
            name: "local".to_owned(),
            endpoint_url: Some(endpoint_url.to_owned()),
            public_url: Some(public_url.to_owned()),
            channel_url: Some(format!("{}/{CHANNEL_STAGE}", public_url.replacen("http", "ws", 1))),
            ..Stack::named("clawbridge")
        }
    }

    /// Where `dev` leaves a note of the running stack for the operator's commands, in its state directory.
    pub(crate) fn remembered_at(state: &Path) -> PathBuf {
        state.join("dev.json")
    }

    /// The secret of a source.
    pub(crate) fn source_secret(&self, source: &str) -> String {
        format!("{}/sources/{source}", self.secret_prefix)
    }
}
