//! jq programs: filters and mappings of bridge.toml, compiled once and run over JSON.
//!
//! A [`Program`] is a pure function from one JSON value to one JSON value (or to a verdict): the same program over the same
//! input gives the same output on every machine and at every time. So there is no clock (`now`, `localtime`), no
//! environment (`env`, `$ENV`), no log (`debug`, `stderr`), no input stream (`input`, `inputs`), no module (`import`,
//! `include`) and no way to end the process (`halt`, `halt_error`). A program that names one of these does not compile.
//!
//! The language is that of the jaq 3 interpreter, which differs from jq 1.8 in a few documented corners.
//!
//! # What is bounded
//!
//! | what | bound | otherwise |
//! |---|---|---|
//! | source | [`MAX_SOURCE_BYTES`], [`MAX_SOURCE_DEPTH`] levels of syntax | does not compile |
//! | input | [`MAX_INPUT_DEPTH`] levels | [`RunError::InputTooDeep`] |
//! | output | [`MAX_OUTPUT_DEPTH`] levels, [`MAX_OUTPUT_BYTES`] | [`RunError::OutputTooDeep`], [`RunError::OutputTooLarge`] |
//! | `fromjson` (and `tonumber`, which uses it) | [`MAX_INPUT_DEPTH`] levels | an error that the program can catch |
//! | paths of `getpath`, `setpath`, `delpaths` | [`MAX_INPUT_DEPTH`] steps | an error that the program can catch |
//! | steps: calls of the program's own and of recursive functions, rounds of `reduce` and `foreach`, values of `range` | [`MAX_STEPS`] | [`RunError::StepsExhausted`] |
//! | stack that such calls use | [`MAX_STACK_BYTES`] | [`RunError::StackExhausted`] |
//! | calls of its own functions that call themselves and take functions | [`MAX_WRAPPING_CALLS`] | [`RunError::StackExhausted`] |
//!
//! So `repeat(.)`, `[range(infinite)]` and `def f: f; f` end. What is **not** bounded: the time and the memory of the work
//! between two steps. A program can still multiply a text by a large number, or iterate its input within its input a few
//! times over, or build a very deep value in a variable. Such a program harms whoever writes it; nothing in the *input* makes
//! an ordinary program do so.
//!
//! A program with functions that call themselves runs on a thread of its own, with a stack of a known size; all others run
//! where they are called.

mod error;
mod guard;
mod library;
mod program;
mod value;

pub use error::{CompileError, RunError};
pub use guard::{MAX_STACK_BYTES, MAX_STEPS, MAX_WRAPPING_CALLS};
pub use program::{MAX_SOURCE_BYTES, MAX_SOURCE_DEPTH, Program};
pub use value::{MAX_INPUT_DEPTH, MAX_OUTPUT_BYTES, MAX_OUTPUT_DEPTH};
