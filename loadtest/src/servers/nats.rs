//! `nats-server` processes with JetStream: one, or a cluster of three.

use std::io::{BufReader, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::port::free_port;
use super::process::{Directory, Process};
use crate::client::http::{Broken, Exchange};
use crate::error::Error;

/// How long an answer to "are you healthy" may take before it is asked again.
const ANSWER: Duration = Duration::from_secs(2);

/// Running servers, ended when dropped.
#[derive(Debug)]
pub(crate) struct Nats {
    processes: Vec<Process>,
    urls: Vec<String>,
    /// After the processes, which still use it.
    _directory: Directory,
}

impl Nats {
    /// Starts `count` servers and waits until all are healthy.
    pub(crate) fn start(count: usize) -> Result<Self, Error> {
        let directory = Directory::new()?;
        let routes: Vec<_> = (0..count).map(|_| free_port()).collect();
        let all = routes.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect::<Vec<_>>().join(", ");
        let (mut processes, mut urls, mut monitors) = (Vec::new(), Vec::new(), Vec::new());
        for (index, route) in routes.iter().enumerate() {
            let (client, monitor, name) = (free_port(), free_port(), format!("nats-{}", index + 1));
            let store = directory.file(&name);
            let mut config = format!(
                "server_name: {name}\nlisten: \"127.0.0.1:{client}\"\nhttp: \"127.0.0.1:{monitor}\"\n\
                 jetstream {{ store_dir: {store:?} }}\n"
            );
            if count > 1 {
                config += &format!("cluster {{ name: bench, listen: \"127.0.0.1:{route}\", routes: [{all}] }}\n");
            }
            let mut command = Command::new(program());
            command.arg("--config").arg(directory.write(&format!("{name}.conf"), config)?);
            processes.push(Process::start(&name, command, &directory)?);
            urls.push(format!("nats://127.0.0.1:{client}"));
            monitors.push(monitor);
        }
        for (process, monitor) in processes.iter_mut().zip(monitors) {
            process.wait_for("health", |_| answers(monitor, "/healthz").then_some(()))?;
        }
        Ok(Self { processes, urls, _directory: directory })
    }

    /// Where clients connect, for each server.
    pub(crate) fn urls(&self) -> &[String] {
        &self.urls
    }

    /// Ids of the processes.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.processes.iter().map(Process::pid).collect()
    }
}

/// What it says of itself, as in `nats-server: v2.12.0`; `none` if there is none to be found.
pub(crate) fn version() -> String {
    let output = Command::new(program()).arg("--version").output();
    output.map_or_else(|_| "none".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// `NATS_SERVER`, or what `make tools` installs.
fn program() -> PathBuf {
    let installed = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/venv/bin/nats-server");
    std::env::var_os("NATS_SERVER").map_or_else(installed, PathBuf::from)
}

/// Whether a server on loopback answers that all is well.
pub(super) fn answers(port: u16, path: &str) -> bool {
    ask(port, path).is_ok_and(|answer| answer.first_line.starts_with("HTTP/1.1 200 "))
}

fn ask(port: u16, path: &str) -> Result<Exchange, Broken> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(ANSWER))?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")?;
    Exchange::read(&mut BufReader::new(stream))
}
