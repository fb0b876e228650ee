//! What may be called: addresses, and the many ways to write one into a URL.

use super::*;
use crate::client::Clients;
use clawbridge_config::{Compiled, check};
use clawbridge_tasks::Code;
use reqwest::Url;
use std::sync::Arc;

const PUBLIC: [&str; 32] = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "52.94.5.1",
    "100.63.255.255",
    "100.128.0.0",
    "128.0.0.1",
    "168.63.129.15",
    "168.63.129.17",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "192.0.3.0",
    "192.88.98.255",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "198.51.99.255",
    "203.0.112.255",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2a00:1450::1",
    "2001:4860:4860::8888",
    "2001:200::1",
    "2620:fe::fe",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "2003::1",
];

const NOT_PUBLIC: [&str; 96] = [
    // This network, private, shared (Alibaba's metadata in it), loopback, link-local (metadata and ECS credentials in it).
    "0.0.0.0",
    "0.1.2.3",
    "0.255.255.255",
    "10.0.0.0",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.0",
    "100.100.100.200",
    "100.127.255.255",
    "127.0.0.0",
    "127.0.0.1",
    "127.255.255.255",
    "168.63.129.16",
    "169.254.0.0",
    "169.254.169.123",
    "169.254.169.254",
    "169.254.170.2",
    "169.254.170.23",
    "169.254.255.255",
    "172.16.0.0",
    "172.17.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "192.168.255.255",
    // Protocol assignments (Oracle's metadata in them), documentation, AS112, 6to4 relays, benchmarks.
    "192.0.0.1",
    "192.0.0.170",
    "192.0.0.192",
    "192.0.2.1",
    "192.31.196.1",
    "192.88.99.1",
    "192.88.99.2",
    "198.18.0.0",
    "198.19.255.255",
    "198.51.100.7",
    "203.0.113.9",
    // Multicast, reserved, broadcast.
    "224.0.0.0",
    "224.0.0.251",
    "239.255.255.250",
    "239.255.255.255",
    "240.0.0.1",
    "250.1.2.3",
    "255.255.255.254",
    "255.255.255.255",
    // Unspecified and loopback.
    "::",
    "::1",
    // IPv4 in IPv6: mapped.
    "::ffff:0.0.0.0",
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:a9fe:a9fe",
    "::ffff:192.168.1.1",
    "::ffff:100.100.100.200",
    "::ffff:255.255.255.255",
    // Compatible, and translated (SIIT): of neither is there a public one.
    "::127.0.0.1",
    "::169.254.169.254",
    "::8.8.8.8",
    "::ffff:0:127.0.0.1",
    "::ffff:0:8.8.8.8",
    // NAT64: the well-known prefix leads to what it holds, the local ones to who knows where.
    "64:ff9b::7f00:1",
    "64:ff9b::10.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b::192.168.0.1",
    "64:ff9b::0.0.0.0",
    "64:ff9b:0:0:0:1:808:808",
    "64:ff9b:1::1",
    "64:ff9b:1::808:808",
    "64:ff9b:1:ffff:ffff:ffff:7f00:1",
    // 6to4.
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "2002:a00:1::1",
    "2002:808:808::",
    // Teredo, and the other assignments of 2001::/23.
    "2001::1",
    "2001:0:4136:e378:8000:63bf:80ff:fffe",
    "2001:1::1",
    "2001:2::1",
    "2001:3::1",
    "2001:10::1",
    "2001:20::1",
    "2001:1ff:ffff::1",
    // Documentation, discard, dummy, segment routing.
    "2001:db8::1",
    "3fff::1",
    "3fff:fff:ffff::1",
    "100::1",
    "100:0:0:1::1",
    "5f00::1",
    // Unique local (metadata of EC2 and Google in them), link-local with ISATAP, site-local, multicast, unassigned.
    "fc00::1",
    "fd00:ec2::254",
    "fd00:ec2::23",
    "fd20:ce::254",
    "fe80::1",
    "fe80::5efe:7f00:1",
    "febf::1",
    "fec0::1",
    "ff02::1",
    "4000::1",
];

