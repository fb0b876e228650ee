use super::*;
use proptest::prelude::*;

const START: i64 = 1_800_000_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(START + seconds * 1000)
}

fn rule() -> Rule {
    Rule {
        failures: 3,
        window: Duration::from_secs(60),
        share: None,
        open: Duration::from_secs(30),
        probes: 2,
        probe_time: Duration::from_secs(15),
    }
}

fn closed(failed: &[(i64, u32)]) -> State {
    State::Closed {
        failed: failed.iter().map(|(seconds, calls)| Failure { at: at(*seconds), calls: *calls }).collect(),
    }
}

fn half_open(round: u32, under_way: u32, succeeded: u32, until: i64) -> State {
    State::HalfOpen { round, under_way, succeeded, until: at(until), streak: 1 }
}

fn open(until: i64, streak: u32) -> State {
    State::Open { until: at(until), streak }
}

#[test]
fn each_state_lets_through_what_the_design_says() {
    let probe = |round, next| Admission::Probe { round, next };
    let later = |seconds| Admission::Later { at: at(seconds) };
    let first = State::HalfOpen { round: 0, under_way: 1, succeeded: 0, until: at(15), streak: 1 };
    for (name, state, expected) in [
        ("closed", closed(&[(-1, 1), (-2, 1)]), Admission::Passes),
        ("open", open(1, 0), later(1)),
        ("open no longer", open(0, 1), probe(0, first.clone())),
        ("open for longer than any is: a clock was wrong", open(100_000, 1), probe(0, first)),
        ("half-open, one of two under way", half_open(7, 1, 0, 10), probe(7, half_open(7, 2, 0, 15))),
        ("half-open, one of two has succeeded", half_open(7, 0, 1, 10), probe(7, half_open(7, 1, 1, 15))),
        ("half-open, both under way", half_open(7, 2, 0, 3), later(3)),
        ("half-open, both under way for long", half_open(7, 2, 0, 10), later(5)),
        ("half-open, those under way were lost", half_open(7, 2, 0, 0), probe(8, half_open(8, 1, 0, 15))),
        ("half-open, one was lost after one succeeded", half_open(7, 1, 1, 0), probe(8, half_open(8, 1, 1, 15))),
    ] {
        assert_eq!(admit(&state, rule(), at(0)), expected, "{name}");
    }
}

#[test]
fn each_report_changes_what_it_should_and_nothing_else() {
    let round = |round| Pass::Probe { round };
    let failed = |state: &State, pass| failed(state, pass, 1, rule(), at(0), 0.0);
    let succeeded = |state: &State, pass| succeeded(state, pass, rule());
    let cases: Vec<(&str, Option<State>, Option<State>)> = vec![
        ("the first failure", failed(&closed(&[]), Pass::Closed), Some(closed(&[(0, 1)]))),
        ("the third within the window", failed(&closed(&[(-59, 1), (-1, 1)]), Pass::Closed), Some(open(30, 0))),
        (
            "the third, the first too long ago",
            failed(&closed(&[(-60, 1), (-1, 1)]), Pass::Closed),
            Some(closed(&[(-1, 1), (0, 1)])),
        ),
        (
            "one by a clock that is far ahead",
            failed(&closed(&[(60, 1), (-1, 1)]), Pass::Closed),
            Some(closed(&[(-1, 1), (0, 1)])),
        ),
        ("late, when it is open", failed(&open(1, 0), Pass::Closed), None),
        ("late, when it is half-open", failed(&half_open(0, 1, 0, 9), Pass::Closed), None),
        ("a probe", failed(&half_open(4, 2, 0, 9), round(4)), Some(open(120, 2))),
        ("a probe that was given up", failed(&half_open(4, 2, 0, 9), round(3)), None),
        ("a probe, when another failed before", failed(&open(1, 0), round(0)), None),
        ("a probe, when others succeeded", failed(&closed(&[]), round(0)), None),
        ("success, closed", succeeded(&closed(&[(-1, 1)]), Pass::Closed), None),
        ("success, from before it opened", succeeded(&open(1, 0), Pass::Closed), None),
        ("success, from before it was half-open", succeeded(&half_open(0, 1, 0, 9), Pass::Closed), None),
        ("the first probe's success", succeeded(&half_open(4, 2, 0, 9), round(4)), Some(half_open(4, 1, 1, 9))),
        ("the last probe's success", succeeded(&half_open(4, 1, 1, 9), round(4)), Some(closed(&[]))),
        ("success of a probe that was given up", succeeded(&half_open(4, 1, 1, 9), round(3)), None),
        ("a probe not made", released(&half_open(4, 2, 0, 9), round(4)), Some(half_open(4, 1, 0, 9))),
        ("a probe not made, given up before", released(&half_open(4, 2, 0, 9), round(3)), None),
        ("a call not made", released(&closed(&[(-1, 1)]), Pass::Closed), None),
    ];
    for (name, got, expected) in cases {
        assert_eq!(got, expected, "{name}");
    }
}

