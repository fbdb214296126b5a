//! The HTTP fallback: answers that stream, polls, sends, and what becomes of sessions.

use std::io::{BufRead as _, BufReader};

use super::*;

const BASE: &str = "/pusher/app/app-key/12/abcdefgh";
const CONNECTIONS: &str = r#"fanfare_connections{protocol="pusher",transport="xhr_streaming"}"#;
const POLLING: &str = r#"fanfare_connections{protocol="pusher",transport="xhr_polling"}"#;
const LOST: &str = r#"fanfare_connections_closed_total{protocol="pusher",code="none"}"#;

/// An answer, read line by line while it goes on.
pub(super) struct Answer {
    reader: BufReader<TcpStream>,
    head: String,
    /// Of the current chunk, behind the line that was read last.
    rest: String,
}

impl Answer {
    /// The next line, without its end; `None` behind the last one.
    fn line(&mut self) -> Option<String> {
        loop {
            if let Some((line, rest)) = self.rest.split_once('\n') {
                let line = line.to_owned();
                self.rest = rest.to_owned();
                return Some(line);
            }
            let mut size = String::new();
            self.reader.read_line(&mut size).unwrap();
            let size = usize::from_str_radix(size.trim(), 16).ok()?;
            let mut chunk = vec![0; size + 2];
            self.reader.read_exact(&mut chunk).unwrap();
            if size == 0 {
                assert_eq!(self.rest, "", "half a line");
                return None;
            }
            self.rest.push_str(std::str::from_utf8(&chunk[..size]).unwrap());
        }
    }

    /// The next line is this one.
    #[track_caller]
    fn expect(&mut self, line: &str) {
        assert_eq!(self.line().as_deref(), Some(line));
    }

    /// The frames of the next line.
    #[track_caller]
    fn frames(&mut self) -> Vec<Value> {
        let line = self.line().expect("a line");
        let frames: Vec<String> =
            serde_json::from_str(line.strip_prefix('a').unwrap_or_else(|| panic!("{line}"))).unwrap();
        frames.iter().map(|frame| serde_json::from_str(frame).unwrap()).collect()
    }

    /// The only frame of the next line.
    #[track_caller]
    pub(super) fn frame(&mut self) -> Value {
        let mut frames = self.frames();
        assert_eq!(frames.len(), 1);
        frames.remove(0)
    }

    /// What opens a session. Gives the socket id.
    #[track_caller]
    pub(super) fn greeting(&mut self) -> String {
        self.expect("o");
        let greeting = self.frame();
        assert_eq!(greeting["event"], "pusher:connection_established");
        let data: Value = serde_json::from_str(greeting["data"].as_str().unwrap()).unwrap();
        data["socket_id"].as_str().unwrap().to_owned()
    }

    /// The code of the next line, which closes; nothing follows.
    #[track_caller]
    pub(super) fn close_code(&mut self) -> u64 {
        let line = self.line().expect("a line");
        let close: Value = serde_json::from_str(line.strip_prefix('c').unwrap_or_else(|| panic!("{line}"))).unwrap();
        assert_eq!(self.line(), None);
        close[0].as_u64().unwrap()
    }
}