#[test]
fn only_globally_reachable_addresses_are_public() {
    for (addresses, expected) in [(&PUBLIC[..], true), (&NOT_PUBLIC[..], false)] {
        for text in addresses {
            let address: IpAddr = text.parse().expect("an address");
            assert_eq!(is_public(address), expected, "{text}");
            // What is mapped is what it maps to.
            if let IpAddr::V4(v4) = address {
                assert_eq!(is_public(v4.to_ipv6_mapped().into()), expected, "{text}, mapped");
            }
        }
    }
}

fn compiled(url: &str) -> Option<Compiled> {
    let text = format!("[tools.t]\nmethod = \"GET\"\nurl = {url:?}\n");
    check(&text).0.and_then(|config| config.compile().ok())
}

/// The guard as it stands behind the declaration's own rules.
fn guard() -> Clients {
    Clients::new(Arc::new(compiled("https://a.example/").expect("a configuration")))
}

/// What stops a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// It cannot be declared.
    Declaration,
    /// It leads to an address that is not public.
    Address,
}

/// Ways to write an address that is not public, or to make a URL look as if it led elsewhere, and what stops each first. Where the declaration
/// does, the guard must stop it too, or have left with it a name that has to be resolved.
const URLS: [(&str, Stop); 74] = [
    // As they are.
    ("http://127.0.0.1/", Stop::Address),
    ("http://127.0.0.1:8080/x?y=z", Stop::Address),
    ("https://10.1.2.3", Stop::Address),
    ("http://169.254.169.254/latest/meta-data/iam/security-credentials/", Stop::Address),
    ("HTTP://169.254.169.254/", Stop::Address),
    ("http://168.63.129.16/metadata", Stop::Address),
    ("http://0.0.0.0/", Stop::Address),
    ("http://255.255.255.255/", Stop::Address),
    ("http://[::]/", Stop::Address),
    ("http://[::1]:8080/", Stop::Address),
    ("http://[0:0:0:0:0:0:0:1]/", Stop::Address),
    ("http://[0000:0000:0000:0000:0000:0000:0000:0001]/", Stop::Address),
    ("http://[::ffff:127.0.0.1]/", Stop::Address),
    ("http://[::FFFF:7F00:1]/", Stop::Address),
    ("http://[0:0:0:0:0:ffff:a9fe:a9fe]/", Stop::Address),
    ("http://[::127.0.0.1]/", Stop::Address),
    ("http://[64:ff9b::169.254.169.254]/", Stop::Address),
    ("http://[64:ff9b:1::7f00:1]/", Stop::Address),
    ("http://[2002:7f00:1::]/", Stop::Address),
    ("http://[fd00:ec2::254]/latest/meta-data/", Stop::Address),
    ("http://[fe80::1]/", Stop::Address),
    ("http://[ff02::1]/", Stop::Address),
    // Zones.
    ("http://[fe80::1%25eth0]/", Stop::Declaration),
    ("http://[fe80::1%eth0]/", Stop::Declaration),
    ("http://[::1%251]/", Stop::Declaration),
    // Brackets that are none, or too many.
    ("http://[::1/", Stop::Declaration),
    ("http://::1/", Stop::Declaration),
    ("http://[127.0.0.1]/", Stop::Declaration),
    ("http://[[::1]]/", Stop::Declaration),
    ("http://[::1]x/", Stop::Declaration),
    // Decimal, octal, hexadecimal, short, mixed.
    ("http://2130706433/", Stop::Declaration),
    ("http://2852039166/", Stop::Declaration),
    ("http://017700000001/", Stop::Declaration),
    ("http://0x7f000001/", Stop::Declaration),
    ("http://0X7F000001/", Stop::Declaration),
    ("http://0177.0.0.1/", Stop::Declaration),
    ("http://0177.0x0.0.1/", Stop::Declaration),
    ("http://0x7f.0.0.1/", Stop::Declaration),
    ("http://0x7f.1/", Stop::Declaration),
    ("http://127.1/", Stop::Declaration),
    ("http://127.0.1/", Stop::Declaration),
    ("http://0/", Stop::Declaration),
    ("http://00000177.0.0.1/", Stop::Declaration),
    ("http://0xa9.0xfe.0xa9.0xfe/", Stop::Declaration),
    ("http://0251.0376.0251.0376/", Stop::Declaration),
    ("http://169.16689662/", Stop::Declaration),
    ("http://127.0.0.01/", Stop::Declaration),
    ("http://4294967297/", Stop::Declaration),
    ("http://127.0.0.1.1/", Stop::Declaration),
    ("http://256.0.0.1/", Stop::Declaration),
    // Dots at the end, and too many.
    ("http://127.0.0.1./", Stop::Declaration),
    ("http://localhost./", Stop::Declaration),
    ("http://169.254.169.254./", Stop::Declaration),
    ("http://127..0.0.1/", Stop::Declaration),
    ("http://.127.0.0.1/", Stop::Declaration),
    // Encoded, and in other letters.
    ("http://%31%32%37.0.0.1/", Stop::Declaration),
    ("http://127.0.0.1%00.a.example/", Stop::Declaration),
    ("http://\u{ff11}\u{ff12}\u{ff17}.0.0.1/", Stop::Declaration),
    ("http://\u{2460}\u{2461}\u{2466}.0.0.1/", Stop::Declaration),
    ("http://127\u{3002}0\u{3002}0\u{3002}1/", Stop::Declaration),
    ("http://\u{24db}ocalhost/", Stop::Declaration),
    // Users, backslashes, fragments, white space: what one reader takes for the host, another does not.
    ("http://a.example@127.0.0.1/", Stop::Declaration),
    ("http://a.example:80@127.0.0.1/", Stop::Declaration),
    ("http://user:pass@127.0.0.1/", Stop::Declaration),
    ("http://127.0.0.1\\@a.example/", Stop::Declaration),
    ("http://a.example\\@127.0.0.1/", Stop::Declaration),
    ("http://127.0.0.1#@a.example/", Stop::Declaration),
    ("http://127.0.0.1\t.a.example/", Stop::Declaration),
    ("http://127.0.0.1\n/", Stop::Declaration),
    (" http://127.0.0.1/", Stop::Declaration),
    ("http:/127.0.0.1/", Stop::Declaration),
    ("http:\\\\127.0.0.1/", Stop::Declaration),
    // Other schemes.
    ("file:///etc/passwd", Stop::Declaration),
    ("gopher://127.0.0.1:11211/", Stop::Declaration),
];

