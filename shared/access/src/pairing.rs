//! Pairings: somebody without a token asks for one that speaks with an agent, and the agent's owner says yes to the code that they show.
//!
//! Who asks gets the token at once, and it is good for nothing until the code is confirmed. So no secret travels between the two people: the code
//! is worth nothing to anybody who does not have the token. Asking needs no token, so it is bounded for everybody together ([`Gate`]); confirming is
//! the owner's, and guessing codes slows down ([`Guard`]). Pure: randomness and time are passed in.

use crate::token::TokenHash;
use clawbridge_clock::Timestamp;
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// For how long a code can be confirmed.
pub const PAIRING_LIFETIME: Duration = Duration::from_secs(15 * 60);

/// The most pairings that wait at a time.
pub const MAX_OPEN_PAIRINGS: usize = 20;

/// How many may be asked for at once, and in which time one more.
const BURST: u32 = 10;
const INTERVAL: Duration = Duration::from_secs(15);

/// How many wrong codes cost nothing; each one more doubles the wait, from a second up.
const FREE_MISTAKES: u32 = 5;
const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);

/// Wrong codes are forgotten when there was none for so long.
const FORGIVEN_AFTER: Duration = Duration::from_secs(60 * 60);

/// 32 digits and letters, without those that look like others (0 O, 1 I).
const LETTERS: &[u8; 32] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZ";

/// Letters of a code: 40 random bits.
const CODE_LETTERS: usize = 8;

/// A code as people read it to each other: `K7QF-2MXP`.
#[derive(Clone, PartialEq, Eq)]
pub struct PairingCode(String);

/// What is kept of a code: SHA-256 of it, in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairingCodeHash(String);

/// A text that is no code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a code has eight letters and digits, such as K7QF-2MXP, and none of 0, O, 1 and I")]
pub struct PairingCodeError;

/// What became of a pairing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairingState {
    /// Nobody has said anything.
    Pending,
    /// Its token is good.
    Confirmed,
    /// The owner said no.
    Refused,
    /// Nobody said anything in time.
    Expired,
}

/// A pairing as the registry keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pairing {
    /// `pair_` and 24 hexadecimal digits.
    pub id: String,
    /// The agent that it is about, as it was asked for: there may be none of that name.
    pub agent: String,
    /// Who asks, in their own words.
    pub name: String,
    /// Of the code.
    pub code: PairingCodeHash,
    /// Of the token that becomes good.
    pub token: TokenHash,
    /// Whether the owner has said something: never [`PairingState::Expired`].
    pub said: PairingState,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// Until when it can be confirmed.
    pub expires_at: Timestamp,
}

/// What all who ask for pairings share: a bucket and the pairings that wait.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gate {
    /// When the bucket is full again, milliseconds (see the generic cell rate algorithm, ITU-T I.371).
    pub full_at: i64,
    /// The ids of pairings that wait, and until when.
    pub open: Vec<(String, Timestamp)>,
}

/// What wrong codes have cost so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// How many there were.
    pub wrong: u32,
    /// When the last one came, milliseconds.
    pub last: i64,
}

/// Not now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many; try again in {} s", .retry_after.as_secs().max(1))]
pub struct TooMany {
    /// When it may be tried again.
    pub retry_after: Duration,
}

impl PairingCode {
    /// Of random bytes, five bits of each.
    #[must_use]
    pub fn of(random: [u8; CODE_LETTERS]) -> PairingCode {
        PairingCode(random.iter().map(|byte| char::from(LETTERS[usize::from(byte & 31)])).collect())
    }

    /// What is kept of it.
    #[must_use]
    pub fn hash(&self) -> PairingCodeHash {
        PairingCodeHash(hex::encode(Sha256::digest(format!("pairing code {}", self.0))))
    }

    /// As it is shown, once.
    #[must_use]
    pub fn reveal(&self) -> String {
        let (left, right) = self.0.split_at(CODE_LETTERS / 2);
        format!("{left}-{right}")
    }
}

// It is shown to who asks, not in logs.
impl fmt::Debug for PairingCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PairingCode(…)")
    }
}

impl FromStr for PairingCode {
    type Err = PairingCodeError;

    /// In either case, with or without its dash.
    fn from_str(text: &str) -> Result<PairingCode, PairingCodeError> {
        let letters: String = text.trim().chars().filter(|c| *c != '-').map(|c| c.to_ascii_uppercase()).collect();
        let is_code = letters.len() == CODE_LETTERS && letters.bytes().all(|byte| LETTERS.contains(&byte));
        if is_code { Ok(PairingCode(letters)) } else { Err(PairingCodeError) }
    }
}

