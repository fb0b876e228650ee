//! A terminal's keyboard, in a thread of its own: edited lines between answers, plain ones while an answer comes.
//!
//! Between answers rustyline has the terminal, with history and completion; what is shown meanwhile goes through its printer. While an answer
//! comes, the terminal is as the shell left it, so that text can be written as it is; what is typed is read line by line.

use super::commands;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Config, Context, Editor, ExternalPrinter, Helper};
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use tokio::sync::mpsc as queue;

/// How many lines the history keeps.
const MAX_HISTORY: usize = 1000;

/// What comes from the keyboard.
#[derive(Debug)]
pub(super) enum Input {
    /// A line at the prompt.
    Line(String),
    /// A line while an answer came.
    Typed(String),
    /// Ctrl-C at the prompt.
    Interrupted,
    /// There is no more input.
    End,
    /// It listens no more.
    Quiet,
}

enum Ask {
    Prompt(String),
    Listen,
}

type Printer = Box<dyn ExternalPrinter + Send>;

/// The keyboard.
pub(super) struct Keyboard {
    asks: mpsc::Sender<Ask>,
    inputs: queue::UnboundedReceiver<Input>,
    is_heard: Arc<AtomicBool>,
    printer: Option<Printer>,
}

impl Keyboard {
    /// `history`: where lines are kept, if they are.
    ///
    /// # Errors
    /// This is no terminal for it.
    pub(super) fn new(history: Option<PathBuf>) -> Result<Keyboard, ReadlineError> {
        let config = Config::builder().max_history_size(MAX_HISTORY)?.auto_add_history(false).build();
        let mut editor: Editor<Words, FileHistory> = Editor::with_config(config)?;
        editor.set_helper(Some(Words));
        if let Some(file) = &history {
            private(file);
            // The first time there is none.
            drop(editor.load_history(file));
        }
        let printer = editor.create_external_printer().ok().map(|printer| Box::new(printer) as Printer);
        let (asks, asked) = mpsc::channel();
        let (tell, inputs) = queue::unbounded_channel();
        let is_heard = Arc::new(AtomicBool::new(false));
        let heard = is_heard.clone();
        std::thread::spawn(move || work(editor, history.as_deref(), &asked, &tell, &heard));
        Ok(Keyboard { asks, inputs, is_heard, printer })
    }

    /// Asks for a line.
    pub(super) fn prompt(&self, prompt: &str) {
        drop(self.asks.send(Ask::Prompt(prompt.to_owned())));
    }

    /// Listens to what is typed while something else is shown, until [`Keyboard::hush`].
    pub(super) fn listen(&self) {
        self.is_heard.store(true, Ordering::SeqCst);
        drop(self.asks.send(Ask::Listen));
    }

    /// Stops listening; [`Input::Quiet`] says that it has.
    pub(super) fn hush(&self) {
        self.is_heard.store(false, Ordering::SeqCst);
    }

    /// Waits for input. May be given up and called again at any time.
    pub(super) async fn input(&mut self) -> Input {
        self.inputs.recv().await.unwrap_or(Input::End)
    }

    /// Prints above the prompt.
    pub(super) fn print(&mut self, text: String) {
        match &mut self.printer {
            Some(printer) => drop(printer.print(text)),
            None => print!("{text}"),
        }
    }
}

fn work(
    mut editor: Editor<Words, FileHistory>,
    history: Option<&Path>,
    asked: &mpsc::Receiver<Ask>,
    tell: &queue::UnboundedSender<Input>,
    is_heard: &AtomicBool,
) {
    while let Ok(ask) = asked.recv() {
        let input = match ask {
            Ask::Listen => {
                listen(tell, is_heard);
                Input::Quiet
            }
            Ask::Prompt(prompt) => match editor.readline(prompt.as_str()) {
                Ok(line) => {
                    remember(&mut editor, history, &line);
                    Input::Line(line)
                }
                Err(ReadlineError::Interrupted) => Input::Interrupted,
                Err(_) => Input::End,
            },
        };
        if tell.send(input).is_err() {
            return;
        }
    }
}

fn remember(editor: &mut Editor<Words, FileHistory>, history: Option<&Path>, line: &str) {
    if line.trim().is_empty() || !editor.add_history_entry(line).unwrap_or(false) {
        return;
    }
    if let Some(file) = history {
        // A conversation does not fail because its history cannot be kept.
        drop(editor.append_history(file));
    }
}

/// Makes the file, so that nobody else can read it.
fn private(file: &Path) {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
        options.mode(0o600);
        if let Ok(metadata) = std::fs::metadata(file)
            && metadata.permissions().mode() & 0o077 != 0
        {
            drop(std::fs::set_permissions(file, PermissionsExt::from_mode(0o600)));
        }
    }
    drop(options.open(file));
}

#[cfg(unix)]
fn listen(tell: &queue::UnboundedSender<Input>, is_heard: &AtomicBool) {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;
    // Short enough that the next prompt does not seem late.
    const LOOK_EVERY: u8 = 50;
    while is_heard.load(Ordering::SeqCst) {
        let stdin = std::io::stdin();
        let mut ready = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        match poll(&mut ready, PollTimeout::from(LOOK_EVERY)) {
            Ok(0) | Err(nix::errno::Errno::EINTR) => continue,
            Ok(_) => {}
            Err(_) => return,
        }
        let mut line = String::new();
        // A terminal gives one line at a time, so nothing is left in standard input's buffer that the editor would miss.
        match stdin.read_line(&mut line) {
            Ok(0) | Err(_) => {
                drop(tell.send(Input::End));
                return;
            }
            Ok(_) => drop(tell.send(Input::Typed(line))),
        }
    }
}

#[cfg(not(unix))]
fn listen(_: &queue::UnboundedSender<Input>, is_heard: &AtomicBool) {
    while is_heard.load(Ordering::SeqCst) {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// Completes commands, and takes a line that ends with a backslash for the first of several.
struct Words;

impl Completer for Words {
    type Candidate = String;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        let typed = line.get(..at).unwrap_or(line);
        let names = commands::NAMES.iter().filter(|name| typed.starts_with('/') && name.starts_with(typed));
        Ok((0, names.map(|name| (*name).to_owned()).collect()))
    }
}

impl Validator for Words {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let is_whole = commands::is_whole(context.input());
        Ok(if is_whole { ValidationResult::Valid(None) } else { ValidationResult::Incomplete })
    }
}

impl Hinter for Words {
    type Hint = String;
}

impl Highlighter for Words {}

impl Helper for Words {}
