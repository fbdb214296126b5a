//! Which addresses webhooks may go to.
//!
//! Whoever may set a webhook's URL can have this server send requests, from inside the cluster's network. So only
//! addresses of the public internet are asked, unless the operator allows more. The check is of the address that is
//! connected to, whatever name led to it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A range of addresses: `10.1.0.0/16`, `fd00::/8`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    first: IpAddr,
    prefix: u8,
}

/// A text that is not an [`AddressRange`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an address range is an IP address, or one with '/' and the length of its prefix in bits")]
pub struct InvalidAddressRange;

impl AddressRange {
    const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Self {
        Self { first: IpAddr::V4(Ipv4Addr::new(a, b, c, d)), prefix }
    }

    const fn v6(a: u16, b: u16, c: u16, prefix: u8) -> Self {
        Self { first: IpAddr::V6(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0)), prefix }
    }

    /// Whether `address` is in the range. An IPv4 address in IPv6 clothes is looked at as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.first, address.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                same_prefix(first.to_bits(), address.to_bits(), 32, self.prefix)
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                same_prefix(first.to_bits(), address.to_bits(), 128, self.prefix)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

fn same_prefix(a: impl Into<u128>, b: impl Into<u128>, width: u8, prefix: u8) -> bool {
    let differ: u128 = a.into() ^ b.into();
    differ.checked_shr(u32::from(width - prefix)).unwrap_or(0) == 0
}

impl FromStr for AddressRange {
    type Err = InvalidAddressRange;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let first: IpAddr = address.parse().map_err(|_| InvalidAddressRange)?;
        let width = if first.is_ipv4() { 32 } else { 128 };
        let digits = |prefix: &str| prefix.bytes().all(|b| b.is_ascii_digit());
        let prefix = match prefix {
            None => width,
            Some(prefix) if digits(prefix) => prefix.parse().map_err(|_| InvalidAddressRange)?,
            Some(_) => return Err(InvalidAddressRange),
        };
        if prefix > width { Err(InvalidAddressRange) } else { Ok(Self { first, prefix }) }
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

/// This machine.
const LOOPBACK: [AddressRange; 2] =
    [AddressRange::v4(127, 0, 0, 0, 8), AddressRange { first: IpAddr::V6(Ipv6Addr::LOCALHOST), prefix: 128 }];

/// What is not the public internet: the special-purpose registries of IANA (RFC 6890 and those it has been updated by)
/// and multicast. Of IPv6 only 2000::/3 is given out, so everything else is refused as one.
const NOT_PUBLIC_V4: [AddressRange; 15] = [
    AddressRange::v4(0, 0, 0, 0, 8),       // this network
    AddressRange::v4(10, 0, 0, 0, 8),      // private
    AddressRange::v4(100, 64, 0, 0, 10),   // shared behind carrier-grade NAT
    AddressRange::v4(127, 0, 0, 0, 8),     // loopback
    AddressRange::v4(169, 254, 0, 0, 16),  // link-local, where clouds tell machines their secrets
    AddressRange::v4(172, 16, 0, 0, 12),   // private
    AddressRange::v4(192, 0, 0, 0, 24),    // protocol assignments
    AddressRange::v4(192, 0, 2, 0, 24),    // documentation
    AddressRange::v4(192, 88, 99, 0, 24),  // 6to4 relays
    AddressRange::v4(192, 168, 0, 0, 16),  // private
    AddressRange::v4(198, 18, 0, 0, 15),   // benchmarking
    AddressRange::v4(198, 51, 100, 0, 24), // documentation
    AddressRange::v4(203, 0, 113, 0, 24),  // documentation
    AddressRange::v4(224, 0, 0, 0, 4),     // multicast
    AddressRange::v4(240, 0, 0, 0, 4),     // reserved, and broadcast
];
const GLOBAL_V6: AddressRange = AddressRange::v6(0x2000, 0, 0, 3);
const NOT_PUBLIC_V6: [AddressRange; 4] = [
    AddressRange::v6(0x2001, 0, 0, 23), // protocol assignments: Teredo, benchmarking, ORCHID
    AddressRange::v6(0x2001, 0xdb8, 0, 32), // documentation
    AddressRange::v6(0x2002, 0, 0, 16), // 6to4: leads to any IPv4 address
    AddressRange::v6(0x3fff, 0, 0, 20), // documentation
];

/// IPv4 addresses in IPv6 clothes, as DNS64 gives them out (RFC 6052).
const NAT64: AddressRange = AddressRange::v6(0x64, 0xff9b, 0, 96);

fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(_) => !NOT_PUBLIC_V4.iter().any(|range| range.contains(address)),
        IpAddr::V6(v6) if NAT64.contains(address) => {
            let [.., a, b, c, d] = v6.octets();
            is_public(Ipv4Addr::new(a, b, c, d).into())
        }
        IpAddr::V6(_) => GLOBAL_V6.contains(address) && !NOT_PUBLIC_V6.iter().any(|range| range.contains(address)),
    }
}

/// What an operator has decided about addresses.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policy {
    allow: Vec<AddressRange>,
    allow_loopback: bool,
}

impl Policy {
    /// The public internet, `allow`, and this machine if `allow_loopback`.
    pub(crate) fn new(allow: Vec<AddressRange>, allow_loopback: bool) -> Self {
        Self { allow, allow_loopback }
    }

    pub(crate) fn allows(&self, address: IpAddr) -> bool {
        let loopback = || self.allow_loopback && LOOPBACK.iter().any(|range| range.contains(address));
        is_public(address) || self.allow.iter().any(|range| range.contains(address)) || loopback()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn ranges() {
        for (text, inside, outside) in [
            ("10.1.0.0/16", "10.1.255.255", "10.2.0.0"),
            ("10.1.2.3", "10.1.2.3", "10.1.2.4"),
            ("0.0.0.0/0", "8.8.8.8", "2001:4860::1"),
            ("fd00::/8", "fdff::1", "fe00::1"),
            ("::/0", "2001:4860::1", "8.8.8.8"),
            ("10.0.0.0/8", "::ffff:10.1.1.1", "::ffff:11.1.1.1"),
        ] {
            let range: AddressRange = text.parse().unwrap();
            assert!(range.contains(address(inside)), "{inside} in {text}");
            assert!(!range.contains(address(outside)), "{outside} in {text}");
        }
        for text in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.0/-1", "10.0.0.0/+8", "10.0.0.0/", "localhost"] {
            assert_eq!(text.parse::<AddressRange>(), Err(InvalidAddressRange), "{text}");
        }
        assert_eq!("10.0.0.0/8".parse::<AddressRange>().unwrap().to_string(), "10.0.0.0/8");
    }

    #[test]
    fn only_the_public_internet() {
        let policy = Policy::default();
        for public in ["8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8"]
        {
            assert!(policy.allows(address(public)), "{public}");
        }
        for refused in [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.8.8.8",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!policy.allows(address(refused)), "{refused}");
        }
    }

    #[test]
    fn what_an_operator_allows() {
        let policy = Policy::new(vec!["10.1.0.0/16".parse().unwrap()], true);
        for allowed in ["10.1.2.3", "::ffff:10.1.2.3", "127.0.0.1", "127.1.1.1", "::1", "::ffff:127.0.0.1"] {
            assert!(policy.allows(address(allowed)), "{allowed}");
        }
        for refused in ["10.2.0.1", "192.168.1.1", "0.0.0.0", "::"] {
            assert!(!policy.allows(address(refused)), "{refused}");
        }
    }
}
