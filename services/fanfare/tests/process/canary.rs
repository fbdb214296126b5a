//! `fanfare admin canary` against a real server, over every protocol, and past what goes wrong in front of it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::net::TcpSocket;

use crate::front::{Fault, Front};
use crate::server::{PATIENCE, Server, command, finished};

const SECRET: &str = "app-secret";

/// A canary of the demo app. Unless told otherwise it is as patient as these tests are.
fn canary(url: &str, words: &[&str]) -> Command {
    let mut command = command(&["admin", "canary", url, "--app=1001", "--key=app-key"]);
    command.args(words).env("FANFARE_KEY_SECRET", SECRET);
    if !words.iter().any(|word| word.starts_with("--timeout")) {
        command.arg(format!("--timeout={}s", PATIENCE.as_secs()));
    }
    command
}

fn at(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// One attempt: the exit code, the report, and what is written beside it.
fn attempt(mut command: Command) -> (i32, Value, String) {
    let (code, out, error) = finished(command.arg("--output=json").output().unwrap());
    let report = serde_json::from_str(&out).unwrap_or_default();
    (code, report, error)
}

fn results(report: &Value) -> Vec<(&str, &str)> {
    let protocols = report["protocols"].as_array().into_iter().flatten();
    protocols.map(|one| (one["protocol"].as_str().unwrap(), one["result"].as_str().unwrap())).collect()
}

fn dev() -> Server {
    let server = Server::start(&["dev"], &[]);
    server.wait_until_ready_is(200);
    server
}

#[test]
fn every_protocol_delivers_and_every_stage_is_timed() {
    let server = dev();
    let (code, report, error) = attempt(canary(&at(server.client_port()), &[]));
    assert_eq!(code, 0, "{report:#} {error}");
    assert_eq!(results(&report), [("pusher", "delivered"), ("ably", "delivered"), ("sse", "delivered")]);
    assert_eq!(report["delivered"], true);
    for protocol in report["protocols"].as_array().unwrap() {
        for stage in ["publish_ms", "deliver_ms"] {
            let took = protocol[stage].as_array().unwrap();
            assert!(took.len() == 3 && took.iter().all(|ms| ms.as_f64().unwrap() > 0.0), "{stage}: {protocol:#}");
        }
        assert!(protocol["connect_ms"].is_f64() && protocol["open_ms"].is_f64(), "{protocol:#}");
        assert!(protocol["tls_ms"].is_null(), "{protocol:#}");
    }
    let (code, out, error) = finished(canary(&at(server.client_port()), &["--protocol=sse"]).output().unwrap());
    assert_eq!((code, out.lines().count()), (0, 2), "{out} {error}");
    assert!(out.lines().nth(1).unwrap().starts_with("sse       delivered  "), "{out}");
    // A channel that needs no signature.
    let (code, report, _) = attempt(canary(&at(server.client_port()), &["--channel=canary"]));
    assert_eq!((code, &report["channel"]), (0, &"canary".into()), "{report:#}");
}

#[test]
fn tls_is_checked_as_clients_check_it() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let certified = rcgen::generate_simple_self_signed(["rt.example.com".to_owned()]).unwrap();
    std::fs::write(file("crt"), certified.cert.pem()).unwrap();
    std::fs::write(file("key"), certified.signing_key.serialize_pem()).unwrap();
    std::fs::write(file("secret"), format!("{SECRET}\n")).unwrap();
    let (cert, key) = (format!("tls.cert_file={}", file("crt")), format!("tls.key_file={}", file("key")));
    let server = Server::start(&["dev", "--set", &cert, "--set", &key], &[]);
    server.wait_until_ready_is(200);
    let url = format!("https://127.0.0.1:{}", server.client_port());
    let (ca, secret) = (file("crt"), file("secret"));
    let trusting = ["--ca-file", &ca, "--server-name=rt.example.com", "--key-secret-file", &secret];
    // The file wins over the variable.
    let mut command = canary(&url, &trusting);
    let (code, report, error) = attempt({
        command.env("FANFARE_KEY_SECRET", "another");
        command
    });
    assert_eq!(code, 0, "{report:#} {error}");
    assert!(report["protocols"].as_array().unwrap().iter().all(|one| one["tls_ms"].is_f64()), "{report:#}");
    for words in [&["--ca-file", &ca, "--server-name=other.example.com"][..], &["--server-name=rt.example.com"]] {
        let (code, report, error) = attempt(canary(&url, words));
        assert_eq!(code, 3, "{report:#} {error}");
        assert_eq!(results(&report)[0], ("pusher", "unreachable"));
        assert!(error.contains("no TLS with"), "{error}");
    }
}

