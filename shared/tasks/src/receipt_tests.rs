use super::*;
use crate::machine::{Verify, Wish};
use crate::{Class, Code, Origin};
use serde_json::json;
use std::time::Duration;

const NOW: Timestamp = Timestamp::from_millis(1_000_000);
const UNSAFE: Policy = Policy { max_failures: 5, timeout: Duration::from_secs(10), ..Policy::UNKNOWN_TOOL };
const VERIFIED: Policy = Policy { verify: Some(Verify { settle: Duration::from_secs(30), max_looks: 3 }), ..UNSAFE };

fn new() -> NewTask {
    let origin = Origin::Route { event: "evt_1".into(), route: "r".into() };
    NewTask { tool: "t".into(), key: "k".into(), origin, input: json!({}), hops: 0, seat: None, trace: None }
}

fn silence() -> TaskError {
    TaskError { may_have_acted: true, ..TaskError::unsent(Code::Timeout, Class::Transient, "silence") }
}

fn called(answer: Result<Value, TaskError>) -> Done {
    Done::Called(Call { answer: Answer::Final(answer), status: None, ms: 7 })
}

/// A table with one record at most, and what a receipt does to it until it ends or calls somebody.
struct Table(Option<Record>);

impl Table {
    /// Carries out reads and writes; returns the words of all steps, and the one that leads out of here.
    fn follow<P: Fn(&str) -> Policy>(&mut self, receipt: &mut Receipt<P>, mut step: Step, now: Timestamp) -> Step {
        loop {
            let done = match step {
                Step::Read => Done::Read(self.0.clone().map(Box::new)),
                Step::Write(change) => match change.rule(self.0.as_ref()) {
                    crate::change::Rule::Lost => Done::Wrote(Landed::Lost(self.0.clone().map(Box::new))),
                    crate::change::Rule::Write | crate::change::Rule::Written => {
                        self.0 = Some(change.after.clone());
                        Done::Wrote(Landed::Written(Box::new(change.after)))
                    }
                },
                out => return out,
            };
            step = receipt.next(done, now, 0.5);
        }
    }

    fn state(&self) -> Option<State> {
        self.0.as_ref().map(|record| record.state)
    }
}

fn of_new(policy: Policy, writer: &str) -> Receipt<impl Fn(&str) -> Policy> {
    Receipt::of_new(new(), None, move |_: &str| policy, writer.to_owned())
}

fn of_task(ask: Ask, policy: Policy, writer: &str) -> Receipt<impl Fn(&str) -> Policy> {
    Receipt::of_task(ask, move |_: &str| policy, writer.to_owned())
}

fn words(notes: &[Note]) -> Vec<String> {
    let word = |note: &Note| match &note.what {
        What::Closed { state, .. } => state.as_str().to_owned(),
        other => format!("{other:?}").to_lowercase(),
    };
    notes.iter().map(word).collect()
}

#[test]
fn a_task_that_goes_well_costs_two_writes_and_is_announced_before_its_message_goes() {
    let mut table = Table(None);
    let mut receipt = of_new(UNSAFE, "one");
    let Step::Write(claim) = receipt.begin(NOW) else { panic!("no claim") };
    let step = table.follow(&mut receipt, Step::Write(claim), NOW);
    assert!(matches!(step, Step::Call(_)), "{step:?}");
    let Step::Write(finish) = receipt.next(called(Ok(json!(1))), NOW, 0.5) else { panic!("no finish") };
    let step = table.follow(&mut receipt, Step::Write(finish), NOW);
    assert!(matches!(step, Step::Announce(_)), "{step:?}");
    assert_eq!(receipt.next(Done::Announced, NOW, 0.5), Step::Release);
    assert_eq!((words(&receipt.notes()), table.state()), (vec!["succeeded".to_owned()], Some(State::Succeeded)));
}

#[test]
fn what_goes_on_is_on_the_queue_before_its_message_goes() {
    // (policy, answer) → state, when it is looked at again
    let unsent = TaskError::unsent(Code::Unavailable, Class::Transient, "");
    for (policy, error, state, millis) in
        [(UNSAFE, unsent, State::Queued, 500), (VERIFIED, silence(), State::Unknown, 30_000)]
    {
        let mut table = Table(None);
        let mut receipt = of_new(policy, "one");
        let step = receipt.begin(NOW);
        assert!(matches!(table.follow(&mut receipt, step, NOW), Step::Call(_)));
        let step = receipt.next(called(Err(error)), NOW, 0.5);
        let at = NOW.plus(Duration::from_millis(millis));
        assert_eq!(table.follow(&mut receipt, step, NOW), Step::Send { at, same: false });
        assert_eq!(table.state(), Some(state));
        assert_eq!(receipt.next(Done::Sent, NOW, 0.5), Step::Release);
    }
}

