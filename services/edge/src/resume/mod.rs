//! Connections that outlive their transports: which of them are on this node, and who may take one over.
//!
//! Nothing is kept of a connection that is away: its client holds a signed key ([`ConnectionKey`]), its messages are in the
//! backbone, its members in the rosters. Only a resume is written down: that the connection is in its next *generation*,
//! by compare-and-swap, so that of several who show one key one wins. Every edge watches that; whoever has an older
//! generation of the connection ends it.

#[cfg(test)]
mod formats;
mod key;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ably::Identity;
use backbone::facts::Resumed;
use backbone::sealing::ClusterKeys;
use backbone::{Backbone, Bucket, Kv, KvError};
use channels::{AppId, ConnectionId};
use parking_lot::Mutex;

use crate::connections::Peer;
use crate::queue::Ending;
pub(crate) use key::{ConnectionKey, new_id};

/// How much longer than clients are told their connection lives the word on its generation can be read.
const MARGIN: Duration = Duration::from_secs(30);

/// How often a resume is tried again that another one came before.
const ATTEMPTS: usize = 4;

/// The connections of this node that can be resumed, and what a resume takes.
#[derive(Debug)]
pub(crate) struct Resumes {
    commands: Kv,
    keys: Arc<ClusterKeys>,
    ttl: Duration,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// The newest transport of each connection of this node.
    live: HashMap<ConnectionId, Live>,
    /// Connections that are being taken over by this node.
    claims: HashMap<ConnectionId, Claimed>,
}

#[derive(Debug)]
struct Live {
    generation: u32,
    peer: Arc<Peer>,
}

/// What was heard of a connection while it is being taken over: who is overtaken meanwhile must not miss it.
#[derive(Debug, Default)]
struct Claimed {
    by: usize,
    newest: u32,
}

/// Why a connection cannot be resumed with a key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotTaken {
    /// It was resumed with that key before.
    #[error("the connection was resumed with this key before")]
    Spent,
    /// Nobody can say.
    #[error(transparent)]
    Unavailable(#[from] KvError),
}

/// A connection of which this node may have a transport: a new one, or one that it has taken over.
#[derive(Debug)]
pub(crate) struct Claim {
    resumes: Arc<Resumes>,
    connection: ConnectionId,
    generation: u32,
}

/// A transport's place among those that can be superseded, given back by dropping it.
#[derive(Debug)]
pub(crate) struct Held {
    resumes: Arc<Resumes>,
    peer: Arc<Peer>,
    generation: u32,
}

impl Resumes {
    /// Those of a node whose clients are told that a connection lives for `ttl` without a transport.
    pub(crate) fn new(backbone: &Backbone, keys: Arc<ClusterKeys>, ttl: Duration) -> Self {
        Self { commands: backbone.kv(Bucket::Commands), keys, ttl: ttl + MARGIN, table: Mutex::default() }
    }

    /// Reads a key of this cluster for a connection of `app`; `None` if it is none.
    pub(crate) fn read(&self, app: &AppId, text: &str) -> Option<ConnectionKey> {
        ConnectionKey::read(&self.keys, text).filter(|key| key.app == *app)
    }

    /// A new connection.
    pub(crate) fn begin(self: &Arc<Self>) -> Claim {
        self.claim(new_id(), 0)
    }

    /// Takes over the connection of `key`: from now on that key is spent, and who has the connection ends it.
    pub(crate) async fn take_over(self: &Arc<Self>, key: &ConnectionKey) -> Result<Claim, NotTaken> {
        let generation = key.generation.saturating_add(1);
        // Before it is written: who hears of a still newer one from then on finds it.
        let claim = self.claim(key.connection.clone(), generation);
        let name = Resumed::key(&key.app, &key.connection);
        let value = Resumed { app: key.app.clone(), connection: key.connection.clone(), generation }.encode();
        for _ in 0..ATTEMPTS {
            let entry = self.commands.get(&name).await?;
            let known = entry.as_ref().and_then(|entry| Resumed::decode(entry.value.clone()));
            if known.is_some_and(|known| known.generation > key.generation) {
                return Err(NotTaken::Spent);
            }
            let written = match entry {
                None => self.commands.create_expiring(&name, value.clone(), self.ttl).await,
                Some(entry) => self.commands.update_expiring(&name, value.clone(), entry.revision, self.ttl).await,
            };
            match written {
                Ok(_) => return Ok(claim),
                Err(KvError::Exists | KvError::Conflict) => {}
                Err(error @ (KvError::InvalidKey | KvError::Unavailable(_))) => return Err(error.into()),
            }
        }
        Err(NotTaken::Spent)
    }

