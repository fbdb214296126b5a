//! Every library doing the same two things: echo (to reach the idle state) and fan-out.

use std::future::{Future, poll_fn};
use std::task::Poll;

use bytes::Bytes;
use fastwebsockets::{FragmentCollector, Frame, OpCode, Payload};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::coop::unconstrained;
use tokio_tungstenite::WebSocketStream;
use tungstenite::Message;
use tungstenite::protocol::frame::coding::Data;
use tungstenite::protocol::{Role, WebSocketConfig};

use crate::edge::{Conn, close_code, encode};
use crate::server::Upgraded;

/// The first is the floor: the bare socket.
pub const LIBRARIES: [&str; 8] = [
    "floor",
    "context-4096",
    "context-1024",
    "context-512",
    "tokio-tungstenite",
    "tokio-tungstenite-4096",
    "fastwebsockets",
    "tokio-websockets",
];

type Done = UnboundedSender<()>;

/// Serves every connection in a task of its own until each has echoed one message.
pub async fn echo(name: &str, mut upgraded: UnboundedReceiver<Upgraded>, connections: usize) {
    let (done, mut echoed) = unbounded_channel();
    for _ in 0..connections {
        let (socket, leftover) = upgraded.recv().await.expect("another connection");
        let done = done.clone();
        match name {
            "floor" => spawn(floor_echo(socket, done)),
            "context-4096" => spawn(context_echo(socket, leftover, 4096, done)),
            "context-1024" => spawn(context_echo(socket, leftover, 1024, done)),
            "context-512" => spawn(context_echo(socket, leftover, 512, done)),
            "tokio-tungstenite" => spawn(tungstenite_echo(socket, None, done)),
            "tokio-tungstenite-4096" => spawn(tungstenite_echo(socket, Some(small()), done)),
            "fastwebsockets" => spawn(fastwebsockets_echo(socket, done)),
            "tokio-websockets" => spawn(tokio_websockets_echo(socket, done)),
            _ => panic!("no such library: {name}"),
        }
    }
    for _ in 0..connections {
        echoed.recv().await;
    }
    // The tasks end when their sockets do, and report no more.
    std::mem::forget(echoed);
}

fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}

fn small() -> WebSocketConfig {
    let config = WebSocketConfig::default();
    config.read_buffer_size(4096).write_buffer_size(0)
}

async fn floor_echo(socket: TcpStream, done: Done) {
    fn turn(socket: &TcpStream) -> bool {
        let mut buf = [0; 4096];
        match socket.try_read(&mut buf) {
            Ok(n) => n > 0 && socket.try_write(&buf[..n]).is_ok(),
            Err(e) => e.kind() == std::io::ErrorKind::WouldBlock,
        }
    }
    socket.readable().await.expect("a socket");
    done.send(()).expect("a receiver");
    while turn(&socket) {
        socket.readable().await.expect("a socket");
    }
}

async fn context_echo(socket: TcpStream, leftover: Bytes, read_buffer: usize, done: Done) {
    let mut conn = Conn::new(socket, &leftover, read_buffer);
    drop(leftover);
    let error = loop {
        let message = match poll_fn(|cx| conn.poll_read(cx)).await {
            Ok(message) => message,
            Err(error) => break error,
        };
        let frame = encode(message.into_data(), Data::Binary);
        poll_fn(|cx| Poll::Ready(conn.send(cx, &frame))).await.expect("a peer");
        drop(frame);
        poll_fn(|cx| conn.poll_flush(cx)).await.expect("a peer");
        done.send(()).expect("a receiver");
    };
    if let Some(code) = close_code(&error) {
        poll_fn(|cx| Poll::Ready(conn.close(cx, code, ""))).await.ok();
    }
    poll_fn(|cx| conn.poll_flush(cx)).await.ok();
}

async fn tungstenite_echo(socket: TcpStream, config: Option<WebSocketConfig>, done: Done) {
    let mut ws = WebSocketStream::from_raw_socket(socket, Role::Server, config).await;
    while let Some(Ok(message)) = ws.next().await {
        ws.send(message).await.expect("a peer");
        done.send(()).expect("a receiver");
    }
}

