//! Who gets in, who is told to come back, and who a client is.

mod addresses;
mod capacity;
mod proxy;
mod rotation;

use proto::control::node_order::ListConnections;
use tokio::net::TcpSocket;
use tungstenite::client::IntoClientRequest as _;
use tungstenite::http::{HeaderName, Request};

use super::*;
use crate::{Networks, ProxyProtocol};

fn refused(reason: &str) -> String {
    format!("fanfare_connections_refused_total{{reason=\"{reason}\"}}")
}

fn held(reason: &str) -> String {
    format!("fanfare_connections_held_total{{reason=\"{reason}\"}}")
}

fn networks(items: &[&str]) -> Networks {
    Networks::parse(&items.iter().map(|item| (*item).to_owned()).collect::<Vec<_>>()).unwrap()
}

impl Node {
    /// A socket from another address of this machine.
    fn tcp_from(&self, ip: &str) -> TcpStream {
        let stream = self.runtime.block_on(async {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(SocketAddr::new(ip.parse().unwrap(), 0)).unwrap();
            socket.connect(self.address).await.unwrap().into_std().unwrap()
        });
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// A request for a WebSocket at `path`, with `headers`.
    fn upgrade(&self, path: &str, headers: &[(&str, &str)]) -> Request<()> {
        let mut request = format!("ws://{}{path}", self.address).into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        request
    }

    /// A greeted client over `stream`.
    fn greeted(&self, stream: TcpStream, headers: &[(&str, &str)]) -> Client {
        let (socket, _) = tungstenite::client::client(self.upgrade("/app/app-key", headers), stream).unwrap();
        let mut client = Client { socket, socket_id: String::new() };
        assert_eq!(client.next()["event"], "pusher:connection_established");
        client
    }

    /// The addresses of connections, as operators see them.
    fn addresses(&self) -> Vec<String> {
        let order = ListConnections { app_id: "1001".to_owned(), most: 1000, ..Default::default() };
        self.host.connections(&order).items.into_iter().map(|connection| connection.address).collect()
    }
}

/// What is read up to the end.
fn answer(mut stream: TcpStream) -> (u16, String, String) {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok();
    parse(&String::from_utf8_lossy(&answer))
}

/// One request on `stream`, which it closes; gives its answer.
fn ask(mut stream: TcpStream, headers: &str) -> (u16, String, String) {
    stream.write_all(request("GET", "/", "", &format!("{headers}Connection: close\r\n")).as_bytes()).ok();
    answer(stream)
}

/// Sends `request` over a socket that stays open, and reads an answer with a length.
fn kept(stream: &mut TcpStream, request: &str) -> (u16, String) {
    stream.write_all(request.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let (status, head, _) = parse(&String::from_utf8(head).unwrap());
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
    let mut body = vec![0; length.trim().parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    (status, head)
}

/// A signed publish.
fn publishing() -> String {
    let body = json!({ "name": "e", "channel": "room", "data": "x" }).to_string();
    let query = signer().request("POST", "/apps/1001/events", &[], body.as_bytes(), now());
    request("POST", &format!("/apps/1001/events?{query}"), &body, "")
}

#[test]
fn who_comes_too_fast_waits_and_is_served() {
    let node = Node::start(Config { accept_rate: 20, accept_burst: 5, ..quick() });
    let begun = Instant::now();
    // The kernel takes them at once.
    let streams: Vec<_> = (0..45).map(|_| node.tcp()).collect();
    for stream in streams {
        assert_eq!(ask(stream, "").0, 404);
    }
    assert!(begun.elapsed() >= Duration::from_millis(1900), "{:?}", begun.elapsed());
    // Of the other 40 those that come behind a pause of the machine find their leave there.
    assert!(node.metric(&held("rate")) >= 15.0, "{}", node.metric(&held("rate")));
}

#[test]
fn requests_over_a_socket_that_is_kept_need_no_leave() {
    let node = Node::start(Config { accept_rate: 1, accept_burst: 1, ..quick() });
    let mut kept_open = node.tcp();
    let begun = Instant::now();
    for _ in 0..50 {
        assert_eq!(kept(&mut kept_open, &publishing()).0, 200);
    }
    // By leave it would be one a second.
    assert!(begun.elapsed() < Duration::from_secs(40));
}

#[test]
fn silent_sockets_keep_nobody_out() {
    let node = Node::start(Config { max_handshakes: 2, handshake_timeout: Duration::from_secs(12), ..quick() });
    let mut open = node.tcp();
    assert_eq!(kept(&mut open, &publishing()).0, 200);
    let (silent, mut slow) = (node.tcp(), node.tcp());
    slow.write_all(b"GET /app/app-key HTTP/1.1\r\nX: ").unwrap();
    let mut client = node.client();
    client.check();
    // Requests on open sockets are nobody's handshake.
    assert_eq!(kept(&mut open, &publishing()).0, 200);
    // One had to go; whether both did depends on who was looked at while somebody waited.
    assert!((1.0..=2.0).contains(&node.metric(&refused("handshakes"))), "{}", node.metrics.render());
    assert!(node.metric(&held("handshakes")) >= 1.0);
    assert_eq!(node.metric(&refused("handshake_timeout")), 0.0);
    drop((silent, slow));
    client.check();
}

#[test]
fn a_slow_handshake_is_let_be_while_there_is_room() {
    let limit = Duration::from_secs(12);
    let node = Node::start(Config { max_handshakes: 8, handshake_timeout: limit, ..quick() });
    let begun = Instant::now();
    let mut slow = node.tcp();
    let mut request = request("GET", "/", "", "Connection: close\r\n").into_bytes();
    let rest = request.split_off(10);
    for byte in request {
        slow.write_all(&[byte]).unwrap();
        std::thread::sleep(Duration::from_millis(40));
    }
    // By then it would have been ended if others waited.
    std::thread::sleep((limit / 2 + Duration::from_millis(500)).saturating_sub(begun.elapsed()));
    slow.write_all(&rest).unwrap();
    assert_eq!(answer(slow).0, 404);
}
