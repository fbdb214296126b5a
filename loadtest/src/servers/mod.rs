//! Servers to measure, started here: Fanfare in its forms, the NATS servers below it, the floor and peers.
//!
//! All on loopback, on free ports, with what they write in temporary directories. Nothing outlives the value that holds
//! it, nor this process, unless that one is killed.

mod fanfare;
mod floor;
pub(crate) mod nats;
mod peer;
mod port;
mod process;
mod tls;

use channels::{AppId, KeyName, Secret};

pub(crate) use fanfare::{Fanfare, Form};
pub(crate) use floor::start as floor;
pub(crate) use peer::{name as peer_name, start as peer};
pub(crate) use process::kill;

use crate::target::Target;
use process::{Directory, Process};
use tls::Tls;

/// The app of every server that is started here, and that `fanfare dev` has. No secret on loopback.
const APP: (&str, &str, &str) = ("1001", "app-key", "app-secret");

/// A running server, ended when dropped.
#[derive(Debug)]
pub(crate) struct Running {
    target: Target,
    /// Ended in this order: nodes before what they store in, and before the files of all.
    _nodes: Vec<Process>,
    nats: Option<nats::Nats>,
    _directory: Directory,
}

impl Running {
    /// What profiles are run against.
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// Where its NATS servers are, one for each; none if it is in memory.
    pub(crate) fn nats_urls(&self) -> &[String] {
        self.nats.as_ref().map_or(&[], nats::Nats::urls)
    }
}

/// Id, key and secret of the app.
fn app() -> (AppId, KeyName, Secret) {
    let (id, key, secret) = APP;
    let id = AppId::new(id).expect("an id that is allowed");
    let key = KeyName::new(key).expect("a name that is allowed");
    (id, key, Secret::new(secret).expect("a secret that is not empty"))
}
