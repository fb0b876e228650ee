//! Times, sizes and address ranges as a document writes them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Split `10s` into its number and its unit. Whole numbers only.
pub(crate) fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit))
}

/// How long one attempt may take: a whole number of `ms` or `s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Timeout(u32);

impl Timeout {
    /// The shortest: 100 ms.
    pub const MIN: Self = Self(100);
    /// The longest: 25 s, which leaves a function that may run for 30 s the time to record the outcome.
    pub const MAX: Self = Self(25_000);

    /// The time as a duration.
    #[must_use]
    pub fn duration(self) -> Duration {
        Duration::from_millis(self.0.into())
    }
}

impl Default for Timeout {
    /// 10 s.
    fn default() -> Self {
        Self(10_000)
    }
}

impl FromStr for Timeout {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = number_and_unit(text).ok_or(UnitError::Unreadable)?;
        let millis = match unit {
            "ms" => Some(number),
            "s" => number.checked_mul(1000),
            _ => return Err(UnitError::Unreadable),
        };
        let millis = millis.and_then(|millis| u32::try_from(millis).ok()).ok_or(UnitError::OutOfRange)?;
        if (Self::MIN..=Self::MAX).contains(&Self(millis)) { Ok(Self(millis)) } else { Err(UnitError::OutOfRange) }
    }
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            millis if millis % 1000 == 0 => write!(f, "{}s", millis / 1000),
            millis => write!(f, "{millis}ms"),
        }
    }
}

/// A size: a whole number of `B`, `KiB` or `MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ByteSize(u32);

impl ByteSize {
    /// The smallest response bound: 1 KiB.
    pub const MIN: Self = Self(1024);
    /// The largest response bound: 4 MiB.
    pub const MAX: Self = Self(4 * 1024 * 1024);

    /// The size in bytes.
    #[must_use]
    pub fn bytes(self) -> usize {
        self.0 as usize
    }
}

impl Default for ByteSize {
    /// 256 KiB.
    fn default() -> Self {
        Self(256 * 1024)
    }
}

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = number_and_unit(text).ok_or(UnitError::Unreadable)?;
        let factor = match unit {
            "B" => 1,
            "KiB" => 1024,
            "MiB" => 1024 * 1024,
            _ => return Err(UnitError::Unreadable),
        };
        let bytes =
            number.checked_mul(factor).and_then(|bytes| u32::try_from(bytes).ok()).ok_or(UnitError::OutOfRange)?;
        if (Self::MIN..=Self::MAX).contains(&Self(bytes)) { Ok(Self(bytes)) } else { Err(UnitError::OutOfRange) }
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes % (1024 * 1024) == 0 => write!(f, "{}MiB", bytes / (1024 * 1024)),
            bytes if bytes % 1024 == 0 => write!(f, "{}KiB", bytes / 1024),
            bytes => write!(f, "{bytes}B"),
        }
    }
}

/// Why a time or a size was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// No whole number, or no unit that is known.
    #[error("this is not a whole number with a unit")]
    Unreadable,
    /// Too small or too large.
    #[error("this is outside the range")]
    OutOfRange,
}

/// A range of addresses, `10.0.0.0/8`; a single address is a range of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Cidr {
    network: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// Whether `address` lies in the range. An IPv4 address in IPv6 form (`::ffff:10.0.0.1`) is that IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.network, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                (network.to_bits() ^ address.to_bits()) & v4_mask(self.prefix) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                (network.to_bits() ^ address.to_bits()) & v6_mask(self.prefix) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }

    /// The address at which AWS and other clouds hand out credentials to whoever asks from the inside.
    pub(crate) const METADATA: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254));
}

fn v4_mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

fn v6_mask(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)
}

