//! What the control plane may ask of a process that has clients.

use proto::control::node_order::{ListChannels, ListConnections};
use proto::control::{Channel, Connection, NodeLoad};

use crate::Tap;

/// A process with clients. Every call returns at once or after some work in memory: none waits for anything.
pub trait Host: Send + Sync + 'static {
    /// How busy it is. Memory, processor and message rates are filled in by the agent.
    fn load(&self) -> NodeLoad;

    /// Whether it sends its clients elsewhere.
    fn is_draining(&self) -> bool;

    /// The id under which it holds its lease, as it is called in this life.
    fn edge_id(&self) -> String;

    /// Connections of an app, ordered by id, from behind `after`, at most `most`. `node` is filled in by the agent. Only
    /// where one connection is asked for are its channels told.
    fn connections(&self, order: &ListConnections) -> Page<Connection>;

    /// Closes a connection; `is_final` tells its client not to come back. `false` if it is not there.
    fn close_connection(&self, app: &str, connection: &str, is_final: bool) -> bool;

    /// Channels of an app that are occupied on this node, ordered by name, from behind `after`, at most `most`.
    fn channels(&self, order: &ListChannels) -> Page<Channel>;

    /// Tells `tap` what happens to its app from now on, until it [is over](Tap::is_over).
    fn tail(&self, tap: Tap);
}

/// Part of an ordered list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page<T> {
    /// What is in it, in order.
    pub items: Vec<T>,
    /// Whether there is more behind it.
    pub more: bool,
}
