//! `clawbridge chat`: talking to an agent through the bridge.
//!
//! | module | subject |
//! |---|---|
//! | [`turns`] | a user's side of the channel, without I/O |
//! | [`link`] | one connection |
//! | [`conversation`] | the two together: turns over connections that are made again, [`pause`] apart |
//! | [`render`] | what is written for people, pipes and programs |
//! | [`terminal`], [`keyboard`], [`commands`] | at a terminal |
//! | [`once`] | one prompt, one answer |
//! | [`target`], [`pair`] | where the channel is, and the token for it |

pub(crate) mod args;
mod commands;
mod conversation;
mod keyboard;
mod link;
mod once;
mod pair;
mod pause;
mod render;
mod target;
mod terminal;
mod turns;

use crate::cli::Global;
use crate::failure::Failure;
use crate::random;
use args::ChatArgs;
use clawbridge_responses::SessionId;
use conversation::Conversation;
use render::Reader;
use std::io::IsTerminal;
use target::Channel;

/// Talks, or says one thing.
pub(crate) async fn run(global: &Global, args: &ChatArgs) -> Result<(), Failure> {
    let session = match &args.session {
        Some(name) => SessionId::new(name).map_err(|error| {
            Failure::usage("SESSION_INVALID", format!("{} is no session's name: {error}", render::harmless(name)))
        })?,
        None => new_session(),
    };
    let url = target::url(global, args).await?;
    if args.pair {
        pair::pair(global, args, &url).await?;
    }
    let token = target::token(global, args, &url)?;
    let has_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let is_conversation = has_terminal && args.message.is_none() && !global.json;
    let prompt = if is_conversation { None } else { Some(once::prompt(args)?) };

    let channel = Channel { url: url.to_string(), token };
    let conversation = Conversation::new(channel, args.agent.clone().unwrap_or_default(), session);
    match prompt {
        Some(prompt) => once::run(conversation, args, prompt, reader(global)).await,
        None => terminal::run(conversation, args, reader(global)).await,
    }
}

fn reader(global: &Global) -> Reader {
    if global.json {
        Reader::Program
    } else if std::io::stdout().is_terminal() {
        Reader::Person { is_coloured: std::env::var_os("NO_COLOR").is_none() }
    } else {
        Reader::Pipe
    }
}

/// A session that nobody has used.
fn new_session() -> SessionId {
    let name = format!("chat-{}", &random::idempotency_key()[..12]);
    SessionId::new(&name).expect("letters and digits are a session's name")
}
