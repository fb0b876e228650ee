//! What a person or a script gets to read of a conversation.

use super::turns::{Act, End, Refusal, Shown};
use std::fmt::Write as _;
use std::time::Duration;

/// For whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    /// Somebody at a terminal: everything, as it comes.
    Person {
        /// The terminal has colours.
        is_coloured: bool,
    },
    /// A pipe: the answer's text, a message at a time, since what was written cannot be taken back; the rest on standard error.
    Pipe,
    /// A program: the events as they come, one a line.
    Program,
}

/// What is to be written where.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) out: String,
    pub(super) err: String,
}

/// What became of the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// It is back.
    Back,
    /// It is gone, and tried again after this time.
    Gone {
        /// Why.
        why: String,
        /// The pause.
        pause: Duration,
    },
}

/// Writes a conversation.
#[derive(Debug)]
pub(super) struct Renderer {
    reader: Reader,
    /// For a pipe: the message that is not complete yet.
    message: String,
    is_at_line_start: bool,
    is_dim: bool,
}

const DIM: &str = "\u{1b}[2m";
const RED: &str = "\u{1b}[31m";
const PLAIN: &str = "\u{1b}[0m";

impl Renderer {
    pub(super) fn new(reader: Reader) -> Renderer {
        Renderer { reader, message: String::new(), is_at_line_start: true, is_dim: false }
    }

    /// Writes what a turn says.
    pub(super) fn act(&mut self, act: &Act) -> Written {
        let mut written = Written::default();
        match (act, self.reader) {
            (Act::Event(event), Reader::Program) => {
                let _ = writeln!(written.out, "{event}");
            }
            (Act::Show(shown), Reader::Person { .. }) => self.tell(shown, &mut written),
            (Act::Show(shown), Reader::Pipe) => self.pass_on(shown, &mut written),
            (Act::Show(Shown::Ended(end)), Reader::Program) => complain(end, &mut written),
            (Act::Send(_) | Act::Reconnect | Act::Event(_) | Act::Show(_), _) => {}
        }
        written
    }

    /// Writes what became of the connection.
    pub(super) fn line(&mut self, line: &Line) -> Written {
        let text = match line {
            Line::Back => "connected again".to_owned(),
            Line::Gone { why, pause } => {
                format!("{why}; connecting again in {:.1} s", pause.as_secs_f64())
            }
        };
        self.note(&text)
    }

    /// Writes a remark of the client's own.
    pub(super) fn note(&mut self, text: &str) -> Written {
        let mut written = Written::default();
        match self.reader {
            Reader::Person { .. } => self.remark(text, DIM, &mut written),
            Reader::Pipe => {
                let _ = writeln!(written.err, "{text}");
            }
            Reader::Program => {}
        }
        written
    }

    fn tell(&mut self, shown: &Shown, written: &mut Written) {
        match shown {
            Shown::Accepted(_) | Shown::Started => {}
            Shown::Queued => self.remark(QUEUED, DIM, written),
            Shown::Message { is_commentary } => {
                self.end_line(written);
                if *is_commentary && self.is_coloured() {
                    written.out.push_str(DIM);
                    self.is_dim = true;
                }
            }
            Shown::Text(text) => self.text(text, written),
            Shown::Replaced(text) => {
                self.remark("the agent thought better of that; this is what it says:", DIM, written);
                self.text(text, written);
            }
            Shown::Call(name) => self.remark(&no_function(name), DIM, written),
            Shown::Heard(text) => {
                self.end_line(written);
                self.remark("to somebody else:", DIM, written);
                self.text(text, written);
                self.end_line(written);
            }
            Shown::Notice(refusal) => self.remark(&said(refusal), RED, written),
            Shown::Ended(end) => {
                self.end_line(written);
                if let Some(text) = words(end) {
                    self.remark(&text, if *end == End::Cancelled { DIM } else { RED }, written);
                }
            }
        }
    }

    fn pass_on(&mut self, shown: &Shown, written: &mut Written) {
        match shown {
            Shown::Text(text) => self.message.push_str(text),
            Shown::Replaced(text) => text.clone_into(&mut self.message),
            Shown::Message { .. } => self.pass_message_on(written),
            Shown::Ended(end) => {
                self.pass_message_on(written);
                complain(end, written);
            }
            Shown::Queued => {
                let _ = writeln!(written.err, "{QUEUED}");
            }
            Shown::Call(name) => {
                let _ = writeln!(written.err, "{}", no_function(name));
            }
            Shown::Notice(refusal) => {
                let _ = writeln!(written.err, "{}", said(refusal));
            }
            Shown::Accepted(_) | Shown::Started | Shown::Heard(_) => {}
        }
    }

    fn pass_message_on(&mut self, written: &mut Written) {
        let message = std::mem::take(&mut self.message);
        if !message.is_empty() {
            written.out.push_str(&message);
            if !message.ends_with('\n') {
                written.out.push('\n');
            }
        }
    }

    fn text(&mut self, text: &str, written: &mut Written) {
        let text = harmless(text);
        if let Some(last) = text.chars().next_back() {
            self.is_at_line_start = last == '\n';
        }
        written.out.push_str(&text);
    }

    fn remark(&mut self, text: &str, colour: &str, written: &mut Written) {
        self.end_line(written);
        let (on, off) = if self.is_coloured() { (colour, PLAIN) } else { ("", "") };
        let _ = writeln!(written.out, "{on}({}){off}", harmless(text));
    }

