//! A conversation at a terminal.

use super::args::ChatArgs;
use super::commands::{self, HELP, Typed};
use super::conversation::{Conversation, Seen};
use super::keyboard::{Input, Keyboard};
use super::once::write;
use super::render::{Reader, Renderer, Written};
use super::turns::{Act, Shown};
use crate::failure::Failure;
use crate::out::say;
use clawbridge_responses::SessionId;
use std::collections::VecDeque;
use std::fmt::Write as _;

const PROMPT: &str = "> ";

/// What was said and answered.
struct Exchange {
    prompt: String,
    answer: String,
}

/// What comes of a line, or of an answer.
#[derive(PartialEq, Eq)]
enum Then {
    GoOn,
    Quit,
}

struct Terminal {
    conversation: Conversation,
    keyboard: Keyboard,
    renderer: Renderer,
    exchanges: Vec<Exchange>,
    /// Lines that were typed while an answer came.
    ahead: VecDeque<String>,
}

/// Talks until whoever is at the terminal has had enough.
///
/// # Errors
/// There is no connection to be had.
pub(super) async fn run(conversation: Conversation, args: &ChatArgs, reader: Reader) -> Result<(), Failure> {
    let history = (!args.no_history).then(|| args.state.join("chat-history"));
    if history.is_some() {
        // Without a place for it there is no history, and a conversation all the same.
        drop(std::fs::create_dir_all(&args.state));
    }
    let keyboard = Keyboard::new(history).map_err(|error| Failure::usage("NO_TERMINAL", error.to_string()))?;
    let (renderer, exchanges, ahead) = (Renderer::new(reader), Vec::new(), VecDeque::new());
    let mut terminal = Terminal { conversation, keyboard, renderer, exchanges, ahead };
    terminal.connected().await?;
    terminal.greet();
    if args.session.is_some() {
        let seen = terminal.conversation.catch_up();
        if terminal.answer(seen).await? == Then::Quit {
            return Ok(());
        }
    }
    terminal.talk().await
}

impl Terminal {
    async fn connected(&mut self) -> Result<(), Failure> {
        while !self.conversation.is_open() {
            let seen = self.conversation.next().await?;
            self.show(&seen);
        }
        Ok(())
    }

    fn greet(&self) {
        let agent = match self.conversation.agent() {
            "" => "your agent",
            agent => agent,
        };
        say!("Talking to {agent} in session {}. /help lists the commands, /quit ends.", self.conversation.session());
    }

    async fn talk(&mut self) -> Result<(), Failure> {
        let mut was_interrupted = false;
        loop {
            let line = match self.ahead.pop_front() {
                Some(line) => {
                    say!("{PROMPT}{}", line.trim_end());
                    line
                }
                None => match self.line().await? {
                    Input::Line(line) => line,
                    Input::Interrupted if was_interrupted => return Ok(()),
                    Input::Interrupted => {
                        was_interrupted = true;
                        say!("(Ctrl-C again quits)");
                        continue;
                    }
                    Input::End | Input::Typed(_) | Input::Quiet => return Ok(()),
                },
            };
            was_interrupted = false;
            if self.obey(&line).await? == Then::Quit {
                return Ok(());
            }
        }
    }

    /// Waits for a line; what comes meanwhile is shown above it.
    async fn line(&mut self) -> Result<Input, Failure> {
        self.keyboard.prompt(PROMPT);
        loop {
            tokio::select! {
                input = self.keyboard.input() => return Ok(input),
                seen = self.conversation.next() => {
                    let text: String = seen?.iter().map(|one| self.render(one).out).collect();
                    if !text.is_empty() {
                        self.keyboard.print(text);
                    }
                }
            }
        }
    }

