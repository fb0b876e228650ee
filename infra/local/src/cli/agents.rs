//! `agent …` and `pairings …`.

use super::DEFAULT_WAIT;
use super::values::{parse_key, parse_lifetime, parse_wait};
use clap::{Args, Subcommand};
use clawbridge_access::PairingCode;
use std::time::Duration;

#[derive(Debug, Subcommand)]
pub(crate) enum AgentCommand {
    /// Make an agent: its app key and app secret are for its connector. The secret is shown this once.
    Add {
        /// What it is called: small letters, digits, - and _.
        name: String,
    },
    /// Give an agent another secret. It is shown this once.
    Rotate {
        /// Its name.
        name: String,
        /// The secret before is good no longer; else it is until the next rotation.
        #[arg(long)]
        now: bool,
    },
    /// Remove an agent: its connector is not admitted again.
    Remove {
        /// Its name.
        name: String,
    },
    /// List the agents, and whether they are online.
    List,
    /// Show an agent.
    Show {
        /// Its name.
        name: String,
    },
    /// Ask an agent, and wait for its answer.
    Ask(AgentAskArgs),
    /// Confirm the code of somebody who asks to speak with an agent: their token becomes good for it.
    Pair {
        /// The code that they were shown, such as K7QF-2MXP.
        code: PairingCode,
        /// Until then: 90m, 12h, 30d from now [default: until it is revoked].
        #[arg(long, value_name = "TIME", value_parser = parse_lifetime)]
        expires: Option<Duration>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct AgentAskArgs {
    /// Its name.
    pub(crate) name: String,
    /// What it is asked; - for standard input.
    #[arg(value_name = "TEXT")]
    pub(crate) prompt: String,
    /// The conversation that it belongs to [default: one of its own].
    #[arg(long, value_name = "NAME")]
    pub(crate) session: Option<String>,
    /// Instructions for this answer alone.
    #[arg(long, value_name = "TEXT")]
    pub(crate) instructions: Option<String>,
    /// Idempotency key: the same key and prompt again are the same task [default: a random one].
    #[arg(long, value_name = "KEY", value_parser = parse_key)]
    pub(crate) key: Option<String>,
    /// Do not wait: print the task's id at once.
    #[arg(long, conflicts_with = "bound")]
    pub(crate) background: bool,
    /// Wait at most so long: 90s, 30m, 12h. The task goes on after that.
    #[arg(long = "for", value_name = "DURATION", default_value = DEFAULT_WAIT, value_parser = parse_wait)]
    pub(crate) bound: Duration,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PairingsCommand {
    /// List those that wait.
    List,
    /// Refuse one.
    Refuse {
        /// Its id, as the list shows it.
        id: String,
    },
}
