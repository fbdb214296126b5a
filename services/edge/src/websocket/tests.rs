use std::future::poll_fn;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::*;

/// A client frame; a mask of zeros leaves the payload as it is.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first, 0x80 | u8::try_from(payload.len()).unwrap(), 0, 0, 0, 0];
    frame.extend_from_slice(payload);
    frame
}

fn pair(pipe: usize) -> (WebSocket<DuplexStream>, DuplexStream) {
    let (server, client) = duplex(pipe);
    (WebSocket::new(server, &[], 64 * 1024), client)
}

async fn read(socket: &mut WebSocket<DuplexStream>) -> Result<Message, ReadError> {
    poll_fn(|cx| socket.poll_read(cx)).await
}

async fn flush(socket: &mut WebSocket<DuplexStream>) {
    poll_fn(|cx| socket.poll_flush(cx, &mut |_| {})).await.unwrap();
}

#[tokio::test]
async fn joins_fragments_around_a_ping_and_queues_the_pong() {
    let (mut socket, mut client) = pair(1024);
    for frame in [masked(0x01, b"he"), masked(0x89, b"p"), masked(0x80, b"y")] {
        client.write_all(&frame).await.unwrap();
    }
    assert_eq!(read(&mut socket).await.unwrap(), Message::Ping("p".into()));
    assert_eq!(read(&mut socket).await.unwrap(), Message::text("hey"));
    flush(&mut socket).await;
    let mut pong = [0; 3];
    client.read_exact(&mut pong).await.unwrap();
    assert_eq!(pong, [0x8a, 1, b'p']);
}

#[tokio::test]
async fn bytes_behind_the_upgrade_request_are_read_first() {
    let (server, _client) = duplex(64);
    let mut socket = WebSocket::new(server, &masked(0x81, b"early"), 1024);
    assert_eq!(read(&mut socket).await.unwrap(), Message::text("early"));
}

#[tokio::test]
async fn a_reply_waits_for_the_rest_of_a_half_written_frame() {
    let (mut socket, mut client) = pair(10);
    socket.out().push_back(frame::text("0123456789"));
    let stuck = poll_fn(|cx| Poll::Ready(socket.poll_flush(cx, &mut |_| {}).is_pending())).await;
    assert!(stuck);
    assert_eq!(socket.take_written(), Written { bytes: 10, messages: 0 });
    client.write_all(&masked(0x89, b"")).await.unwrap();
    assert!(read(&mut socket).await.unwrap().is_ping());
    // The pong is queued by the next read, which finds nothing.
    assert!(poll_fn(|cx| Poll::Ready(socket.poll_read(cx).is_pending())).await);
    assert_eq!(socket.discard(), 0, "the half-written frame stays");
    let mut seen = [0; 12];
    let (_, got) = tokio::join!(flush(&mut socket), client.read_exact(&mut seen));
    got.unwrap();
    assert_eq!(seen, *b"\x81\x0a0123456789");
}

#[tokio::test]
async fn many_frames_arrive_in_order_and_are_counted() {
    let (mut socket, mut client) = pair(64);
    let mut expected = Vec::new();
    for i in 0..300 {
        let frame = frame::text(&i.to_string());
        expected.extend_from_slice(&frame.bytes);
        socket.out().push_back(frame);
    }
    let mut seen = vec![0; expected.len()];
    let mut done = 0;
    let flush = poll_fn(|cx| socket.poll_flush(cx, &mut |_| done += 1));
    let (flushed, got) = tokio::join!(flush, client.read_exact(&mut seen));
    flushed.unwrap();
    got.unwrap();
    assert_eq!(seen, expected);
    let written = Written { bytes: expected.len(), messages: 300 };
    assert_eq!((done, socket.take_written(), socket.replies), (300, written, 0));
}

#[tokio::test]
async fn answers_a_close_and_ends() {
    let (mut socket, mut client) = pair(1024);
    client.write_all(&masked(0x88, &[0x03, 0xe8])).await.unwrap();
    assert!(read(&mut socket).await.unwrap().is_close());
    assert_eq!(read(&mut socket).await, Err(ReadError::Closed));
    flush(&mut socket).await;
    let mut reply = [0; 4];
    client.read_exact(&mut reply).await.unwrap();
    assert_eq!(reply, [0x88, 2, 0x03, 0xe8]);
}

#[tokio::test]
async fn a_violation_still_lets_a_close_frame_out() {
    let oversized = [0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0].to_vec();
    for (bytes, violation, code) in [
        (vec![0x81, 1, b'a'], Violation::Rules, 1002_u16),
        (masked(0xc1, b"a"), Violation::Rules, 1002),
        (masked(0x81, &[0xff]), Violation::NotUtf8, 1007),
        (oversized, Violation::TooLarge, 1009),
    ] {
        let (mut socket, mut client) = pair(1024);
        client.write_all(&bytes).await.unwrap();
        assert_eq!(read(&mut socket).await, Err(ReadError::Violation(violation)));
        socket.close(code, "");
        flush(&mut socket).await;
        let mut reply = [0; 4];
        client.read_exact(&mut reply).await.unwrap();
        assert_eq!(reply[..2], [0x88, 2]);
        assert_eq!(u16::from_be_bytes([reply[2], reply[3]]), code);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_pings_and_never_reads_is_not_read_for_ever() {
    let (mut socket, mut client) = pair(64);
    let flood = async {
        loop {
            client.write_all(&masked(0x89, &[b'p'; 100])).await.unwrap();
        }
    };
    let pump = async {
        loop {
            read(&mut socket).await.unwrap();
        }
    };
    // The clock only moves on when neither can: nobody reads the pongs.
    let stuck = async { tokio::join!(flood, pump) };
    assert!(tokio::time::timeout(std::time::Duration::from_secs(1), stuck).await.is_err());
    assert!((MAX_QUEUED_REPLIES..=MAX_QUEUED_REPLIES + 2).contains(&socket.out.len()), "{}", socket.out.len());
}

#[tokio::test]
async fn a_lost_stream_is_not_a_violation() {
    let (mut socket, client) = pair(64);
    drop(client);
    assert_eq!(read(&mut socket).await, Err(ReadError::Lost));
}
