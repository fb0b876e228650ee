//! What must not happen.

use std::fmt;

/// What must not happen and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// An accepted task has no record, or its record waits for a message that is nowhere.
    Lost {
        /// The task.
        task: String,
        /// Where its record stands.
        stands: String,
    },
    /// An `unsafe` effect happened more often than once and once more for each time that a verify said *not done* or a person wanted it.
    UnsafeRepeated {
        /// The task.
        task: String,
        /// Effects so far.
        effects: u32,
        /// How many there may be.
        allowed: u32,
    },
    /// An upstream that honours keys acted twice for one task.
    KeyedRepeated {
        /// The task.
        task: String,
    },
    /// Two calls of one task were under way at the same time.
    Overlap {
        /// The task.
        task: String,
    },
    /// A task of a lane was begun while another of it was.
    LaneOverlap {
        /// The task.
        task: String,
        /// The other.
        other: String,
    },
    /// A task had its turn while one was in its lane whose event was taken before its own.
    OutOfOrder {
        /// The task.
        task: String,
        /// The one that should have been before it.
        before: String,
    },
    /// A task has succeeded, and nothing was done, nor said by a person to be.
    Invented {
        /// The task.
        task: String,
    },
    /// A task that had succeeded did not stay so, or claims were forgotten.
    Undone {
        /// The task.
        task: String,
    },
    /// Nobody was told of the end.
    Unannounced {
        /// The task.
        task: String,
        /// Which end.
        end: String,
    },
    /// Things go on happening and lead to no end.
    Endless,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::Lost { task, stands } => write!(f, "{task} is lost: {stands}, and no message is left"),
            Violation::UnsafeRepeated { task, effects, allowed } => {
                write!(f, "{task} is unsafe and had {effects} effects where {allowed} are allowed")
            }
            Violation::KeyedRepeated { task } => write!(f, "{task} is keyed and had two effects"),
            Violation::Overlap { task } => write!(f, "two calls of {task} were under way at once"),
            Violation::LaneOverlap { task, other } => write!(f, "{task} was begun while {other} of its lane was"),
            Violation::OutOfOrder { task, before } => write!(f, "{task} had its turn before {before}, which waited"),
            Violation::Invented { task } => write!(f, "{task} has succeeded and nothing was done"),
            Violation::Undone { task } => write!(f, "{task} lost what was written"),
            Violation::Unannounced { task, end } => write!(f, "{task} ended as {end} and nobody was told"),
            Violation::Endless => write!(f, "it does not end"),
        }
    }
}
