//! Reading what protects upstreams: `limit`, `circuit` and `retry_budget` of a tool, and the limits that tools share, `[limits.NAME]`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::compiled::CompiledTool;
use crate::diagnostic::Code;
use crate::document;
use crate::model::Limits;
use crate::node::{Data, Entry, Node};
use crate::reader::{Fields, Found, Reader, nearest, short};
use crate::units::{UnitError, number_and_unit};

/// The most limits that tools share.
const MAX_SHARED: usize = 64;

/// How often: a whole number of calls by second, minute or hour, `10/s`, `100/m`, `5000/h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Rate {
    calls: u32,
    unit: Unit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Second,
    Minute,
    Hour,
}

impl Unit {
    fn as_str(self) -> &'static str {
        match self {
            Self::Second => "s",
            Self::Minute => "m",
            Self::Hour => "h",
        }
    }

    fn seconds(self) -> u32 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3600,
        }
    }
}

impl Rate {
    /// The most calls by unit of time.
    const MAX_CALLS: u32 = 1_000_000;

    /// How many calls in [`Rate::period`].
    #[must_use]
    pub fn calls(self) -> u32 {
        self.calls
    }

    /// A second, a minute or an hour.
    #[must_use]
    pub fn period(self) -> Duration {
        Duration::from_secs(self.unit.seconds().into())
    }

    /// The calls of one second, at least one: the burst, if nothing else is said.
    fn of_a_second(self) -> u32 {
        (self.calls / self.unit.seconds()).clamp(1, Limit::MAX_BURST)
    }
}

impl FromStr for Rate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (calls, unit) = number_and_unit(text).ok_or(UnitError::Unreadable)?;
        let unit = match unit {
            "/s" => Unit::Second,
            "/m" => Unit::Minute,
            "/h" => Unit::Hour,
            _ => return Err(UnitError::Unreadable),
        };
        let calls = u32::try_from(calls).ok().filter(|calls| (1..=Self::MAX_CALLS).contains(calls));
        calls.map(|calls| Self { calls, unit }).ok_or(UnitError::OutOfRange)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.calls, self.unit.as_str())
    }
}

/// A time of a circuit: a whole number of `s` or `m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Span(u32);

impl Span {
    const WINDOW: (Self, Self) = (Self(1), Self(3600));
    /// From 10 s, twice what an environment may be behind in learning that a circuit is open.
    const OPEN: (Self, Self) = (Self(10), Self(900));

    /// The time as a duration.
    #[must_use]
    pub fn duration(self) -> Duration {
        Duration::from_secs(self.0.into())
    }
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = number_and_unit(text).ok_or(UnitError::Unreadable)?;
        let seconds = match unit {
            "s" => Some(number),
            "m" => number.checked_mul(60),
            _ => return Err(UnitError::Unreadable),
        };
        seconds.and_then(|seconds| u32::try_from(seconds).ok()).map(Self).ok_or(UnitError::OutOfRange)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.0)
    }
}

/// A share of calls: a whole number of percent, `50%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Share(u8);

impl Share {
    /// From 1 to 100.
    #[must_use]
    pub fn percent(self) -> u8 {
        self.0
    }
}

impl FromStr for Share {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, "%") = number_and_unit(text).ok_or(UnitError::Unreadable)? else {
            return Err(UnitError::Unreadable);
        };
        let percent = u8::try_from(number).ok().filter(|percent| (1..=100).contains(percent));
        percent.map(Self).ok_or(UnitError::OutOfRange)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

crate::units::as_text!(Rate, Span, Share);

/// What has a bucket, and slots, of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Per {
    /// The tool. Not of a limit that tools share.
    Tool,
    /// The limit that tools share: all of them draw from one bucket, and hold slots of one set.
    Limit,
    /// The credential that is sent: all tools that send one secret draw from one bucket, and hold slots of one set.
    Credential,
}

impl Per {
    fn as_str(self) -> &'static str {
        match self {
            Self::Tool => "tool",
            Self::Limit => "limit",
            Self::Credential => "credential",
        }
    }
}

/// How often an upstream may be called and how many calls may be under way, by all environments together. At least one of the two is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// How often, on average. `None`: as often as there is work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// How many calls may be made at once after a pause. Set if and only if there is a rate. Default: the calls of one second, at least one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// How many calls may be under way at one time, 1 to 100. `None`: as many as there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// What is counted together. Default: the tool, or the limit that tools share.
    pub per: Per,
}