    /// What follows begins on a line of its own.
    fn end_line(&mut self, written: &mut Written) {
        if std::mem::take(&mut self.is_dim) {
            written.out.push_str(PLAIN);
        }
        if !self.is_at_line_start {
            written.out.push('\n');
            self.is_at_line_start = true;
        }
    }

    fn is_coloured(&self) -> bool {
        self.reader == Reader::Person { is_coloured: true }
    }
}

const QUEUED: &str = "queued: it waits until the agent is connected and free";

fn no_function(name: &str) -> String {
    format!("the agent calls the function {}, which this client does not have", harmless(name))
}

fn said(refusal: &Refusal) -> String {
    format!("{} ({})", refusal.message.trim_end_matches('.'), refusal.code)
}

fn complain(end: &End, written: &mut Written) {
    if let Some(text) = words(end) {
        let _ = writeln!(written.err, "{}", harmless(&text));
    }
}

/// What there is to say of an end; nothing where the answer says it all.
pub(super) fn words(end: &End) -> Option<String> {
    Some(match end {
        End::Completed | End::Nothing => return None,
        End::Incomplete(reason) => format!("the answer ends early: {reason}"),
        End::Cancelled => "cancelled".to_owned(),
        End::Failed(refusal) => format!("failed: {}", said(refusal)),
        End::Refused(refusal) => format!("refused: {}", said(refusal)),
        End::Unknown => "the connection broke while this was sent: whether the agent gets it is not known, and it was not sent again".to_owned(),
        End::Lost(refusal) => format!("the rest of the answer cannot be had: {}", said(refusal)),
    })
}

/// Text without what a terminal would obey: control characters but line feed and tab, and marks that turn the direction of what follows.
pub(super) fn harmless(text: &str) -> String {
    let is_harmless = |c: &char| match c {
        '\n' | '\t' => true,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => false,
        c => !c.is_control(),
    };
    text.chars().filter(is_harmless).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn all(renderer: &mut Renderer, shown: &[Shown]) -> Written {
        let mut all = Written::default();
        for one in shown {
            let written = renderer.act(&Act::Show(one.clone()));
            all.out.push_str(&written.out);
            all.err.push_str(&written.err);
        }
        all
    }

    fn text(text: &str) -> Shown {
        Shown::Text(text.to_owned())
    }

    fn refusal() -> Refusal {
        Refusal { code: "agent_error".to_owned(), message: "It broke.".to_owned() }
    }

    const MESSAGE: Shown = Shown::Message { is_commentary: false };

    #[test]
    fn a_person_reads_it_as_it_comes() {
        let mut renderer = Renderer::new(Reader::Person { is_coloured: false });
        let shown = [Shown::Queued, Shown::Started, MESSAGE, text("a"), text("b"), MESSAGE, text("c\n")];
        assert_eq!(all(&mut renderer, &shown).out, format!("({QUEUED})\nab\nc\n"));
        let end = all(&mut renderer, &[text("d"), Shown::Ended(End::Failed(refusal()))]);
        assert_eq!(end.out, "d\n(failed: It broke (agent_error))\n");
        assert!(end.err.is_empty());
    }

    #[test]
    fn a_pipe_gets_the_text_and_nothing_else() {
        let mut renderer = Renderer::new(Reader::Pipe);
        let shown = [Shown::Queued, MESSAGE, text("a"), Shown::Replaced("b\u{7}".to_owned()), MESSAGE, text("c\n")];
        let mut written = all(&mut renderer, &shown);
        let end = all(&mut renderer, &[Shown::Ended(End::Incomplete("max_output_tokens".to_owned()))]);
        written.out.push_str(&end.out);
        assert_eq!(written.out, "b\u{7}\nc\n", "bytes are the agent's");
        assert_eq!(end.err, "the answer ends early: max_output_tokens\n");
    }

    #[test]
    fn a_program_gets_the_events() {
        let mut renderer = Renderer::new(Reader::Program);
        assert_eq!(renderer.act(&Act::Event(json!({"type": "x"}))).out, "{\"type\":\"x\"}\n");
        assert_eq!(all(&mut renderer, &[MESSAGE, text("a")]), Written::default());
    }

    #[test]
    fn nothing_that_an_agent_says_moves_the_cursor() {
        let mut renderer = Renderer::new(Reader::Person { is_coloured: true });
        let nasty = "a\u{1b}[2Jb\rc\u{9b}31md\u{202e}e\u{7}\tf\n";
        let failed = Refusal { code: "\u{1b}[1m".to_owned(), message: "\u{1b}]0;x\u{7}".to_owned() };
        let written = all(&mut renderer, &[text(nasty), Shown::Call(nasty.to_owned()), Shown::Heard(nasty.to_owned())]);
        let ended = all(&mut renderer, &[Shown::Ended(End::Refused(failed))]);
        assert!(written.out.starts_with("a[2Jbc31mde\tf\n"), "{written:?}");
        let left = [written.out, ended.out].concat().replace(DIM, "").replace(RED, "").replace(PLAIN, "");
        assert!(!left.contains(['\u{1b}', '\u{7}', '\u{9b}', '\r', '\u{202e}']), "{left:?}");
    }
}