#[test]
fn what_is_unknown_is_looked_up_and_settled_in_one_receipt() {
    let mut table = Table(None);
    let mut first = of_new(VERIFIED, "one");
    let step = first.begin(NOW);
    table.follow(&mut first, step, NOW);
    // Its worker is lost. The next one finds the lease over, and the one after that the time to look.
    let after_lease = NOW.plus(Duration::from_secs(16));
    let mut second = of_task(Ask::Due, VERIFIED, "two");
    let step = second.begin(after_lease);
    let step = table.follow(&mut second, step, after_lease);
    let look_at = NOW.plus(Duration::from_secs(15 + 30));
    assert_eq!((step, table.state()), (Step::Send { at: look_at, same: false }, Some(State::Unknown)));
    let mut third = of_task(Ask::Due, VERIFIED, "three");
    let step = third.begin(look_at);
    let step = table.follow(&mut third, step, look_at);
    assert!(matches!(step, Step::Look(_)), "{step:?}");
    let looked = Done::Looked { finding: Finding::Done { result: json!(7) }, status: None, ms: 3 };
    let step = third.next(looked, look_at, 0.5);
    assert!(matches!(table.follow(&mut third, step, look_at), Step::Announce(_)));
    let record = table.0.expect("a record");
    assert_eq!((record.state, record.result, record.attempt), (State::Succeeded, Some(json!(7)), 1));
    assert_eq!(record.attempts.last().and_then(|attempt| attempt.by), Some(By::Verify));
}

/// The one message of a task may have been received twice: who lets go of it must not count on the other.
#[test]
fn an_attempt_that_outlived_its_lease_sends_a_message_before_it_lets_go_of_its_own() {
    let policy = Policy { repeatable: true, ..UNSAFE };
    let mut table = Table(None);
    let mut slow = of_new(policy, "slow");
    let step = slow.begin(NOW);
    assert!(matches!(table.follow(&mut slow, step, NOW), Step::Call(_)));
    let later = NOW.plus(Duration::from_secs(16));
    let mut fast = of_new(policy, "fast");
    let step = fast.begin(later);
    assert!(matches!(table.follow(&mut fast, step, later), Step::Call(_)));
    let step = slow.next(called(Ok(json!(1))), later, 0.5);
    let lease_end = later.plus(Duration::from_secs(15));
    assert_eq!(table.follow(&mut slow, step, later), Step::Send { at: lease_end, same: false });
    assert_eq!(words(&slow.notes()), ["leaselost", "deferred"]);
    // The attempt that took over decides.
    assert_eq!(table.0.as_ref().map(|record| (record.state, record.attempt)), Some((State::Running, 2)));
}

/// Its message may be received twice, and be gone once the other receipt has seen the task as ended before.
#[test]
fn a_replay_sends_a_message_before_it_revives_what_has_ended() {
    let mut table = Table(None);
    let mut first = of_new(UNSAFE, "one");
    let step = first.begin(NOW);
    table.follow(&mut first, step, NOW);
    let refused = TaskError::unsent(Code::ValidationError, Class::Client, "");
    let step = first.next(called(Err(refused)), NOW, 0.5);
    assert!(matches!(table.follow(&mut first, step, NOW), Step::Announce(_)));
    let replay = |writer: &str| Receipt::of_new(new(), Some("again".into()), |_: &str| UNSAFE, writer.to_owned());
    let mut second = replay("two");
    let step = second.begin(NOW);
    let lease_end = NOW.plus(Duration::from_secs(15));
    assert_eq!(table.follow(&mut second, step, NOW), Step::Send { at: lease_end, same: false });
    assert_eq!(table.state(), Some(State::Failed));
    let step = second.next(Done::Sent, NOW, 0.5);
    assert!(matches!(table.follow(&mut second, step, NOW), Step::Call(_)));
    assert_eq!(table.0.as_ref().map(|record| record.replays.clone()), Some(vec!["again".to_owned()]));
}