#[test]
fn a_share_keeps_a_busy_tool_from_opening_for_a_few_failures() {
    let busy = Rule { share: Some(50), ..rule() };
    for (calls, expected) in [(1, true), (4, true), (5, false), (1000, false)] {
        // Two failures of one call each before, and this one among so many: three of calls + 2.
        let state = failed(&closed(&[(-2, 1), (-1, 1)]), Pass::Closed, calls, busy, at(0), 0.0).expect("it changes");
        assert_eq!(matches!(state, State::Open { .. }), expected, "{calls}");
    }
    // However many fail, as long as they are few of all.
    let mut state = closed(&[]);
    for n in 0..200 {
        state = failed(&state, Pass::Closed, 100, busy, at(n / 10), 0.0).expect("it changes");
    }
    let State::Closed { failed } = state else { panic!("{state:?}") };
    assert_eq!(failed.len(), MAX_REMEMBERED);
}

#[test]
fn each_failed_round_of_probes_doubles_the_time_up_to_the_cap() {
    let seconds = |streak, dice| open_time(rule(), streak, dice).as_secs_f64();
    let times: Vec<f64> = (0..7).map(|streak| seconds(streak, 0.0)).collect();
    assert_eq!(times, [30.0, 60.0, 120.0, 240.0, 480.0, 900.0, 900.0]);
    assert_eq!((seconds(0, 0.5), seconds(99, 1.0), seconds(u32::MAX, 7.0)), (33.75, 1125.0, 1125.0));
    let short = Rule { open: Duration::ZERO, ..rule() };
    assert_eq!(open_time(short, 0, 0.0), SHORTEST_OPEN);
}

#[derive(Clone, Debug)]
enum Action {
    /// A task asks in this environment.
    Ask(usize),
    /// The call that was let through so long ago ends.
    End { nth: usize, is_failure: bool },
    /// Its environment dies.
    Lose(usize),
    /// Time goes by.
    Wait(i64),
    /// An environment forgets all, as a new one knows nothing.
    Forget(usize),
}

const ENVIRONMENTS: usize = 4;
/// How far clocks are off: less than half of what [`SHORTEST_OPEN`] is longer than [`FRESH`].
const CLOCKS_MS: [i64; ENVIRONMENTS] = [0, 2_000, -2_000, 500];
const TIMEOUT_MS: i64 = 10_000;

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let wait = prop_oneof![0..10_i64, 0..3_000_i64, 0..20_000_i64];
    let action = prop_oneof![
        6 => (0..ENVIRONMENTS).prop_map(Action::Ask),
        4 => (0..6_usize, prop::bool::weighted(0.7)).prop_map(|(nth, is_failure)| Action::End { nth, is_failure }),
        1 => (0..6_usize).prop_map(Action::Lose),
        4 => wait.prop_map(Action::Wait),
        1 => (0..ENVIRONMENTS).prop_map(Action::Forget),
    ];
    prop::collection::vec(action, 1..300)
}

/// An item with its version.
type Kept = Option<(u64, State)>;

#[derive(Clone, Copy, Debug)]
struct Call {
    environment: usize,
    pass: Pass,
    began: i64,
}

/// The table's item and what each environment knows of it, as `limits` goes about it: reads when what is known is not fresh, compares and
/// swaps, tries a few times.
#[derive(Default)]
struct World {
    truth: i64,
    table: Kept,
    opened_at: i64,
    known: [Option<(i64, Kept)>; ENVIRONMENTS],
    calls: Vec<Call>,
}

impl World {
    fn now(&self, environment: usize) -> Timestamp {
        Timestamp::from_millis(self.truth + CLOCKS_MS[environment])
    }

    fn state(kept: Option<&(u64, State)>) -> State {
        kept.map_or(State::Closed { failed: Vec::new() }, |(_, state)| state.clone())
    }

    fn known(&self, environment: usize) -> State {
        Self::state(self.known[environment].as_ref().and_then(|(_, kept)| kept.as_ref()))
    }

    fn swap(&mut self, environment: usize, next: State) -> bool {
        let seen = self.known[environment].as_ref().and_then(|(_, kept)| kept.as_ref()).map(|(version, _)| *version);
        let holds = seen == self.table.as_ref().map(|(version, _)| *version);
        if holds {
            if matches!(next, State::Open { .. }) {
                self.opened_at = self.truth;
            }
            self.table = Some((seen.map_or(1, |version| version + 1), next));
        }
        self.known[environment] = Some((self.truth, self.table.clone()));
        holds
    }

