//! A server for subscribers and publishers of the Pusher protocol that goes wrong in one way, on purpose.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

/// What it does wrong. Messages are counted from 1, and subscribers in the order in which they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// The 7th message does not reach the second subscriber.
    Loses,
    /// The last message reaches nobody.
    LosesTheLast,
    /// The 7th message reaches everybody twice.
    Repeats,
    /// The 7th message reaches the second subscriber after the 8th.
    Reorders,
    /// The 7th message lacks its last byte.
    Damages,
    /// The 7th message says that it is of another channel.
    Misleads,
    /// With the 7th message it sends a complaint.
    Complains,
    /// It closes the first subscriber instead of sending the 7th message.
    Closes,
    /// It refuses the 7th message.
    Refuses,
    /// Histories lack their second message.
    ForgetsHistory,
}

/// Of a run's messages, the one that `LosesTheLast` is about.
pub(crate) const LAST: usize = 20;

struct Served {
    fault: Fault,
    subscribers: Mutex<Vec<WebSocket<TcpStream>>>,
    /// All that was published: the bodies.
    published: Mutex<Vec<Value>>,
}

/// Starts one; it ends with the test. Answers where it listens.
pub(crate) fn start(fault: Fault) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let served = Arc::new(Served { fault, subscribers: Mutex::default(), published: Mutex::default() });
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, served) = (stream.unwrap(), served.clone());
            thread::spawn(move || served.serve(stream));
        }
    });
    address
}

impl Served {
    fn serve(&self, stream: TcpStream) {
        let mut first = [0; 9];
        loop {
            match stream.peek(&mut first) {
                // Gone before it has said anything.
                Ok(0) | Err(_) => return,
                Ok(read) if read < first.len() => thread::yield_now(),
                Ok(_) => break,
            }
        }
        if first.starts_with(b"GET /app/") { self.subscribe(stream) } else { self.answer(&stream) }
    }

    fn subscribe(&self, stream: TcpStream) {
        let mut socket = tungstenite::accept(stream).unwrap();
        let established = json!({"event": "pusher:connection_established", "data": "{\"socket_id\":\"1.2\"}"});
        socket.send(Message::text(established.to_string())).unwrap();
        // Whoever leaves before it subscribes is the end of this.
        let Ok(Message::Text(request)) = socket.read() else { return };
        let request: Value = serde_json::from_str(&request).unwrap();
        let event = "pusher_internal:subscription_succeeded";
        let confirmed = json!({"event": event, "channel": request["data"]["channel"], "data": "{}"});
        // Under the lock, so that the order of subscribers is that of the confirmations.
        let mut subscribers = self.subscribers.lock().unwrap();
        socket.send(Message::text(confirmed.to_string())).unwrap();
        subscribers.push(socket);
    }

    fn answer(&self, mut stream: &TcpStream) {
        let mut from = BufReader::new(stream);
        loop {
            let (mut request, mut line, mut length) = (String::new(), String::new(), 0);
            while from.read_line(&mut line).unwrap_or(0) > 2 {
                if request.is_empty() {
                    request.clone_from(&line);
                }
                if let Some((_, value)) = line.to_lowercase().split_once("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            if request.is_empty() {
                return;
            }
            let mut body = vec![0; length];
            from.read_exact(&mut body).unwrap();
            let (status, answer) = if request.starts_with("GET") {
                (200, self.history(&request))
            } else {
                self.publish(serde_json::from_slice(&body).unwrap())
            };
            let length = answer.len();
            // A publisher that has gone is no trouble.
            write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n\r\n{answer}").ok();
        }
    }

    fn history(&self, request: &str) -> String {
        let published = self.published.lock().unwrap();
        let of = |body: &&Value| request.contains(&format!("/channels/{}/", body["channel"].as_str().unwrap()));
        let mut events: Vec<_> = published.iter().filter(of).map(|body| json!({"data": body["data"]})).collect();
        if self.fault == Fault::ForgetsHistory {
            events.remove(1);
        }
        json!({ "events": events }).to_string()
    }

    fn publish(&self, body: Value) -> (u16, String) {
        let mut published = self.published.lock().unwrap();
        published.push(body);
        let number = published.len();
        let frame = |body: &Value| {
            let name = body["channel"].as_str().unwrap();
            json!({"event": body["name"], "channel": name, "data": body["data"]}).to_string()
        };
        let seventh = number == 7;
        if seventh && self.fault == Fault::Refuses {
            return (429, "{}".to_owned());
        }
        let mut text = frame(&published[number - 1]);
        match self.fault {
            Fault::Damages if seventh => text = text.replace(";\"", "\""),
            Fault::Misleads if seventh => text = text.replace("\"loadtest-0\"", "\"loadtest-1\""),
            _ => {}
        }
        let mut subscribers = self.subscribers.lock().unwrap();
        if seventh && self.fault == Fault::Closes {
            let mut first = subscribers.remove(0);
            first.close(None).unwrap();
            first.flush().ok();
            return (200, "{}".to_owned());
        }
        for (index, subscriber) in subscribers.iter_mut().enumerate() {
            let second = index == 1;
            let texts = match self.fault {
                Fault::Loses | Fault::Reorders if seventh && second => vec![],
                Fault::Reorders if number == 8 && second => vec![text.clone(), frame(&published[6])],
                Fault::LosesTheLast if number == LAST => vec![],
                Fault::Repeats if seventh => vec![text.clone(), text.clone()],
                Fault::Complains if seventh => {
                    vec![text.clone(), json!({"event": "pusher:error", "data": {"code": null}}).to_string()]
                }
                _ => vec![text.clone()],
            };
            for text in texts {
                subscriber.send(Message::text(text)).ok();
            }
        }
        (200, "{}".to_owned())
    }
}