#[test]
fn an_answer_that_comes_before_it_is_waited_for_comes_again() {
    let mut table = Table(None);
    let mut first = of_new(UNSAFE, "one");
    let step = first.begin(NOW);
    table.follow(&mut first, step, NOW);
    let answer = || of_task(Ask::Answer { token: "t".into(), answer: Ok(json!(9)) }, UNSAFE, "two");
    let mut early = answer();
    let step = early.begin(NOW);
    let lease_end = NOW.plus(Duration::from_secs(15));
    assert_eq!(table.follow(&mut early, step, NOW), Step::Send { at: lease_end, same: true });
    let deadline = NOW.plus(Duration::from_secs(60));
    let taken = Answer::Later { token: "t".into(), look_at: deadline, deadline };
    let step = first.next(Done::Called(Call { answer: taken, status: Some(202), ms: 5 }), NOW, 0.5);
    assert_eq!(table.follow(&mut first, step, NOW), Step::Send { at: deadline, same: false });
    let mut again = answer();
    let step = again.begin(lease_end);
    assert!(matches!(table.follow(&mut again, step, lease_end), Step::Announce(_)));
    assert_eq!(table.0.and_then(|record| record.result), Some(json!(9)));
}

#[test]
fn a_person_is_on_record_and_a_receipt_out_of_step_lets_its_message_come_back() {
    let mut table = Table(None);
    let mut first = of_new(UNSAFE, "one");
    let step = first.begin(NOW);
    table.follow(&mut first, step, NOW);
    let step = first.next(called(Err(silence())), NOW, 0.5);
    assert!(matches!(table.follow(&mut first, step, NOW), Step::Announce(_)));
    assert_eq!(table.state(), Some(State::Parked));
    let wish = Wish::Fail { reason: Some("enough".into()) };
    let mut person = of_task(Ask::Person { after_attempt: 1, wish }, UNSAFE, "two");
    let step = person.begin(NOW);
    assert!(matches!(table.follow(&mut person, step, NOW), Step::Announce(_)));
    let record = table.0.expect("a record");
    assert_eq!(record.error.map(|error| (error.code, error.may_have_acted)), Some((Code::GivenUp, true)));
    assert_eq!(record.attempts.last().and_then(|attempt| attempt.by), Some(By::Person));
    let mut confused = of_task(Ask::Due, UNSAFE, "three");
    confused.begin(NOW);
    assert!(matches!(confused.next(Done::Sent, NOW, 0.5), Step::Return(_)));
}

/// Tasks that others move on faster than one can look at them bring the message back instead of turning round for ever.
#[test]
fn a_receipt_that_always_comes_too_late_gives_up() {
    let policy = Policy { repeatable: true, ..UNSAFE };
    let mut table = Table(None);
    let mut first = of_new(policy, "one");
    let step = first.begin(NOW);
    table.follow(&mut first, step, NOW);
    let later = NOW.plus(Duration::from_secs(60));
    let mut receipt = of_task(Ask::Due, policy, "two");
    receipt.begin(later);
    let record = table.0.map(Box::new);
    let (mut rounds, mut step) = (0, receipt.next(Done::Read(record.clone()), later, 0.5));
    while let Step::Write(_) = step {
        rounds += 1;
        step = receipt.next(Done::Wrote(Landed::Lost(record.clone())), later, 0.5);
    }
    assert_eq!((rounds, step), (5, Step::Return("the task changes hands too fast")));
}

mod lanes {
    use super::*;
    use crate::lane::{Seat, WINDOW, lane_id};

    /// The tables of tasks and lanes.
    #[derive(Default)]
    struct World {
        records: std::collections::BTreeMap<String, Record>,
        lane: Option<Lane>,
        steps: Vec<&'static str>,
    }

    fn ordered(key: &str, received_at: i64) -> NewTask {
        let received_at = Timestamp::from_millis(received_at);
        let seat = Seat { lane: lane_id("r", "o"), received_at, nth: 0, stay: 0, skip_parked: false };
        NewTask { key: key.into(), seat: Some(seat), ..new() }
    }

    fn id(key: &str) -> String {
        crate::task_id("t", key)
    }

