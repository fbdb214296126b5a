//! `fanfare admin` against a running process, as an operator uses it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::server::{PATIENCE, Server, command, finished, run};

const TOKEN: &str = "hush-hush-hush-hush";

/// A command to the control plane of `server`.
fn admin(server: &Server, words: &[&str]) -> Command {
    let mut command = command(&[&["admin"], words].concat());
    command.env("FANFARE_CONTROL_ADDRESS", format!("http://127.0.0.1:{}", server.control_port()));
    command.env("FANFARE_ADMIN_TOKEN", TOKEN);
    command
}

fn json(server: &Server, words: &[&str]) -> Value {
    let (code, out, error) = finished(admin(server, &[words, &["--output=json"]].concat()).output().unwrap());
    assert_eq!(code, 0, "{words:?}: {error}");
    serde_json::from_str(&out).unwrap()
}

/// Asks until the answer is as wanted.
fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Publishes to the channel `news` of the demo app; answers the status line.
pub(crate) fn publish(server: &Server) -> String {
    let body = r#"{"name":"greeting","channel":"news","data":"{}"}"#;
    let base = format!("http://127.0.0.1:{}", server.client_port());
    let sign =
        ["token", "sign-request", "--app=1001", "--key=app-key", "--secret=app-secret", "--url", &base, "--body"];
    let (code, url, error) = run(&[&sign[..], &[body]].concat());
    assert_eq!(code, 0, "{error}");
    let path = url.trim().strip_prefix(&base).unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", server.client_port())).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\n");
    write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.lines().next().unwrap().to_owned()
}

/// A command that goes on until it is ended. Killed when dropped.
struct Watcher(Child);

impl Watcher {
    fn start(mut command: Command) -> Self {
        Self(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// Calls `act` again and again until a line comes that `look` takes.
    fn line(&mut self, mut act: impl FnMut(), look: impl Fn(&Value) -> bool + Send + 'static) -> Value {
        let out = self.0.stdout.take().unwrap();
        let (sender, found) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let lines = BufReader::new(out).lines().map_while(Result::ok);
            let mut wanted = lines.filter_map(|line| serde_json::from_str(&line).ok()).filter(|line| look(line));
            wanted.next().map(|line| sender.send(line))
        });
        eventually("the line", || {
            act();
            found.recv_timeout(Duration::from_millis(500)).ok()
        })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn a_healthy_process_has_nothing_wrong_and_can_be_drained() {
    let server = Server::start(&["dev"], &[("FANFARE_ADMIN_TOKEN", TOKEN)]);
    server.wait_until_ready_is(200);
    let doctor = eventually("a clean bill of health", || {
        let (code, out, _) = finished(admin(&server, &["doctor"]).output().unwrap());
        (code == 0).then_some(out)
    });
    assert!(doctor.ends_with("\nnothing is wrong\n"), "{doctor}");

    let ready = format!("--ready=127.0.0.1:{}", server.admin_port());
    let (code, out, _) =
        finished(admin(&server, &["health", &ready]).env_remove("FANFARE_ADMIN_TOKEN").output().unwrap());
    assert!(code == 0 && out.starts_with("ready\n"), "{out}");

    let nodes = json(&server, &["node", "list"]);
    let node = &nodes["nodes"][0];
    assert_eq!(node["roles"], serde_json::json!(["edge", "control", "worker"]));
    let (code, _, error) = finished(admin(&server, &["node", "drain", node["id"].as_str().unwrap()]).output().unwrap());
    assert_eq!(code, 0, "{error}");
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("ordered to drain by the control plane") && log.contains("\"message\":\"drained\""), "{log}");
    assert!(!log.contains(TOKEN), "logs carry no secrets:\n{log}");
}

#[test]
fn what_happens_is_watched() {
    let server = Server::start(&["dev"], &[("FANFARE_ADMIN_TOKEN", TOKEN)]);
    server.wait_until_ready_is(200);
    let mut tail = Watcher::start(admin(&server, &["tail", "--app=1001", "--channel=news", "--output=json"]));
    let published =
        tail.line(|| assert!(publish(&server).contains(" 200 ")), |event| event["kind"] == "TAIL_KIND_PUBLISHED");
    assert_eq!((&published["channel"], &published["event"]), (&"news".into(), &"greeting".into()));
    let mut usage = Watcher::start(admin(&server, &["usage", "watch", "1001", "--output=json"]));
    let live = usage.line(
        || assert!(publish(&server).contains(" 200 ")),
        |usage| usage["messages_in_per_second"].as_f64().unwrap() > 0.0,
    );
    assert_eq!(live["nodes"], 1);
    // Refused, and told why.
    json(&server, &["app", "quota", "1001", "messages_in_per_second=1"]);
    eventually("a refusal", || publish(&server).contains(" 429 ").then_some(()));
    let shown = eventually("usage by the minute", || {
        let shown = json(&server, &["usage", "show", "1001", "--interval=minute"]);
        let minutes = shown["usage"].as_array().unwrap().clone();
        minutes.iter().any(|minute| minute["refused"]["messages_in"].as_u64().is_some_and(|n| n > 0)).then_some(minutes)
    });
    assert!(shown.iter().any(|minute| minute["messages_in"].as_u64().unwrap() > 0), "{shown:?}");
    let channel = json(&server, &["channel", "info", "1001", "news"]);
    assert_eq!((&channel["name"], &channel["tier"]), (&"news".into(), &"TIER_RECOVERABLE".into()));
    let history = json(&server, &["channel", "history", "1001", "news", "--most=1"]);
    assert_eq!(history["messages"][0]["name"], "greeting");
}

#[test]
fn metrics_by_app_are_a_page_of_their_own() {
    let server = Server::start(&["dev", "--set", "metrics.apps=3"], &[]);
    server.wait_until_ready_is(200);
    assert!(publish(&server).contains(" 200 "));
    eventually("the demo app on the page", || {
        let (status, page) = server.get("/metrics/apps");
        assert_eq!(status, 200);
        page.contains("\nfanfare_app_messages_in_total{app=\"1001\"} 1\n").then_some(())
    });
    // What is measured again and again is there a moment after the start.
    let metrics = eventually("the first delay", || {
        let (_, metrics) = server.get("/metrics");
        metrics.contains("fanfare_runtime_scheduler_delay_seconds_count ").then_some(metrics)
    });
    assert!(!metrics.contains("{app=\"") && !metrics.contains(",app=\""), "{metrics}");
    for metric in ["fanfare_runtime_workers ", "process_threads "] {
        assert!(metrics.contains(metric), "{metric} in\n{metrics}");
    }
    let plain = Server::start(&["dev"], &[]);
    let (status, sentence) = plain.get("/metrics/apps");
    assert_eq!((status, sentence.contains("metrics.apps")), (404, true), "{sentence}");
}

#[test]
fn what_users_created_outlives_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let data = data.to_str().unwrap();
    let start = |environment: &[(&str, &str)]| {
        let server = Server::start(&["run", "--data-dir", data], environment);
        server.wait_until_ready_is(200);
        server
    };
    let environment = [("FANFARE_ADMIN_TOKEN", TOKEN), ("FANFARE_DRAIN_GRACE", "0s"), ("FANFARE_DRAIN_DURATION", "0s")];
    let first = start(&environment);
    let created = json(&first, &["app", "create", "--id=7", "--name=kept"]);
    let token = json(&first, &["token", "create", "--name=mine", "--role=admin"]);
    first.signal("TERM");
    let (status, log) = first.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    let key = std::fs::read_to_string(directory.path().join("data/cluster.key")).unwrap();
    assert!(!log.contains(key.trim()) && !log.contains(TOKEN), "logs carry no secrets:\n{log}");