#[test]
fn no_way_to_write_an_address_gets_past_both_the_declaration_and_the_guard() {
    let guard = guard();
    let refused = |url: &Url| guard.check_literal(url).is_err_and(|error| error.code == Code::AddressForbidden);
    for (written, stop) in URLS {
        let declared = compiled(written).map(|config| config.tool("t").expect("a tool").url(&serde_json::json!({})));
        match (stop, declared) {
            (Stop::Declaration, None) => {}
            (Stop::Address, Some(Ok(url))) => {
                assert!(refused(&Url::parse(&url).expect("a URL")), "{written} leads to an address that is not public");
            }
            (_, declared) => panic!("{written}: {declared:?}"),
        }
        // Were the declaration not to stop it: what is an address for the HTTP client is one for the guard.
        if let Ok(url) = Url::parse(written)
            && ["http", "https"].contains(&url.scheme())
            && url.domain().is_none()
        {
            assert!(refused(&url), "{written} is {url}, which the guard lets pass");
        }
    }
    for (written, host) in
        [("https://1.1.1.1/", "1.1.1.1"), ("https://[2606:4700:4700::1111]/", "[2606:4700:4700::1111]")]
    {
        let url = Url::parse(written).expect("a URL");
        assert_eq!((guard.check_literal(&url).is_ok(), url.host_str()), (true, Some(host)), "{written}");
    }
}
