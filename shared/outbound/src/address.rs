//! Which addresses are public. What else may be called, the operator says (`[network] allow`).
//!
//! A tool's URL may hold values from outside, and a name may resolve to anything. So the check is made on addresses, after resolution, on
//! every address of a name (one that is not public refuses the name: a mixed answer is how rebinding looks), and the connection goes
//! to the addresses that were checked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether `address` is globally reachable unicast, after the special-purpose registries of IANA
/// (<https://www.iana.org/assignments/iana-ipv4-special-registry>, <https://www.iana.org/assignments/iana-ipv6-special-registry>).
/// IPv6 forms that carry an IPv4 address are public only if both are.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

/// Network and prefix length of the IPv4 blocks that are not public.
const V4_RESERVED: [([u8; 4], u32); 17] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    // Where Azure's machines are handed out their configuration; looks public, and is not beyond them.
    ([168, 63, 129, 16], 32),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 31, 196, 0], 24),
    ([192, 88, 99, 0], 24),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    ([224, 0, 0, 0], 4),
    ([240, 0, 0, 0], 4),
];

fn is_public_v4(address: Ipv4Addr) -> bool {
    let bits = u32::from(address);
    !V4_RESERVED.iter().any(|(network, prefix)| {
        let mask = u32::MAX << (32 - prefix);
        bits & mask == u32::from(Ipv4Addr::from(*network))
    })
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let last = Ipv4Addr::from((u32::from(g) << 16) | u32::from(h));
    match (a, b, c, d, e, f) {
        // IPv4-mapped (RFC 4291), and NAT64's well-known prefix (RFC 6052): what they lead to counts.
        (0, 0, 0, 0, 0, 0xffff) | (0x64, 0xff9b, 0, 0, 0, 0) => is_public_v4(last),
        // IETF protocol assignments, Teredo among them (2001::/23), documentation, and 6to4, which nothing uses any more.
        (0x2001, 0..=0x01ff, ..) | (0x2001, 0x0db8, ..) | (0x2002, ..) | (0x3fff, 0..=0x0fff, ..) => false,
        // Everything that is not global unicast (2000::/3): loopback, unique local, link local, multicast, discard, SRv6, …
        (0x2000..=0x3fff, ..) => true,
        _ => false,
    }
}

#[cfg(test)]
#[path = "address_tests.rs"]
mod tests;
