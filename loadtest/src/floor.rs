//! The floor: a server that does for `fanout` only what no server can leave out.
//!
//! Per delivery one blocking write of a frame encoded once, and nothing else: no queue, no limit, no check, no reading
//! of what subscribers send, no way to stop. What a real server uses beyond it is the price of what it does.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::error::Error;
use crate::http::{Broken, Exchange};
use crate::message::{ESTABLISHED, Publication, SUBSCRIBED};

/// How long one that connects may keep the others waiting for its request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// A floor server in a process of its own, ended when dropped.
#[derive(Debug)]
pub(crate) struct Floor {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Floor {
    /// Starts one.
    pub(crate) fn start() -> Result<Self, Error> {
        let system = || Error::system("starting the floor server");
        let program = std::env::current_exe().map_err(system())?;
        let spawned = Command::new(program).arg("floor-server").stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut child = spawned.map_err(system())?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line).map_err(system())?;
        }
        let address = line.trim().parse().map_err(|_| Error::UnknownForm("the floor server's address".to_owned()))?;
        Ok(Self { child, address })
    }

    /// Id of its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        // Either fails only if the process has ended by itself, which is what we want.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Serves at `listen` until the process is ended; prints the address first.
pub(crate) fn serve(listen: SocketAddr) -> Result<(), Error> {
    let system = || Error::system(format!("listening at {listen}"));
    let listener = TcpListener::bind(listen).map_err(system())?;
    println!("{}", listener.local_addr().map_err(system())?);
    let subscribers = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for stream in listener.incoming() {
            // Whoever fails to connect is not served; the generator notices.
            let Ok((stream, first)) = stream.map_err(Broken::from).and_then(first_request) else { continue };
            if let Some(key) = &first.websocket_key {
                if subscribe(&stream, key).is_ok() {
                    lock(&subscribers).push(stream);
                }
            } else {
                let subscribers = &subscribers;
                scope.spawn(move || serve_publisher(stream, first, subscribers));
            }
        }
    });
    Ok(())
}

fn first_request(stream: TcpStream) -> Result<(TcpStream, Exchange), Broken> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(REQUEST_TIMEOUT))?;
    // Takes no byte of what follows the request; that is for the next to read.
    let first = Exchange::read(&mut BufReader::with_capacity(1, &stream))?;
    stream.set_read_timeout(None)?;
    Ok((stream, first))
}

/// Answers at once all that a subscriber awaits.
fn subscribe(mut stream: &TcpStream, key: &str) -> Result<(), Broken> {
    let mut answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: {}\r\n\r\n",
        derive_accept_key(key.as_bytes())
    )
    .into_bytes();
    for event in [ESTABLISHED, SUBSCRIBED] {
        answer.extend(frame(serde_json::json!({"event": event, "data": "{}"}).to_string().into_bytes()));
    }
    Ok(stream.write_all(&answer)?)
}

/// Answers a publisher and delivers what it sends, until it leaves.
fn serve_publisher(stream: TcpStream, first: Exchange, subscribers: &Mutex<Vec<TcpStream>>) {
    let mut from = BufReader::new(&stream);
    let mut request = Ok(first);
    while let Ok(Exchange { body, .. }) = request {
        let Ok(publication) = serde_json::from_slice::<Publication<'_>>(&body) else { return };
        let frame = frame(serde_json::to_vec(&publication).expect("strings are JSON"));
        if (&stream).write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").is_err() {
            return;
        }
        lock(subscribers).retain_mut(|subscriber| subscriber.write_all(&frame).is_ok());
        request = Exchange::read(&mut from);
    }
}

fn frame(text: Vec<u8>) -> Vec<u8> {
    let mut bytes = Vec::new();
    Frame::message(text, OpCode::Data(Data::Text), true).format(&mut bytes).expect("a vector takes everything");
    bytes
}

fn lock(subscribers: &Mutex<Vec<TcpStream>>) -> MutexGuard<'_, Vec<TcpStream>> {
    subscribers.lock().expect("nobody panics with the lock")
}