impl Node {
    /// Posts to `path`, and reads the head of the answer.
    fn ask(&self, path: &str) -> Answer {
        let mut stream = self.tcp();
        stream.write_all(request("POST", path, "", "").as_bytes()).unwrap();
        let (mut reader, mut head) = (BufReader::new(stream), String::new());
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(reader.read_line(&mut head).unwrap(), 0, "{head}");
        }
        Answer { reader, head: head.to_ascii_lowercase(), rest: String::new() }
    }

    pub(super) fn stream(&self) -> Answer {
        self.ask(&format!("{BASE}/xhr_streaming?protocol=7&client=js&version=8.6.0&t=1&n=1"))
    }

    fn poll(&self) -> Answer {
        self.ask(&format!("{BASE}/xhr?protocol=7&client=js&version=8.6.0&t=1&n=1"))
    }

    /// The code that a request for a session is refused with.
    fn refused(&self, path: &str) -> u64 {
        let (status, _, body) = self.http(&request("POST", path, "", "Connection: close\r\n"));
        let lines: Vec<_> = body.lines().collect();
        assert_eq!((status, lines[0]), (200, "o"), "pusher-js heeds a code only in an open session");
        let close: Value = serde_json::from_str(lines[lines.len() - 1].strip_prefix('c').unwrap()).unwrap();
        close[0].as_u64().unwrap()
    }

    fn post(&self, path: &str, body: &str) -> (u16, String, String) {
        self.http(&request("POST", path, body, "Connection: close\r\n"))
    }

    fn send_at(&self, base: &str, body: &str) -> u16 {
        self.post(&format!("{base}/xhr_send?t=2&n=2"), body).0
    }

    pub(super) fn send(&self, frame: &Value) {
        assert_eq!(self.send_at(BASE, &json!([frame.to_string()]).to_string()), 204);
    }

    fn join(&self, channel: &str, auth: &str) {
        self.send(&json!({ "event": "pusher:subscribe", "data": { "channel": channel, "auth": auth } }));
    }
}

fn succeeded(channel: &str) -> Value {
    json!({ "event": "pusher_internal:subscription_succeeded", "channel": channel, "data": "{}" })
}

#[test]
fn streaming_from_greeting_to_leave() {
    let node = Node::start(quick());
    let mut answer = node.stream();
    for header in [
        "access-control-allow-origin: *",
        "cache-control: no-store, no-transform",
        "content-type: application/javascript; charset=utf-8",
        "x-accel-buffering: no",
    ] {
        assert!(answer.head.contains(header), "{header} in {}", answer.head);
    }
    let socket_id = answer.greeting();
    node.await_metric(CONNECTIONS, 1.0);
    node.join("private-room", &signer().channel(&socket_id, "private-room", None));
    assert_eq!(answer.frame(), succeeded("private-room"));
    let data = "{\"a\": 1e400, \"é\":\"\\u0041 🚀\\n\"} ";
    for data in [data, "second"] {
        node.publish("private-room", data);
        let mut event = answer.frame();
        assert!(event["position"].take().is_string());
        assert_eq!(event, json!({ "event": "e", "channel": "private-room", "data": data, "position": null }));
    }
    let mut other = node.client();
    other.subscribe("private-room");
    node.send(&json!({ "event": "client-x", "channel": "private-room", "data": 1 }));
    assert_eq!(other.next(), json!({ "event": "client-x", "channel": "private-room", "data": 1 }));
    other.send(&json!({ "event": "client-y", "channel": "private-room", "data": 2 }));
    assert_eq!(answer.frame()["event"], "client-y");
    drop(answer);
    node.await_metric(LOST, 1.0);
    node.await_metric(CONNECTIONS, 0.0);
    assert_eq!(node.send_at(BASE, "[]"), 404);
}

#[test]
fn polling_takes_turns() {
    let node = Node::start(quick());
    let mut first = node.poll();
    first.greeting();
    assert_eq!(first.line(), None);
    node.await_metric(POLLING, 1.0);
    node.join("room", "");
    let mut second = node.poll();
    assert_eq!((second.frame(), second.line()), (succeeded("room"), None));
    // While nobody asks, what comes waits; all of it is in the next answer.
    let mut other = node.client();
    other.subscribe("room");
    for data in ["1", "2", "3"] {
        node.publish("room", data);
        assert_eq!(other.next()["data"], data);
    }
    let mut third = node.poll();
    let data: Vec<_> = std::iter::from_fn(|| third.line()).collect();
    assert_eq!(data.len(), 3, "{data:?}");
    // And one that waits is answered when something comes.
    let mut fourth = node.poll();
    node.publish("room", "4");
    assert_eq!((fourth.frame()["data"].clone(), fourth.line()), (json!("4"), None));
}