impl PairingCodeHash {
    /// As a table has it.
    #[must_use]
    pub fn kept(text: &str) -> PairingCodeHash {
        PairingCodeHash(text.to_owned())
    }

    /// 64 hexadecimal digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PairingState {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            PairingState::Pending => "pending",
            PairingState::Confirmed => "confirmed",
            PairingState::Refused => "refused",
            PairingState::Expired => "expired",
        }
    }

    /// From the word for it.
    #[must_use]
    pub fn parse(word: &str) -> Option<PairingState> {
        let all = [PairingState::Pending, PairingState::Confirmed, PairingState::Refused, PairingState::Expired];
        all.into_iter().find(|state| state.as_str() == word)
    }
}

impl Pairing {
    /// A pairing that begins now.
    #[must_use]
    pub fn new(
        random: [u8; 12],
        agent: &str,
        name: &str,
        code: &PairingCode,
        token: TokenHash,
        now: Timestamp,
    ) -> Pairing {
        Pairing {
            id: format!("pair_{}", hex::encode(random)),
            agent: agent.to_owned(),
            name: name.to_owned(),
            code: code.hash(),
            token,
            said: PairingState::Pending,
            created_at: now,
            expires_at: now.plus(PAIRING_LIFETIME),
        }
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> PairingState {
        match self.said {
            PairingState::Pending if self.expires_at <= now => PairingState::Expired,
            said => said,
        }
    }

    /// What its token is called: who asked, and enough of the id that no other is called so.
    #[must_use]
    pub fn token_name(&self) -> String {
        let own = self.id.strip_prefix("pair_").unwrap_or(&self.id);
        format!("{}-{}", self.name.chars().take(MAX_NAME).collect::<String>(), own.chars().take(12).collect::<String>())
    }
}

/// The longest name of who asks: with what [`Pairing::token_name`] adds, a token can be called so.
const MAX_NAME: usize = 48;

/// Whether somebody who asks can be called so: 1 to 48 letters, digits, `-`, `_` and `.`.
#[must_use]
pub fn is_pairing_name(name: &str) -> bool {
    name.len() <= MAX_NAME && crate::is_token_name(name)
}

impl Gate {
    /// Lets another pairing in, if there is room.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn admit(mut self, id: &str, now: Timestamp) -> Result<Gate, TooMany> {
        let interval = millis(INTERVAL);
        let full_at = self.full_at.max(now.millis()) + interval;
        // One token is what this takes, the rest is what the bucket may lack.
        let over = full_at - now.millis() - interval * i64::from(BURST);
        if over > 0 {
            return Err(TooMany { retry_after: Duration::from_millis(over.unsigned_abs()) });
        }
        self.open.retain(|(_, until)| *until > now);
        if self.open.len() >= MAX_OPEN_PAIRINGS {
            let first = self.open.iter().map(|(_, until)| *until).min().unwrap_or(now);
            return Err(TooMany { retry_after: now.until(first) });
        }
        self.full_at = full_at;
        self.open.push((id.to_owned(), now.plus(PAIRING_LIFETIME)));
        Ok(self)
    }

    /// A pairing that was confirmed or refused waits no longer.
    #[must_use]
    pub fn without(mut self, id: &str) -> Gate {
        self.open.retain(|(open, _)| open != id);
        self
    }
}

impl Guard {
    /// Counts a code as wrong before it is looked at: whoever tries many at once gains nothing by it.
    ///
    /// # Errors
    /// [`TooMany`]: nothing is looked at.
    pub fn charge(self, now: Timestamp) -> Result<Guard, TooMany> {
        let known = if now.millis() - self.last > millis(FORGIVEN_AFTER) { Guard::default() } else { self };
        let allowed_at = known.last + millis(wait(known.wrong));
        if allowed_at > now.millis() {
            return Err(TooMany { retry_after: Duration::from_millis((allowed_at - now.millis()).unsigned_abs()) });
        }
        Ok(Guard { wrong: known.wrong.saturating_add(1), last: now.millis() })
    }
}

