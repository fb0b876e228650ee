//! Many users and agents at the channel of a running bridge, and all that connections can do to them.
//!
//! An agent's answer follows from the question, so whoever asked knows what must come. In each round some users lose their connections in the middle
//! of an answer and resume it, and some agents lose theirs: those that number their frames go on, those that do not have lost what was under way.
//!
//! **What must hold**: each user sees each event of a response once and in order, whichever connections it took; the deltas are the text of the
//! end; a response that is complete has the whole text of the question's answer; one that is not says why, and only agents that number
//! nothing and lost their connection have any. What does not hold is a violation, named with its question.

mod agent;
mod peer;
mod user;

pub use agent::{Agent, Keys, Manner, Speech};
pub use peer::Peer;
pub use user::{Had, User, Way};

use clawbridge_access::{AgentRecord, AppKey, AppSecret, Token, TokenRecord};
use clawbridge_aws::{Environment, sdk_config};
use clawbridge_clock::Timestamp;
use clawbridge_registry::Registry;
use serde::Serialize;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How many connections are made at a time: AWS takes 500 a second.
const AT_A_TIME: usize = 25;

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Users' connections that are open all the time.
    pub connections: usize,
    /// How many of them have an answer streamed at the same time.
    pub concurrent: usize,
    /// How often so many ask, each time others of the connections, in turns.
    pub rounds: usize,
    /// Agents of each kind.
    pub agents: usize,
    /// How agents answer.
    pub manner: Manner,
    /// How many of a hundred users lose their connection in the middle of an answer.
    pub users_lost: u8,
    /// How many of a hundred agents of each kind lose theirs in a round.
    pub agents_lost: u8,
    /// How long an answer may take.
    pub patience: Duration,
    /// From which all is drawn.
    pub seed: u64,
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Figures {
    /// Users' connections.
    pub connections: usize,
    /// Responses, and how they ended.
    pub responses: u64,
    /// With their whole text.
    pub complete: u64,
    /// Not complete, and said so: code and how often.
    pub ended: std::collections::BTreeMap<String, u64>,
    /// Of these of agents that number their frames.
    pub numbered: u64,
    /// Events that users saw.
    pub events: u64,
    /// Frames that agents sent.
    pub agent_frames: u64,
    /// Users' connections that were lost and their responses resumed.
    pub resumed: u64,
    /// Agents' connections that were lost.
    pub cables: u64,
    /// Milliseconds: making all connections, all rounds.
    pub connecting_ms: u64,
    /// All rounds.
    pub rounds_ms: u64,
    /// From asking to the first delta, milliseconds, median and 99th percentile.
    pub first_delta_ms: Option<(u64, u64)>,
    /// From asking to the end.
    pub whole_ms: Option<(u64, u64)>,
    /// What should not be.
    pub violations: Vec<String>,
}

/// Why nothing could be said.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Somebody was not let in.
    #[error("no connection: {0}")]
    Connect(String),
    /// The connection ended before there was a response to resume.
    #[error("the connection ended before the response was known")]
    Closed,
    /// Agents and tokens could not be made.
    #[error("agents and tokens: {0}")]
    Registry(String),
}

/// The answer to a question: so many words, each another.
#[must_use]
pub fn words(asked: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{asked}.{n} ")).collect()
}

/// Makes an agent and a token for it at the bridge whose private port is `private`.
///
/// # Errors
/// [`Failure::Registry`].
pub async fn enrol(private: &str, name: &str) -> Result<(Keys, String), Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::Registry(error.to_string());
    let config = sdk_config(&Environment::local(private)).map_err(|error| failed(&error))?;
    let registry = Registry::new(aws_sdk_dynamodb::Client::new(&config), "clawbridge-registry".to_owned());
    let now = Timestamp::now();
    let (key, secret) = (AppKey::of(fastrand::u128(..).to_be_bytes()), AppSecret::of(random()));
    let agent = AgentRecord::new(name, key.clone(), secret.hash(), now);
    let token = Token::of(random());
    let scope = format!("agent:{name}").parse().map_err(|_| Failure::Registry(format!("the scope agent:{name}")))?;
    let record = TokenRecord {
        hash: token.hash(),
        name: name.to_owned(),
        scopes: vec![scope],
        created_at: now,
        expires_at: None,
        last_used_at: None,
        rate: None,
    };
    let is_new = registry.put_agent(&agent).await.map_err(|error| failed(&error))?
        && registry.put_token(&record, now).await.map_err(|error| failed(&error))?;
    if !is_new {
        return Err(Failure::Registry(format!("{name} is there")));
    }
    Ok((
        Keys { key: key.as_str().to_owned(), secret: secret.reveal().to_owned() },
        format!("Bearer {}", token.reveal()),
    ))
}

fn random() -> [u8; 32] {
    std::array::from_fn(|_| fastrand::u8(..))
}

/// An agent of the run.
struct Enrolled {
    name: String,
    bearer: String,
    speech: Speech,
    agent: Agent,
}

