use super::*;
use crate::step::Asking;
use clawbridge_oauth::{Refused, Retry, TokenKind, TokenSet};
use std::collections::BTreeMap;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn name() -> ConnectionName {
    "a/b".parse().expect("a name")
}

fn held(version: VersionId, generation: u64, expires_in: i64) -> Box<Held> {
    let set = TokenSet {
        v: 1,
        generation,
        access_token: format!("a{generation}"),
        kind: TokenKind::Bearer,
        refresh_token: Some(format!("r{generation}")),
        expires_at: Some(Timestamp::from_millis(NOW.millis() + expires_in * 1000)),
        refresh_expires_at: None,
        scopes: Vec::new(),
        obtained_at: NOW.minus(Duration::from_secs(3600)),
        dpop_key: None,
        kept: BTreeMap::new(),
        parameters: BTreeMap::new(),
    };
    Box::new(Held { version, set })
}

fn first() -> VersionId {
    VersionId::of_first("nonce", 1)
}

/// The secret's version in use, what was stored after it, and the item.
struct Things {
    current: Box<Held>,
    next: Option<Box<Held>>,
    record: Record,
}

fn things(expires_in: i64) -> Things {
    let current = held(first(), 1, expires_in);
    let record = Record { revision: 1, ..Record::new(name(), NOW).holding(&current) };
    Things { current, next: None, record }
}

/// Runs a refresh where everything works and the provider answers so; the steps in short, and the end.
fn run(mut things: Things, want: Want, mut answers: Vec<Done>) -> (Vec<&'static str>, Outcome, Record) {
    let mut work = Refresh::new(name(), false, want, "me".to_owned(), NOW.plus(Duration::from_secs(25)));
    let (mut steps, mut step, mut now) = (Vec::new(), work.begin(), NOW);
    for _ in 0..100 {
        now = now.plus(Duration::from_millis(1));
        let (told, done) = match step {
            Step::ReadCurrent => ("current", Done::Secret(Seen::Held(things.current.clone()))),
            Step::ReadVersion(version) => {
                let found = things.next.clone().filter(|next| next.version == version);
                ("version", Done::Secret(found.map_or(Seen::Missing, Seen::Held)))
            }
            Step::ReadRecord => ("record", Done::Record(Some(Box::new(things.record.clone())))),
            Step::Write(change) => {
                assert_eq!(change.before, things.record.revision);
                things.record = change.after.clone();
                ("write", Done::Wrote(Landed::Written(Box::new(change.after))))
            }
            Step::Ask(_) => ("ask", answers.remove(0)),
            Step::Stash(held) => {
                things.next = Some(held);
                ("stash", Done::Stored)
            }
            Step::Promote { from, to } => {
                assert_eq!(from, things.current.version);
                things.current = things.next.clone().filter(|next| next.version == to).expect("it is stored");
                ("promote", Done::Promoted)
            }
            Step::Wait(at) => {
                now = at;
                ("wait", Done::Waited)
            }
            Step::Create(_) | Step::Restore | Step::Delete => panic!("not here"),
            Step::End(outcome) => return (steps, outcome, things.record),
        };
        if !(told == "current" && steps.ends_with(&["wait", "current"])) {
            steps.push(told);
        }
        step = work.next(done, now, 0.5);
    }
    panic!("it does not end: {steps:?}");
}

fn fresh() -> Want {
    Want::Fresh { early: Duration::from_secs(300) }
}

fn asked() -> Done {
    Done::Asked(Box::new(TokenSet { generation: 0, ..held(first(), 0, 3600).set }))
}

fn grant() -> Done {
    Done::Refused(Refused::Grant { code: "invalid_grant".to_owned(), reason: String::new() })
}

fn later(after: Option<Duration>) -> Done {
    Done::Refused(Refused::Later(Retry { code: "RATE_LIMITED", reason: String::new(), after, may_have_acted: false }))
}

#[test]
fn a_token_that_is_not_due_costs_one_read() {
    let (steps, outcome, _) = run(things(3600), fresh(), Vec::new());
    assert_eq!(steps, ["current"]);
    assert!(matches!(outcome, Outcome::Use(held) if held.set.generation == 1));
}

#[test]
fn the_first_await_after_the_answer_stores_it() {
    let (steps, outcome, record) = run(things(0), fresh(), vec![asked()]);
    assert_eq!(steps, ["current", "record", "write", "current", "version", "ask", "stash", "promote", "write"]);
    assert!(matches!(outcome, Outcome::Use(held) if held.set.generation == 2 && held.version == first().next()));
    assert_eq!((record.generation, record.lease, record.version), (2, None, Some(first().next())));
}

