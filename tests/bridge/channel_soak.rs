//! Many users and agents who lose their connections: see `tests/soak`, which does more of the same.

use crate::support::{Bridge, Options};
use clawbridge_soak::{Figures, Manner, Plan, run};
use std::time::Duration;

#[tokio::test]
async fn every_answer_is_complete_and_in_order_whoever_loses_a_connection_or_says_why_not() {
    let args = ["--channel-shuffle", "7", "--channel-look", "1"].map(str::to_owned).to_vec();
    let bridge = Bridge::start_with(Options { config: Some(String::new()), args }).await;
    let plan = Plan {
        connections: 40,
        concurrent: 16,
        rounds: 3,
        agents: 2,
        manner: Manner { words: 8, pace: Duration::from_millis(250) },
        users_lost: 50,
        agents_lost: 40,
        patience: Duration::from_secs(60),
        seed: 1,
    };
    let figures: Figures = run(&bridge.public, &bridge.private, plan).await.expect("let in");
    assert_eq!(figures.violations, Vec::<String>::new(), "{figures:#?}");
    let ended: u64 = figures.ended.values().sum();
    assert_eq!((figures.responses, figures.complete + ended), (48, 48), "{figures:#?}");
    assert!(figures.complete >= figures.numbered && figures.numbered > 0, "{figures:#?}");
    // Otherwise it would show nothing.
    assert!(figures.resumed > 5 && figures.cables > 1, "{figures:#?}");
}
