//! A `fanfare` process for a test.

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take. Generous: it is only used up by failures.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The command without settings that would reach it by accident.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanfare"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("FANFARE_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs a command that ends by itself: exit code, standard output, standard error.
pub(crate) fn run(arguments: &[&str]) -> (i32, String, String) {
    finished(command(arguments).output().unwrap())
}

/// The same, of a finished command.
pub(crate) fn finished(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// A running server on ports of its own choice. Killed when dropped.
pub(crate) struct Server {
    child: Child,
    lines: Receiver<String>,
    log: Vec<String>,
    /// The lines of `log` that were waited for.
    given: HashSet<usize>,
    admin_port: u16,
    client_port: u16,
    control_port: u16,
}

impl Server {
    /// Starts it with JSON logs and on free ports, and waits until the admin listener is bound.
    pub(crate) fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = command(arguments);
        command.args(["--listen", "127.0.0.1:0", "--control-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
        command.envs(environment.iter().copied()).env("FANFARE_LOG_FORMAT", "json");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let streams: [Box<dyn std::io::Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for stream in streams {
            let sender = sender.clone();
            thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    sender.send(line).ok();
                }
            });
        }
        let (log, given) = (Vec::new(), HashSet::new());
        let mut server = Self { child, lines, log, given, admin_port: 0, client_port: 0, control_port: 0 };
        let admin = server.wait_for("\"key\":\"admin.listen\"");
        server.admin_port = port_in(&admin);
        // The others, as far as its roles need them, were bound before.
        let port_of = |key: &str| server.log.iter().find(|line| line.contains(key)).map_or(0, |line| port_in(line));
        (server.client_port, server.control_port) =
            (port_of("\"key\":\"listen\""), port_of("\"key\":\"control.listen\""));
        server
    }

    /// Where operators ask.
    pub(crate) fn admin_port(&self) -> u16 {
        self.admin_port
    }

    /// Where clients and publishers come in.
    pub(crate) fn client_port(&self) -> u16 {
        self.client_port
    }

    /// Where the control plane is.
    pub(crate) fn control_port(&self) -> u16 {
        self.control_port
    }

    /// The first line that contains `part` and was not given before. Looks at what came earlier, too: the lines of the two
    /// streams come in no certain order.
    pub(crate) fn wait_for(&mut self, part: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut next = 0;
        loop {
            while let Some(line) = self.log.get(next) {
                if line.contains(part) && self.given.insert(next) {
                    return line.clone();
                }
                next += 1;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => self.log.push(line),
                Err(error) => panic!("waiting for {part:?}: {error}\n{}", self.log.join("\n")),
            }
        }
    }

    /// What the admin listener answers: status and body; 0 if nobody listens.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        let mut answer = String::new();
        let asked = TcpStream::connect(("127.0.0.1", self.admin_port)).and_then(|mut stream| {
            stream.set_read_timeout(Some(PATIENCE))?;
            write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
            stream.read_to_string(&mut answer)
        });
        if asked.is_err() {
            return (0, String::new());
        }
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), body.to_owned())
    }

    /// Waits until `/readyz` answers with `status`.
    pub(crate) fn wait_until_ready_is(&self, status: u16) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (given, body) = self.get("/readyz");
            if given == status {
                return body;
            }
            assert!(Instant::now() < deadline, "/readyz answers {given}: {body}\n{}", self.log.join("\n"));
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends a signal by name, as in `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for the end: how it ended, and everything it wrote.
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "does not end\n{}", self.log.join("\n"));
            thread::sleep(Duration::from_millis(10));
        };
        // Both readers end with the process, and the channel with them.
        self.log.extend(self.lines.iter());
        (status, self.log.join("\n"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The port in a log line about a listener.
fn port_in(line: &str) -> u16 {
    let address = line.split("\"address\":\"127.0.0.1:").nth(1).unwrap();
    address.split('"').next().unwrap().parse().unwrap()
}
