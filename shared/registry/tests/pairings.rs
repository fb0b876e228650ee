//! Pairings in the registry table of the local stack.

#![allow(clippy::unwrap_used)]

mod local;

use clawbridge_access::{AgentRecord, AppKey, AppSecret, Pairing, PairingCode, PairingState, Scope, Token};
use clawbridge_clock::Timestamp;
use clawbridge_registry::{Confirmation, Registry, RegistryError};
use local::{at, registry};
use std::time::Duration;

fn code(byte: u8) -> PairingCode {
    PairingCode::of([byte; 8])
}

fn pairing(byte: u8, agent: &str, now: Timestamp) -> Pairing {
    Pairing::new([byte; 12], agent, "zoe", &code(byte), Token::of([byte; 32]).hash(), now)
}

async fn with_agent() -> Registry {
    let registry = registry().await;
    let agent = AgentRecord::new("main", AppKey::of([1; 16]), AppSecret::of([1; 32]).hash(), at(0));
    assert!(registry.put_agent(&agent).await.unwrap());
    registry
}

#[tokio::test]
async fn a_confirmed_code_makes_its_token_good_for_its_agent_and_is_spent() {
    let registry = with_agent().await;
    let asked = pairing(1, "main", at(0));
    assert_eq!(registry.open_pairing(&asked, at(0)).await.unwrap(), Ok(()));
    assert_eq!(registry.token(&asked.token).await.unwrap(), None);
    assert_eq!(registry.pairings(at(0)).await.unwrap(), std::slice::from_ref(&asked));
    let Confirmation::Confirmed { pairing, token } = registry.confirm_pairing(&code(1), None, at(10)).await.unwrap()
    else {
        panic!("not confirmed");
    };
    assert_eq!((pairing.said, token.scopes.as_slice()), (PairingState::Confirmed, &[Scope::Agent("main".into())][..]));
    assert_eq!(registry.token(&asked.token).await.unwrap(), Some(*token));
    assert_eq!(registry.pairing(&asked.id).await.unwrap(), Some(*pairing));
    assert_eq!(registry.pairings(at(20)).await.unwrap(), []);
    assert_eq!(registry.confirm_pairing(&code(1), None, at(20)).await.unwrap(), Confirmation::Unknown);
}

#[tokio::test]
async fn a_code_that_is_late_refused_or_for_no_agent_makes_no_token_good() {
    let registry = with_agent().await;
    for (byte, agent) in [(1, "main"), (2, "main"), (3, "nobody")] {
        assert_eq!(registry.open_pairing(&pairing(byte, agent, at(0)), at(0)).await.unwrap(), Ok(()));
    }
    let id = pairing(2, "main", at(0)).id;
    assert_eq!(
        registry.refuse_pairing(&id, at(1)).await.unwrap().map(|pairing| pairing.said),
        Some(PairingState::Refused)
    );
    assert_eq!(registry.refuse_pairing(&id, at(1)).await.unwrap(), None);
    assert_eq!(registry.confirm_pairing(&code(2), None, at(2)).await.unwrap(), Confirmation::Unknown);
    assert_eq!(registry.confirm_pairing(&code(3), None, at(3)).await.unwrap(), Confirmation::NoAgent("nobody".into()));
    let late = at(900_000);
    assert_eq!(registry.confirm_pairing(&code(1), None, late).await.unwrap(), Confirmation::Unknown);
    assert_eq!(registry.pairings(late).await.unwrap(), []);
    for byte in 1..=3 {
        assert_eq!(registry.token(&pairing(byte, "main", at(0)).token).await.unwrap(), None, "{byte}");
    }
}

#[tokio::test]
async fn of_two_who_confirm_a_code_at_once_one_does() {
    let registry = with_agent().await;
    assert_eq!(registry.open_pairing(&pairing(1, "main", at(0)), at(0)).await.unwrap(), Ok(()));
    let code = code(1);
    let (a, b) =
        tokio::join!(registry.confirm_pairing(&code, None, at(1)), registry.confirm_pairing(&code, None, at(1)),);
    let confirmed = |one: &Result<Confirmation, RegistryError>| matches!(one, Ok(Confirmation::Confirmed { .. }));
    assert!(confirmed(&a) != confirmed(&b), "{a:?} {b:?}");
}

#[tokio::test]
async fn guessing_codes_is_slowed_down_and_a_right_one_is_no_guess() {
    let registry = with_agent().await;
    assert_eq!(registry.open_pairing(&pairing(1, "main", at(0)), at(0)).await.unwrap(), Ok(()));
    for n in 10..15 {
        assert_eq!(registry.confirm_pairing(&code(n), None, at(1)).await.unwrap(), Confirmation::Unknown);
    }
    let Confirmation::TooMany(refused) = registry.confirm_pairing(&code(1), None, at(1)).await.unwrap() else {
        panic!("not refused");
    };
    assert_eq!(refused.retry_after, Duration::from_secs(1));
    let after = at(1001);
    assert!(matches!(registry.confirm_pairing(&code(1), None, after).await.unwrap(), Confirmation::Confirmed { .. }));
    // Still five: the next one is let through at once.
    assert_eq!(registry.confirm_pairing(&code(9), None, after).await.unwrap(), Confirmation::Unknown);
}

#[tokio::test]
async fn only_so_many_pairings_wait_and_one_that_is_settled_makes_room() {
    let registry = with_agent().await;
    let moment = |n: u8| at(i64::from(n) * 15_000);
    for n in 0..20 {
        assert_eq!(registry.open_pairing(&pairing(n, "main", moment(n)), moment(n)).await.unwrap(), Ok(()), "{n}");
    }
    let next = pairing(20, "main", moment(20));
    assert!(registry.open_pairing(&next, moment(20)).await.unwrap().is_err());
    assert_eq!(registry.pairing(&next.id).await.unwrap(), None);
    assert!(registry.refuse_pairing(&pairing(7, "main", at(0)).id, moment(20)).await.unwrap().is_some());
    assert_eq!(registry.open_pairing(&next, moment(20)).await.unwrap(), Ok(()));
}
