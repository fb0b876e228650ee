//! The rules that make a crash harmless, each of which can be broken to see that the simulation notices.

/// Which rule is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// None: the real thing.
    Kept,
    /// The table writes whatever it is sent, wherever the record stands.
    FenceDropped,
    /// A lease counts for nothing: whoever comes takes the task.
    LeaseIgnored,
    /// `unsafe` is treated like `idempotent`.
    UnsafeRepeated,
    /// The message is deleted before the one that follows it is sent.
    ReleasedBeforeSent,
    /// An attempt that outlived its lease lets go of its message without looking who has the task.
    LostAttemptLetsGo,
    /// A call is begun without a look at how much is left of the lease.
    CallOutlivesLease,
    /// Verify asks at once, while the upstream may still act.
    SettleIgnored,
    /// A verify that fails is taken for one that says: not done.
    SilenceMeansNotDone,
    /// What a person wants is done to the task as it is, not as they saw it.
    WishOutlivesAttempt,
    /// A task that is found ended is not announced again.
    EndAnnouncedOnce,
    /// Tasks of one order key run side by side.
    OrderDropped,
    /// A task joins its lane behind those that are there, whenever its event was taken.
    JoinedAtTheEnd,
    /// Who has its turn does not mark the lane, so that others come before it while it runs.
    BeginUnmarked,
    /// The end of an earlier stay takes a task out of the lane that it has come back to.
    StayIgnored,
}

impl Rule {
    /// Those that can be broken.
    pub const BROKEN: [Rule; 14] = [
        Rule::FenceDropped,
        Rule::LeaseIgnored,
        Rule::UnsafeRepeated,
        Rule::ReleasedBeforeSent,
        Rule::LostAttemptLetsGo,
        Rule::CallOutlivesLease,
        Rule::SettleIgnored,
        Rule::SilenceMeansNotDone,
        Rule::WishOutlivesAttempt,
        Rule::EndAnnouncedOnce,
        Rule::OrderDropped,
        Rule::JoinedAtTheEnd,
        Rule::BeginUnmarked,
        Rule::StayIgnored,
    ];
}
