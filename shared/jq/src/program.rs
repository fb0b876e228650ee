//! A compiled jq program.

use std::fmt::{self, Write as _};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use jaq_core::load::lex::{self, Lexer, Token};
use jaq_core::load::parse::{self, Def, Parser, Term};
use jaq_core::load::{Arena, File, Loader};
use jaq_core::{Compiler, Ctx, Exn, Filter, Vars};
use jaq_json::Val;
use serde_json::Value;

use crate::error::MAX_MESSAGE_CHARS;
use crate::guard::{Kind, Meter, Run, THREAD_STACK_BYTES, watch};
use crate::{CompileError, RunError, library, value};

/// The longest source, in bytes.
pub const MAX_SOURCE_BYTES: usize = 16 * 1024;
/// The deepest syntax of a source, in levels: brackets, but also operators, pipes and `elif`s, which nest as well.
pub const MAX_SOURCE_DEPTH: usize = 250;

/// Stack for compiling: enough to lex the deepest brackets that [`MAX_SOURCE_BYTES`] can spell and to parse
/// [`MAX_NESTING_TOKENS`], without optimisation.
const COMPILE_STACK_BYTES: usize = 64 * 1024 * 1024;

/// The most brackets and nesting words that one place of a source may have before and around it. Each costs the parser stack.
const MAX_NESTING_TOKENS: usize = 1_000;

/// The name under which a program's own term is compiled. It is part of no source.
const MAIN: &str = "clawbridge_main";

/// A compiled jq program: a pure function over JSON. Cheap to clone, and shared between threads as it is.
#[derive(Clone)]
pub struct Program(Arc<Inner>);

struct Inner {
    source: String,
    filter: Filter<Kind>,
    /// Whether it has functions that call themselves.
    calls_itself: bool,
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Program").field(&self.0.source).finish()
    }
}

impl Program {
    /// Compile `source`.
    ///
    /// # Errors
    /// The first thing that is wrong with it, and where.
    pub fn compile(source: &str) -> Result<Self, CompileError> {
        if source.len() > MAX_SOURCE_BYTES {
            let message = format!("the program is longer than {MAX_SOURCE_BYTES} bytes");
            return Err(CompileError { message, offset: None });
        }
        let whole = |message: &str| CompileError { message: message.to_owned(), offset: None };
        // The parser recurses with the source. On a thread of its own it has the stack that the longest source can need.
        let (filter, calls_itself) = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("jq-compile".to_owned()).stack_size(COMPILE_STACK_BYTES);
            let thread = thread
                .spawn_scoped(scope, || compile(source))
                .map_err(|_| whole("no thread to compile the program on"))?;
            thread.join().unwrap_or_else(|_| Err(whole("the jq compiler failed on this program")))
        })?;
        Ok(Self(Arc::new(Inner { source: source.to_owned(), filter, calls_itself })))
    }

    /// The source that the program was compiled from.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// The first output of the program over `input`, which must be its only one: a mapping makes one value of one value.
    ///
    /// Integers of up to 64 bits come out as they went in; other numbers are doubles, as in [`serde_json`].
    ///
    /// # Errors
    /// [`RunError::NoOutput`] and [`RunError::ManyOutputs`] when the number of outputs is not one; the others as they say.
    pub fn first(&self, input: &Value) -> Result<Value, RunError> {
        self.run(input, |outputs| {
            let output = outputs.next().ok_or(RunError::NoOutput)??;
            match outputs.next() {
                None => value::leave(&output),
                Some(Ok(_)) => Err(RunError::ManyOutputs),
                Some(Err(error)) => Err(error),
            }
        })
    }

    /// Whether `input` passes the program as a filter: its first output is neither `false` nor `null`. No output is `false`.
    ///
    /// # Errors
    /// When the program fails before its first output.
    pub fn matches(&self, input: &Value) -> Result<bool, RunError> {
        self.run(input, |outputs| match outputs.next().transpose()? {
            None | Some(Val::Null | Val::Bool(false)) => Ok(false),
            Some(_) => Ok(true),
        })
    }

    fn run<T: Send>(&self, input: &Value, take: impl Take<T>) -> Result<T, RunError> {
        if !self.0.calls_itself {
            return self.run_here(input, take);
        }
        // How deep its functions call each other is up to the input. On a thread of its own, that is the same everywhere.
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("jq-run".to_owned()).stack_size(THREAD_STACK_BYTES);
            let thread =
                thread.spawn_scoped(scope, || self.run_here(input, take)).map_err(|_| RunError::Interpreter)?;
            thread.join().unwrap_or(Err(RunError::Interpreter))
        })
    }

    fn run_here<T>(&self, input: &Value, take: impl Take<T>) -> Result<T, RunError> {
        let input = value::enter(input)?;
        let meter = Meter::new();
        // The interpreter has arithmetic that can panic on odd operands; that must not take a whole batch along. All that it
        // could leave half-done is made for this one run.
        let result = std::panic::catch_unwind(AssertUnwindSafe(|| {
            let run = Run { lut: &self.0.filter.lut, meter: &meter };
            let ctx = Ctx::<Kind>::new(run, Vars::new([]));
            let mut outputs = self.0.filter.id.run((ctx, input)).map(|output| output.map_err(failure));
            take(&mut outputs)
        }));
        match (meter.excess(), result) {
            (Some(excess), _) => Err(excess),
            (None, Ok(result)) => result,
            (None, Err(_panic)) => Err(RunError::Interpreter),
        }
    }
}