impl Limit {
    /// The largest burst.
    pub const MAX_BURST: u32 = 100_000;
    /// The most calls under way: each has its place in one item of the table, whose size is paid for with each write.
    pub const MAX_CONCURRENCY: u32 = 100;

    /// How often and how many at once, where that is limited.
    #[must_use]
    pub fn bucket(&self) -> Option<(Rate, u32)> {
        self.rate.map(|rate| (rate, self.burst.unwrap_or_else(|| rate.of_a_second())))
    }
}

/// A tool's limit: its own, or the name of one that tools share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ToolLimit {
    /// `limit = "NAME"`, which `[limits.NAME]` declares.
    Shared(String),
    /// `[tools.NAME.limit]`.
    Own(Limit),
}

/// When a tool's upstream is left alone because it fails, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Circuit {
    /// So many failed calls within [`Circuit::window`] open it, 1 to 50. Default 5.
    pub failures: u32,
    /// 1s to 60m. Default 60s.
    pub window: Span,
    /// If set, only where at least this share of the calls failed; for tools that are called so often that some always fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<Share>,
    /// How long it stays open the first time, 10s to 15m. Default 30s. Doubled each time that the probes fail.
    pub open: Span,
    /// How many calls are let through to see whether the upstream works again; all must succeed. 1 to 10, default 1.
    pub probes: u32,
}

impl Default for Circuit {
    fn default() -> Self {
        Self { failures: 5, window: Span(60), share: None, open: Span(30), probes: 1 }
    }
}

/// How many of a tool's calls may be retries: calls of tasks that the upstream has made fail before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryBudget {
    /// So many for each hundred first attempts. Default 20%.
    pub share: Share,
    /// And so many whatever there are of those, so that what is called seldom is tried again at all. Default 1/s.
    pub rate: Rate,
}

impl RetryBudget {
    /// How many retries of [`RetryBudget::rate`] may be made at once: those of one second, at least one.
    #[must_use]
    pub fn burst(&self) -> u32 {
        self.rate.of_a_second()
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { share: Share(20), rate: Rate { calls: 1, unit: Unit::Second } }
    }
}

/// The limit that a tool's calls keep to, looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompiledLimit {
    /// The name of the limit if tools share it; `None` if it is the tool's own.
    pub shared: Option<String>,
    /// The limit.
    pub limit: Limit,
}

/// Read `limit` of a tool. A name is looked up by [`resolve`], when the whole document is read.
pub(crate) fn of_tool(reader: &mut Reader<'_>, fields: &Fields<'_>, has_credential: bool) -> Option<ToolLimit> {
    let entry = fields.entry("limit")?;
    let path = fields.path_of("limit");
    if let Data::Text(text) = &entry.node.data {
        return Some(ToolLimit::Shared(text.value.clone()));
    }
    let Data::Table(_) = &entry.node.data else {
        let message = format!("{path} must be a table, or the name of a limit that tools share");
        reader.error(Code::WrongType, &path, entry.node.at, message);
        return None;
    };
    let limit = limit(reader, entry, &path, Per::Tool)?;
    if limit.per == Per::Credential && !has_credential {
        let message = format!("{path}.per is \"credential\", but {} has no auth", fields.path);
        let at = entry.node.at_pointer("/per").at;
        reader.error(Code::InvalidValue, &format!("{path}.per"), at, message).suggestion =
            Some("leave per out, or name the tool's secret in auth".to_owned());
    }
    Some(ToolLimit::Own(limit))
}

/// Read a limit, whose `per` is `whole` if nothing else is said.
fn limit(reader: &mut Reader<'_>, entry: &Entry, path: &str, whole: Per) -> Option<Limit> {
    let fields = reader.table(&entry.node, path, &["rate", "burst", "concurrency", "per"])?;
    let found = reader.optional(&fields, "rate");
    let rate = found.as_ref().map(|found| rate(reader, found));
    let default = rate.flatten().map_or(1, Rate::of_a_second);
    let burst = reader.integer(&fields, "burst", 1..=Limit::MAX_BURST, default);
    let concurrency = reader.optional_integer(&fields, "concurrency", 1..=Limit::MAX_CONCURRENCY);
    if fields.entry("rate").is_none() {
        if let Some(burst) = fields.entry("burst") {
            let message = format!("{path}.burst says nothing without {path}.rate");
            reader.error(Code::InvalidValue, &format!("{path}.burst"), burst.node.at, message).suggestion =
                Some("leave burst out, or add rate; how many calls may be under way is concurrency".to_owned());
        } else if concurrency.is_none() {
            let message = format!("{path} has neither rate nor concurrency, and limits nothing");
            reader.error(Code::MissingKey, path, entry.node.at, message).suggestion =
                Some("add rate = \"10/s\", concurrency = 5, or both".to_owned());
        }
    }
    let per = match reader.optional(&fields, "per") {
        None => Some(whole),
        Some(found) => per(reader, &found, whole),
    };
    // A rate that cannot be read has been reported.
    let rate = match rate {
        Some(rate) => Some(rate?),
        None => None,
    };
    Some(Limit { rate, burst: rate.map(|_| burst), concurrency, per: per? })
}