    /// Whether a connection that had this generation has had another one since, or nobody can say.
    pub(crate) async fn was_resumed(&self, app: &AppId, connection: &ConnectionId, generation: u32) -> bool {
        match self.commands.get(&Resumed::key(app, connection)).await {
            Ok(entry) => entry
                .and_then(|entry| Resumed::decode(entry.value))
                .is_some_and(|resumed| resumed.generation > generation),
            Err(_) => true,
        }
    }

    fn claim(self: &Arc<Self>, connection: ConnectionId, generation: u32) -> Claim {
        self.table.lock().claims.entry(connection.clone()).or_default().by += 1;
        Claim { resumes: Arc::clone(self), connection, generation }
    }

    /// Takes note that a connection has another transport somewhere.
    pub(crate) fn heard(&self, resumed: &Resumed) {
        let Resumed { app, connection, generation } = resumed;
        let mut table = self.table.lock();
        if let Some(claimed) = table.claims.get_mut(connection) {
            claimed.newest = claimed.newest.max(*generation);
        }
        let older = |live: &&Live| live.peer.app == *app && live.generation < *generation;
        if let Some(live) = table.live.get(connection).filter(older) {
            live.peer.queue.end(Ending::Superseded);
        }
    }

    /// Whether this node knows of nothing newer than `key` of its connection.
    pub(crate) fn is_newest(&self, key: &ConnectionKey) -> bool {
        self.table.lock().live.get(&key.connection).is_none_or(|live| live.generation <= key.generation)
    }

    fn key(&self, connection: &ConnectionId, app: &AppId, generation: u32, identity: &Identity) -> String {
        let (connection, app, identity) = (connection.clone(), app.clone(), identity.clone());
        let key = ConnectionKey { connection, app, identity, generation, issued_ms: clock::unix_ms() };
        key.sign(&self.keys)
    }
}

impl Claim {
    /// The connection.
    pub(crate) fn connection(&self) -> &ConnectionId {
        &self.connection
    }

    /// The key to resume it with from now on.
    pub(crate) fn key(&self, app: &AppId, identity: &Identity) -> String {
        self.resumes.key(&self.connection, app, self.generation, identity)
    }

    /// Notes that `peer` has the connection, and ends who of this node had it. If somebody was faster meanwhile, it is
    /// `peer` that is ended.
    pub(crate) fn hold(self, peer: &Arc<Peer>) -> Held {
        let Self { resumes, connection, generation } = &self;
        let mut table = resumes.table.lock();
        let newest = table.claims.get(connection).map_or(0, |claimed| claimed.newest);
        let before = table.live.get(connection).filter(|live| live.peer.app == peer.app);
        match before {
            Some(before) if before.generation >= *generation => peer.queue.end(Ending::Superseded),
            Some(_) | None if newest > *generation => peer.queue.end(Ending::Superseded),
            Some(_) | None => {
                let live = Live { generation: *generation, peer: Arc::clone(peer) };
                if let Some(before) = table.live.insert(connection.clone(), live) {
                    before.peer.queue.end(Ending::Superseded);
                }
            }
        }
        drop(table);
        Held { resumes: Arc::clone(resumes), peer: Arc::clone(peer), generation: *generation }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut table = self.resumes.table.lock();
        if let Some(claimed) = table.claims.get_mut(&self.connection) {
            claimed.by -= 1;
            if claimed.by == 0 {
                table.claims.remove(&self.connection);
            }
        }
    }
}

impl Held {
    /// How often the connection was resumed when it got this transport.
    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    /// Another key for the same transport, when its client has become `identity`.
    pub(crate) fn key(&self, identity: &Identity) -> String {
        self.resumes.key(&self.peer.id, &self.peer.app, self.generation, identity)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut table = self.resumes.table.lock();
        if table.live.get(&self.peer.id).is_some_and(|live| Arc::ptr_eq(&live.peer, &self.peer)) {
            table.live.remove(&self.peer.id);
        }
    }
}
