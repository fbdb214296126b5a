//! The other end: opens connections, sends one frame on each if asked to, then reads and discards.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

pub async fn run(port: u16, connections: usize, message: usize) {
    for _ in 0..connections {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        socket.write_all(REQUEST).await.unwrap();
        let mut response = Vec::new();
        while !response.ends_with(b"\r\n\r\n") {
            assert_ne!(socket.read_buf(&mut response).await.unwrap(), 0);
        }
        if message > 0 {
            // Binary, masked with zeros, so that the payload is sent as it is.
            let mut frame = vec![0x82];
            match u16::try_from(message).unwrap() {
                short @ ..126 => frame.push(0x80 | short as u8),
                long => {
                    frame.push(0x80 | 126);
                    frame.extend_from_slice(&long.to_be_bytes());
                }
            }
            frame.resize(frame.len() + 4 + message, 0);
            socket.write_all(&frame).await.unwrap();
        }
        tokio::spawn(discard(socket));
    }
    std::future::pending().await
}

async fn discard(socket: TcpStream) {
    let mut buf = [0; 16 * 1024];
    loop {
        socket.readable().await.unwrap();
        match socket.try_read(&mut buf) {
            Ok(0) => return,
            Err(e) if e.kind() != std::io::ErrorKind::WouldBlock => return,
            _ => {}
        }
    }
}
