//! Lanes: the table's part of them, and what must not happen there.

use super::{Event, World};
use crate::queue::Said;
use crate::rules::Rule;
use crate::violation::Violation;
use clawbridge_clock::Timestamp;
use clawbridge_tasks::change::Rule as Written;
use clawbridge_tasks::lane::{Lane, LaneChange, LaneLanded, Seat};
use clawbridge_tasks::machine::{Ask, Wish};
use clawbridge_tasks::{NewTask, Record, State, task_id};
use serde_json::Value;
use std::collections::BTreeMap;

/// The lanes as they stand, and what is known about them from outside the bridge.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    table: BTreeMap<String, Lane>,
    /// Which tasks belong where: what the bridge was asked for, whatever it makes of it.
    seats: BTreeMap<String, Seat>,
    /// Which stays of tasks have been seen in their lanes.
    joined: BTreeMap<String, u32>,
    /// Who has begun in a lane and has not let go of it.
    holders: BTreeMap<String, String>,
}

type Place<'a> = (Timestamp, u32, &'a str);

impl Lanes {
    pub(super) fn get(&self, lane: &str) -> Option<&Lane> {
        self.table.get(lane)
    }

    pub(super) fn seated(&self) -> u64 {
        self.seats.len() as u64
    }

    fn place<'a>(&self, task: &'a str) -> Option<Place<'a>> {
        self.seats.get(task).map(|seat| (seat.received_at, seat.nth, task))
    }
}

impl World {
    /// Notes where tasks belong that are accepted.
    pub(super) fn seat(&mut self, tasks: &mut [NewTask]) {
        for task in tasks {
            if let Some(seat) = &task.seat {
                self.lanes.seats.insert(task_id(&task.tool, &task.key), seat.clone());
            }
            if self.rule == Rule::OrderDropped {
                task.seat = None;
            }
        }
    }

    pub(super) fn write_lane(&mut self, change: &LaneChange) -> LaneLanded {
        let id = change.after.id.clone();
        let current = self.lanes.table.get(&id).cloned();
        match change.rule(current.as_ref()) {
            Written::Write => {
                let mut after = change.after.clone();
                let known = |task: &str| current.iter().flat_map(|lane| &lane.entries).any(|entry| entry.task == task);
                if self.rule == Rule::JoinedAtTheEnd
                    && let Some(place) = after.entries.iter().position(|entry| !known(&entry.task))
                {
                    let new = after.entries.remove(place);
                    after.entries.push(new);
                }
                let told = after.clone();
                if self.rule == Rule::BeginUnmarked {
                    after.has_begun = false;
                }
                self.trace(|| {
                    let tasks: Vec<String> =
                        after.entries.iter().map(|entry| format!("{}/{}", entry.task, entry.stay)).collect();
                    let begun = if told.has_begun { " begun" } else { "" };
                    format!("{id} {}:{begun} {}", after.version, tasks.join(" "))
                });
                let first = |lane: &Lane| lane.has_begun.then(|| lane.entries[0].task.clone());
                let begins = first(&told).filter(|task| current.as_ref().and_then(first).as_ref() != Some(task));
                self.lanes.table.insert(id, after);
                if let Some(task) = begins {
                    self.begins(&task);
                }
                for entry in &told.entries {
                    self.lanes.joined.insert(entry.task.clone(), entry.stay);
                }
                LaneLanded::Written(Box::new(told))
            }
            Written::Written => LaneLanded::Written(Box::new(change.after.clone())),
            Written::Lost => {
                self.report.figures.races += 1;
                LaneLanded::Lost(current.map(Box::new))
            }
        }
    }

    /// A task has its turn: nobody may be waiting whose event was taken before.
    fn begins(&mut self, task: &str) {
        self.report.figures.turns += 1;
        let (Some(seat), Some(place)) = (self.lanes.seats.get(task), self.lanes.place(task)) else { return };
        let others =
            self.lanes.seats.iter().filter(|(_, other)| other.lane == seat.lane).map(|(other, _)| other.clone());
        for other in others.filter(|other| other != task).collect::<Vec<String>>() {
            if self.lanes.place(&other).is_none_or(|other| other > place) {
                continue;
            }
            match (self.table.get(&other), self.lanes.joined.get(&other)) {
                (_, None) => self.report.figures.late += 1,
                (Some(record), Some(stay)) => {
                    let waits =
                        record.seat.as_ref().is_some_and(|seat| seat.stay == *stay && !seat.lets_go(record.state));
                    if waits {
                        self.violated(Violation::OutOfOrder { task: task.to_owned(), before: other });
                    }
                }
                (None, Some(_)) => {}
            }
        }
    }

    /// A record has been written: who begins must be alone, and who has ended lets go.
    pub(super) fn mind_the_lane(&mut self, record: &Record) {
        let Some(seat) = self.lanes.seats.get(&record.id).cloned() else { return };
        let task = record.id.clone();
        if record.state == State::Running {
            if let Some(other) = self.lanes.holders.insert(seat.lane.clone(), task.clone())
                && other != task
            {
                self.violated(Violation::LaneOverlap { task: task.clone(), other });
            }
        } else if seat.lets_go(record.state) && self.lanes.holders.get(&seat.lane) == Some(&task) {
            self.lanes.holders.remove(&seat.lane);
        }
        if record.state == State::Parked && !seat.skip_parked {
            self.after(60_000, 600_000, Event::Relieve(task));
        }
    }

    /// A person decides about a task that holds up others.
    pub(super) fn relieve(&mut self, task: &str) {
        let Some(record) = self.table.get(task).filter(|record| record.state == State::Parked) else { return };
        let after_attempt = record.attempt;
        let deeds = self.upstream.of(task);
        let wish = match self.rng.u32(0..3) {
            0 => Wish::Fail { reason: None },
            _ if deeds.effects > 0 => Wish::Done { result: Value::Null },
            _ => Wish::Retry,
        };
        deeds.wanted += u32::from(wish == Wish::Retry);
        deeds.said_done |= matches!(wish, Wish::Done { .. });
        self.trace(|| format!("{task}: a person sees to it and wants {wish:?}"));
        self.send(Said::Task { task: task.to_owned(), ask: Ask::Person { after_attempt, wish } }, self.now);
    }
}
