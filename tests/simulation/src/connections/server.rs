//! An authorization server that may rotate refresh tokens, and revokes everything that came of a consent when a spent one is presented.

use std::collections::BTreeMap;

/// How it treats refresh tokens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// Each refresh makes the next refresh token, and spends the one before.
    pub(super) rotates: bool,
    /// A spent one may come again within so many milliseconds of being spent.
    pub(super) grace: u64,
    /// A spent one that comes again revokes everything that came of its consent; else it is refused, and that is all.
    pub(super) kills: bool,
    /// A consent ends what came of those before.
    pub(super) one_consent: bool,
}

#[derive(Clone, Copy, Debug)]
struct Token {
    consent: u64,
    spent: Option<(u64, u64)>,
}

/// What it makes of a refresh token.
#[derive(Clone, Debug)]
pub(super) enum Verdict {
    /// This is the next one.
    Granted(String),
    /// Spent, by this question.
    Reused(u64),
    /// Revoked, or unknown.
    Dead,
}

/// Its books.
#[derive(Debug)]
pub(super) struct Server {
    manner: Manner,
    tokens: BTreeMap<String, Token>,
    alive: BTreeMap<u64, bool>,
    issued: u64,
}

impl Server {
    pub(super) fn new(manner: Manner) -> Server {
        Server { manner, tokens: BTreeMap::new(), alive: BTreeMap::new(), issued: 0 }
    }

    fn issue(&mut self, consent: u64) -> String {
        self.issued += 1;
        let token = format!("{consent}.{}", self.issued);
        self.tokens.insert(token.clone(), Token { consent, spent: None });
        token
    }

    /// A person consents.
    pub(super) fn consent(&mut self) -> String {
        if self.manner.one_consent {
            self.revoke();
        }
        let consent = self.alive.len() as u64 + 1;
        self.alive.insert(consent, true);
        self.issue(consent)
    }

    /// Everything is revoked.
    pub(super) fn revoke(&mut self) {
        self.alive.values_mut().for_each(|alive| *alive = false);
    }

    /// Whether this refresh token would be taken.
    pub(super) fn is_good(&self, token: &str) -> bool {
        self.tokens.get(token).is_some_and(|token| token.spent.is_none() && self.alive[&token.consent])
    }

    pub(super) fn refresh(&mut self, presented: &str, ask: u64, now: u64) -> Verdict {
        let Some(token) = self.tokens.get(presented).copied() else { return Verdict::Dead };
        if !self.alive[&token.consent] {
            return Verdict::Dead;
        }
        match token.spent {
            _ if !self.manner.rotates => return Verdict::Granted(presented.to_owned()),
            None => {
                if let Some(token) = self.tokens.get_mut(presented) {
                    token.spent = Some((ask, now));
                }
            }
            Some((_, at)) if now <= at + self.manner.grace && self.manner.grace > 0 => {}
            Some((by, _)) => {
                if self.manner.kills {
                    self.alive.insert(token.consent, false);
                }
                return Verdict::Reused(by);
            }
        }
        Verdict::Granted(self.issue(token.consent))
    }
}

/// Which consent a refresh token came of.
pub(super) fn consent_of(token: &str) -> u64 {
    token.split_once('.').and_then(|(consent, _)| consent.parse().ok()).unwrap_or(0)
}
