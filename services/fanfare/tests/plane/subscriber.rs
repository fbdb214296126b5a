//! A client on a WebSocket: what it is sent, with the time at which it came.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::within;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::spawn_blocking;
use tungstenite::{Message, WebSocket};

/// Longest that the server may be silent while a connection is made.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often what is to be sent is looked after.
const TURN: Duration = Duration::from_millis(20);

/// Something that the server sent.
#[derive(Debug)]
pub(crate) enum Seen {
    Event { event: String, data: Value },
    Closed(Closed),
}

/// How a connection ended.
#[derive(Debug)]
pub(crate) struct Closed {
    pub(crate) at: Instant,
    /// 0 if the server said nothing.
    pub(crate) code: u16,
    pub(crate) reason: String,
}

/// What the thread of a connection is to do.
enum Order {
    Send(Value),
    /// Nothing more: it does not even read.
    Sleep,
}

/// A connected client. What it was sent waits until it is asked for.
pub(crate) struct Subscriber {
    pub(crate) socket_id: String,
    seen: UnboundedReceiver<Seen>,
    orders: std::sync::mpsc::Sender<Order>,
}

impl Subscriber {
    /// Connects with `key`; an error is how the server closed it, as when it refuses.
    pub(crate) async fn connect(edge: SocketAddr, key: &str) -> Result<Self, Closed> {
        let url = format!("ws://{edge}/app/{key}?protocol=7&client=js&version=8.4.0");
        let (sender, mut seen) = unbounded_channel();
        let (orders, given) = std::sync::mpsc::channel();
        let opened = spawn_blocking(move || {
            let stream = TcpStream::connect(edge)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            tungstenite::client::client(url, stream).map_err(io::Error::other)
        });
        let gone = |error: io::Error| Closed { at: Instant::now(), code: 0, reason: error.to_string() };
        let (socket, _) = opened.await.unwrap().map_err(gone)?;
        socket.get_ref().set_read_timeout(Some(TURN)).map_err(gone)?;
        // Ends with the connection, which ends when this value is dropped.
        thread::spawn(move || converse(socket, &sender, &given));
        match within("a greeting", seen.recv()).await {
            Some(Seen::Event { data, .. }) => {
                Ok(Self { socket_id: data["socket_id"].as_str().unwrap().to_owned(), seen, orders })
            }
            Some(Seen::Closed(closed)) => Err(closed),
            None => unreachable!("the end is told"),
        }
    }

    /// Connects, and subscribes to `channel`.
    pub(crate) async fn on(edge: SocketAddr, key: &str, channel: &str) -> Self {
        let mut subscriber = Self::connect(edge, key).await.unwrap();
        subscriber.send(json!({ "event": "pusher:subscribe", "data": { "channel": channel } }));
        subscriber.event("pusher_internal:subscription_succeeded").await;
        subscriber
    }

    /// Sends a frame, a little later.
    pub(crate) fn send(&self, frame: Value) {
        self.orders.send(Order::Send(frame)).unwrap();
    }

    /// Stays connected, and reads no more.
    pub(crate) fn sleep(&self) {
        self.orders.send(Order::Sleep).unwrap();
    }

    /// The next event of this name; those before it are forgotten.
    pub(crate) async fn event(&mut self, name: &str) -> Value {
        self.event_with(|event| event == name).await
    }

    /// The next event with such a name; those before it are forgotten.
    pub(crate) async fn event_with(&mut self, is_named: impl Fn(&str) -> bool) -> Value {
        loop {
            match within("an event", self.seen.recv()).await.unwrap() {
                Seen::Event { event, data, .. } if is_named(&event) => return data,
                Seen::Event { .. } => {}
                Seen::Closed(closed) => panic!("closed, waiting for an event: {closed:?}"),
            }
        }
    }

    /// How many events of this name are there by now.
    pub(crate) fn count(&mut self, name: &str) -> u64 {
        let mut count = 0;
        while let Ok(seen) = self.seen.try_recv() {
            match seen {
                Seen::Event { event, .. } => count += u64::from(event == name),
                Seen::Closed(closed) => panic!("closed: {closed:?}"),
            }
        }
        count
    }

    /// Waits until the server has closed it.
    pub(crate) async fn closed(&mut self) -> Closed {
        loop {
            if let Seen::Closed(closed) = within("the server to close", self.seen.recv()).await.unwrap() {
                return closed;
            }
        }
    }
}

/// Reads and writes until the connection ends, or nobody is interested any more.
fn converse(mut socket: WebSocket<TcpStream>, seen: &UnboundedSender<Seen>, orders: &std::sync::mpsc::Receiver<Order>) {
    let mut ending = (0, String::new());
    let closed = loop {
        match socket.read() {
            Ok(Message::Text(text)) => {
                let frame: Value = serde_json::from_str(&text).unwrap();
                let data = match &frame["data"] {
                    Value::String(text) => serde_json::from_str(text).unwrap_or_else(|_| json!(text)),
                    data => data.clone(),
                };
                let event = frame["event"].as_str().unwrap_or_default().to_owned();
                if seen.send(Seen::Event { event, data }).is_err() {
                    return;
                }
            }
            Ok(Message::Close(frame)) => {
                ending = frame.map_or(ending, |frame| (frame.code.into(), frame.reason.to_string()));
                break Instant::now();
            }
            Ok(Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
            // With a timeout of its own, a read of a process that was stopped and goes on is interrupted.
            Err(tungstenite::Error::Io(error))
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
                ) =>
            {
                if seen.is_closed() {
                    return;
                }
            }
            Err(_) => break Instant::now(),
        }
        while let Ok(order) = orders.try_recv() {
            match order {
                // A broken connection is told by the next read.
                Order::Send(frame) => drop(socket.send(Message::text(frame.to_string()))),
                // Until nobody can give orders any more.
                Order::Sleep => return orders.iter().for_each(drop),
            }
        }
    };
    // Answers the close, so that the server need not wait; who asks may be gone.
    socket.flush().ok();
    seen.send(Seen::Closed(Closed { at: closed, code: ending.0, reason: ending.1 })).ok();
}
