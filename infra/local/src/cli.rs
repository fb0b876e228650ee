//! The command line.

mod agents;
pub(crate) mod values;

pub(crate) use agents::{AgentAskArgs, AgentCommand, PairingsCommand};

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use clawbridge_access::{Rate, Scope};
use clawbridge_signatures::Scheme;
use std::path::PathBuf;
use std::time::Duration;
use values::{
    parse_day, parse_header, parse_json, parse_key, parse_lifetime, parse_parameter, parse_reason, parse_result,
    parse_scheme, parse_since, parse_state, parse_time, parse_wait,
};

/// Clawbridge: webhooks in, tool calls out, each once.
#[derive(Debug, Parser)]
#[command(name = "clawbridge", version, about, propagate_version = true, disable_help_subcommand = true)]
#[command(
    after_help = "Without a command: dev.\n\nExit status: 0 done, 1 the answer is no (refused, failed, not valid), 2 wrong command line, \
3 no such thing, 4 the stack is out of reach, 5 what was waited for did not happen in time."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) dev: DevArgs,
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// Print JSON, errors too (`dev`: JSON lines, as the functions write them in Lambda).
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// A deployed stack's name, instead of the one on this machine. Credentials and region come from the AWS_* variables.
    #[arg(long, global = true, value_name = "NAME", env = "CLAWBRIDGE_STACK")]
    pub(crate) stack: Option<String>,
    /// Where the private port of `clawbridge dev` is [default: as .clawbridge/dev.json says, else http://127.0.0.1:3001].
    #[arg(long, global = true, value_name = "URL", env = "CLAWBRIDGE_LOCAL")]
    pub(crate) local: Option<String>,
    /// What the stack's secrets' names begin with, where the stack was deployed with another SecretPrefix.
    #[arg(long, global = true, value_name = "PREFIX", requires = "stack", env = "CLAWBRIDGE_SECRET_PREFIX")]
    pub(crate) secret_prefix: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the whole bridge on this machine.
    Dev(DevArgs),
    Chat(crate::chat::args::ChatArgs),
    /// Sign a fixture for its source and post it.
    Send(SendArgs),
    /// Events: what came in.
    #[command(subcommand)]
    Events(EventsCommand),
    /// Tasks: what went out, or is to.
    #[command(subcommand)]
    Tasks(TasksCommand),
    /// Tools: the calls that are declared, and one of them now.
    #[command(subcommand)]
    Tools(ToolsCommand),
    /// Limits, circuits and retry budgets: what holds tools' calls up.
    #[command(subcommand)]
    Limits(LimitsCommand),
    /// Sources: who may send webhooks, and how they sign.
    #[command(subcommand)]
    Source(SourceCommand),
    /// Secrets that tools use.
    #[command(subcommand)]
    Secret(SecretCommand),
    /// Tokens of the API.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Webhooks that the bridge sends: who gets its events, and what came of it.
    Webhooks(WebhooksArgs),
    /// Agents: who may answer prompts, and one asked now.
    #[command(subcommand)]
    Agent(AgentCommand),
    /// Pairings: who asks to speak with an agent.
    #[command(subcommand)]
    Pairings(PairingsCommand),
    /// Connect an OpenClaw agent: runs beside its gateway, dials out to the bridge's channel, and passes turns on until it is stopped.
    Connect(Box<ConnectorArgs>),
    /// Connect an account at an OAuth provider of bridge.toml: prints a link for the person whose account it is, or, where the grant needs
    /// nobody, gets a token at once.
    ConnectAccount(ConnectArgs),
    /// Connections: the accounts that are connected.
    #[command(subcommand)]
    Connections(ConnectionsCommand),
    /// Skills: bundles of tools and routes, put into the configuration and taken out of it.
    #[command(subcommand)]
    Skills(crate::operator::skills::SkillsCommand),
    /// The configuration in use and its versions.
    #[command(subcommand)]
    Config(crate::operator::config::ConfigCommand),
    /// Say what is wrong with providers and connections, and what to do about it.
    Doctor(DoctorArgs),
    /// Say why a webhook is refused, or run a file of signature vectors.
    Verify(Box<VerifyArgs>),
    /// Check bridge.toml.
    Check(FileArgs),
    /// Check bridge.toml and put it as a new version.
    Apply(FileArgs),
    /// Print a completion script.
    Completions {
        /// For this shell.
        shell: Shell,
    },
}

