//! Versions of bundles.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// `MAJOR.MINOR.PATCH`, as Semantic Versioning 2.0.0 orders them (<https://semver.org>); without pre-releases and build metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version {
    major: u32,
    minor: u32,
    patch: u32,
}

/// A text that is no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a version is three numbers, 1.2.0")]
pub struct NotAVersion;

impl FromStr for Version {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Version, NotAVersion> {
        let number = |part: &str| {
            let is_plain = part.bytes().all(|byte| byte.is_ascii_digit()) && (part == "0" || !part.starts_with('0'));
            part.parse::<u32>().ok().filter(|_| is_plain).ok_or(NotAVersion)
        };
        let mut parts = text.split('.');
        let mut next = || parts.next().ok_or(NotAVersion).and_then(number);
        let version = Version { major: next()?, minor: next()?, patch: next()? };
        if parts.next().is_some() { Err(NotAVersion) } else { Ok(version) }
    }
}

impl TryFrom<String> for Version {
    type Error = NotAVersion;

    fn try_from(text: String) -> Result<Version, NotAVersion> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> String {
        version.to_string()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_three_numbers_and_ordered_as_such() {
        let of = |text: &str| text.parse::<Version>();
        assert!(of("1.10.0").expect("a version") > of("1.9.9").expect("a version"));
        assert_eq!(of("0.2.10").expect("a version").to_string(), "0.2.10");
        for bad in
            ["", "1", "1.2", "1.2.3.4", "01.2.3", "1.2.x", "v1.2.3", "1.2.3-rc1", "1..3", "1.2.-3", "1.2.4294967296"]
        {
            assert_eq!(of(bad), Err(NotAVersion), "{bad}");
        }
    }
}
