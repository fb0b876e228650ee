//! What a line at the prompt means.

/// What a person can type instead of something to say.
pub(super) const HELP: &str = "\
/new            begin another conversation
/session NAME   go on in a conversation, or begin one of this name
/agent NAME     talk to another agent, in another conversation
/history        what was said here
/cancel         give up the answer that is under way (Ctrl-C does too)
/quit           end (Ctrl-D does too); an answer that is under way goes on without you
A line that ends with \\ goes on in the next; pasted lines stay together. A message that begins with / is written with //.";

/// The commands' names.
pub(super) const NAMES: [&str; 7] = ["/agent ", "/cancel", "/help", "/history", "/new", "/quit", "/session "];

/// A line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// Nothing.
    Nothing,
    /// Something to say.
    Prompt(String),
    New,
    Session(String),
    Agent(String),
    History,
    Cancel,
    Quit,
    Help,
    /// A command that there is not, or that lacks its name: what to say about it.
    Wrong(String),
}

/// Whether a line is all of it.
pub(super) fn is_whole(text: &str) -> bool {
    let backslashes = text.len() - text.trim_end_matches('\\').len();
    backslashes.is_multiple_of(2)
}

/// Reads a line, or several that were typed as one.
pub(super) fn read(line: &str) -> Typed {
    let line = line.trim();
    if line.is_empty() {
        return Typed::Nothing;
    }
    if let Some(said) = line.strip_prefix("//") {
        return Typed::Prompt(joined(&format!("/{said}")));
    }
    if !line.starts_with('/') {
        return Typed::Prompt(joined(line));
    }
    let (command, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    match (command, rest.is_empty()) {
        ("/new", true) => Typed::New,
        ("/history", true) => Typed::History,
        ("/cancel", true) => Typed::Cancel,
        ("/quit" | "/exit", true) => Typed::Quit,
        ("/help" | "/?", true) => Typed::Help,
        ("/session", false) => Typed::Session(rest.to_owned()),
        ("/agent", false) => Typed::Agent(rest.to_owned()),
        ("/session" | "/agent", true) => Typed::Wrong(format!("{command} needs a name")),
        _ => Typed::Wrong(format!(
            "there is no command {line}; /help lists them, and a message that begins with / is written with //"
        )),
    }
}

/// Without the backslashes that kept lines together.
fn joined(text: &str) -> String {
    text.replace("\\\n", "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_something_to_say_or_a_command() {
        let wrong = |text: &str| matches!(read(text), Typed::Wrong(_));
        for (line, expected) in [
            ("", Typed::Nothing),
            ("  \n", Typed::Nothing),
            ("hello", Typed::Prompt("hello".to_owned())),
            ("a\\\nb", Typed::Prompt("a\nb".to_owned())),
            ("//etc/hosts?", Typed::Prompt("/etc/hosts?".to_owned())),
            ("/new", Typed::New),
            (" /quit ", Typed::Quit),
            ("/session  a b", Typed::Session("a b".to_owned())),
            ("/agent x", Typed::Agent("x".to_owned())),
            ("/history", Typed::History),
            ("/cancel", Typed::Cancel),
        ] {
            assert_eq!(read(line), expected, "{line}");
        }
        assert!(wrong("/session") && wrong("/etc") && wrong("/new x") && wrong("/"));
    }

    #[test]
    fn a_backslash_at_the_end_keeps_the_line_open() {
        for (text, expected) in [("a", true), ("a\\", false), ("a\\\\", true), ("a\\\nb", true), ("", true)] {
            assert_eq!(is_whole(text), expected, "{text}");
        }
    }

    #[test]
    fn every_command_that_is_completed_is_one() {
        for name in NAMES {
            let typed = if name.ends_with(' ') { format!("{name}x") } else { name.to_owned() };
            assert!(!matches!(read(&typed), Typed::Wrong(_) | Typed::Prompt(_)), "{name}");
        }
    }
}
