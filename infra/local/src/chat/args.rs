//! The command line of `chat`.

use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

/// Talk to an agent. In a terminal: a conversation. Elsewhere: one prompt from standard input, and the answer's text.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 the answer is complete, 1 it is not (failed, refused, cancelled, cut short), 2 wrong command line, \
4 the bridge is out of reach or does not know the token, 5 there was no whole answer within --for."
)]
pub(crate) struct ChatArgs {
    /// The agent's name [default: the only one that the token may ask].
    pub(crate) agent: Option<String>,
    /// Say this, print the answer's text, and end. - reads standard input.
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    /// Go on in this conversation; group:NAME for one that several take part in [default: a new one].
    #[arg(long, value_name = "NAME")]
    pub(crate) session: Option<String>,
    /// With --message or standard input: do not wait longer than this for the whole answer: 90s, 30m, 12h.
    #[arg(long = "for", value_name = "TIME", value_parser = crate::cli::values::parse_wait)]
    pub(crate) bound: Option<Duration>,
    /// The channel's address, where it is not that of `clawbridge dev` on this machine: wss://HOST/responses.
    #[arg(long, value_name = "URL", env = "CLAWBRIDGE_CHANNEL_URL")]
    pub(crate) url: Option<String>,
    /// A file that holds the token [default: the variable CLAWBRIDGE_TOKEN, what --pair has stored, or the token of `clawbridge dev`].
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Ask the owner of AGENT for access first, and store the token that they confirm.
    #[arg(long, requires = "agent")]
    pub(crate) pair: bool,
    /// With --pair: the address of the bridge's API, where it is not that of `clawbridge dev` on this machine: https://HOST.
    #[arg(long, value_name = "URL", requires = "pair")]
    pub(crate) api_url: Option<String>,
    /// Where the history of what was typed, and the tokens of --pair, are kept; where `clawbridge dev` keeps its state.
    #[arg(long, value_name = "DIR", default_value = ".clawbridge")]
    pub(crate) state: PathBuf,
    /// Keep no history of what is typed.
    #[arg(long)]
    pub(crate) no_history: bool,
}