    impl World {
        /// Carries out what concerns tables; returns the step that leads out of here.
        fn follow<P: Fn(&str) -> Policy>(
            &mut self,
            receipt: &mut Receipt<P>,
            task: &str,
            mut step: Step,
            now: Timestamp,
        ) -> Step {
            loop {
                let done = match step {
                    Step::Read => {
                        self.steps.push("read");
                        Done::Read(self.records.get(task).cloned().map(Box::new))
                    }
                    Step::ReadOther(other) => {
                        self.steps.push("read other");
                        Done::Other(self.records.get(&other).cloned().map(Box::new))
                    }
                    Step::ReadLane(_) => {
                        self.steps.push("read lane");
                        Done::Lane(self.lane.clone().map(Box::new))
                    }
                    Step::Write(change) => {
                        self.steps.push("write");
                        let current = self.records.get(&change.after.id).cloned();
                        match change.rule(current.as_ref()) {
                            crate::change::Rule::Lost => Done::Wrote(Landed::Lost(current.map(Box::new))),
                            _ => {
                                self.records.insert(change.after.id.clone(), change.after.clone());
                                Done::Wrote(Landed::Written(Box::new(change.after)))
                            }
                        }
                    }
                    Step::WriteLane(change) => {
                        self.steps.push("write lane");
                        match change.rule(self.lane.as_ref()) {
                            crate::change::Rule::Lost => {
                                Done::WroteLane(LaneLanded::Lost(self.lane.clone().map(Box::new)))
                            }
                            _ => {
                                self.lane = Some(change.after.clone());
                                Done::WroteLane(LaneLanded::Written(Box::new(change.after)))
                            }
                        }
                    }
                    out => return out,
                };
                step = receipt.next(done, now, 0.5);
            }
        }

        fn join(&mut self, key: &str, received_at: i64, now: Timestamp) -> Step {
            let mut receipt = Receipt::of_new(ordered(key, received_at), None, |_: &str| UNSAFE, format!("new {key}"));
            let step = receipt.begin(now);
            self.follow(&mut receipt, &id(key), step, now)
        }

        /// The receipt of a message about a task, up to where it leads out of here.
        fn about(&mut self, key: &str, ask: Ask, now: Timestamp) -> (Receipt<impl Fn(&str) -> Policy + use<>>, Step) {
            let mut receipt = Receipt::of_task(ask, |_: &str| UNSAFE, format!("due {key} {now}"));
            let step = receipt.begin(now);
            let step = self.follow(&mut receipt, &id(key), step, now);
            (receipt, step)
        }

        fn due(&mut self, key: &str, now: Timestamp) -> Step {
            self.about(key, Ask::Due, now).1
        }

        /// Runs a task whose turn it is until it is to be told; the steps that lead out.
        fn run(&mut self, key: &str, answer: Result<Value, TaskError>, now: Timestamp) -> Vec<Step> {
            let (mut receipt, step) = self.about(key, Ask::Due, now);
            assert!(matches!(step, Step::Call(_)), "{step:?}");
            let step = receipt.next(called(answer), now, 0.5);
            let mut out = vec![self.follow(&mut receipt, &id(key), step, now)];
            if matches!(out[0], Step::Wake { .. }) {
                out.push(receipt.next(Done::Woke, now, 0.5));
            }
            out
        }
    }

    fn sends(step: &Step) -> Timestamp {
        match step {
            Step::Send { at, same: false } => *at,
            other => panic!("{other:?}"),
        }
    }

    fn wakes(step: &Step, key: &str) {
        assert!(matches!(step, Step::Wake { task, .. } if *task == id(key)), "{step:?}");
    }

    #[test]
    fn a_task_in_a_lane_costs_three_steps_to_join_and_six_to_run_and_to_leave() {
        let (mut world, ripe) = (World::default(), NOW.plus(WINDOW));
        assert_eq!(sends(&world.join("a", 10, NOW)), ripe);
        assert_eq!(std::mem::take(&mut world.steps), ["write", "write lane"]);
        let out = world.run("a", Ok(json!(1)), ripe);
        assert!(matches!(out[..], [Step::Announce(_)]), "{out:?}");
        let steps = ["read", "read lane", "write lane", "write", "write", "write lane"];
        assert_eq!(world.steps, steps);
        assert_eq!(world.lane.as_ref().map(|lane| lane.entries.len()), Some(0));
    }

    #[test]
    fn who_ends_wakes_the_next_and_a_receipt_that_finds_it_ended_does_so_again() {
        let (mut world, ripe) = (World::default(), NOW.plus(WINDOW));
        world.join("b", 20, NOW);
        world.join("a", 10, NOW);
        assert!(sends(&world.due("b", ripe)) > ripe);
        let out = world.run("a", Err(TaskError::unsent(Code::ValidationError, Class::Client, "no")), ripe);
        wakes(&out[0], "b");
        assert!(matches!(out[1], Step::Announce(_)));
        // The worker died before it woke anybody.
        let (mut receipt, step) = world.about("a", Ask::Due, ripe);
        wakes(&step, "b");
        assert!(matches!(receipt.next(Done::Woke, ripe, 0.5), Step::Announce(_)));
        // It died before it left.
        world.lane = None;
        world.join("a", 10, ripe);
        assert!(world.lane.as_ref().is_none_or(|lane| lane.entries.is_empty()), "a task that has ended does not join");
        // Whoever is not in a lane that was lost joins again.
        let ripe = sends(&world.due("b", ripe));
        assert!(matches!(world.run("b", Ok(json!(1)), ripe)[..], [Step::Announce(_)]));
    }