/// How long after the last of so many wrong codes the next one may come.
fn wait(wrong: u32) -> Duration {
    match wrong.checked_sub(FREE_MISTAKES) {
        None => Duration::ZERO,
        Some(beyond) => Duration::from_secs(1).saturating_mul(2u32.saturating_pow(beyond.min(20))).min(LONGEST_WAIT),
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Token;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + seconds * 1000)
    }

    #[test]
    fn a_code_is_read_as_people_write_it_and_is_not_in_its_hash() {
        let code = PairingCode::of([0, 1, 31, 32, 63, 8, 9, 255]);
        assert_eq!(code.reveal(), "23Z2-ZABZ");
        for text in ["23Z2-ZABZ", "23z2zabz", " 23Z2-zabz "] {
            assert_eq!(text.parse(), Ok(code.clone()), "{text}");
        }
        for text in ["", "23Z2-ZAB", "23Z2-ZABZZ", "O3Z2-ZABZ", "13Z2-ZABZ", "23Z2_ZABZ", "23Z2-ZAÉ"] {
            assert_eq!(text.parse::<PairingCode>(), Err(PairingCodeError), "{text}");
        }
        assert_eq!(code.hash().as_str().len(), 64);
        assert_ne!(code.hash(), PairingCode::of([0; 8]).hash());
        assert!(!format!("{code:?}").contains("23Z2"));
    }

    #[test]
    fn a_pairing_that_nobody_confirms_expires_and_one_that_was_settled_does_not() {
        let code = PairingCode::of([1; 8]);
        let pairing = Pairing::new([7; 12], "main", "zoe", &code, Token::of([1; 32]).hash(), at(0));
        assert_eq!(pairing.state(at(899)), PairingState::Pending);
        assert_eq!(pairing.state(at(900)), PairingState::Expired);
        let settled = Pairing { said: PairingState::Confirmed, ..pairing.clone() };
        assert_eq!(settled.state(at(900)), PairingState::Confirmed);
        assert_eq!(pairing.token_name(), "zoe-070707070707");
        let long = Pairing { name: "x".repeat(48), ..pairing };
        assert!(crate::is_token_name(&long.token_name()) && is_pairing_name(&long.name));
        assert!(!is_pairing_name(&"x".repeat(49)) && !is_pairing_name("") && !is_pairing_name("a b"));
    }

    #[test]
    fn a_few_may_ask_at_once_and_then_one_at_a_time() {
        let mut gate = Gate::default();
        for n in 0..10 {
            gate = gate.admit(&n.to_string(), at(0)).expect("room");
        }
        let refused = gate.clone().admit("x", at(0)).expect_err("too many");
        assert_eq!(refused.retry_after, Duration::from_secs(15));
        assert!(gate.clone().admit("x", at(14)).is_err());
        gate = gate.admit("x", at(15)).expect("room");
        assert!(gate.clone().admit("y", at(15)).is_err());
        assert_eq!(gate.open.len(), 11);
    }

    #[test]
    fn only_so_many_wait_at_a_time_and_each_makes_room_when_it_is_over() {
        let mut gate = Gate::default();
        let seconds = |n: usize| i64::try_from(n).expect("small") * 15;
        for n in 0..MAX_OPEN_PAIRINGS {
            gate = gate.admit(&n.to_string(), at(seconds(n))).expect("room");
        }
        let now = at(seconds(MAX_OPEN_PAIRINGS));
        let refused = gate.clone().admit("x", now).expect_err("too many");
        assert_eq!(refused.retry_after, now.until(at(900)));
        assert!(gate.clone().without("3").admit("x", now).is_ok());
        assert!(gate.admit("x", at(900)).is_ok());
    }

    #[test]
    fn wrong_codes_are_waited_for_longer_and_longer_and_forgiven_after_an_hour() {
        let mut guard = Guard::default();
        for _ in 0..FREE_MISTAKES {
            guard = guard.charge(at(0)).expect("free");
        }
        let mut now = 0;
        for expected in [1, 2, 4, 8, 16] {
            let refused = guard.charge(at(now)).expect_err("too early");
            assert_eq!(refused.retry_after, Duration::from_secs(expected));
            now += i64::try_from(expected).expect("small");
            guard = guard.charge(at(now)).expect("in time");
        }
        let many = Guard { wrong: 1000, last: at(0).millis() };
        assert_eq!(many.charge(at(899)).map_err(|error| error.retry_after), Err(Duration::from_secs(1)));
        assert_eq!(many.charge(at(3601)).map(|guard| guard.wrong), Ok(1));
    }
}
