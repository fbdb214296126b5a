//! Sets of IP networks.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

/// Bits that IPv4 addresses have in front of them where they are written as IPv6 ones.
const MAPPED_BITS: u8 = 96;

/// IP networks; a single address is one, too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Reads `10.0.0.0/8`, `2001:db8::/32`, `192.0.2.1`.
    ///
    /// # Errors
    /// Which of them is none, as a sentence.
    pub fn parse(items: &[String]) -> Result<Self, String> {
        let network = |item: &String| {
            let single = || item.parse::<IpAddr>().map(IpNet::from);
            item.parse::<IpNet>().or_else(|_| single()).map_err(|_| {
                format!("{item:?} is neither an address nor a network, as in \"10.0.0.0/8\" or \"2001:db8::1\"")
            })
        };
        items.iter().map(|item| network(item).map(canonical)).collect::<Result<_, _>>().map(Self)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `address` is in one of them; an IPv4 address that is written as an IPv6 one counts as what it is.
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// A network of IPv4 that is written as one of IPv6 is what it is, as the addresses are that are looked for in it.
fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(mapped) = network else { return network };
    let bits = mapped.prefix_len().checked_sub(MAPPED_BITS);
    let canonical =
        mapped.addr().to_ipv4_mapped().zip(bits).and_then(|(address, bits)| Ipv4Net::new(address, bits).ok());
    canonical.map_or(network, IpNet::V4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_and_addresses() {
        let items = ["10.0.0.0/8", "2001:db8::/32", "192.0.2.1", "::ffff:172.16.0.0/108", "::ffff:192.0.2.9"];
        let items = items.map(str::to_owned);
        let networks = Networks::parse(&items).unwrap();
        let contain = |address: &str| networks.contain(address.parse().unwrap());
        for address in ["10.1.2.3", "::ffff:10.1.2.3", "2001:db8:1::2", "192.0.2.1", "172.31.0.1", "192.0.2.9"] {
            assert!(contain(address), "{address}");
        }
        for address in ["11.0.0.1", "192.0.2.2", "2001:db9::1", "::1", "172.32.0.1"] {
            assert!(!contain(address), "{address}");
        }
        for wrong in ["", "10.0.0.0/33", "localhost", "10.0.0.1:80"] {
            let problem = Networks::parse(&[wrong.to_owned()]).unwrap_err();
            assert!(problem.contains("neither an address nor a network"), "{problem}");
        }
    }
}