/// What to make of a program's outputs.
trait Take<T>: FnOnce(&mut dyn Iterator<Item = Result<Val, RunError>>) -> Result<T, RunError> + Send {}

impl<T, F: FnOnce(&mut dyn Iterator<Item = Result<Val, RunError>>) -> Result<T, RunError> + Send> Take<T> for F {}

fn failure(exception: Exn<'_, Val>) -> RunError {
    match exception.get_err() {
        Ok(error) => {
            let mut message = Cut::new();
            // The writer refuses what is over its bound: a whole payload is never made into text.
            let _ = write!(message, "{error}");
            if message.text.starts_with('"') {
                // All of the error is one text, such as of `error("...")`: without the quotes, then.
                if let Val::TStr(text) = error.into_val() {
                    message = Cut::new();
                    let _ = text.chunks(64).try_for_each(|piece| message.write_str(&String::from_utf8_lossy(piece)));
                }
            }
            RunError::Failed { message: message.text }
        }
        // `break` without its label cannot compile and `halt` is only the meter's, whose verdict is looked at first.
        Err(_) => RunError::Interpreter,
    }
}

/// Text up to a bound, then an ellipsis.
struct Cut {
    text: String,
    chars_left: usize,
}

impl Cut {
    fn new() -> Self {
        Self { text: String::new(), chars_left: MAX_MESSAGE_CHARS }
    }
}

impl fmt::Write for Cut {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        for char in piece.chars() {
            let Some(left) = self.chars_left.checked_sub(1) else {
                self.text.push('…');
                return Err(fmt::Error);
            };
            self.chars_left = left;
            // One line, whatever the input holds.
            self.text.push(if char.is_control() { ' ' } else { char });
        }
        Ok(())
    }
}

/// Lex, parse, watch and compile; and whether the program has functions that call themselves.
fn compile(source: &str) -> Result<(Filter<Kind>, bool), CompileError> {
    let at = |piece: &str| offset(source, piece);
    let tokens =
        Lexer::new(source).lex().map_err(|errors| first_error(errors.iter().map(|error| lex_error(error, source))))?;
    if let Some(Token(word @ ("import" | "include"), _)) = tokens.first() {
        return Err(not_here("statement", word, at(word)));
    }
    if !is_within_nesting(&tokens, MAX_NESTING_TOKENS) {
        return Err(too_deep());
    }
    let mut main: Term<&str> = Parser::new(&tokens)
        .parse(|parser| parser.term())
        .map_err(|errors| first_error(errors.iter().map(|error| parse_error(error, source))))?;
    let watched = watch(&mut main, MAX_SOURCE_DEPTH).map_err(|_| too_deep())?;

    // The loader takes a main program only as text, and ours has been changed: so it goes in as one more definition.
    let mut defs: Vec<Def<&str>> = library::defs(&watched.calls);
    defs.push(Def { name: MAIN, args: Vec::new(), body: main });
    let arena = Arena::default();
    let modules = Loader::new(defs).load(&arena, File { code: MAIN, path: () }).map_err(|_| internal())?;
    let compiled = Compiler::default().with_funs(library::natives()).compile(modules);
    let filter = compiled.map_err(|errors| {
        first_error(errors.iter().flat_map(|(_, errors)| errors).map(|(name, kind)| {
            let shown = match kind {
                jaq_core::compile::Undefined::Filter(arity) => format!("{name}/{arity}"),
                _ => (*name).to_owned(),
            };
            match library::reason_left_out(name) {
                Some(_) => not_here(kind.as_str(), name, at(name)),
                None => CompileError { message: format!("there is no {} {shown}", describe(kind)), offset: at(name) },
            }
        }))
    })?;
    Ok((filter, watched.calls_itself))
}