#[test]
fn what_is_stored_already_is_put_in_use_without_a_question() {
    let next = Some(held(first().next(), 2, 3600));
    let (steps, outcome, record) = run(Things { next, ..things(0) }, fresh(), Vec::new());
    assert_eq!(steps, ["current", "record", "write", "current", "version", "version", "promote", "write"]);
    assert!(matches!(outcome, Outcome::Use(held) if held.set.generation == 2));
    assert_eq!(record.generation, 2);
}

#[test]
fn a_refused_refresh_token_is_believed_after_another_look() {
    let (steps, outcome, record) = run(things(0), fresh(), vec![grant()]);
    assert_eq!(steps, ["current", "record", "write", "current", "version", "ask", "current", "version", "write"]);
    assert!(matches!(outcome, Outcome::NeedsReauth { code, .. } if code == "invalid_grant"));
    assert_eq!((record.status, record.announced, record.lease), (Status::NeedsReauth, false, None));
    // As long as the access token is good, it is used all the same.
    let (_, outcome, record) = run(things(60), fresh(), vec![grant()]);
    assert!(matches!(outcome, Outcome::Use(_)));
    assert_eq!(record.status, Status::NeedsReauth);
}

#[test]
fn a_refusal_for_now_leaves_the_provider_alone_for_as_long_as_it_says() {
    for (after, at_least) in [(None, 0), (Some(Duration::from_secs(90)), 90)] {
        let (_, outcome, record) = run(things(0), fresh(), vec![later(after)]);
        let Outcome::Later { at, code, .. } = outcome else { panic!("{outcome:?}") };
        assert_eq!((code.as_str(), record.cool_until, record.failures), ("RATE_LIMITED", Some(at), 1));
        assert!(NOW.until(at) >= Duration::from_secs(at_least) && record.lease.is_none());
    }
    let cooling = Record { cool_until: Some(NOW.plus(Duration::from_secs(60))), ..things(0).record };
    let (steps, ..) = run(Things { record: cooling.clone(), ..things(0) }, fresh(), Vec::new());
    assert_eq!(steps, ["current", "record"]);
    // A person insists.
    let (_, outcome, _) = run(Things { record: cooling, ..things(0) }, Want::Forced, vec![asked()]);
    assert!(matches!(outcome, Outcome::Use(held) if held.set.generation == 2));
}

#[test]
fn somebody_elses_lease_is_waited_for_only_where_there_is_no_token() {
    let lease = Some(Lease { owner: "other".to_owned(), until: NOW.plus(LEASE) });
    let leased = |expires_in| {
        let things = things(expires_in);
        Things { record: Record { lease: lease.clone(), ..things.record.clone() }, ..things }
    };
    let (steps, outcome, _) = run(leased(60), fresh(), Vec::new());
    assert_eq!(steps, ["current", "record"]);
    assert!(matches!(outcome, Outcome::Use(_)));
    let (_, outcome, _) = run(leased(0), fresh(), Vec::new());
    assert!(matches!(outcome, Outcome::Later { code, at, .. } if code == "REFRESHING" && at >= NOW));
}

#[test]
fn what_the_secret_says_is_not_believed_where_the_table_knows_better() {
    let behind = Record { generation: 2, version: Some(first().next()), ..things(0).record };
    let (steps, outcome, _) = run(Things { record: behind, ..things(0) }, fresh(), Vec::new());
    assert!(!steps.contains(&"ask") && !steps.contains(&"write"), "{steps:?}");
    assert!(matches!(outcome, Outcome::Later { code, .. } if code == "SECRET_BEHIND"));
}

#[test]
fn a_question_is_not_begun_that_could_not_be_over_in_time() {
    let mut work = Refresh::new(name(), false, fresh(), "me".to_owned(), NOW.plus(Duration::from_millis(500)));
    work.begin();
    let things = things(0);
    work.next(Done::Secret(Seen::Held(things.current)), NOW, 0.0);
    let step = work.next(Done::Record(Some(Box::new(things.record))), NOW, 0.0);
    assert!(matches!(step, Step::End(Outcome::Later { .. })), "{step:?}");
    let asking = Asking { held: None, previous_secret: false, until: NOW.plus(LEASE) };
    assert_eq!(time_to_ask(asking.until, NOW), Some(ASK));
    assert_eq!(time_to_ask(asking.until, asking.until.minus(Duration::from_millis(999))), None);
}

#[test]
fn pauses_grow_and_are_bounded() {
    assert_eq!(cool_down(0, 1.0), Duration::from_secs(1));
    assert_eq!(cool_down(u32::MAX, 1.0), MAX_COOL);
    assert_eq!(cool_down(5, 0.0), Duration::ZERO);
}
