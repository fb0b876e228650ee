//! How often a token may be used.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// How often: a whole number of requests by second, minute or hour (`10/s`, `600/min`, `5000/h`), and how many of them may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    requests: u32,
    unit: Unit,
    burst: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Second,
    Minute,
    Hour,
}

impl Unit {
    fn as_str(self) -> &'static str {
        match self {
            Unit::Second => "s",
            Unit::Minute => "min",
            Unit::Hour => "h",
        }
    }

    fn seconds(self) -> u32 {
        match self {
            Unit::Second => 1,
            Unit::Minute => 60,
            Unit::Hour => 3600,
        }
    }
}

/// A text that is no rate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a rate is written as 10/s, 600/min or 5000/h, a whole number from 1 to {}", Rate::MAX)]
pub struct RateError;

impl Rate {
    /// The most requests by unit of time, and at once.
    pub const MAX: u32 = 100_000;

    /// What a token has that was given none: `600/min`, 100 at once.
    pub const DEFAULT: Rate = Rate { requests: 600, unit: Unit::Minute, burst: 100 };

    /// How many requests in [`Rate::period`].
    #[must_use]
    pub fn requests(self) -> u32 {
        self.requests
    }

    /// A second, a minute or an hour.
    #[must_use]
    pub fn period(self) -> Duration {
        Duration::from_secs(self.unit.seconds().into())
    }

    /// How many may come at once.
    #[must_use]
    pub fn burst(self) -> u32 {
        self.burst
    }

    /// The same with another burst; `None` where that is not from 1 to [`Rate::MAX`].
    #[must_use]
    pub fn with_burst(self, burst: u32) -> Option<Rate> {
        (1..=Rate::MAX).contains(&burst).then_some(Rate { burst, ..self })
    }
}

/// Without a burst, which is what comes in ten seconds unless it is said.
impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Rate, RateError> {
        let (requests, unit) = text.split_once('/').ok_or(RateError)?;
        let unit = match unit {
            "s" => Unit::Second,
            "m" | "min" => Unit::Minute,
            "h" => Unit::Hour,
            _ => return Err(RateError),
        };
        let is_number = requests.bytes().all(|byte| byte.is_ascii_digit());
        let requests = requests.parse().ok().filter(|requests| is_number && (1..=Rate::MAX).contains(requests));
        let requests: u32 = requests.ok_or(RateError)?;
        let burst = (requests.saturating_mul(10) / unit.seconds()).clamp(1, requests.min(Rate::MAX));
        Ok(Rate { requests, unit, burst })
    }
}

/// Without the burst.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.requests, self.unit.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_and_a_unit_and_its_burst_what_comes_in_ten_seconds() {
        for (text, shown, seconds, burst) in [
            ("600/min", "600/min", 60, 100),
            ("60/m", "60/min", 60, 10),
            ("1/min", "1/min", 60, 1),
            ("10/s", "10/s", 1, 10),
            ("5000/h", "5000/h", 3600, 13),
        ] {
            let rate: Rate = text.parse().expect("a rate");
            assert_eq!((rate.to_string().as_str(), rate.period().as_secs(), rate.burst()), (shown, seconds, burst));
        }
        assert_eq!("600/min".parse(), Ok(Rate::DEFAULT));
        assert_eq!(Rate::DEFAULT.with_burst(7).map(Rate::burst), Some(7));
        assert_eq!((Rate::DEFAULT.with_burst(0), Rate::DEFAULT.with_burst(Rate::MAX + 1)), (None, None));
    }

    #[test]
    fn what_is_no_rate_is_refused() {
        for text in ["", "60", "0/s", "+1/s", "-1/s", "1/d", "1 /s", "1/S", "100001/s", "99999999999/s", "x/s"] {
            assert_eq!(text.parse::<Rate>(), Err(RateError), "{text}");
        }
    }
}
