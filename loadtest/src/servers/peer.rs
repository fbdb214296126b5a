//! A server of somebody else that speaks the Pusher protocol.
//!
//! It is any program, a script for example: what it is told and has to do stands in `loadtest/README.md`.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use super::port::free_port;
use super::process::{Directory, Process};
use super::{APP, Running, app};
use crate::error::Error;
use crate::target::{Surface, Target};

/// Starts `program` and waits until somebody listens at the port that it was told.
pub(crate) fn start(program: &Path) -> Result<Running, Error> {
    let directory = Directory::new()?;
    let port = free_port();
    let (id, key, secret) = APP;
    let mut command = Command::new(program);
    command.env("PORT", port.to_string()).env("APP_ID", id).env("APP_KEY", key).env("APP_SECRET", secret);
    let mut process = Process::start("peer", command, &directory)?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    process.wait_for("somebody who listens", |_| TcpStream::connect(address).ok())?;
    let (app, key, secret) = app();
    let target = Target {
        name: name(program),
        version: "unknown".to_owned(),
        addresses: vec![address],
        pids: with_descendants(process.pid()),
        stores: Vec::new(),
        tls: None,
        app,
        key,
        secret,
        surface: Surface::Pusher,
    };
    Ok(Running { target, _nodes: vec![process], nats: None, _directory: directory })
}

/// What reports call it: the file's name without its extension.
pub(crate) fn name(program: &Path) -> String {
    program.file_stem().unwrap_or(program.as_os_str()).to_string_lossy().into_owned()
}

/// A process, and all that it has started.
fn with_descendants(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        // Each thread lists what it has started. A process that has just ended lists nothing.
        let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
        let children: BTreeSet<u32> = lists
            .flat_map(|list| list.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<_>>())
            .collect();
        found.extend(children);
        next += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_found_with_what_it_started() {
        let directory = Directory::new().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "sh -c 'sleep 1000 & echo up; wait' & wait"]);
        let mut process = Process::start("shell", command, &directory).unwrap();
        process.wait_for("the inner shell", |log| log.contains("up").then_some(())).unwrap();
        let all = with_descendants(process.pid());
        assert_eq!((all[0], all.len()), (process.pid(), 3));
    }
}
