//! What the outside world has done.

use crate::scenario::{Kind, Tool};
use std::collections::BTreeMap;

/// What is known about one task from outside the bridge.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deeds {
    /// Effects.
    pub(crate) effects: u32,
    /// Calls that are under way, by number.
    pub(crate) open: Vec<u64>,
    /// How often verify said that it was not done.
    pub(crate) not_done: u32,
    /// How often a person wanted it run again.
    pub(crate) wanted: u32,
    /// A person has said that it was done.
    pub(crate) said_done: bool,
    /// When the job that was taken is finished.
    pub(crate) job_ends: Option<u64>,
}

/// The upstream's own books.
#[derive(Debug, Default)]
pub(crate) struct Upstream {
    deeds: BTreeMap<String, Deeds>,
}

impl Upstream {
    pub(crate) fn of(&mut self, task: &str) -> &mut Deeds {
        self.deeds.entry(task.to_owned()).or_default()
    }

    /// Acts on a call, whose key is the task's id. Whether that made a difference.
    pub(crate) fn act(&mut self, task: &str, tool: &Tool) -> bool {
        let deeds = self.of(task);
        if tool.kind == Kind::Keyed && deeds.effects > 0 {
            return false;
        }
        deeds.effects += 1;
        true
    }
}