fn rate(reader: &mut Reader<'_>, found: &Found<'_>) -> Option<Rate> {
    let form = "a rate such as \"10/s\", \"100/m\" or \"5000/h\"";
    match found.value().parse() {
        Ok(rate) => return Some(rate),
        Err(UnitError::Unreadable) => {
            let message = format!("{} must be {form}, not {:?}", found.path, short(found.value()));
            reader.error(Code::InvalidRate, &found.path, found.at, message)
        }
        Err(UnitError::OutOfRange) => {
            let message = format!("{} must be from 1 to {} calls, not {}", found.path, Rate::MAX_CALLS, found.value());
            reader.error(Code::OutOfRange, &found.path, found.at, message)
        }
    };
    None
}

fn per(reader: &mut Reader<'_>, found: &Found<'_>, whole: Per) -> Option<Per> {
    let all = [whole, Per::Credential];
    let known = all.into_iter().find(|per| per.as_str() == found.value());
    if known.is_none() {
        let words = all.map(Per::as_str);
        let message = format!("{} is {:?}, which is none of {}", found.path, short(found.value()), words.join(", "));
        reader.error(Code::InvalidValue, &found.path, found.at, message).suggestion =
            nearest(found.value(), &words).map(|near| format!("did you mean {near:?}?"));
    }
    known
}