    // With a token made before, no bootstrap token is needed.
    let second = start(&environment[1..]);
    let mut get = admin(&second, &["app", "get", "7", "--output=json"]);
    let (code, out, error) =
        finished(get.env("FANFARE_ADMIN_TOKEN", token["text"].as_str().unwrap()).output().unwrap());
    assert_eq!(code, 0, "{error}");
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["keys"], created["app"]["keys"]);
    let (code, _, error) = finished(admin(&second, &["app", "list"]).output().unwrap());
    assert_eq!(code, 5, "the bootstrap token is gone: {error}");

    let (code, _, error) = run(&[
        "run",
        "--data-dir",
        data,
        "--listen=127.0.0.1:0",
        "--control-listen=127.0.0.1:0",
        "--admin-listen=127.0.0.1:0",
    ]);
    assert_eq!(code, 1, "{error}");
    assert!(error.contains("is in use by another process"), "{error}");
}

#[test]
fn a_control_plane_that_nobody_could_use_does_not_start() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().to_str().unwrap();
    let (code, _, error) = run(&[
        "run",
        "--data-dir",
        data,
        "--listen=127.0.0.1:0",
        "--control-listen=127.0.0.1:0",
        "--admin-listen=127.0.0.1:0",
    ]);
    assert_eq!(code, 1, "{error}");
    assert!(error.contains("nobody could use the control plane: there are no tokens"), "{error}");
}

#[test]
fn the_token_that_dev_makes_up_is_in_a_file() {
    let mut server = Server::start(&["dev"], &[]);
    let line = server.wait_for("admin token ");
    let file = line.split(" in ").nth(1).unwrap().trim().to_owned();
    let token = std::fs::read_to_string(&file).unwrap();
    server.wait_until_ready_is(200);
    let mut list = admin(&server, &["app", "list", "--token-file", &file]);
    let (code, out, error) = finished(list.env_remove("FANFARE_ADMIN_TOKEN").output().unwrap());
    assert!(code == 0 && out.contains("1001"), "{error}");
    server.signal("TERM");
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!log.contains(token.trim()), "never printed:\n{log}");
    assert!(!std::path::Path::new(&file).exists(), "goes with the process");
}
