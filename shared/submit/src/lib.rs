//! Having a tool called, or an agent asked: submit, poll, wait.
//!
//! What is submitted is looked at first ([`prepare`], pure): the tool is declared, the input is one that it takes and that a record holds.
//! Then its task's id is known, and a message goes onto the queue ([`Desk::submit`]); the worker makes the task. Its record is where
//! the answer is found, by who submitted it ([`Desk::wait`]) and by who has the id alone.

mod agent;
mod desk;
mod submission;

pub use agent::{AgentInput, InputRefused, MAX_PROMPT_BYTES, agent_of, agent_tool, prepare_prompt};
pub use desk::{Desk, SubmitError, Submitted, Waited};
pub use submission::{MAX_KEY_BYTES, Refusal, Request, Submission, prepare};
