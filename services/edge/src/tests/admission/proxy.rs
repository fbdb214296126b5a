//! The PROXY protocol in front of everything.

use super::*;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A header of version 2: command, family, and what follows the length.
fn version_2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[0x20 | command, family], &length, rest].concat()
}

/// Addresses of IPv6 with ports, the client's first.
fn ipv6() -> Vec<u8> {
    let address = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap().octets();
    let (from, to) = (address("2001:db8::7"), address("2001:db8::1"));
    [&from[..], &to, &5000_u16.to_be_bytes(), &443_u16.to_be_bytes()].concat()
}

fn required() -> Config {
    Config { proxy_protocol: ProxyProtocol::Required, ..quick() }
}

impl Node {
    /// A socket that has begun with `header`.
    fn proxied(&self, header: &[u8]) -> TcpStream {
        let mut stream = self.tcp();
        stream.write_all(header).unwrap();
        stream
    }
}

#[test]
fn both_versions_say_whom_a_socket_is_from() {
    let node = Node::start(required());
    let ipv4 = [192, 0, 2, 7, 10, 0, 0, 1, 0x13, 0x88, 1, 0xbb];
    // A proxy may add what it likes: here an identifier of 200 bytes and of 3,000.
    let noted = |length: u16| [&ipv4[..], &[5], &length.to_be_bytes(), &vec![7; length.into()]].concat();
    for (header, expected) in [
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 5000 443\r\n".to_vec(), "192.0.2.7:5000"),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 5000 443\r\n".to_vec(), "[2001:db8::7]:5000"),
        (version_2(1, 0x11, &ipv4), "192.0.2.7:5000"),
        (version_2(1, 0x11, &noted(200)), "192.0.2.7:5000"),
        (version_2(1, 0x11, &noted(3000)), "192.0.2.7:5000"),
        (version_2(1, 0x21, &ipv6()), "[2001:db8::7]:5000"),
    ] {
        let mut client = node.greeted(node.proxied(&header), &[]);
        client.check();
        assert_eq!(node.addresses(), [expected]);
        drop(client);
        eventually(|| node.addresses().is_empty(), || "still listed".to_owned());
    }
}

#[test]
fn who_speaks_for_itself_has_its_own_address() {
    let node = Node::start(required());
    let longest = [&b"PROXY UNKNOWN "[..], &[b'f'; 91], b"\r\n"].concat();
    assert_eq!(longest.len(), 107);
    let headers = [
        b"PROXY UNKNOWN\r\n".to_vec(),
        longest,
        version_2(0, 0, &[]),
        version_2(0, 0x21, &ipv6()),
        // For itself, whatever it says of addresses (section 2.2): here nothing, or what nobody knows.
        version_2(0, 0x11, &[]),
        version_2(0, 0xff, &[0; 7]),
        version_2(0, 0x31, &[0; 3]),
        // A client without an address, since it came over a UNIX socket.
        version_2(1, 0x31, &[0; 216]),
    ];
    for header in headers {
        let stream = node.proxied(&header);
        let own = stream.local_addr().unwrap().to_string();
        let client = node.greeted(stream, &[]);
        assert_eq!(node.addresses(), [own]);
        drop(client);
        eventually(|| node.addresses().is_empty(), || "still listed".to_owned());
    }
}

/// However the bytes come, nothing of the request is lost.
#[test]
fn a_header_comes_in_pieces_or_with_the_request() {
    let node = Node::start(required());
    let request = request("GET", "/", "", "Connection: close\r\n").into_bytes();
    for header in [b"PROXY TCP4 192.0.2.7 10.0.0.1 5000 443\r\n".to_vec(), version_2(1, 0x21, &ipv6())] {
        let all = [&header[..], &request].concat();
        let mut whole = node.tcp();
        whole.write_all(&all).unwrap();
        assert_eq!(answer(whole).0, 404);
        let mut pieces = node.tcp();
        for byte in &all {
            pieces.write_all(&[*byte]).unwrap();
        }
        assert_eq!(answer(pieces).0, 404);
    }
}