/// Read `circuit` of a tool.
pub(crate) fn circuit(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<Circuit> {
    let entry = fields.entry("circuit")?;
    let path = fields.path_of("circuit");
    let fields = reader.table(&entry.node, &path, &["failures", "window", "share", "open", "probes"])?;
    let default = Circuit::default();
    Some(Circuit {
        failures: reader.integer(&fields, "failures", 1..=50, default.failures),
        window: span(reader, &fields, "window", Span::WINDOW).unwrap_or(default.window),
        share: reader.optional(&fields, "share").and_then(|found| share(reader, &found)),
        open: span(reader, &fields, "open", Span::OPEN).unwrap_or(default.open),
        probes: reader.integer(&fields, "probes", 1..=10, default.probes),
    })
}

/// Read `retry_budget` of a tool.
pub(crate) fn retry_budget(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<RetryBudget> {
    let entry = fields.entry("retry_budget")?;
    let path = fields.path_of("retry_budget");
    let fields = reader.table(&entry.node, &path, &["share", "rate"])?;
    let default = RetryBudget::default();
    let share = reader.optional(&fields, "share").map_or(Some(default.share), |found| share(reader, &found));
    let rate = reader.optional(&fields, "rate").map_or(Some(default.rate), |found| rate(reader, &found));
    Some(RetryBudget { share: share?, rate: rate? })
}

fn span(reader: &mut Reader<'_>, fields: &Fields<'_>, key: &str, (min, max): (Span, Span)) -> Option<Span> {
    let found = reader.optional(fields, key)?;
    let out_of_range = match found.value().parse::<Span>() {
        Ok(span) if (min..=max).contains(&span) => return Some(span),
        Ok(_) | Err(UnitError::OutOfRange) => true,
        Err(UnitError::Unreadable) => false,
    };
    let shown = short(found.value());
    if out_of_range {
        let message = format!("{} must be from {min} to {max}, not {shown}", found.path);
        reader.error(Code::OutOfRange, &found.path, found.at, message);
    } else {
        let message = format!("{} must be a time such as \"30s\" or \"5m\", not {shown:?}", found.path);
        reader.error(Code::InvalidDuration, &found.path, found.at, message);
    }
    None
}

fn share(reader: &mut Reader<'_>, found: &Found<'_>) -> Option<Share> {
    match found.value().parse() {
        Ok(share) => return Some(share),
        Err(UnitError::OutOfRange) => {
            let message = format!("{} must be from 1% to 100%, not {}", found.path, short(found.value()));
            reader.error(Code::OutOfRange, &found.path, found.at, message)
        }
        Err(UnitError::Unreadable) => {
            let message =
                format!("{} must be a share of the calls such as \"50%\", not {:?}", found.path, short(found.value()));
            reader.error(Code::InvalidValue, &found.path, found.at, message)
        }
    };
    None
}

/// Read `[limits]`: bounds on the bridge itself by their names, and limits that tools share by theirs.
pub(crate) fn limits(reader: &mut Reader<'_>, entry: &Entry) -> Limits {
    let mut limits = Limits::default();
    let Some(fields) = reader.any_table(&entry.node, "limits") else { return limits };
    limits.max_hops = reader.integer(&fields, "max_hops", 1..=32, limits.max_hops);
    let shared = fields.entries().iter().filter(|entry| entry.key != "max_hops");
    for (index, entry) in shared.enumerate() {
        let path = fields.path_of(&entry.key);
        let Data::Table(_) = &entry.node.data else {
            let message = format!(
                "limits has no key {:?}; beside max_hops it has limits that tools share, as tables [limits.NAME]",
                short(&entry.key)
            );
            reader.error(Code::UnknownKey, &path, entry.key_at, message).suggestion =
                nearest(&entry.key, &["max_hops"]).map(|near| format!("did you mean {near:?}?"));
            continue;
        };
        if index >= MAX_SHARED {
            let message = format!("there are more than {MAX_SHARED} limits that tools share");
            reader.error(Code::TooLarge, "limits", entry.key_at, message);
            break;
        }
        if !document::is_name(&entry.key, b"-_") {
            let message = format!(
                "{:?} cannot be the name of a limit: names have up to 64 small letters, digits, - and _",
                short(&entry.key)
            );
            reader.error(Code::InvalidName, &path, entry.key_at, message);
        }
        limits.shared.extend(limit(reader, entry, &path, Per::Limit).map(|limit| (entry.key.clone(), limit)));
    }
    limits
}

/// Look up the limits that tools name, and tell of those that are not there.
pub(crate) fn resolve(
    reader: &mut Reader<'_>,
    document: &Node,
    tools: &mut BTreeMap<String, CompiledTool>,
    limits: &Limits,
) {
    let declared: Vec<&str> = match &document.at_pointer("/limits").data {
        Data::Table(entries) => {
            entries.iter().map(|entry| entry.key.as_str()).filter(|key| *key != "max_hops").collect()
        }
        _ => Vec::new(),
    };
    let mut by_credential: BTreeMap<String, (String, Limit)> = BTreeMap::new();
    for (name, tool) in tools {
        let shared = match &tool.tool.limit {
            None => continue,
            Some(ToolLimit::Own(limit)) => {
                if let (Per::Credential, Some(auth)) = (limit.per, &tool.tool.auth) {
                    let own = (name.clone(), *limit);
                    let (other, others) = by_credential.entry(auth.credential.name().to_owned()).or_insert(own);
                    if others != limit {
                        let path = format!("tools.{name}.limit");
                        let at = document.at_pointer(&format!("/tools/{name}/limit")).at;
                        let message = format!(
                            "{path} and tools.{other}.limit are by the same credential, so that both tools draw from one bucket, and differ"
                        );
                        reader.error(Code::InvalidValue, &path, at, message).suggestion =
                            Some("declare one [limits.NAME] with per = \"credential\", and name it in both".to_owned());
                    }
                }
                tool.limit = Some(CompiledLimit { shared: None, limit: *limit });
                continue;
            }
            Some(ToolLimit::Shared(shared)) => shared.clone(),
        };
        let path = format!("tools.{name}.limit");
        let at = document.at_pointer(&format!("/tools/{name}/limit")).at;
        let Some(limit) = limits.shared.get(&shared) else {
            // A limit that is there and wrong has been reported.
            if !declared.contains(&shared.as_str()) {
                let message = format!("{path} is {:?}, which is not declared", short(&shared));
                let near = nearest(&shared, &declared).map(|near| format!("did you mean {near:?}?"));
                let table = || format!("declare it as [limits.{}]", short(&shared));
                reader.error(Code::UnknownLimit, &path, at, message).suggestion = Some(near.unwrap_or_else(table));
            }
            continue;
        };
        if limit.per == Per::Credential && tool.tool.auth.is_none() {
            let message = format!("{path}: limits.{shared} is by credential, but tools.{name} has no auth");
            reader.error(Code::InvalidValue, &path, at, message).suggestion =
                Some("give the tool a limit of its own, or name its secret in auth".to_owned());
        }
        tool.limit = Some(CompiledLimit { shared: Some(shared), limit: *limit });
    }
}

#[cfg(test)]
#[path = "limit_tests.rs"]
mod tests;
