//! Who writes to a socket: its connection, and the tasks of its channels, one at a time.

use tokio::net::TcpSocket;

use super::*;

const CHANNELS: [&str; 3] = ["a", "b", "c"];
const MESSAGES: usize = 300;

/// Data that says which message it is, of all sizes that a message may have.
fn data(index: usize) -> String {
    format!("{index}:{}", "x".repeat(index * 7919 % 9000))
}

/// Several channels write to sockets that take a few kilobytes at a time, while their clients ping, and read in fits and
/// starts.
#[test]
fn frames_stay_whole_and_in_order_whoever_writes() {
    let runtime = Node::runtime();
    let world = Arc::new(runtime.block_on(World::with(fixtures::app())));
    let listener = runtime.block_on(async {
        let socket = TcpSocket::new_v4().unwrap();
        // Those that it accepts inherit this.
        socket.set_send_buffer_size(4096).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        socket.listen(64).unwrap()
    });
    let config = Config { send_queue_bytes: 64 * 1024 * 1024, ..quick() };
    let node = Node::listening(config, runtime, world, listener);
    let mut clients: Vec<_> = (0..3).map(|_| node.client()).collect();
    for client in &mut clients {
        CHANNELS.iter().for_each(|channel| client.subscribe(channel));
    }
    std::thread::scope(|scope| {
        for channel in CHANNELS {
            let node = &node;
            scope.spawn(move || {
                for index in 0..MESSAGES {
                    assert_eq!(node.publish(channel, &data(index)).0, 200);
                }
            });
        }
        for (pause, client) in clients.iter_mut().enumerate() {
            scope.spawn(move || read(client, pause));
        }
    });
    clients.iter_mut().for_each(Client::check);
    // Counted once they are written.
    let published = CHANNELS.len() * MESSAGES;
    for (series, least) in [
        (r#"fanfare_messages_sent_total{protocol="pusher"}"#, clients.len() * published),
        (r#"fanfare_delivery_seconds_count{hop="total"}"#, published),
    ] {
        eventually(|| node.metric(series) >= least as f64, || format!("{series} is {}", node.metric(series)));
    }
}

/// Reads until every message of every channel was there, each in its place. Pings all the while, and pauses for some
/// milliseconds again and again.
fn read(client: &mut Client, pause: usize) {
    let (mut next, mut pinged, mut ponged) = ([0; CHANNELS.len()], 0_u32, 0);
    while next != [MESSAGES; CHANNELS.len()] || ponged < pinged {
        if next != [MESSAGES; CHANNELS.len()] && pinged < ponged + 10 {
            pinged += 1;
            client.socket.send(Message::Ping(pinged.to_be_bytes().to_vec().into())).unwrap();
        }
        match client.socket.read().unwrap() {
            Message::Text(text) => {
                let event: Value = serde_json::from_str(&text).unwrap();
                let channel = CHANNELS.iter().position(|channel| event["channel"] == *channel).unwrap();
                assert_eq!(event["data"], data(next[channel]).as_str());
                next[channel] += 1;
                if next[channel] % 40 == 0 {
                    std::thread::sleep(Duration::from_millis(5 * pause as u64));
                }
            }
            // One pong may answer several pings.
            Message::Pong(pong) => {
                let pong = u32::from_be_bytes(pong[..].try_into().unwrap());
                assert!(ponged < pong && pong <= pinged);
                ponged = pong;
            }
            other => panic!("{other:?}"),
        }
    }
}