    fn ask(&mut self, environment: usize, rule: Rule) -> Result<(), TestCaseError> {
        let fresh = i64::try_from(FRESH.as_millis()).unwrap();
        if self.known[environment].as_ref().is_none_or(|(read, _)| self.truth - read >= fresh) {
            self.known[environment] = Some((self.truth, self.table.clone()));
        }
        for _ in 0..4 {
            match admit(&self.known(environment), rule, self.now(environment)) {
                Admission::Later { .. } => return Ok(()),
                Admission::Passes => {
                    let actual = Self::state(self.table.as_ref());
                    prop_assert!(!matches!(actual, State::HalfOpen { .. }), "only probes while it is half-open");
                    let behind = self.truth - self.opened_at;
                    prop_assert!(!matches!(actual, State::Open { .. }) || behind < fresh, "open since {behind} ms");
                    self.calls.push(Call { environment, pass: Pass::Closed, began: self.truth });
                    return Ok(());
                }
                Admission::Probe { round, next } => {
                    if self.swap(environment, next) {
                        self.calls.push(Call { environment, pass: Pass::Probe { round }, began: self.truth });
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    fn end(&mut self, call: Call, is_failure: bool, rule: Rule) {
        for _ in 0..4 {
            let (state, now) = (self.known(call.environment), self.now(call.environment));
            let next = match is_failure {
                true => failed(&state, call.pass, 1, rule, now, 0.3),
                false => succeeded(&state, call.pass, rule),
            };
            let Some(next) = next else { return };
            if self.swap(call.environment, next) {
                return;
            }
        }
    }

    fn run(&mut self, actions: &[Action], rule: Rule) -> Result<(), TestCaseError> {
        self.truth = START;
        for action in actions {
            match *action {
                Action::Ask(environment) => self.ask(environment, rule)?,
                Action::End { nth, is_failure } if nth < self.calls.len() => {
                    let call = self.calls.remove(nth);
                    self.end(call, is_failure, rule);
                }
                Action::Lose(nth) if nth < self.calls.len() => drop(self.calls.remove(nth)),
                Action::End { .. } | Action::Lose(_) => {}
                Action::Wait(ms) => self.truth += ms,
                Action::Forget(environment) => self.known[environment] = None,
            }
            // No call outlives its tool's time limit.
            let (truth, alive) = (self.truth, |call: &Call, truth: i64| truth - call.began < TIMEOUT_MS);
            self.calls.retain(|call| alive(call, truth));
            let probes = self.calls.iter().filter(|call| matches!(call.pass, Pass::Probe { .. })).count();
            prop_assert!(probes <= rule.probes as usize, "{probes} probes at once");
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn no_more_than_the_probes_get_through_while_half_open_whoever_asks(
        actions in actions(),
        failures in 1..4_u32,
        probes in 1..4_u32,
        open in 0..40_u64,
    ) {
        let rule = Rule { failures, probes, open: Duration::from_secs(open), ..rule() };
        World::default().run(&actions, rule)?;
    }

    #[test]
    fn no_state_and_no_clock_stops_a_tool_for_longer_than_the_longest_wait(
        is_open in any::<bool>(),
        until in any::<i64>(),
        under_way in any::<u32>(),
        streak in any::<u32>(),
        now in any::<i64>(),
    ) {
        let (now, until) = (Timestamp::from_millis(now), Timestamp::from_millis(until));
        let state = match is_open {
            true => State::Open { until, streak },
            false => State::HalfOpen { round: u32::MAX, under_way: under_way.min(2), succeeded: 0, until, streak },
        };
        if let Admission::Later { at } = admit(&state, rule(), now) {
            prop_assert!(now.until(at) <= LONGEST_OPEN.mul_f64(1.25) + TOLERATED_SKEW);
            prop_assert!(at > now);
        }
        let pass = Pass::Probe { round: u32::MAX };
        let _ = failed(&state, pass, u32::MAX, rule(), now, 1.0);
        let _ = succeeded(&state, pass, rule());
    }
}

#[test]
fn a_circuit_whose_upstream_works_again_closes() {
    let rule = rule();
    let mut world = World::default();
    let fail = [Action::Ask(0), Action::End { nth: 0, is_failure: true }];
    world.run(&[fail.clone(), fail.clone(), fail].concat(), rule).unwrap();
    assert!(matches!(world.table, Some((_, State::Open { .. }))));
    let work = [Action::Ask(1), Action::End { nth: 0, is_failure: false }, Action::Wait(1)];
    let mut rest = vec![Action::Wait(45_000)];
    rest.extend(work.iter().cycle().take(6).cloned());
    // From where the run before ended.
    let start = world.truth;
    world.run(&[vec![Action::Wait(start - START)], rest].concat(), rule).unwrap();
    assert_eq!(world.table.map(|(_, state)| state), Some(State::Closed { failed: Vec::new() }));
}
