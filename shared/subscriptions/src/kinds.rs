//! The events that there are.

use crate::Subscription;

/// Every type of event of the bridge's own, and what it means.
pub const KINDS: &[(&str, &str)] = &[
    ("agent.connected", "an agent's connector has connected"),
    ("agent.disconnected", "an agent's connector is gone"),
    ("connection.connected", "an account was authorised"),
    ("connection.expired", "an account has to be authorised again"),
    ("skill.installed", "a skill was installed"),
    ("skill.removed", "a skill was removed"),
    ("system.error", "the bridge could not do something that it should have done"),
    ("task.cancelled", "a task was taken back"),
    ("task.completed", "a task succeeded"),
    ("task.created", "there is a new task"),
    ("task.failed", "a task was given up"),
    ("task.parked", "a task waits for a person"),
    ("task.started", "a task's first attempt has begun"),
    ("webhook.failed", "a delivery to a subscription was given up"),
    ("webhook.paused", "a subscription gets nothing until somebody resumes it"),
    ("webhook.resumed", "a subscription gets events again"),
];

/// Whether events of this type are worth making for these subscriptions. Those that hold what comes while they are paused count as well.
#[must_use]
pub fn is_wanted_by_somebody(subscriptions: &[Subscription], event_type: &str) -> bool {
    subscriptions.iter().any(|one| (one.is_active() || one.holds()) && one.wants_type(event_type))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_types_are_in_the_order_of_the_alphabet_and_hold_those_of_the_tutorial() {
        assert!(KINDS.is_sorted());
        for name in
            ["task.completed", "task.failed", "task.started", "skill.installed", "skill.removed", "system.error"]
        {
            assert!(KINDS.iter().any(|(kind, _)| *kind == name), "{name}");
        }
    }
}
