//! What each client address has: so many sockets and connections at one time, so many new ones a second.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use super::pace::Pace;

/// Addresses that hold nothing and are remembered all the same, for how often they came. Who spreads over more than these
/// is forgotten, so that the table stays at some megabytes: such a one is limited by what the whole node takes.
const REMEMBERED: usize = 65_536;

/// Bits of an IPv6 address that tell clients apart: one client has at least a whole /64.
const NETWORK_BITS: u32 = 64;

/// The table. Addresses with places are as many as there are sockets at most.
#[derive(Debug)]
pub(super) struct Addresses {
    /// Places for each, 0 for any number.
    places: u32,
    /// New places a second for each, 0 for any number.
    rate: u32,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    addresses: HashMap<IpAddr, Address>,
    /// Those of them without a place.
    idle: usize,
}

#[derive(Debug)]
struct Address {
    places: u32,
    pace: Pace,
}

/// A place among those of an address, given back by dropping it.
#[derive(Debug)]
pub(crate) struct Guest {
    addresses: Arc<Addresses>,
    address: IpAddr,
}

impl Addresses {
    /// None if nothing is limited.
    pub(super) fn new(places: u32, rate: u32) -> Option<Self> {
        (places > 0 || rate > 0).then(|| Self { places, rate, known: Mutex::default() })
    }

    /// A place for `address`, unless it has enough or came too often.
    pub(super) fn enter(this: &Arc<Self>, address: IpAddr, now: Instant) -> Option<Guest> {
        let address = client(address);
        let known = &mut *this.known.lock();
        let is_new = || Address { places: 0, pace: Pace::new(this.rate, this.rate, now) };
        let entry = known.addresses.entry(address);
        if let Entry::Vacant(_) = entry {
            known.idle += 1;
        }
        let entry = entry.or_insert_with(is_new);
        let full = this.places > 0 && entry.places >= this.places;
        let entered = !full && entry.pace.try_take(now);
        if entered {
            known.idle -= usize::from(entry.places == 0);
            entry.places += 1;
        }
        known.forget(now);
        entered.then(|| Guest { addresses: Arc::clone(this), address })
    }
}

impl Known {
    /// Keeps no more of those without a place than may be.
    fn forget(&mut self, now: Instant) {
        if self.idle <= REMEMBERED {
            return;
        }
        self.addresses.retain(|_, address| address.places > 0 || !address.pace.is_rested(now));
        if self.addresses.values().filter(|address| address.places == 0).count() > REMEMBERED / 2 {
            self.addresses.retain(|_, address| address.places > 0);
        }
        self.idle = self.addresses.values().filter(|address| address.places == 0).count();
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let known = &mut *self.addresses.known.lock();
        if let Entry::Occupied(mut entry) = known.addresses.entry(self.address) {
            let address = entry.get_mut();
            address.places -= 1;
            if address.places == 0 {
                if self.addresses.rate == 0 {
                    entry.remove();
                } else {
                    known.idle += 1;
                }
            }
        }
    }
}

/// What stands for the client at `address`.
fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> NETWORK_BITS << NETWORK_BITS).into(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    #[test]
    fn each_address_has_its_places() {
        let addresses = Arc::new(Addresses::new(2, 0).unwrap());
        let enter = |address: &str| Addresses::enter(&addresses, at(address), Instant::now());
        let (first, second) = (enter("192.0.2.1"), enter("::ffff:192.0.2.1"));
        assert!(first.is_some() && second.is_some() && enter("192.0.2.1").is_none());
        assert!(enter("192.0.2.2").is_some());
        drop(first);
        assert!(enter("192.0.2.1").is_some());
        drop(second);
        assert!(addresses.known.lock().addresses.is_empty());
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let addresses = Arc::new(Addresses::new(1, 0).unwrap());
        let enter = |address: &str| Addresses::enter(&addresses, at(address), Instant::now());
        let _first = enter("2001:db8:0:1::1").unwrap();
        assert!(enter("2001:db8:0:1:ffff::2").is_none());
        assert!(enter("2001:db8:0:2::1").is_some());
    }

    #[test]
    fn who_comes_too_often_has_to_wait_even_if_it_went_again() {
        let addresses = Arc::new(Addresses::new(0, 2).unwrap());
        let start = Instant::now();
        let enter = |after: u64| Addresses::enter(&addresses, at("192.0.2.1"), start + Duration::from_millis(after));
        assert!(enter(0).is_some() && enter(0).is_some() && enter(0).is_none());
        assert!(enter(500).is_some() && enter(500).is_none());
    }

    #[test]
    fn the_table_is_bounded_and_keeps_who_is_there() {
        let addresses = Arc::new(Addresses::new(1, 1).unwrap());
        let now = Instant::now();
        let guest = Addresses::enter(&addresses, at("192.0.2.1"), now);
        for number in 0..200_000_u32 {
            drop(Addresses::enter(&addresses, std::net::Ipv4Addr::from_bits(number).into(), now));
        }
        let known = addresses.known.lock();
        assert!(known.addresses.len() <= REMEMBERED + 2, "{}", known.addresses.len());
        assert_eq!(known.idle, known.addresses.values().filter(|address| address.places == 0).count());
        assert!(known.addresses.contains_key(&at("192.0.2.1")));
        drop(known);
        drop(guest);
    }
}
