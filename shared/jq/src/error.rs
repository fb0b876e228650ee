//! What can go wrong with a program: when it is compiled, and when it is run.

use crate::guard::MAX_STEPS;
use crate::value::{MAX_INPUT_DEPTH, MAX_OUTPUT_BYTES, MAX_OUTPUT_DEPTH};

/// The longest message that a program's own error may give, in characters; more is cut.
pub(crate) const MAX_MESSAGE_CHARS: usize = 200;

/// Why a program did not compile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CompileError {
    /// What is wrong, for a person: one line, no position.
    pub message: String,
    /// Where: a byte offset into the source (its length when the source ends too early). `None`: the program as a whole.
    pub offset: Option<usize>,
}

/// Why a program gave no usable result.
///
/// What is displayed holds nothing of the input, so it may go into a log. The message inside [`RunError::Failed`] may hold a piece of
/// it (at most 200 characters): it belongs beside the input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// The program gave nothing (`empty`, `select` that did not match).
    #[error("the program gave no output")]
    NoOutput,
    /// The program gave more than one value. Taking the first would lose the others without a word.
    #[error("the program gave more than one output; write [...] around it to keep all, or first(...) to keep one")]
    ManyOutputs,
    /// The program raised an error: its own `error(...)`, or an operation that does not fit its operands.
    #[error("the program failed on this input: an operation does not fit its operands, or it raised an error itself")]
    Failed {
        /// What the program or the interpreter said, cut at 200 characters.
        message: String,
    },
    /// The input nests deeper than [`MAX_INPUT_DEPTH`].
    #[error("the input nests deeper than {MAX_INPUT_DEPTH} levels")]
    InputTooDeep,
    /// The output nests deeper than [`MAX_OUTPUT_DEPTH`], or a value on the way did so by far.
    #[error("the output nests deeper than {MAX_OUTPUT_DEPTH} levels")]
    OutputTooDeep,
    /// The output is larger than [`MAX_OUTPUT_BYTES`], or a value on the way was so by far.
    #[error("the output is larger than {MAX_OUTPUT_BYTES} bytes")]
    OutputTooLarge,
    /// The output has a part that JSON cannot hold.
    #[error("the output holds {what}, which JSON cannot carry")]
    NotJson {
        /// The part: `NaN`, an infinite number, a key that is no text, …
        what: &'static str,
    },
    /// The program made more than [`MAX_STEPS`] steps: most likely it never ends.
    #[error("the program did not end within {MAX_STEPS} steps")]
    StepsExhausted,
    /// The program's functions called each other deeper than [`MAX_STACK_BYTES`](crate::MAX_STACK_BYTES) of stack allow, or more often than
    /// [`MAX_WRAPPING_CALLS`](crate::MAX_WRAPPING_CALLS).
    #[error("the program's functions call themselves too deeply; use a loop (recurse, while, until, reduce, walk)")]
    StackExhausted,
    /// The interpreter itself failed. A defect there, not in the input.
    #[error("the jq interpreter failed on this program and input")]
    Interpreter,
}

impl RunError {
    /// The stable code of the error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoOutput => "NO_OUTPUT",
            Self::ManyOutputs => "MANY_OUTPUTS",
            Self::Failed { .. } => "PROGRAM_FAILED",
            Self::InputTooDeep => "INPUT_TOO_DEEP",
            Self::OutputTooDeep => "OUTPUT_TOO_DEEP",
            Self::OutputTooLarge => "OUTPUT_TOO_LARGE",
            Self::NotJson { .. } => "OUTPUT_NOT_JSON",
            Self::StepsExhausted => "STEPS_EXHAUSTED",
            Self::StackExhausted => "STACK_EXHAUSTED",
            Self::Interpreter => "INTERPRETER_FAILED",
        }
    }
}
