//! Addresses at which an upstream tells what came of a task: `/callbacks/TICKET`.
//!
//! A ticket is good for one attempt of one task until it expires, and is signed by the stack, so that the function that faces the internet
//! can refuse everything else without a table. That it counts once is the task's state: what has ended, or waits for another attempt, takes
//! no answer. Pure: key and clock are arguments.
//!
//! ```text
//! TICKET  = base64url(PAYLOAD) "." base64url(HMAC-SHA256(key, "clawbridge callback 1" NUL PAYLOAD))
//! PAYLOAD = EXPIRES "." ATTEMPT "." TASK          decimal Unix seconds, decimal, task id
//! ```
//!
//! Who has the address can answer: it is a capability, like a password reset link. It is in no log and no table.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clawbridge_clock::Timestamp;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// The secret that holds the key, below the stack's prefix: where `webhook` may read, and under a name that no source can have.
pub const KEY_NAME: &str = "sources/bridge/callbacks";

/// The longest ticket, characters.
pub const MAX_TICKET_CHARS: usize = 256;

const DOMAIN: &[u8] = b"clawbridge callback 1\0";

/// What a ticket is good for. Only a good ticket or [`Ticket::new`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    task: String,
    attempt: u32,
    expires_at: Timestamp,
}

/// Why a ticket is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// Not of the form, or not signed with the key.
    #[error("the address was not made by this stack, or with a key that is no longer valid")]
    Forged,
    /// Its time is over.
    #[error("the address has expired")]
    Expired,
}

impl Ticket {
    /// For an answer to this attempt of a task, until then.
    #[must_use]
    pub fn new(task: &str, attempt: u32, expires_at: Timestamp) -> Ticket {
        Ticket { task: task.to_owned(), attempt, expires_at }
    }

    /// The task's id.
    #[must_use]
    pub fn task(&self) -> &str {
        &self.task
    }

    /// The attempt.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// As it stands in an address.
    #[must_use]
    pub fn write(&self, key: &[u8]) -> String {
        let payload = format!("{}.{}.{}", self.expires_at.seconds(), self.attempt, self.task);
        let tag = mac(key, payload.as_bytes()).finalize().into_bytes();
        format!("{}.{}", URL_SAFE_NO_PAD.encode(&payload), URL_SAFE_NO_PAD.encode(tag))
    }

    /// Reads a ticket that one of the keys has signed. Expiry is looked at last: only who had a good ticket learns of it.
    ///
    /// # Errors
    /// See [`TicketError`].
    pub fn read(text: &str, keys: &[&[u8]], now: Timestamp) -> Result<Ticket, TicketError> {
        if text.len() > MAX_TICKET_CHARS {
            return Err(TicketError::Forged);
        }
        let (payload, tag) = text.split_once('.').ok_or(TicketError::Forged)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| TicketError::Forged);
        let (payload, tag) = (decode(payload)?, decode(tag)?);
        // An empty key is none: anybody has it.
        let good = |key: &&&[u8]| !key.is_empty() && mac(key, &payload).verify_slice(&tag).is_ok();
        keys.iter().find(good).ok_or(TicketError::Forged)?;
        let payload = String::from_utf8(payload).map_err(|_| TicketError::Forged)?;
        let mut parts = payload.splitn(3, '.');
        let (Some(expires), Some(attempt), Some(task)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(TicketError::Forged);
        };
        let seconds: i64 = expires.parse().map_err(|_| TicketError::Forged)?;
        let attempt = attempt.parse().map_err(|_| TicketError::Forged)?;
        if seconds <= now.seconds() {
            return Err(TicketError::Expired);
        }
        Ok(Ticket::new(task, attempt, Timestamp::from_millis(seconds.saturating_mul(1000))))
    }
}

fn mac(key: &[u8], payload: &[u8]) -> Hmac<Sha256> {
    let mut mac = <Hmac<Sha256>>::new_from_slice(key)
        .expect("RFC 2104 section 2: a key of any length is padded or hashed to the block size");
    mac.update(DOMAIN);
    mac.update(payload);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: &[u8] = b"a key of the stack's own";
    const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

    fn ticket() -> Ticket {
        Ticket::new("task_0123456789abcdef01234567", 3, Timestamp::from_millis(1_790_003_600_000))
    }

    #[test]
    fn a_ticket_is_read_as_it_was_written_by_the_key_now_and_the_one_before() {
        let text = ticket().write(KEY);
        assert!(
            text.len() <= MAX_TICKET_CHARS && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        );
        assert_eq!(Ticket::read(&text, &[KEY], NOW), Ok(ticket()));
        assert_eq!(Ticket::read(&text, &[b"new", KEY], NOW), Ok(ticket()));
    }

    #[test]
    fn what_is_not_a_good_ticket_of_its_time_is_refused() {
        let text = ticket().write(KEY);
        let (payload, tag) = text.split_once('.').expect("two parts");
        let signed = |payload: &str| {
            let tag = mac(KEY, payload.as_bytes()).finalize().into_bytes();
            format!("{}.{}", URL_SAFE_NO_PAD.encode(payload), URL_SAFE_NO_PAD.encode(tag))
        };
        let other = URL_SAFE_NO_PAD.encode("9999999999.3.task_0123456789abcdef01234567");
        for (text, keys, expected) in [
            (text.clone(), vec![b"other".as_slice()], TicketError::Forged),
            (text.clone(), vec![], TicketError::Forged),
            (Ticket::new("t", 1, ticket().expires_at).write(b""), vec![b"".as_slice()], TicketError::Forged),
            (format!("{other}.{tag}"), vec![KEY], TicketError::Forged),
            (format!("{payload}."), vec![KEY], TicketError::Forged),
            (payload.to_owned(), vec![KEY], TicketError::Forged),
            (String::new(), vec![KEY], TicketError::Forged),
            (format!("{text}x"), vec![KEY], TicketError::Forged),
            ("x".repeat(10_000), vec![KEY], TicketError::Forged),
            (signed("soon.3.task"), vec![KEY], TicketError::Forged),
            (signed("1790000001.-3.task"), vec![KEY], TicketError::Forged),
            (signed("1790000001.3"), vec![KEY], TicketError::Forged),
            (signed("1790000000.3.task"), vec![KEY], TicketError::Expired),
        ] {
            assert_eq!(Ticket::read(&text, &keys, NOW), Err(expected), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_changed_character_is_refused(at in 0..200_usize, to in "[A-Za-z0-9_.-]") {
            let text = ticket().write(KEY);
            let at = at % text.len();
            let changed = format!("{}{to}{}", &text[..at], &text[at + 1..]);
            prop_assume!(changed != text);
            prop_assert!(Ticket::read(&changed, &[KEY], NOW).is_err());
        }

        #[test]
        fn nothing_panics(text in "\\PC{0,300}") {
            prop_assert!(Ticket::read(&text, &[KEY], NOW).is_err());
        }
    }
}