    async fn obey(&mut self, line: &str) -> Result<Then, Failure> {
        let agent = self.conversation.agent().to_owned();
        match commands::read(line) {
            Typed::Nothing => {}
            Typed::Prompt(prompt) => {
                self.exchanges.push(Exchange { prompt: prompt.clone(), answer: String::new() });
                let seen = self.conversation.ask(prompt);
                return self.answer(seen).await;
            }
            Typed::New => self.go_to(agent, super::new_session()),
            Typed::Agent(name) => self.go_to(name, super::new_session()),
            Typed::Session(name) => match SessionId::new(&name) {
                Ok(session) => {
                    self.go_to(agent, session);
                    let seen = self.conversation.catch_up();
                    return self.answer(seen).await;
                }
                Err(error) => say!("(this is no session's name: {error})"),
            },
            Typed::History => self.history(),
            Typed::Cancel => say!("(no answer is under way)"),
            Typed::Quit => return Ok(Then::Quit),
            Typed::Help => say!("{HELP}"),
            Typed::Wrong(text) => say!("({text})"),
        }
        Ok(Then::GoOn)
    }

    fn go_to(&mut self, agent: String, session: SessionId) {
        self.exchanges.clear();
        let seen = self.conversation.go_to(agent, session);
        self.show(&seen);
        self.greet();
    }

    fn history(&self) {
        if self.exchanges.is_empty() {
            say!("(nothing was said here yet)");
        }
        for Exchange { prompt, answer } in &self.exchanges {
            say!("{PROMPT}{prompt}\n{}", super::render::harmless(answer).trim_end());
        }
    }

    /// Shows an answer as it comes, and hears what is typed meanwhile.
    async fn answer(&mut self, seen: Vec<Seen>) -> Result<Then, Failure> {
        self.show(&seen);
        if !self.conversation.is_busy() {
            return Ok(Then::GoOn);
        }
        self.keyboard.listen();
        let then = self.until_answered().await;
        self.keyboard.hush();
        if !matches!(then, Ok(Then::Quit) | Err(_)) {
            // The editor and the listener must not read at the same time.
            while let Input::Typed(line) = self.keyboard.input().await {
                self.ahead.push_back(line);
            }
        }
        then
    }

    async fn until_answered(&mut self) -> Result<Then, Failure> {
        let mut is_interrupted = false;
        while self.conversation.is_busy() {
            let seen = tokio::select! {
                seen = self.conversation.next() => seen?,
                _ = tokio::signal::ctrl_c() => {
                    if std::mem::replace(&mut is_interrupted, true) {
                        return Ok(Then::Quit);
                    }
                    self.cancel()
                }
                input = self.keyboard.input() => match input {
                    Input::Typed(line) => match commands::read(&line) {
                        Typed::Cancel => self.cancel(),
                        Typed::Quit => return Ok(Then::Quit),
                        _ => {
                            self.ahead.push_back(line);
                            Vec::new()
                        }
                    },
                    Input::Line(_) | Input::Interrupted | Input::Quiet => Vec::new(),
                    Input::End => return Ok(Then::Quit),
                },
            };
            self.show(&seen);
        }
        Ok(Then::GoOn)
    }

    fn cancel(&mut self) -> Vec<Seen> {
        // What was typed ahead was meant to follow the answer.
        self.ahead.clear();
        let note = self.renderer.note("cancelling; Ctrl-C again quits");
        write(&note);
        self.conversation.cancel()
    }

    fn show(&mut self, seen: &[Seen]) {
        for one in seen {
            let written = self.render(one);
            write(&written);
        }
    }

    fn render(&mut self, one: &Seen) -> Written {
        if let (Seen::Act(Act::Show(shown)), Some(exchange)) = (one, self.exchanges.last_mut()) {
            match shown {
                Shown::Text(text) => exchange.answer.push_str(text),
                Shown::Replaced(text) => {
                    let _ = write!(exchange.answer, "\n{text}");
                }
                _ => {}
            }
        }
        match one {
            Seen::Act(act) => self.renderer.act(act),
            Seen::Line(line) => self.renderer.line(line),
        }
    }
}