#[test]
fn silence_is_broken_by_heartbeats() {
    let node = Node::start(Config { xhr_heartbeat: Duration::from_millis(200), ..quick() });
    let mut answer = node.stream();
    answer.greeting();
    answer.expect("h");
    // A client's sign of life is not answered by one, or the two would go on for ever: the pong comes before the next.
    assert_eq!(node.send_at(BASE, "[]"), 204);
    answer.expect("h");
    drop(answer);
    node.await_metric(LOST, 1.0);
    node.await_metric(CONNECTIONS, 0.0);
    let mut poll = node.poll();
    poll.greeting();
    assert_eq!(poll.line(), None);
    let mut poll = node.poll();
    poll.expect("h");
    assert_eq!(poll.line(), None);
}

#[test]
fn a_clients_heartbeat_is_not_answered() {
    let node = Node::start(quick());
    let mut answer = node.stream();
    answer.greeting();
    assert_eq!(node.send_at(BASE, "[]"), 204);
    node.send(&json!({ "event": "pusher:ping", "data": {} }));
    assert_eq!(answer.frame()["event"], "pusher:pong");
}

/// The answer to a heartbeat is what keeps a client; whoever never gives it is gone.
#[test]
fn who_answers_no_heartbeat_is_given_up() {
    let config =
        Config { activity_timeout: Duration::from_secs(1), pong_timeout: Duration::from_millis(500), ..quick() };
    let node = Node::start(config);
    let mut answer = node.stream();
    answer.greeting();
    answer.expect("h");
    assert_eq!(answer.close_code(), 4201);
}

