//! The floor, in a process of its own.

use std::process::Command;

use super::process::{Directory, Process};
use super::{Running, Tls, app};
use crate::error::Error;
use crate::target::{Surface, Target};

/// Starts one.
pub(crate) fn start(with_tls: bool) -> Result<Running, Error> {
    let directory = Directory::new()?;
    let program = std::env::current_exe().map_err(Error::system("finding this program"))?;
    let mut command = Command::new(program);
    command.arg("floor-server");
    let tls = with_tls.then(|| Tls::make(&directory)).transpose()?;
    if let Some(tls) = &tls {
        command.arg("--cert").arg(&tls.cert_file).arg("--key").arg(&tls.key_file);
    }
    let mut process = Process::start("floor", command, &directory)?;
    // With its line end, so that it is not read halfway.
    let address = process.wait_for("its address", |log| log.split_once('\n')?.0.parse().ok())?;
    let (app, key, secret) = app();
    let target = Target {
        name: "floor".to_owned(),
        version: "one write for each delivery".to_owned(),
        addresses: vec![address],
        pids: vec![process.pid()],
        stores: Vec::new(),
        tls: tls.map(|tls| tls.client),
        app,
        key,
        secret,
        surface: Surface::Pusher,
    };
    Ok(Running { target, _nodes: vec![process], nats: None, _directory: directory })
}