async fn fastwebsockets_echo(socket: TcpStream, done: Done) {
    let ws = fastwebsockets::WebSocket::after_handshake(socket, fastwebsockets::Role::Server);
    let mut ws = FragmentCollector::new(ws);
    while let Ok(frame) = ws.read_frame().await {
        ws.write_frame(frame).await.expect("a peer");
        done.send(()).expect("a receiver");
    }
}

async fn tokio_websockets_echo(socket: TcpStream, done: Done) {
    let mut ws = tokio_websockets::ServerBuilder::new().serve(socket);
    while let Some(Ok(message)) = ws.next().await {
        ws.send(message).await.expect("a peer");
        done.send(()).expect("a receiver");
    }
}

/// All receivers of one message, each the way its library would have it sent.
pub enum Fanout {
    Floor(Vec<TcpStream>, Bytes),
    Context(Vec<Conn<TcpStream>>, Bytes),
    Tungstenite(Vec<WebSocketStream<TcpStream>>, Message),
    FastWebSockets(Vec<fastwebsockets::WebSocket<TcpStream>>, Bytes),
    TokioWebSockets(Vec<tokio_websockets::WebSocketStream<TcpStream>>, tokio_websockets::Message),
}

pub async fn fanout(name: &str, upgraded: Vec<Upgraded>, payload: Bytes) -> Fanout {
    let sockets = upgraded.into_iter().map(|(socket, _)| socket);
    let frame = encode(payload.clone(), Data::Binary);
    match name {
        "floor" => Fanout::Floor(sockets.collect(), frame),
        "context-4096" => Fanout::Context(contexts(sockets, 4096), frame),
        "context-1024" => Fanout::Context(contexts(sockets, 1024), frame),
        "context-512" => Fanout::Context(contexts(sockets, 512), frame),
        "tokio-tungstenite" => tungstenite(sockets, None, payload).await,
        "tokio-tungstenite-4096" => tungstenite(sockets, Some(small()), payload).await,
        "fastwebsockets" => {
            let role = fastwebsockets::Role::Server;
            let wrap = |socket| fastwebsockets::WebSocket::after_handshake(socket, role);
            Fanout::FastWebSockets(sockets.map(wrap).collect(), payload)
        }
        "tokio-websockets" => {
            let builder = tokio_websockets::ServerBuilder::new();
            let message = tokio_websockets::Message::binary(payload);
            Fanout::TokioWebSockets(sockets.map(|s| builder.serve(s)).collect(), message)
        }
        _ => panic!("no such library: {name}"),
    }
}

fn contexts(sockets: impl Iterator<Item = TcpStream>, read_buffer: usize) -> Vec<Conn<TcpStream>> {
    sockets.map(|s| Conn::new(s, &[], read_buffer)).collect()
}

async fn tungstenite(
    sockets: impl Iterator<Item = TcpStream>,
    config: Option<WebSocketConfig>,
    payload: Bytes,
) -> Fanout {
    let mut all = Vec::new();
    for socket in sockets {
        all.push(WebSocketStream::from_raw_socket(socket, Role::Server, config).await);
    }
    Fanout::Tungstenite(all, Message::Binary(payload))
}

impl Fanout {
    /// Sends the message once to everyone.
    pub async fn round(&mut self) {
        match self {
            Self::Floor(sockets, frame) => {
                for socket in sockets {
                    assert_eq!(socket.try_write(frame).expect("room"), frame.len());
                }
            }
            Self::Context(conns, frame) => {
                // Unconstrained: past its budget of operations per poll, tokio has every socket
                // pretend to be full, and all the frames would go to the queues.
                unconstrained(poll_fn(|cx| {
                    for conn in &mut *conns {
                        assert!(conn.send(cx, frame).expect("a peer"));
                    }
                    Poll::Ready(())
                }))
                .await;
            }
            Self::Tungstenite(sockets, message) => {
                for ws in sockets {
                    ws.send(message.clone()).await.expect("a peer");
                }
            }
            Self::FastWebSockets(sockets, payload) => {
                for ws in sockets {
                    let payload = Payload::Borrowed(payload);
                    let frame = Frame::new(true, OpCode::Binary, None, payload);
                    ws.write_frame(frame).await.expect("a peer");
                }
            }
            Self::TokioWebSockets(sockets, message) => {
                for ws in sockets {
                    ws.send(message.clone()).await.expect("a peer");
                }
            }
        }
    }
}