fn describe(kind: &jaq_core::compile::Undefined) -> &'static str {
    match kind {
        jaq_core::compile::Undefined::Filter(_) => "function",
        other => other.as_str(),
    }
}

fn not_here(kind: &str, name: &str, offset: Option<usize>) -> CompileError {
    let kind = if kind == "filter" { "function" } else { kind };
    let reason = library::reason_left_out(name).unwrap_or("it is left out");
    CompileError { message: format!("the {kind} {name} is not available: {reason}"), offset }
}

fn too_deep() -> CompileError {
    CompileError { message: format!("the program nests deeper than {MAX_SOURCE_DEPTH} levels"), offset: None }
}

/// Whether the parser, which recurses at each bracket and each of the words below, gets by with the stack it has.
fn is_within_nesting(tokens: &[Token<&str>], left: usize) -> bool {
    let mut left = Some(left);
    tokens.iter().all(|Token(text, kind)| {
        let openers = ["-", "if", "try", "def", "reduce", "foreach", "label", "as"];
        if openers.contains(text) {
            left = left.and_then(|left| left.checked_sub(1));
        }
        let Some(left) = left.and_then(|left| left.checked_sub(1)) else { return false };
        match kind {
            lex::Tok::Block(inner) => is_within_nesting(inner, left),
            lex::Tok::Str(parts) => parts.iter().all(|part| match part {
                lex::StrPart::Term(Token(_, lex::Tok::Block(inner))) => is_within_nesting(inner, left),
                _ => true,
            }),
            _ => true,
        }
    })
}

fn internal() -> CompileError {
    CompileError { message: "the jq compiler failed on this program".to_owned(), offset: None }
}

/// The error that comes first in the source. The parser goes on after an error, and what it then says is often its echo.
fn first_error(errors: impl Iterator<Item = CompileError>) -> CompileError {
    errors.min_by_key(|error| error.offset.unwrap_or(usize::MAX)).unwrap_or_else(internal)
}

fn lex_error((expected, found): &lex::Error<&str>, source: &str) -> CompileError {
    match expected {
        lex::Expect::Token => {
            CompileError { message: "this is not a jq token".to_owned(), offset: offset(source, found) }
        }
        lex::Expect::Delim(open) => CompileError {
            message: format!("{} is missing for this {open}", expected.as_str()),
            offset: offset(source, open),
        },
        other => CompileError { message: format!("expected {}", other.as_str()), offset: offset(source, found) },
    }
}

fn parse_error((expected, found): &parse::TError<'_, &str>, source: &str) -> CompileError {
    let expected = match expected {
        parse::Expect::Just("") | parse::Expect::Nothing => "the end of the program",
        other => other.as_str(),
    };
    match found {
        Some(Token(text, _)) => {
            // A block's token is all of its text.
            let shown: String = text.chars().take(if text.starts_with(['(', '[', '{']) { 1 } else { 20 }).collect();
            CompileError { message: format!("expected {expected}, found {shown}"), offset: offset(source, text) }
        }
        None => CompileError {
            message: format!("expected {expected}, found the end of the program"),
            offset: Some(source.len()),
        },
    }
}

/// Where `piece`, a part of `source`, begins in it; `None` if it is from elsewhere.
fn offset(source: &str, piece: &str) -> Option<usize> {
    let offset = piece.as_ptr().addr().checked_sub(source.as_ptr().addr())?;
    (offset <= source.len()).then_some(offset)
}

#[cfg(test)]
#[path = "program_tests.rs"]
mod tests;