#[test]
fn who_is_to_act_is_told_by_the_exit_code() {
    let server = dev();
    let url = at(server.client_port());
    let (code, report, error) = attempt({
        let mut command = canary(&url, &[]);
        command.env("FANFARE_KEY_SECRET", "wrong");
        command
    });
    assert_eq!(code, 5, "{report:#} {error}");
    assert_eq!(results(&report), [("pusher", "refused"), ("ably", "refused"), ("sse", "refused")]);
    assert!(!error.contains("wrong") && !report.to_string().contains("wrong"), "no secrets: {error}");
    for (app, key, exit_code, reason) in [("1001", "another", 5, "4001"), ("1002", "app-key", 1, "no such app")] {
        let mut command = command(&["admin", "canary", &url, "--app", app, "--key", key]);
        let (code, report, error) = attempt({
            command.env("FANFARE_KEY_SECRET", SECRET);
            command
        });
        assert_eq!(code, exit_code, "{report:#} {error}");
        let pusher = &report["protocols"][0];
        assert!(pusher["result"] == "refused" && pusher["reason"].as_str().unwrap().contains(reason), "{report:#}");
    }

    // Bound and not listening: refuses connections, and nobody else gets the port.
    let closed = TcpSocket::new_v4().unwrap();
    closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let (code, report, error) = attempt(canary(&at(closed.local_addr().unwrap().port()), &[]));
    assert_eq!(code, 3, "{report:#} {error}");
    assert_eq!(results(&report)[2], ("sse", "unreachable"));
    // Somebody listens and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let begun = Instant::now();
    let url = at(silent.local_addr().unwrap().port());
    let (code, report, error) = attempt(canary(&url, &["--timeout=300ms", "--protocol=pusher", "--protocol=sse"]));
    assert_eq!(code, 3, "{report:#} {error}");
    assert!(report["protocols"][0]["reason"] == "no subscription within 300ms", "{report:#}");
    assert!(begun.elapsed() < PATIENCE, "every attempt is bounded");

    for (words, sentence) in [
        (&["--channel=presence-a"][..], "--channel is a public or private channel"),
        (&["--key-secret-file=/does/not/exist"], "cannot read the secret file"),
        (&["--interval=10ms"], "--interval must be at least 1s"),
        (&["--ca-file=/does/not/exist"], "are for https"),
        (&["--listen=127.0.0.1:0"], "--interval"),
        (&["--protocol=mqtt"], "invalid value"),
    ] {
        let (code, _, error) = attempt(canary(&url, words));
        assert!(code == 2 && error.contains(sentence), "{words:?}: {code} {error}");
    }
    for url in ["rt.example.com", "wss://rt.example.com", "https://k:s@rt.example.com", "http://h/?a=b"] {
        let (code, _, error) = attempt(canary(url, &[]));
        assert!(code == 2 && error.contains("is no public address"), "{url}: {code} {error}");
    }
    let (code, _, error) = attempt({
        let mut command = canary(&url, &[]);
        command.env_remove("FANFARE_KEY_SECRET");
        command
    });
    assert!(code == 2 && error.contains("there is no secret"), "{error}");
}