#[derive(Clone, Debug, Args)]
pub(crate) struct DevArgs {
    /// Public port: webhooks. 0 takes any free one.
    #[arg(long, default_value_t = 3000)]
    pub(crate) port: u16,
    /// Private port: AWS services and echo endpoint [default: the public one plus one].
    #[arg(long, value_name = "PORT")]
    pub(crate) aws_port: Option<u16>,
    /// What stands before /hooks/SOURCE in the addresses that providers were given, a tunnel's for example: some sign it [default: this machine].
    #[arg(long, value_name = "URL")]
    pub(crate) public_url: Option<String>,
    /// Fetch providers' keys (SNS, PayPal, Google) from URL/HOST/PATH instead of https://HOST/PATH.
    #[arg(long, value_name = "URL")]
    pub(crate) keys_mirror: Option<String>,
    /// Where state is kept.
    #[arg(long, value_name = "DIR", default_value = ".clawbridge")]
    pub(crate) state: PathBuf,
    /// Keep no state.
    #[arg(long, conflicts_with = "state")]
    pub(crate) ephemeral: bool,
    /// The configuration; applied again when it changes.
    #[arg(long, value_name = "FILE", default_value = "bridge.toml")]
    pub(crate) config: PathBuf,
    /// Invocations of the worker at a time, 2 to 1000.
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u16).range(2..=1000))]
    pub(crate) concurrency: u16,
    /// Invocations of the worker at a time for what somebody waits for, beside the others, 2 to 1000.
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u16).range(2..=1000))]
    pub(crate) interactive_concurrency: u16,
    /// Seconds that one invocation of the worker may take.
    #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(3..=900))]
    pub(crate) worker_timeout: u64,
    /// Seconds until a message whose invocation was lost comes again. AWS: six times the worker's timeout; here a restart is no rare thing.
    #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=43_200))]
    pub(crate) visibility: u64,
    /// Seconds between looks at the delivery logs that bridge.toml names as catch_up, the first after a minute at most. 0 for never.
    #[arg(long, default_value_t = 900, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=86_400))]
    pub(crate) catch_up_every: u64,
    /// Seconds between looks at connections whose tokens expire soon. 0 for never.
    #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=86_400))]
    pub(crate) refresh_every: u64,
    /// How often each token of the API may be used, unless it has a rate of its own: 600/min, 10/s, 5000/h.
    #[arg(long, default_value_t = Rate::DEFAULT, value_name = "RATE")]
    pub(crate) api_rate: Rate,
    /// How many requests of a token may come at once [default: what comes in ten seconds].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(Rate::MAX)))]
    pub(crate) api_burst: Option<u32>,
    /// Seconds between looks at a turn of the channel: how soon is noticed that an agent is gone without a word, or that a crash left something undone.
    #[arg(long, default_value_t = 15, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=90))]
    pub(crate) channel_look: u64,
    /// Seconds after which a user's connection to the channel is ended; an agent's lasts twice as long.
    #[arg(long, default_value_t = 3600, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) channel_age: u64,
    /// Hand the messages of each connection of the channel to the function in another order, drawn with SEED: API Gateway promises none.
    #[arg(long, value_name = "SEED")]
    pub(crate) channel_shuffle: Option<u64>,
    #[command(flatten)]
    pub(crate) upstreams: UpstreamArgs,
}