/// Why an address range was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// Not `address` or `address/prefix`.
    #[error("this is not an IP address or range")]
    Unreadable,
    /// The address has bits below the prefix: the range that was meant is probably this one.
    #[error("this is not the first address of its range, {0}")]
    HostBits(Cidr),
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| CidrError::Unreadable)?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => longest,
            Some(prefix) if prefix.bytes().all(|byte| byte.is_ascii_digit()) => {
                prefix.parse().ok().filter(|prefix| *prefix <= longest).ok_or(CidrError::Unreadable)?
            }
            Some(_) => return Err(CidrError::Unreadable),
        };
        let network = match address {
            IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits() & v4_mask(prefix)).into(),
            IpAddr::V6(address) => std::net::Ipv6Addr::from_bits(address.to_bits() & v6_mask(prefix)).into(),
        };
        let cidr = Self { network, prefix };
        if network == address { Ok(cidr) } else { Err(CidrError::HostBits(cidr)) }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let longest = if self.network.is_ipv4() { 32 } else { 128 };
        if self.prefix == longest { self.network.fmt(f) } else { write!(f, "{}/{}", self.network, self.prefix) }
    }
}

macro_rules! as_text {
    ($($type:ty),*) => {$(
        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.to_string()
            }
        }

        impl TryFrom<String> for $type {
            type Error = <$type as FromStr>::Err;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }
    )*};
}

pub(crate) use as_text;

as_text!(Timeout, ByteSize, Cidr);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_whole_numbers_of_ms_or_s_within_the_range() {
        for (text, expected) in [
            ("10s", Ok(10_000)),
            ("100ms", Ok(100)),
            ("25s", Ok(25_000)),
            ("1500ms", Ok(1500)),
            ("99ms", Err(UnitError::OutOfRange)),
            ("26s", Err(UnitError::OutOfRange)),
            ("25001ms", Err(UnitError::OutOfRange)),
            ("18446744073709551615s", Err(UnitError::OutOfRange)),
            ("0s", Err(UnitError::OutOfRange)),
            ("10", Err(UnitError::Unreadable)),
            ("s", Err(UnitError::Unreadable)),
            ("", Err(UnitError::Unreadable)),
            ("10 s", Err(UnitError::Unreadable)),
            ("-1s", Err(UnitError::Unreadable)),
            ("+1s", Err(UnitError::Unreadable)),
            ("1.5s", Err(UnitError::Unreadable)),
            ("1m", Err(UnitError::Unreadable)),
            ("99999999999999999999s", Err(UnitError::Unreadable)),
        ] {
            assert_eq!(text.parse::<Timeout>(), expected.map(Timeout), "{text}");
        }
        for text in ["10s", "100ms", "1500ms", "25s"] {
            assert_eq!(text.parse::<Timeout>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn sizes_are_whole_numbers_of_binary_units_within_the_range() {
        for (text, expected) in [
            ("256KiB", Ok(262_144)),
            ("1024B", Ok(1024)),
            ("4MiB", Ok(4_194_304)),
            ("1023B", Err(UnitError::OutOfRange)),
            ("5MiB", Err(UnitError::OutOfRange)),
            ("256KB", Err(UnitError::Unreadable)),
            ("256kib", Err(UnitError::Unreadable)),
            ("256", Err(UnitError::Unreadable)),
        ] {
            assert_eq!(text.parse::<ByteSize>(), expected.map(ByteSize), "{text}");
        }
        for text in ["256KiB", "1025B", "1MiB"] {
            assert_eq!(text.parse::<ByteSize>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn ranges_hold_the_addresses_that_share_their_prefix() {
        for (range, address, expected) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("fd00::/8", "fdff::1", true),
            ("fd00::/8", "fe80::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "127.0.0.1", false),
            ("::1", "::1", true),
        ] {
            assert_eq!(
                range.parse::<Cidr>().unwrap().contains(address.parse().unwrap()),
                expected,
                "{address} in {range}"
            );
            assert_eq!(range.parse::<Cidr>().unwrap().to_string(), range);
        }
        for text in [
            "",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0/8",
            "::/129",
            "localhost",
            "10.0.0.0/8/8",
            "010.0.0.0/8",
        ] {
            assert_eq!(text.parse::<Cidr>(), Err(CidrError::Unreadable), "{text}");
        }
        assert_eq!("10.1.0.0/8".parse::<Cidr>(), Err(CidrError::HostBits("10.0.0.0/8".parse().unwrap())));
    }
}
