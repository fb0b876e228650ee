//! One prompt, one answer.

use super::args::ChatArgs;
use super::conversation::{Conversation, Seen};
use super::render::{Reader, Renderer, Written};
use super::turns::{Act, End, Shown};
use crate::failure::Failure;
use std::io::Read;
use tokio::time::Instant;

/// The largest prompt: a frame is no larger.
const MAX_PROMPT: usize = clawbridge_responses::frames::MAX_FRAME_BYTES - 4096;

/// What is to be said.
///
/// # Errors
/// There is nothing, or more than a frame holds.
pub(super) fn prompt(args: &ChatArgs) -> Result<String, Failure> {
    let prompt = match args.message.as_deref() {
        Some(text) if text != "-" => text.to_owned(),
        _ => {
            let mut bytes = Vec::new();
            let limit = u64::try_from(MAX_PROMPT).unwrap_or(u64::MAX).saturating_add(1);
            let read = std::io::stdin().lock().take(limit).read_to_end(&mut bytes);
            read.map_err(|error| Failure::usage("PROMPT_UNREADABLE", format!("standard input: {error}")))?;
            String::from_utf8(bytes).map_err(|_| Failure::usage("PROMPT_UNREADABLE", "standard input is not UTF-8"))?
        }
    };
    let prompt = prompt.trim_end_matches(['\r', '\n']).to_owned();
    if prompt.trim().is_empty() {
        return Err(Failure::usage(
            "PROMPT_MISSING",
            "there is nothing to say: give it with --message TEXT or on standard input",
        ));
    }
    if prompt.len() > MAX_PROMPT {
        return Err(Failure::usage("PROMPT_TOO_LARGE", format!("a prompt has at most {MAX_PROMPT} bytes")));
    }
    Ok(prompt)
}

/// Says it and waits for the end of the answer.
///
/// # Errors
/// The answer is not complete; [`Failure::exit`] says in which way.
pub(super) async fn run(
    mut conversation: Conversation,
    args: &ChatArgs,
    prompt: String,
    reader: Reader,
) -> Result<(), Failure> {
    let mut renderer = Renderer::new(reader);
    let deadline = args.bound.map(|bound| Instant::now() + bound);
    let mut is_interrupted = false;
    let mut seen = conversation.ask(prompt);
    loop {
        for one in seen.drain(..) {
            write(&match &one {
                Seen::Act(act) => renderer.act(act),
                Seen::Line(line) => renderer.line(line),
            });
            if let Seen::Act(Act::Show(Shown::Ended(end))) = one {
                return ended(&end);
            }
        }
        seen = tokio::select! {
            seen = conversation.next() => seen?,
            () = until(deadline) => {
                let session = conversation.session();
                let message = format!("there was no whole answer in time; it goes on without you: `clawbridge chat --session {session}` shows it");
                return Err(Failure::time_over(message));
            }
            _ = tokio::signal::ctrl_c() => {
                if std::mem::replace(&mut is_interrupted, true) {
                    return Err(Failure::negative("INTERRUPTED", "interrupted; the answer was asked to be cancelled"));
                }
                conversation.cancel()
            }
        };
    }
}

/// What an end is for whoever looks at the exit status. What there is to say was said.
fn ended(end: &End) -> Result<(), Failure> {
    match end {
        End::Completed | End::Nothing => Ok(()),
        End::Incomplete(_) => Err(Failure::said("ANSWER_INCOMPLETE")),
        End::Cancelled => Err(Failure::said("ANSWER_CANCELLED")),
        End::Failed(_) => Err(Failure::said("ANSWER_FAILED")),
        End::Refused(_) => Err(Failure::said("PROMPT_REFUSED")),
        End::Unknown => Err(Failure::said("OUTCOME_UNKNOWN")),
        End::Lost(_) => Err(Failure::said("ANSWER_LOST")),
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Writes at once.
pub(super) fn write(written: &Written) {
    crate::out::text(&written.out);
    eprint!("{}", written.err);
}