#[test]
fn what_happens_to_messages_on_the_way_is_seen() {
    let server = dev();
    for (fault, result, exit_code) in [
        (Fault::None, "delivered", 0),
        (Fault::Swallow, "lost", 1),
        (Fault::Repeat, "repeated", 1),
        (Fault::Swap, "reordered", 1),
        (Fault::Alter, "altered", 1),
        (Fault::Cut, "disconnected", 3),
    ] {
        let front = Front::start(server.client_port(), fault);
        // Side by side, since what is lost is waited for: each on a channel that the others are not on.
        thread::scope(|scope| {
            for protocol in ["pusher", "ably", "sse"] {
                let url = at(front.port());
                scope.spawn(move || {
                    let mut words = vec![format!("--protocol={protocol}"), format!("--channel=private-{protocol}")];
                    if fault == Fault::Swallow {
                        // Long enough for a slow machine to publish everything.
                        words.push("--timeout=15s".to_owned());
                    }
                    let words: Vec<_> = words.iter().map(String::as_str).collect();
                    let (code, report, error) = attempt(canary(&url, &words));
                    let expected = (exit_code, &[(protocol, result)][..]);
                    assert_eq!((code, &results(&report)[..]), expected, "{report:#} {error}");
                    assert_eq!(report["delivered"], code == 0);
                });
            }
        });
    }
}

/// A canary that goes on. Killed when dropped.
struct Watching {
    child: Child,
    port: u16,
}

impl Watching {
    fn start(url: &str) -> Self {
        let words = ["--interval=1s", "--listen=127.0.0.1:0"];
        let mut child = canary(url, &words).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let up = lines.find(|line| line.contains("canary up")).unwrap();
        let address = up.split("\"address\":\"127.0.0.1:").nth(1).unwrap().split('"').next().unwrap();
        let port = address.parse().unwrap();
        // What else it writes goes nowhere, and does not stop it.
        thread::spawn(move || lines.for_each(drop));
        Self { child, port }
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn value(&self, sample: &str) -> f64 {
        let metrics = self.get("/metrics");
        let line = metrics.lines().find(|line| line.starts_with(&format!("{sample} ")));
        let line = line.unwrap_or_else(|| panic!("no {sample} in\n{metrics}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    fn attempts(&self, protocol: &str, result: &str) -> f64 {
        self.value(&format!("fanfare_canary_attempts_total{{protocol=\"{protocol}\",result=\"{result}\"}}"))
    }

    fn wait_for(&self, what: &str, look: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !look(self) {
            assert!(Instant::now() < deadline, "waited in vain for {what}:\n{}", self.get("/metrics"));
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn a_canary_that_goes_on_survives_its_server() {
    const PROTOCOLS: [&str; 3] = ["pusher", "ably", "sse"];
    let server = dev();
    let front = Front::start(server.client_port(), Fault::None);
    let mut watching = Watching::start(&at(front.port()));
    assert!(watching.get("/livez").starts_with("HTTP/1.1 200 "));
    for protocol in PROTOCOLS {
        // Over the connection of the first attempt.
        watching.wait_for("two deliveries", |canary| canary.attempts(protocol, "delivered") >= 2.0);
        let of = |name: &str| format!("fanfare_canary_{name}{{protocol=\"{protocol}\"}}");
        // Told after the attempts themselves.
        watching.wait_for("six messages", |canary| canary.value(&of("delivery_seconds_count")) >= 6.0);
        watching.wait_for("a time", |canary| canary.value(&of("last_success_timestamp_seconds")) > 1.6e9);
        for result in ["lost", "repeated", "reordered", "altered", "refused", "unreachable", "disconnected"] {
            assert_eq!(watching.attempts(protocol, result), 0.0, "{protocol} {result}");
        }
    }
    drop(server);
    for protocol in PROTOCOLS {
        watching.wait_for("the loss", |canary| canary.attempts(protocol, "unreachable") >= 1.0);
    }
    let again = dev();
    front.lead_to(again.client_port());
    for protocol in PROTOCOLS {
        let before = watching.attempts(protocol, "delivered");
        watching.wait_for("the new server", |canary| canary.attempts(protocol, "delivered") > before);
        assert_eq!(watching.attempts(protocol, "repeated") + watching.attempts(protocol, "lost"), 0.0);
    }
    let id = watching.child.id().to_string();
    assert!(Command::new("kill").args(["-s", "TERM", &id]).status().unwrap().success());
    assert_eq!(watching.child.wait().unwrap().code(), Some(0));
}
