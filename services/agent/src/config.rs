//! Who a node is, and whom it trusts.

use std::path::PathBuf;
use std::sync::Arc;

use backbone::sealing::ClusterKeys;

/// What a process tells of itself, and how it reaches the control plane.
#[derive(Clone, Debug)]
pub struct Config {
    /// Of this life of the process: 16 hex digits, made up at its start ([`Config::new`] does).
    pub id: String,
    /// A name for people.
    pub name: String,
    /// Of edge, control and worker.
    pub roles: Vec<String>,
    /// Of the binary.
    pub version: String,
    /// What proves that this node belongs to the cluster.
    pub keys: Arc<ClusterKeys>,
    /// How control replicas that serve TLS are known.
    pub trust: Trust,
}

/// How control replicas are known that serve TLS. The files are read at every attempt to connect, so that new ones need
/// no restart.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// PEM file with the authorities that their certificates are from. Without it no replica that serves TLS is trusted.
    pub ca_file: Option<PathBuf>,
    /// The name that their certificates are for; `None`: the host of their address.
    pub server_name: Option<String>,
    /// What this node shows to those that want a certificate.
    pub identity: Option<ClientIdentity>,
}

/// A certificate and its key, both PEM files.
#[derive(Clone, Debug)]
pub struct ClientIdentity {
    /// The chain, the node's own first.
    pub cert_file: PathBuf,
    /// The private key.
    pub key_file: PathBuf,
}

impl Config {
    /// A node with a new id, that trusts no replica that serves TLS.
    pub fn new(name: &str, roles: &[&str], version: &str, keys: Arc<ClusterKeys>) -> Self {
        Self {
            id: format!("{:016x}", rand::random::<u64>()),
            name: name.to_owned(),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            version: version.to_owned(),
            keys,
            trust: Trust::default(),
        }
    }
}