/// What stands in the place of the upstreams that tools call.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct UpstreamArgs {
    /// Answer tools' calls by this script instead of calling anybody; read again when it changes.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["record", "replay"])]
    pub(crate) stub: Option<PathBuf>,
    /// What the script's shares are drawn with: the same seed, the same luck [default: 0].
    #[arg(long, value_name = "N", requires = "stub")]
    pub(crate) stub_seed: Option<u64>,
    /// Write each exchange of a tool with its upstream to a file in this directory, without credentials.
    #[arg(long, value_name = "DIR", conflicts_with = "replay")]
    pub(crate) record: Option<PathBuf>,
    /// Answer tools' calls from the exchanges in this directory instead of calling anybody.
    #[arg(long, value_name = "DIR")]
    pub(crate) replay: Option<PathBuf>,
    /// Replay each exchange once, instead of the last one of its kind for ever.
    #[arg(long, requires = "replay")]
    pub(crate) replay_strict: bool,
    /// What is kept of an exchange: jq over the exchange as its file has it. With --replay, of the request that is looked for.
    #[arg(long, value_name = "JQ")]
    pub(crate) redact: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct SendArgs {
    /// A fixture: events/SOURCE/NAME.json.
    pub(crate) fixture: PathBuf,
    /// Send it to this source instead of the fixture's.
    #[arg(long)]
    pub(crate) source: Option<String>,
    /// Send the same delivery this often.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) repeat: u32,
    /// A delivery id of its own for each, so that each is an event of its own.
    #[arg(long)]
    pub(crate) fresh: bool,
    /// Change the body after it was signed: it must be refused.
    #[arg(long)]
    pub(crate) tamper: bool,
    /// Sign as of this many seconds ago.
    #[arg(long, default_value_t = 0, value_name = "SECONDS")]
    pub(crate) age: u32,
    /// Post here instead of to the stack: the address before /hooks/SOURCE.
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// Print the API Gateway event instead of posting, for `cargo lambda invoke clawbridge-webhook --data-file`.
    #[arg(long)]
    pub(crate) print_event: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum EventsCommand {
    /// List the latest events.
    List(ListArgs),
    /// Show one event with its body.
    Show(IdArgs),
    /// Route a stored event again; tasks that failed are run again.
    Replay {
        /// Event id.
        id: String,
        /// Act again even where a task succeeded.
        #[arg(long)]
        again: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TasksCommand {
    /// List the latest tasks.
    List {
        /// Only tasks in this state: queued, running, waiting, unknown, succeeded, failed, parked or cancelled.
        #[arg(long, value_parser = parse_state)]
        state: Option<clawbridge_tasks::State>,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show one task with its input, attempts and result.
    Show(IdArgs),
    /// Have a tool called, and print the task's id at once.
    Submit(SubmitArgs),
    /// Wait until a task has ended.
    Wait {
        /// Its id.
        id: String,
        /// At most so long: 90s, 30m, 12h.
        #[arg(long = "for", value_name = "DURATION", default_value = DEFAULT_WAIT, value_parser = parse_wait)]
        bound: Duration,
    },
    /// Run a failed, parked or cancelled task again; one that is queued, at once.
    Retry(IdArgs),
    /// Settle a task whose outcome nobody knows: parked or unknown.
    #[command(group = clap::ArgGroup::new("how").required(true))]
    Settle(SettleArgs),
    /// Take a task back that is queued, waiting or parked.
    Cancel {
        /// Its id.
        id: String,
        /// Why, for the record.
        #[arg(long, value_name = "TEXT", value_parser = parse_reason)]
        reason: Option<String>,
    },
}

/// How long it is waited unless it is said.
const DEFAULT_WAIT: &str = "60s";

#[derive(Debug, Args)]
pub(crate) struct SubmitArgs {
    /// Tool name.
    pub(crate) tool: String,
    /// The input: JSON, @FILE, or - for standard input.
    #[arg(long, value_name = "JSON|@FILE|-", default_value = "{}", allow_hyphen_values = true)]
    pub(crate) input: String,
    /// Idempotency key: the same key and input again are the same call [default: the tool's own of the input, else a random one].
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Option<String>,
    /// Nobody waits: it may stand behind everything else that is queued.
    #[arg(long)]
    pub(crate) background: bool,
    /// Wait until it has ended, at most so long: 90s, 30m, 12h.
    #[arg(long, value_name = "DURATION", num_args = 0..=1, default_missing_value = DEFAULT_WAIT, value_parser = parse_wait)]
    pub(crate) wait: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct SettleArgs {
    /// Its id.
    pub(crate) id: String,
    /// It has been done: the task has succeeded.
    #[arg(long, group = "how")]
    pub(crate) done: bool,
    /// It has not been done: the tool is called again.
    #[arg(long, group = "how")]
    pub(crate) retry: bool,
    /// Leave it: the task has failed.
    #[arg(long, group = "how")]
    pub(crate) fail: bool,
    /// With --done: what it returned.
    #[arg(long, value_name = "JSON", conflicts_with_all = ["retry", "fail"], value_parser = parse_result)]
    pub(crate) result: Option<serde_json::Value>,
    /// With --fail: why, for the record.
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["done", "retry"], value_parser = parse_reason)]
    pub(crate) reason: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ToolsCommand {
    /// List the tools.
    List {
        /// This document instead of the configuration in use.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Show how a tool is declared, defaults filled in.
    Show {
        /// Tool name.
        name: String,
        /// This document instead of the configuration in use.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Call a tool now, from this machine, with the stack's secrets. No task is made of it.
    Call(ToolCallArgs),
    /// Make declarations of an OpenAPI document or a GraphQL introspection result, to be edited by hand.
    Import(Box<crate::operator::import::ImportArgs>),
}

#[derive(Debug, Args)]
pub(crate) struct ToolCallArgs {
    /// Tool name.
    pub(crate) name: String,
    /// The input: JSON, @FILE, or - for standard input.
    #[arg(long, value_name = "JSON", default_value = "{}")]
    pub(crate) input: String,
    /// Send nothing; print the exact request, credentials masked.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Call a tool of effect unsafe, which acts each time.
    #[arg(long)]
    pub(crate) yes: bool,
    /// The idempotency key that is sent where the tool sends one [default: a new one].
    #[arg(long, value_name = "KEY", value_parser = parse_key)]
    pub(crate) key: Option<String>,
    /// This document instead of the configuration in use.
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) upstreams: UpstreamArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LimitsCommand {
    /// List what is left of limits and retry budgets, how many calls are under way, what is paused and which circuits are open, and until
    /// when.
    List,
    /// Forget what is kept under a key: a full limit or retry budget, no pause, a closed circuit, no call under way.
    Reset {
        /// The key, as `limits list` shows it: tool/NAME, limit/NAME, credential/SECRET, slots/…, retries/TOOL, circuit/TOOL.
        scope: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token. It is shown this once.
    Create(TokenCreateArgs),
    /// List the tokens: what they are called and for.
    List,
    /// Revoke a token. It is refused everywhere within five seconds.
    Revoke {
        /// Its name.
        #[arg(long)]
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct TokenCreateArgs {
    /// What it is called: letters, digits, - _ and .
    #[arg(long)]
    pub(crate) name: String,
    /// What it is for: read, execute, admin, tool:NAME, source:NAME, agent:NAME or group:NAME; several times for several [default: admin].
    #[arg(long, value_name = "SCOPE")]
    pub(crate) scope: Vec<Scope>,
    /// The same as --scope tool:NAME.
    #[arg(long, value_name = "NAME")]
    pub(crate) tool: Vec<String>,
    /// For how long it is valid: 12h, 30d [default: until it is revoked].
    #[arg(long, value_name = "TIME", value_parser = parse_lifetime)]
    pub(crate) expires: Option<Duration>,
    /// How often it may be used: 60/min, 10/s, 5000/h [default: what the stack has for all tokens, 600/min unless it says otherwise].
    #[arg(long, value_name = "RATE")]
    pub(crate) rate: Option<Rate>,
    /// How many of its requests may come at once [default: what comes in ten seconds].
    #[arg(long, requires = "rate", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(Rate::MAX)))]
    pub(crate) burst: Option<u32>,
}

/// Where the API is, and who asks.
#[derive(Clone, Debug, Args)]
pub(crate) struct ApiArgs {
    /// Where the API is: of a deployed stack its output WebhookUrl [default: the public port of `clawbridge dev`].
    #[arg(long, global = true, value_name = "URL", env = "CLAWBRIDGE_API")]
    pub(crate) api: Option<String>,
    /// A token with the scope admin, or read to look [default: the one that `clawbridge dev` keeps].
    #[arg(skip = std::env::var("CLAWBRIDGE_TOKEN").ok().filter(|token| !token.is_empty()))]
    pub(crate) token: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct WebhooksArgs {
    #[command(flatten)]
    pub(crate) api: ApiArgs,
    #[command(subcommand)]
    pub(crate) command: WebhooksCommand,
}

/// What can be set up of a webhook beside its address and its events.
#[derive(Clone, Debug, Args)]
pub(crate) struct WebhookSetUp {
    /// A jq program over the payload; only where it gives true is it delivered. An empty text takes it away.
    #[arg(long, value_name = "JQ")]
    pub(crate) filter: Option<String>,
    /// What it is for. An empty text takes it away.
    #[arg(long, value_name = "TEXT")]
    pub(crate) description: Option<String>,
    /// How long it may do nothing but fail until it is paused: 90m, 12h, 3d.
    #[arg(long, value_name = "TIME", value_parser = parse_lifetime)]
    pub(crate) pause_after: Option<Duration>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum WebhooksCommand {
    /// List them.
    List,
    /// Have events sent to an address. Prints the id, and the secret that is made.
    Create {
        /// Where they go: https, or http where [network] allow has the address.
        url: String,
        /// Which: task.completed, task.*; several for several.
        #[arg(long = "events", value_name = "PATTERN", required = true, value_delimiter = ',')]
        events: Vec<String>,
        #[command(flatten)]
        set_up: WebhookSetUp,
        /// Read the secret from standard input instead of making one.
        #[arg(long)]
        secret_stdin: bool,
    },
    /// Show one.
    Show {
        /// Its id.
        id: String,
    },
    /// Change one.
    Update {
        /// Its id.
        id: String,
        /// Where they go from now on.
        #[arg(long)]
        url: Option<String>,
        /// Which, from now on.
        #[arg(long = "events", value_name = "PATTERN", value_delimiter = ',')]
        events: Vec<String>,
        #[command(flatten)]
        set_up: WebhookSetUp,
    },
    /// Delete one, with its secret.
    Delete {
        /// Its id.
        id: String,
    },
    /// Deliver nothing until it is resumed; what comes is held.
    Pause {
        /// Its id.
        id: String,
    },
    /// Deliver again, what was held first.
    Resume {
        /// Its id.
        id: String,
        /// Do not deliver what was held.
        #[arg(long)]
        discard: bool,
    },
    /// Deliver an event webhook.test now and say what came of it.
    Test {
        /// Its id.
        id: String,
    },
    /// Put a new secret in use; the one before goes on signing for a time.
    Rotate {
        /// Its id.
        id: String,
        /// For how long: 90m, 12h, 7d at most.
        #[arg(long, value_name = "TIME", default_value = "1d", value_parser = parse_lifetime)]
        overlap: Duration,
        /// Read the secret from standard input instead of making one.
        #[arg(long)]
        secret_stdin: bool,
    },
    /// List what was delivered, or was to be, with each attempt.
    Deliveries {
        /// Its id.
        id: String,
        /// Only those: pending, delivered, failed, cancelled.
        #[arg(long)]
        status: Option<DeliveryStatus>,
        /// At most so many.
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u8).range(1..=100))]
        limit: u8,
    },
    /// Deliver again: one delivery, or the events of a period that did not arrive.
    Replay(WebhookReplayArgs),
}

/// How a delivery stands.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum DeliveryStatus {
    Pending,
    Delivered,
    Failed,
    Cancelled,
}

impl std::fmt::Display for DeliveryStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            DeliveryStatus::Pending => "pending",
            DeliveryStatus::Delivered => "delivered",
            DeliveryStatus::Failed => "failed",
            DeliveryStatus::Cancelled => "cancelled",
        })
    }
}

#[derive(Debug, Args)]
pub(crate) struct WebhookReplayArgs {
    /// Its id.
    pub(crate) id: String,
    /// This delivery, whatever came of it.
    #[arg(long, value_name = "ID", conflicts_with_all = ["since", "until", "again", "yes"], required_unless_present = "since")]
    pub(crate) delivery: Option<String>,
    /// Events of then and later: 2026-11-21T03:40:39Z.
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Events of then and earlier.
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// Also those that arrived.
    #[arg(long)]
    pub(crate) again: bool,
    /// Deliver them; without it they are only counted.
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SourceCommand {
    /// Add a source.
    Add(SourceAddArgs),
    /// List the sources.
    List,
    /// List the signature schemes.
    Schemes,
    /// Print a source's live secrets, the newest first.
    Secret {
        /// Source name.
        name: String,
    },
    /// Give a source a new secret; the one before stays valid until the next rotation.
    Rotate {
        /// Source name.
        name: String,
        #[command(flatten)]
        secret: SecretArgs,
    },
    /// Remove a source. It can be restored for seven days with Secrets Manager's RestoreSecret.
    Remove {
        /// Source name.
        name: String,
    },
    /// Ask a provider that never retries for what it delivered in vain, at once: the schedule does so by itself every quarter of an hour.
    CatchUp(CatchUpArgs),
}

#[derive(Debug, Args)]
pub(crate) struct CatchUpArgs {
    /// Its name in bridge.toml: [catch_up.NAME].
    pub(crate) name: String,
    /// Only what was first delivered since then: 30m, 12h, 2d; at most 71h, as far back as GitHub redelivers.
    #[arg(long, value_name = "TIME", default_value = "71h", value_parser = parse_since)]
    pub(crate) since: Duration,
    /// Ask for nothing; show what would be asked for.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SourceAddArgs {
    /// Source name: the last part of the webhook's address. Lower-case letters, digits, - and _.
    pub(crate) name: String,
    /// Signature scheme [default: the one called like the source].
    #[arg(long)]
    pub(crate) scheme: Option<String>,
    #[command(flatten)]
    pub(crate) secret: SecretArgs,
    /// For scheme hmac: its options as JSON, see README.
    #[arg(long, value_name = "JSON")]
    pub(crate) hmac: Option<String>,
    /// For scheme token: its options as JSON, see README.
    #[arg(long, value_name = "JSON")]
    pub(crate) token: Option<String>,
    /// The address that the provider was given, for schemes that sign it, where it is not the stack's own.
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// For scheme meta: what Meta is told to ask with.
    #[arg(long, value_name = "TOKEN")]
    pub(crate) verify_token: Option<String>,
    /// What tokens are made out to: for google-pubsub its audience [default: the source's address], for microsoft-graph the app's id.
    #[arg(long, value_name = "TEXT")]
    pub(crate) audience: Option<String>,
    /// The provider's certificate (PEM) or key set (JSON), so that nothing is fetched.
    #[arg(long, value_name = "FILE")]
    pub(crate) keys_file: Option<PathBuf>,
    /// Another window for the scheme's timestamp.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) tolerance: Option<u32>,
    /// The provider tells the secret in its handshake (notion): wait for it.
    #[arg(long, conflicts_with_all = ["secret", "generate"])]
    pub(crate) pending: bool,
    /// Replace the source if there is one; its secret before stays valid until the next rotation.
    #[arg(long)]
    pub(crate) replace: bool,
}

/// Where a secret's value comes from. On the command line others on the machine can read it; standard input is safer.
#[derive(Debug, Args)]
pub(crate) struct SecretArgs {
    /// The value [default: read from standard input].
    #[arg(long, value_name = "VALUE", conflicts_with = "generate")]
    pub(crate) secret: Option<String>,
    /// Make a random one and print it once.
    #[arg(long)]
    pub(crate) generate: bool,
}

/// Each can stand in the file too. The secrets (the app's, the gateway's and the hooks' tokens) are never given on the command line: they come
/// from CLAWBRIDGE_APP_SECRET, OPENCLAW_GATEWAY_TOKEN and OPENCLAW_HOOKS_TOKEN, from the file, from a secret of the stack or from standard input.
#[derive(Debug, Args)]
pub(crate) struct ConnectorArgs {
    /// The bridge's channel, wss://HOST/responses [env: CLAWBRIDGE_CHANNEL_URL, INSTACLAW_WS_URL].
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// The agent's app key, oak_… [env: CLAWBRIDGE_APP_KEY].
    #[arg(long, value_name = "KEY")]
    pub(crate) app_key: Option<String>,
    /// Read the app secret from standard input.
    #[arg(long, conflicts_with = "from_secret")]
    pub(crate) app_secret_stdin: bool,
    /// Settings in TOML, or in JSON if it is called so. Read again whenever it connects, so that a rotated key is found.
    #[arg(long, value_name = "FILE", env = "CLAWBRIDGE_CONNECTOR_FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Settings in a secret of the stack: JSON with the file's members. Read once.
    #[arg(long, value_name = "NAME")]
    pub(crate) from_secret: Option<String>,
    /// Where the gateway listens [env: OPENCLAW_GATEWAY_URL] [default: http://127.0.0.1:18789].
    #[arg(long, value_name = "URL")]
    pub(crate) gateway_url: Option<String>,
    /// responses: POST /v1/responses, streamed. hooks: POST /hooks/agent, which gives no text of the answer [default: responses].
    #[arg(long, value_name = "MODE", value_parser = ["responses", "hooks"])]
    pub(crate) mode: Option<String>,
    /// The agent at the gateway: openclaw or openclaw/NAME [default: openclaw/main].
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: Option<String>,
    /// In hooks mode: what sessions' keys begin with (hook:), where the gateway takes keys. Otherwise each turn is a session of its own.
    #[arg(long, value_name = "PREFIX")]
    pub(crate) hook_sessions: Option<String>,
    /// What every turn's instructions begin with.
    #[arg(long, value_name = "TEXT")]
    pub(crate) system_prompt: Option<String>,
    /// How many turns run at once [default: 10].
    #[arg(long, value_name = "N")]
    pub(crate) max_turns: Option<usize>,
    /// How long a gateway is waited for that is not there, seconds [default: 60].
    #[arg(long, value_name = "SECONDS")]
    pub(crate) gateway_wait: Option<u64>,
    /// How long the gateway may say nothing in an answer, seconds [default: 600].
    #[arg(long, value_name = "SECONDS")]
    pub(crate) gateway_silence: Option<u64>,
    /// Believe these authorities' certificates (PEM) instead of the public ones.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Allow ws:// to another machine, where everybody on the way can read the secret and all that is said.
    #[arg(long)]
    pub(crate) allow_plaintext: bool,
    /// Show frames, heartbeats and attempts, without what is said.
    #[arg(long)]
    pub(crate) debug: bool,
    /// Show what is said too.
    #[arg(long)]
    pub(crate) debug_bodies: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ConnectArgs {
    /// The provider's name in bridge.toml: [providers.NAME].
    pub(crate) provider: String,
    /// What the account is to be called: up to 64 small letters, digits, - and _.
    #[arg(long, value_name = "NAME")]
    pub(crate) account: String,
    /// The account's own value of one of the provider's parameters; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_parameter)]
    pub(crate) set: Vec<(String, String)>,
    /// Let the person type a code on another device instead (RFC 8628), where the provider knows that.
    #[arg(long)]
    pub(crate) device: bool,
    /// Wait until the account is connected, at most the link's ten minutes.
    #[arg(long)]
    pub(crate) wait: bool,
    /// The stack's public address, where it is not known here: a deployed stack's output WebhookUrl.
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConnectionsCommand {
    /// List the connections.
    List,
    /// Show all of a connection that is not secret.
    Show {
        /// PROVIDER/ACCOUNT.
        name: String,
    },
    /// Call the provider's test_url with the connection's token.
    Test {
        /// PROVIDER/ACCOUNT.
        name: String,
    },
    /// Get a new token now.
    Refresh {
        /// PROVIDER/ACCOUNT.
        name: String,
    },
    /// Have the provider revoke the tokens, then delete them.
    Revoke {
        /// PROVIDER/ACCOUNT.
        name: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
        /// Delete the tokens here even where the provider cannot be told: they may stay good there.
        #[arg(long)]
        forget: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// A provider, or a connection as PROVIDER/ACCOUNT [default: all].
    pub(crate) name: Option<String>,
    /// The stack's public address, where it is not known here: a deployed stack's output WebhookUrl.
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SecretCommand {
    /// Set a secret that tools name in `auth`.
    Set {
        /// The secret's full name, for example clawbridge/tools/crm or clawbridge/providers/salesforce.
        name: String,
        /// The value [default: read from standard input].
        #[arg(long, value_name = "VALUE")]
        value: Option<String>,
    },
}

/// One request, or a file of vectors. Neither secrets nor expected signatures are printed.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// A file of signature vectors: prints each that differs and `N passed, M failed`.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["source", "scheme", "secret", "header", "body_file", "url", "query", "now", "hmac", "token", "audience", "tolerance", "keys_file"])]
    pub(crate) vectors: Option<PathBuf>,
    /// Take scheme, secrets and options from this source of the stack.
    #[arg(long, value_name = "NAME", required_unless_present_any = ["scheme", "vectors"])]
    pub(crate) source: Option<String>,
    /// Signature scheme, instead of a source's.
    #[arg(long, conflicts_with = "source", value_parser = parse_scheme)]
    pub(crate) scheme: Option<Scheme>,
    /// A signing secret; may be repeated [default: read from standard input].
    #[arg(long, value_name = "VALUE", conflicts_with = "source")]
    pub(crate) secret: Vec<String>,
    /// A header as received, 'Name: value'; may be repeated.
    #[arg(long, value_name = "HEADER", value_parser = parse_header)]
    pub(crate) header: Vec<Header>,
    /// The body exactly as received, - for standard input.
    #[arg(long, value_name = "FILE", required_unless_present = "vectors")]
    pub(crate) body_file: Option<PathBuf>,
    /// The public URL that the provider was given, for schemes that sign it [default: the source's].
    #[arg(long)]
    pub(crate) url: Option<String>,
    /// The query string as received, without the question mark.
    #[arg(long, value_name = "QUERY")]
    pub(crate) query: Option<String>,
    /// The method.
    #[arg(long, default_value = "POST")]
    pub(crate) method: String,
    /// When it was received: Unix seconds, or 2026-11-21T06:00:00Z [default: now].
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) now: Option<i64>,
    /// For scheme hmac: its options as JSON, see README.
    #[arg(long, value_name = "JSON", conflicts_with = "source", value_parser = parse_json)]
    pub(crate) hmac: Option<serde_json::Value>,
    /// For scheme token: its options as JSON, see README.
    #[arg(long, value_name = "JSON", conflicts_with = "source", value_parser = parse_json)]
    pub(crate) token: Option<serde_json::Value>,
    /// What tokens are made out to: for google-pubsub its audience [default: the URL], for microsoft-graph the app's id.
    #[arg(long, value_name = "TEXT", conflicts_with = "source")]
    pub(crate) audience: Option<String>,
    /// Another window than the scheme's, in seconds.
    #[arg(long, value_name = "SECONDS", conflicts_with = "source")]
    pub(crate) tolerance: Option<u32>,
    /// The provider's certificate or key set, for schemes that fetch one. Nothing is fetched here.
    #[arg(long, value_name = "FILE")]
    pub(crate) keys_file: Option<PathBuf>,
}

/// A header field.
#[derive(Clone)]
pub(crate) struct Header {
    pub(crate) name: String,
    pub(crate) value: String,
}

// The value may be a credential.
impl std::fmt::Debug for Header {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Header").field("name", &self.name).finish_non_exhaustive()
    }
}

#[derive(Debug, Args)]
pub(crate) struct FileArgs {
    /// The document.
    #[arg(default_value = "bridge.toml")]
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// The UTC day to list, 2026-11-21 [default: today and, if it has fewer, the days before, seven at most].
    #[arg(long, value_name = "DATE", value_parser = parse_day)]
    pub(crate) day: Option<String>,
    /// At most this many.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) limit: u16,
}

#[derive(Debug, Args)]
pub(crate) struct IdArgs {
    /// Its id.
    pub(crate) id: String,
}