/// Does it, at the bridge with these ports (`http://HOST:PORT`).
///
/// # Errors
/// [`Failure`]: agents or users could not even begin.
pub async fn run(public: &str, private: &str, plan: Plan) -> Result<Figures, Failure> {
    let mut draw = fastrand::Rng::with_seed(plan.seed);
    let mut agents = Vec::new();
    for speech in [Speech::Numbered, Speech::Bare] {
        for number in 0..plan.agents {
            let name = format!("{speech:?}-{number}").to_lowercase();
            let (keys, bearer) = enrol(private, &name).await?;
            let agent = Agent::start(public, keys, speech, plan.manner).await?;
            agents.push(Enrolled { name, bearer, speech, agent });
        }
    }
    let mut figures = Figures { connections: plan.connections, ..Figures::default() };
    let started = Instant::now();
    let users = (0..plan.connections).map(|index| {
        let Enrolled { name, bearer, .. } = &agents[index % agents.len()];
        User { public: public.to_owned(), agent: name.clone(), bearer: bearer.clone(), peer: None, previous: None }
    });
    let mut users = connected(users.collect()).await?;
    figures.connecting_ms = millis(started.elapsed());
    let started = Instant::now();
    let (mut firsts, mut wholes) = (Vec::new(), Vec::new());
    for round in 0..plan.rounds {
        let mut turns = JoinSet::new();
        for number in 0..plan.concurrent.min(users.len()) {
            let mut user = users.remove(0);
            let asked = format!("q{round}-{number}");
            let is_lost = draw.u8(0..100) < plan.users_lost;
            // Behind the four events that come before the first delta, or among them.
            let lost_after = is_lost.then(|| draw.u64(1..plan.manner.words as u64 + 2));
            let way = Way { words: plan.manner.words, lost_after, patience: plan.patience };
            turns.spawn(async move {
                let had = user.turn(&asked, way).await;
                (user, asked, had)
            });
        }
        let cables: Vec<(&Enrolled, Duration)> = agents
            .iter()
            .filter_map(|agent| {
                let at = plan.manner.pace.mul_f64(draw.f64() * plan.manner.words as f64);
                (draw.u8(0..100) < plan.agents_lost).then_some((agent, at))
            })
            .collect();
        let pulled: Vec<String> = cables.iter().map(|(agent, _)| agent.name.clone()).collect();
        figures.cables += cables.len() as u64;
        let pull = futures_util::future::join_all(cables.into_iter().map(|(agent, at)| async move {
            tokio::time::sleep(at).await;
            agent.agent.pull_the_cable();
        }));
        let end = async {
            while let Some(done) = turns.join_next().await {
                let Ok((user, asked, mut had)) = done else {
                    figures.violations.push("a user's part of this program failed".to_owned());
                    continue;
                };
                let speech = agents.iter().find(|agent| agent.name == user.agent).map(|agent| agent.speech);
                let may_end = speech == Some(Speech::Bare) && pulled.contains(&user.agent);
                if !had.status.is_empty() && had.status != "completed" && !may_end {
                    had.violations
                        .push(format!("{asked}: {} ended {} ({}), without a cause", user.agent, had.status, had.code));
                }
                if had.status.is_empty() {
                    had.violations.push(format!("{asked}: of {}", user.agent));
                }
                figures.count(&had, speech);
                firsts.extend(had.first_delta);
                wholes.push(had.took);
                users.push(user);
            }
        };
        tokio::join!(pull, end);
    }
    figures.rounds_ms = millis(started.elapsed());
    figures.agent_frames = agents.iter().map(|agent| agent.agent.frames()).sum();
    figures.first_delta_ms = spread(firsts);
    figures.whole_ms = spread(wholes);
    Ok(figures)
}

impl Figures {
    fn count(&mut self, had: &Had, speech: Option<Speech>) {
        self.responses += 1;
        self.numbered += u64::from(speech == Some(Speech::Numbered));
        self.events += had.events;
        self.resumed += had.resumed;
        self.violations.extend(had.violations.iter().cloned());
        match had.status.as_str() {
            "completed" => self.complete += 1,
            "" => {}
            status => *self.ended.entry(format!("{status} {}", had.code)).or_default() += 1,
        }
    }
}

async fn connected(users: Vec<User>) -> Result<Vec<User>, Failure> {
    let (mut waiting, mut making, mut made) = (users.into_iter(), JoinSet::new(), Vec::new());
    loop {
        while making.len() < AT_A_TIME
            && let Some(mut user) = waiting.next()
        {
            making.spawn(async move { user.connected().await.map(drop).map(|()| user) });
        }
        match making.join_next().await {
            Some(Ok(user)) => made.push(user?),
            Some(Err(error)) => return Err(Failure::Connect(error.to_string())),
            None => return Ok(made),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Median and 99th percentile, nearest rank, milliseconds.
fn spread(mut durations: Vec<Duration>) -> Option<(u64, u64)> {
    durations.sort_unstable();
    let rank = |percent: usize| durations.get((durations.len() * percent).div_ceil(100).checked_sub(1)?).copied();
    Some((millis(rank(50)?), millis(rank(99)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_follows_from_its_question_and_has_no_word_twice() {
        let answer = words("q", 20);
        assert_eq!((answer.len(), answer.concat()), (20, words("q", 20).concat()));
        assert_eq!(answer.iter().collect::<std::collections::BTreeSet<_>>().len(), 20);
        assert_ne!(answer, words("r", 20));
    }

    #[test]
    fn a_spread_is_of_values_that_were_measured() {
        let durations = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(spread(durations), Some((50, 99)));
        assert_eq!(spread(Vec::new()), None);
    }
}
