//! Secrets Manager and the table, as far as one connection uses them.

use clawbridge_connections::record::{Change, Landed, Record, Rule as Written};
use clawbridge_connections::step::Done;
use clawbridge_connections::version::{Held, Seen, VersionId};
use clawbridge_oauth::TokenSet;
use std::collections::BTreeMap;

/// The secret at one moment.
#[derive(Clone, Debug)]
struct Secret {
    versions: BTreeMap<VersionId, TokenSet>,
    in_use: VersionId,
    is_deleting: bool,
}

/// The secret with what it was, and the item.
#[derive(Debug, Default)]
pub(super) struct Cloud {
    /// Each state with the moment from which it was so.
    secret: Vec<(u64, Option<Secret>)>,
    pub(super) record: Option<Record>,
    /// When each refresh token was stored.
    stored: BTreeMap<String, u64>,
}

impl Cloud {
    fn now(&self) -> Option<&Secret> {
        self.secret.last().and_then(|(_, secret)| secret.as_ref())
    }

    fn set(&mut self, now: u64, secret: Secret) {
        self.secret.push((now, Some(secret)));
    }

    fn at(&self, at: u64) -> Option<&Secret> {
        self.secret.iter().rev().find(|(from, _)| *from <= at).and_then(|(_, secret)| secret.as_ref())
    }

    /// What is in use, and since when.
    pub(super) fn in_use(&self) -> Option<(Held, u64)> {
        let secret = self.now().filter(|secret| !secret.is_deleting)?;
        let version = secret.in_use.clone();
        let same = |state: &(u64, Option<Secret>)| state.1.as_ref().is_some_and(|secret| secret.in_use == version);
        let since = self.secret.iter().rev().take_while(|state| same(state)).last().map_or(0, |(from, _)| *from);
        Some((Held { set: secret.versions[&version].clone(), version }, since))
    }

    /// What is in use, and what was stored after it, each with the moment since when.
    pub(super) fn chain(&self) -> Vec<(Held, u64)> {
        let (Some(first), Some(secret)) = (self.in_use(), self.now()) else { return Vec::new() };
        let after = |(held, _): &(Held, u64)| {
            let version = held.version.next();
            let set = secret.versions.get(&version)?.clone();
            let at = self.stored_at(set.refresh_token.as_deref().unwrap_or_default())?;
            Some((Held { version, set }, at))
        };
        std::iter::successors(Some(first), after).collect()
    }

    pub(super) fn is_deleting(&self) -> bool {
        self.now().is_some_and(|secret| secret.is_deleting)
    }

    /// When what was refreshed to this refresh token was stored.
    pub(super) fn stored_at(&self, refresh_token: &str) -> Option<u64> {
        self.stored.get(refresh_token).copied()
    }

    pub(super) fn read(&self, version: Option<&VersionId>, at: u64) -> Done {
        let Some(secret) = self.at(at) else { return Done::Secret(Seen::Missing) };
        if secret.is_deleting {
            return Done::Secret(Seen::Deleting);
        }
        let version = version.unwrap_or(&secret.in_use);
        Done::Secret(match secret.versions.get(version) {
            Some(set) => Seen::Held(Box::new(Held { version: version.clone(), set: set.clone() })),
            None => Seen::Missing,
        })
    }

    fn note(&mut self, set: &TokenSet, now: u64) {
        let token = set.refresh_token.clone().unwrap_or_default();
        self.stored.entry(token).or_insert(now);
    }

    pub(super) fn create(&mut self, held: &Held, now: u64) -> Done {
        match self.now() {
            Some(secret) if secret.is_deleting => Done::Gone,
            Some(secret) if secret.versions.get(&held.version) == Some(&held.set) => Done::Stored,
            Some(_) => Done::Taken,
            None => {
                let versions = BTreeMap::from([(held.version.clone(), held.set.clone())]);
                self.set(now, Secret { versions, in_use: held.version.clone(), is_deleting: false });
                self.note(&held.set, now);
                Done::Stored
            }
        }
    }

    pub(super) fn stash(&mut self, held: &Held, now: u64) -> Done {
        let Some(secret) = self.now().filter(|secret| !secret.is_deleting) else { return Done::Gone };
        match secret.versions.get(&held.version) {
            Some(set) if *set == held.set => Done::Stored,
            Some(_) => Done::Taken,
            None => {
                let mut secret = secret.clone();
                secret.versions.insert(held.version.clone(), held.set.clone());
                self.set(now, secret);
                self.note(&held.set, now);
                Done::Stored
            }
        }
    }

    pub(super) fn promote(&mut self, from: &VersionId, to: &VersionId, always: bool, now: u64) -> Done {
        let Some(secret) = self.now().filter(|secret| !secret.is_deleting) else { return Done::Gone };
        if !secret.versions.contains_key(to) || (!always && secret.in_use != *from) {
            return Done::NotInUse;
        }
        let mut secret = secret.clone();
        secret.in_use = to.clone();
        self.set(now, secret);
        Done::Promoted
    }

    pub(super) fn delete(&mut self, is_deleting: bool, now: u64) -> Done {
        if let Some(secret) = self.now() {
            let secret = Secret { is_deleting, ..secret.clone() };
            self.set(now, secret);
        }
        if is_deleting { Done::Deleted } else { Done::Restored }
    }

    pub(super) fn write(&mut self, change: &Change, always: bool) -> Done {
        let rule = match change.rule(self.record.as_ref()) {
            Written::Lost if always => Written::Write,
            rule => rule,
        };
        Done::Wrote(match rule {
            Written::Write => {
                self.record = Some(change.after.clone());
                Landed::Written(Box::new(change.after.clone()))
            }
            Written::Written => Landed::Written(Box::new(change.after.clone())),
            Written::Lost => Landed::Lost(self.record.clone().map(Box::new)),
        })
    }
}
