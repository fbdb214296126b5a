//! Whom proxies say they speak for: `X-Forwarded-For`, and `Forwarded` (RFC 7239).
//!
//! Each proxy appends where a request came from. So the last address that is not a proxy's of our own is the client's;
//! what is before it is whatever the client wrote.

use std::net::{IpAddr, SocketAddr};

use hyper::HeaderMap;
use hyper::header::FORWARDED;

use super::networks::Networks;

/// Most proxies in a row that are looked at.
const MAX_PROXIES: usize = 32;

/// Where the client is of a request that `proxy` passed on, which is one of `trusted`. `Forwarded` counts only without
/// `X-Forwarded-For`: nearly every proxy writes that one, and passes on what a client wrote into the other.
pub(super) fn client(trusted: &Networks, proxy: SocketAddr, headers: &HeaderMap) -> SocketAddr {
    if headers.contains_key("x-forwarded-for") {
        return last_stranger(trusted, proxy, items(headers, "x-forwarded-for").map(|item| address(item.trim())));
    }
    last_stranger(trusted, proxy, items(headers, FORWARDED.as_str()).map(node))
}

/// The items of all lists in headers of that name, from the last one back. Each is read for itself: what a client wrote
/// must not make unreadable what a proxy has added on the same line.
fn items<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> {
    let items = headers.get_all(name).iter().rev().flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    items.map(|item| std::str::from_utf8(item).unwrap_or_default())
}

/// The first of `addresses`, which go back from `proxy`, that is not trusted; the one before it where nothing can be read.
fn last_stranger(
    trusted: &Networks,
    proxy: SocketAddr,
    addresses: impl Iterator<Item = Option<SocketAddr>>,
) -> SocketAddr {
    let mut nearest = proxy;
    for address in addresses.take(MAX_PROXIES) {
        let Some(address) = address else { break };
        nearest = address;
        if !trusted.contain(address.ip()) {
            break;
        }
    }
    nearest
}

/// The address in `for=…` of an element of `Forwarded`.
fn node(element: &str) -> Option<SocketAddr> {
    let value = element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then_some(value)
    });
    address(value?.trim().trim_matches('"'))
}

/// An address, with a port or without; then it is 0.
fn address(text: &str) -> Option<SocketAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 0));
    address.or_else(|_| text.parse()).ok()
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;

    fn seen(headers: &[(&str, &str)]) -> String {
        let trusted = Networks::parse(&["10.0.0.0/8".to_owned(), "fd00::/8".to_owned()]).unwrap();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            // What clients write is not all ASCII.
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
        }
        client(&trusted, "10.0.0.1:4711".parse().unwrap(), &map).to_string()
    }

    #[test]
    fn the_last_address_that_is_no_proxy_of_ours_is_the_clients() {
        for (value, expected) in [
            ("192.0.2.7", "192.0.2.7:0"),
            ("192.0.2.7:5000", "192.0.2.7:5000"),
            ("6.6.6.6, 192.0.2.7", "192.0.2.7:0"),
            ("6.6.6.6, 192.0.2.7,10.1.1.1 , 10.2.2.2", "192.0.2.7:0"),
            ("2001:db8::7", "[2001:db8::7]:0"),
            ("[2001:db8::7]", "[2001:db8::7]:0"),
            ("[2001:db8::7]:80, fd00::1", "[2001:db8::7]:80"),
            ("10.9.9.9", "10.9.9.9:0"),
            ("6.6.6.6, unknown", "10.0.0.1:4711"),
            ("6.6.6.6, unknown, 10.3.3.3", "10.3.3.3:0"),
            ("é, 192.0.2.7", "192.0.2.7:0"),
            ("192.0.2.7, é", "10.0.0.1:4711"),
            ("::ffff:192.0.2.7, ::ffff:10.3.3.3", "[::ffff:192.0.2.7]:0"),
            ("", "10.0.0.1:4711"),
        ] {
            assert_eq!(seen(&[("x-forwarded-for", value)]), expected, "{value}");
        }
        assert_eq!(seen(&[("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "192.0.2.7")]), "192.0.2.7:0");
        assert_eq!(seen(&[]), "10.0.0.1:4711");
    }

    #[test]
    fn forwarded_is_read_where_there_is_nothing_else() {
        for (value, expected) in [
            ("for=192.0.2.7;proto=https", "192.0.2.7:0"),
            ("for=6.6.6.6, For=\"192.0.2.7:99\";by=10.0.0.2, for=10.0.0.3", "192.0.2.7:99"),
            ("proto=https;for=\"[2001:db8::7]:80\"", "[2001:db8::7]:80"),
            ("for=\"é\", for=192.0.2.7", "192.0.2.7:0"),
            ("for=_hidden", "10.0.0.1:4711"),
            ("proto=https", "10.0.0.1:4711"),
        ] {
            assert_eq!(seen(&[("forwarded", value)]), expected, "{value}");
        }
        assert_eq!(seen(&[("forwarded", "for=6.6.6.6"), ("x-forwarded-for", "192.0.2.7")]), "192.0.2.7:0");
    }
}