#[test]
fn a_session_that_nobody_asks_for_is_lost() {
    let node = Node::start(Config { xhr_grace: Duration::from_millis(300), ..quick() });
    let begun = Instant::now();
    let mut poll = node.poll();
    poll.greeting();
    assert_eq!(poll.line(), None);
    // Sends do not keep it.
    while node.send_at(BASE, "[]") == 204 {
        assert!(begun.elapsed() < PATIENCE, "kept for ever");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(begun.elapsed() > Duration::from_millis(200), "{:?}", begun.elapsed());
    node.await_metric(LOST, 1.0);
    node.await_metric(POLLING, 0.0);
    // Its name is free, and its client hears that this is another one.
    node.poll().greeting();
}

/// Whatever is still on the way to the client when it asks anew would be lost.
#[test]
fn a_long_stream_ends_where_its_client_asks_anew_and_nothing_is_missed() {
    let node = Node::start(quick());
    let mut answer = node.stream();
    answer.greeting();
    node.join("room", "");
    answer.frame();
    let (mut read, mut answers) = (0, 1);
    let data = format!("é🚀{}", "x".repeat(10_000));
    for number in 0..60 {
        assert_eq!(node.publish("room", &format!("{number} {data}")).0, 200);
    }
    for number in 0..60 {
        let line = answer.line().unwrap_or_else(|| {
            assert!(read > 256 * 1024, "ended after {read}");
            answers += 1;
            read = 0;
            answer = node.stream();
            answer.line().unwrap()
        });
        assert!(read <= 256 * 1024, "still open after {read}");
        read += line.encode_utf16().count() + 1;
        assert!(line.contains(&format!(r#"\"data\":\"{number} é🚀x"#)), "{number}: {}", &line[..100]);
    }
    assert_eq!(answers, 3);
    node.await_metric(CONNECTIONS, 1.0);
}

#[test]
fn one_answer_at_a_time() {
    let node = Node::start(quick());
    let mut answer = node.stream();
    answer.greeting();
    assert_eq!(node.stream().close_code(), 2010);
    assert_eq!(node.poll().close_code(), 2010);
    node.join("room", "");
    assert_eq!(answer.frame(), succeeded("room"));
}

#[test]
fn refusals_are_codes_in_an_open_session() {
    let mut app = fixtures::app();
    app.quota.connections = Some(1);
    let node = Node::with_app(quick(), app.clone());
    let session = "1/aaaaaaaa/xhr_streaming";
    assert_eq!(node.refused(&format!("/app/nobody/{session}?protocol=7")), 4001);
    assert_eq!(node.refused(&format!("/app/app-key/{session}?protocol=3")), 4007);
    let old = node.post(&format!("/app/nobody/{session}?protocol=5"), "").2;
    assert!(old.starts_with("o\na[\"{\\\"event\\\":\\\"pusher:error\\\""), "{old}");
    let mut answer = node.stream();
    answer.greeting();
    // One quota for all transports.
    assert_eq!(node.refused(&format!("/app/app-key/{session}?protocol=7")), 4004);
    assert_eq!(node.upgraded("/app/app-key").close_code(), 4004);
    let registry = node.world.registry.clone();
    let key = app.keys[0].name.clone();
    node.runtime.block_on(async { registry.revoke_key(&app.id, &key, 2).await }).unwrap();
    assert_eq!(answer.close_code(), 4009);
}

#[test]
fn sessions_of_other_keys_and_names_are_others() {
    let mut app = fixtures::app();
    let second = channels::Key { name: channels::KeyName::new("second-key").unwrap(), ..app.keys[0].clone() };
    app.keys.push(second);
    let node = Node::with_app(quick(), app);
    let mut mine = node.stream();
    mine.greeting();
    node.join("room", "");
    mine.frame();
    for base in ["/app/second-key/12/abcdefgh", "/app/app-key/13/abcdefgh", "/app/nobody/12/abcdefgh"] {
        let leave = json!([json!({ "event": "pusher:unsubscribe", "data": { "channel": "room" } }).to_string()]);
        let (status, head, _) = node.post(&format!("{base}/xhr_send"), &leave.to_string());
        assert_eq!(status, 404, "{base}");
        assert!(head.contains("access-control-allow-origin: *"), "{head}");
    }
    let mut theirs = node.ask("/app/second-key/12/abcdefgh/xhr_streaming?protocol=7");
    theirs.greeting();
    node.publish("room", "for me");
    assert_eq!(mine.frame()["data"], "for me");
    assert_eq!(node.send_at("/app/second-key/12/abcdefgh", "[]"), 204);
}

#[test]
fn malformed_sends_harm_nobody() {
    let node = Node::start(Config { max_frame_bytes: 16 * 1024, ..quick() });
    let mut answer = node.stream();
    answer.greeting();
    let too_many = json!(vec!["{}"; 101]).to_string();
    for body in ["", "{", "{}", "[1]", "\"x\"", "[\"\\ud800\"]", too_many.as_str()] {
        assert_eq!(node.send_at(BASE, body), 400, "{body}");
    }
    // What is well framed and makes no sense is answered where answers are looked for.
    assert_eq!(node.send_at(BASE, r#"["no json","{\"event\":\"pusher:ping\"}"]"#), 204);
    assert_eq!(answer.frame()["event"], "pusher:error");
    assert_eq!(answer.frame()["event"], "pusher:pong");
    let largest = format!("{{\"event\":\"pusher:ping\"}}{}", " ".repeat(16 * 1024 - 23));
    assert_eq!(node.send_at(BASE, &json!([largest]).to_string()), 204);
    assert_eq!(answer.frame()["event"], "pusher:pong");
    assert_eq!(node.send_at(BASE, &json!([format!("{largest} ")]).to_string()), 413);
    assert_eq!(answer.close_code(), 1009);

    // Its name is free a moment after its client has read that.
    node.await_metric(CONNECTIONS, 0.0);
    let mut answer = node.stream();
    answer.greeting();
    assert_eq!(node.send_at(BASE, &"x".repeat(33 * 1024)), 413);
    assert_eq!(answer.close_code(), 1009);
}

#[test]
fn other_methods_and_paths() {
    let node = Node::start(quick());
    let http = |method, path: &str| node.http(&request(method, path, "", "Connection: close\r\n"));
    for verb in ["xhr_streaming", "xhr", "xhr_send"] {
        let (status, head, body) = http("OPTIONS", &format!("{BASE}/{verb}?t=1"));
        assert_eq!((status, body.as_str()), (204, ""));
        for header in ["origin: *", "methods: post", "headers: content-type"] {
            assert!(head.contains(&format!("access-control-allow-{header}")), "{head}");
        }
        assert_eq!(http("GET", &format!("{BASE}/{verb}")).0, 405);
    }
    // SockJS proper is refused, and pusher-js goes on trying WebSocket.
    for (method, path) in [("GET", "/pusher/info"), ("POST", "/pusher/12/abcdefgh/xhr_streaming")] {
        assert_eq!(http(method, path).0, 404, "{path}");
    }
    assert_eq!(http("POST", "/pusher/app/app-key/12/abc/xhr").0, 426);
}

#[test]
fn a_drain_reaches_both_kinds() {
    let config = Config { drain_duration: Duration::from_millis(300), close_timeout: PATIENCE, ..quick() };
    let mut node = Node::start(config);
    let mut streaming = node.stream();
    streaming.greeting();
    node.join("room", "");
    streaming.frame();
    node.publish("room", "last words");
    let polling = "/app/app-key/1/aaaaaaaa/xhr?protocol=7";
    let mut poll = node.ask(polling);
    poll.greeting();
    assert_eq!(poll.line(), None);
    // Or its socket would be waited for.
    drop(poll);
    let readers = [
        std::thread::spawn(move || {
            assert_eq!(streaming.frame()["data"], "last words");
            streaming.close_code()
        }),
        std::thread::spawn({
            let mut poll = node.ask(polling);
            move || poll.close_code()
        }),
    ];
    let drained = node.stop();
    assert_eq!((drained.closed, drained.forced), (2, 0));
    readers.into_iter().for_each(|reader| assert_eq!(reader.join().unwrap(), 4200));
    assert!(TcpStream::connect(node.address).is_err());
}

/// The listener stays for them until they are gone, since every poll and every send may need a new socket.
#[test]
fn a_poll_between_two_answers_is_told_of_the_drain() {
    let mut node = Node::start(Config { close_timeout: PATIENCE, ..quick() });
    let mut poll = node.poll();
    poll.greeting();
    assert_eq!(poll.line(), None);
    drop(poll);
    node.shutdown.cancel();
    // The grace is over a moment after the node is not ready any more.
    eventually(|| node.upgraded("/app/app-key").first_close() == Some(4100), || "still let in".to_owned());
    assert_eq!(node.refused("/app/app-key/1/aaaaaaaa/xhr?protocol=7"), 4100);
    assert_eq!(node.poll().close_code(), 4200);
    assert_eq!(node.stop().forced, 0);
}

#[test]
fn a_slow_reader_of_a_stream_is_cut() {
    let config = Config { send_queue_bytes: 64 * 1024, close_timeout: Duration::from_millis(200), ..quick() };
    let node = Node::start(config);
    let mut slow = node.stream();
    slow.greeting();
    node.join("room", "");
    slow.frame();
    let mut quick = node.client();
    quick.subscribe("room");
    let data = "x".repeat(10_000);
    let cut = r#"fanfare_slow_consumers_total{action="disconnected"}"#;
    let mut published = 0;
    // One answer is at most 256 KiB, which the kernel may hold: what follows waits in the queue, since the client that
    // has not read the end does not ask anew.
    while node.metric(cut) < 1.0 {
        assert_eq!(node.publish("room", &data).0, 200);
        assert_eq!(quick.next()["data"], data.as_str());
        published += 1;
        assert!(published < 5_000, "never cut");
    }
    node.await_metric(CONNECTIONS, 0.0);
    node.await_metric(r#"fanfare_connections_closed_total{protocol="pusher",code="4100"}"#, 1.0);
    node.publish("room", "end");
    assert_eq!(quick.next()["data"], "end");
}