    #[test]
    fn a_parked_task_holds_the_others_until_a_person_has_decided() {
        let (mut world, ripe) = (World::default(), NOW.plus(WINDOW));
        world.join("a", 10, NOW);
        world.join("b", 20, NOW);
        let out = world.run("a", Err(silence()), ripe);
        assert!(matches!(out[..], [Step::Announce(_)]), "{out:?}");
        assert_eq!(world.records[&id("a")].state, State::Parked);
        sends(&world.due("b", ripe));
        let done = Ask::Person { after_attempt: 1, wish: Wish::Done { result: Value::Null } };
        wakes(&world.about("a", done, ripe).1, "b");
        assert!(matches!(world.due("b", ripe), Step::Call(_)));
    }

    #[test]
    fn a_person_who_wants_a_task_again_has_it_come_back_to_its_lane() {
        let (mut world, ripe) = (World::default(), NOW.plus(WINDOW));
        world.join("a", 10, NOW);
        world.join("b", 20, NOW);
        world.run("a", Err(TaskError::unsent(Code::ValidationError, Class::Client, "no")), ripe);
        assert!(matches!(world.due("b", ripe), Step::Call(_)));
        let again = || Ask::Person { after_attempt: 1, wish: Wish::Retry };
        // While another one is at it, it waits; a second click does not make it run twice.
        sends(&world.about("a", again(), ripe).1);
        sends(&world.about("a", again(), ripe).1);
        let record = &world.records[&id("a")];
        assert_eq!(
            (record.state, record.seat.as_ref().map(|seat| seat.stay), record.failures),
            (State::Queued, Some(1), 0)
        );
        assert_eq!(world.lane.as_ref().map(|lane| lane.entries.len()), Some(2));
        // Its first end is seen once more by a receipt that stood still: it leaves nothing.
        let lane = world.lane.clone();
        assert_eq!(crate::lane::without(lane.as_ref(), &id("a"), 0, "w", NOW), None);
    }

    #[test]
    fn who_waits_puts_out_who_is_over_and_forgotten() {
        let (mut world, ripe) = (World::default(), NOW.plus(WINDOW));
        world.join("a", 10, NOW);
        world.join("b", 20, NOW);
        world.join("c", 30, NOW);
        assert!(matches!(world.due("a", ripe), Step::Call(_)));
        // Not while it runs.
        sends(&world.due("b", ripe));
        world.records.remove(&id("a"));
        let (mut receipt, step) = world.about("c", Ask::Due, ripe);
        wakes(&step, "b");
        let step = receipt.next(Done::Woke, ripe, 0.5);
        sends(&world.follow(&mut receipt, &id("c"), step, ripe));
        assert!(matches!(world.due("b", ripe), Step::Call(_)));
    }

    #[test]
    fn who_waits_for_weeks_is_not_forgotten() {
        let (mut world, ripe) = (World::default(), NOW.plus(WINDOW));
        world.join("a", 10, NOW);
        world.join("b", 20, NOW);
        world.run("a", Err(silence()), ripe);
        let kept = |world: &World| world.records[&id("b")].expires_at;
        let first = kept(&world);
        let soon = NOW.plus(UNSAFE.retention / 3);
        sends(&world.due("b", soon));
        assert_eq!(kept(&world), first);
        let late = NOW.plus(UNSAFE.retention * 2 / 3);
        sends(&world.due("b", late));
        assert_eq!(kept(&world), late.plus(UNSAFE.retention));
        // Its fence has moved on, and it still is one that waits.
        assert!(matches!(world.due("b", late), Step::Send { .. }));
    }

    #[test]
    fn a_task_that_is_taken_back_leaves_its_lane() {
        let (mut world, ripe) = (World::default(), NOW.plus(WINDOW));
        world.join("a", 10, NOW);
        world.join("b", 20, NOW);
        let cancel = Ask::Person { after_attempt: 0, wish: Wish::Cancel { reason: None } };
        wakes(&world.about("a", cancel, NOW).1, "b");
        assert!(matches!(world.due("b", ripe), Step::Call(_)));
    }
}