#[test]
fn what_is_no_header_is_closed_and_counted() {
    let node = Node::start(required());
    let long = [&b"PROXY UNKNOWN "[..], &[b'x'; 100]].concat();
    let wrong = [
        request("GET", "/", "", "").into_bytes(),
        b"PROXY TCP4 192.0.2.777 10.0.0.1 5000 443\r\n".to_vec(),
        b"PROXY TCP5 192.0.2.7 10.0.0.1 5000 443\r\n".to_vec(),
        long,
        version_2(2, 0x11, &[0; 12]),
        [version_2(1, 0x11, &[0; 3]), vec![0; 20]].concat(),
        // Longer than any.
        [SIGNATURE, &[0x21, 0x11, 0xff, 0xff], &[0; 5000]].concat(),
        [b"\r\n\r\n\0\r\nQUIT!", &[0; 20][..]].concat(),
    ];
    for header in &wrong {
        let mut stream = node.tcp();
        stream.write_all(header).ok();
        assert_eq!(answer(stream).1, "", "{header:?}");
    }
    // Some that broke off.
    let broken =
        [b"PROXY TCP4 192.0.2.7".to_vec(), b"PROXY UNKNOWN\r".to_vec(), version_2(1, 0x21, &ipv6())[..51].to_vec()];
    for header in &broken {
        let stream = node.proxied(header);
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(answer(stream).1, "");
    }
    // A health check that only connects is none of these.
    drop(node.tcp());
    let expected = wrong.len() + broken.len();
    node.await_metric(&refused("proxy_header"), f64::from(u32::try_from(expected).unwrap()));
    node.greeted(node.proxied(b"PROXY UNKNOWN\r\n"), &[]).check();
}

#[test]
fn a_slow_header_is_a_slow_handshake() {
    let node = Node::start(Config { handshake_timeout: Duration::from_millis(300), ..required() });
    let silent = node.tcp();
    // One that says that there are 4,000 bytes to come.
    let mut slow = node.proxied(&[SIGNATURE, &[0x21, 0x11], &4000_u16.to_be_bytes()].concat());
    let begun = Instant::now();
    while slow.write_all(&[0]).is_ok() {
        assert!(begun.elapsed() < PATIENCE, "still read");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(answer(silent).1, "");
    node.await_metric(&refused("handshake_timeout"), 2.0);
}

#[test]
fn only_proxies_that_are_believed_may_send_one() {
    let node = Node::start(Config { trusted_proxies: networks(&["127.0.0.2"]), ..required() });
    let header = b"PROXY TCP4 192.0.2.7 10.0.0.1 5000 443\r\n";
    assert_eq!(ask(node.proxied(header), "").1, "");
    node.await_metric(&refused("proxy_header"), 1.0);
    let mut believed = node.tcp_from("127.0.0.2");
    believed.write_all(header).unwrap();
    // What the client itself says of others counts for nothing: it is no proxy.
    let _client = node.greeted(believed, &[("X-Forwarded-For", "6.6.6.6")]);
    assert_eq!(node.addresses(), ["192.0.2.7:5000"]);
}

#[test]
fn limits_are_those_of_the_client_behind_it() {
    let node = Node::start(Config { address_connections: 1, ..required() });
    let from = |address: &str| format!("PROXY TCP4 {address} 10.0.0.1 5000 443\r\n").into_bytes();
    let first = node.greeted(node.proxied(&from("192.0.2.7")), &[]);
    let (status, head, _) = answer(node.proxied(&from("192.0.2.7")));
    assert!(status == 429 && head.contains("retry-after: "), "{head}");
    node.greeted(node.proxied(&from("192.0.2.8")), &[]).check();
    drop(first);
    eventually(|| ask(node.proxied(&from("192.0.2.7")), "").0 == 404, || "still refused".to_owned());
}
