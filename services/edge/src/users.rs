//! Signed-in users: which connections are theirs, who watches whom, and the order to end all of a user's connections.
//!
//! A user is online while a connection anywhere in the cluster is signed in as it. The connections of this node are
//! counted here, those of others by [`crate::occupancy`], under a name that no channel can have.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use backbone::{Backbone, Bucket, Kv, KvError, facts};
use channels::{AppId, ChannelName, ClientId};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::connections::Peer;
use crate::occupancy::{Changes, Occupancy};
use crate::queue::Ending;
use crate::websocket::frame;

/// In front of a user's id in the name under which its connections are counted.
pub(crate) const COUNTED_AS: &str = "#user-";

/// How long the order to end a user's connections can be read: longer than a watch is away.
const ORDER_TTL: Duration = Duration::from_secs(30);

/// How long a user may be away before those who watch are told: somebody who reloads a page was never away.
const OFFLINE_GRACE: Duration = Duration::from_secs(3);

type User = (AppId, ClientId);

/// The users that this node has to do with.
#[derive(Debug)]
pub(crate) struct Users {
    commands: Kv,
    table: Mutex<Table>,
    changes: Arc<Changes>,
    news: Arc<Changes>,
}

#[derive(Debug, Default)]
struct Table {
    /// Connections by the user they are signed in as.
    signed_in: HashMap<User, Vec<Arc<Peer>>>,
    /// Who is watched here.
    watched: HashMap<User, Watched>,
}

#[derive(Debug, Default)]
struct Watched {
    watchers: Vec<Arc<Peer>>,
    /// What they were last told.
    online: bool,
    /// When they are to be told that the user is away, unless it comes back.
    away_at: Option<Instant>,
}

/// A connection's sign-in. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct SignedIn {
    users: Arc<Users>,
    peer: Arc<Peer>,
    user: ClientId,
    watchlist: BTreeSet<ClientId>,
    /// Whether the cluster was told.
    counted: bool,
}

impl Users {
    pub(crate) fn new(backbone: &Backbone, changes: Arc<Changes>, news: Arc<Changes>) -> Self {
        Self { commands: backbone.kv(Bucket::Commands), table: Mutex::default(), changes, news }
    }

    /// Notes that `peer` is signed in as `user`, and tells it which users of its watchlist are online, now and from now
    /// on. The cluster is told if the app's users are `counted`, that is if they can be watched.
    pub(crate) fn sign_in(
        self: &Arc<Self>,
        occupancy: &Occupancy,
        peer: &Arc<Peer>,
        user: ClientId,
        watchlist: Vec<ClientId>,
        counted: bool,
    ) -> SignedIn {
        // A list may name somebody twice.
        let watchlist: BTreeSet<_> = watchlist.into_iter().collect();
        let mut table = self.table.lock();
        table.signed_in.entry((peer.app.clone(), user.clone())).or_default().push(Arc::clone(peer));
        drop(table);
        if counted {
            self.count_changed(&peer.app, &user);
        }
        if !watchlist.is_empty() {
            self.watch(occupancy, peer, &watchlist);
        }
        SignedIn { users: Arc::clone(self), peer: Arc::clone(peer), user, watchlist, counted }
    }

    /// Has the cluster told of all who are signed in to `app`, whose users have, or may have, just become watchable. What
    /// it knows already is not told again.
    pub(crate) fn count_all(&self, app: &AppId) {
        let table = self.table.lock();
        let users: Vec<_> = table.signed_in.keys().filter(|(of, _)| of == app).map(|(_, user)| user.clone()).collect();
        drop(table);
        users.iter().for_each(|user| self.count_changed(app, user));
    }

    fn watch(&self, occupancy: &Occupancy, peer: &Arc<Peer>, watchlist: &BTreeSet<ClientId>) {
        let online: Vec<_> = watchlist.iter().map(|user| self.is_online(occupancy, &peer.app, user)).collect();
        let mut table = self.table.lock();
        let (mut there, mut away) = (Vec::new(), Vec::new());
        for (user, online) in watchlist.iter().zip(online) {
            let watched = table.watched.entry((peer.app.clone(), user.clone())).or_default();
            if watched.watchers.is_empty() {
                watched.online = online;
            }
            watched.watchers.push(Arc::clone(peer));
            // What all watchers were told, so that the next change is one for this one, too.
            if watched.online {
                there.push(user.clone())
            } else {
                away.push(user.clone())
            }
            // It may have come or gone since it was looked for.
            if let Some(name) = counted_as(user) {
                self.news.note(&peer.app, &name);
            }
        }
        // Under the lock: what changes from now on comes after.
        peer.queue.push(frame::text(&pusher::watchlist_events(&there, &away)));
    }

    fn is_online(&self, occupancy: &Occupancy, app: &AppId, user: &ClientId) -> bool {
        counted_as(user).is_some_and(|name| occupancy.counts(app, &name).subscriptions > 0)
    }

    fn count_changed(&self, app: &AppId, user: &ClientId) {
        if let Some(name) = counted_as(user) {
            self.changes.note(app, &name);
            self.news.note(app, &name);
        }
    }

    /// How many connections of this node are signed in as the user that is counted as `name`; `None` if that is the name
    /// of a channel.
    pub(crate) fn signed_in(&self, app: &AppId, name: &ChannelName) -> Option<u64> {
        let user = counted_user(name)?;
        let table = self.table.lock();
        Some(table.signed_in.get(&(app.clone(), user)).map_or(0, |peers| peers.len() as u64))
    }

    /// Looks whether the user that is counted as `name` has come or gone. When to look again, if it may be back soon.
    pub(crate) fn look(&self, occupancy: &Occupancy, app: &AppId, name: &ChannelName) -> Option<Instant> {
        let key = (app.clone(), counted_user(name)?);
        if !self.table.lock().watched.contains_key(&key) {
            return None;
        }
        let online = self.is_online(occupancy, app, &key.1);
        let mut table = self.table.lock();
        let watched = table.watched.get_mut(&key)?;
        if online == watched.online {
            watched.away_at = None;
            return None;
        }
        let now = Instant::now();
        if !online {
            let at = *watched.away_at.get_or_insert(now + OFFLINE_GRACE);
            if now < at {
                return Some(at);
            }
        }
        watched.away_at = None;
        watched.online = online;
        let user = std::slice::from_ref(&key.1);
        let text = if online { pusher::watchlist_events(user, &[]) } else { pusher::watchlist_events(&[], user) };
        let frame = frame::text(&text);
        watched.watchers.iter().for_each(|watcher| watcher.queue.push(frame.clone()));
        None
    }

    /// Orders all edges to end the connections that are signed in as `user`. When this returns the order stands.
    pub(crate) async fn terminate(&self, app: &AppId, user: &ClientId) -> Result<(), KvError> {
        let (key, order) = (facts::terminate_key(app, user), facts::encode_terminate(app, user));
        self.commands.put_expiring(&key, order, ORDER_TTL).await.map(drop)
    }

    /// Ends the connections of this node that are signed in as `user`, as was ordered.
    pub(crate) fn end(&self, app: AppId, user: ClientId) {
        let peers = self.table.lock().signed_in.get(&(app, user)).cloned().unwrap_or_default();
        peers.iter().for_each(|peer| peer.queue.end(Ending::Terminated));
    }
}

impl Drop for SignedIn {
    fn drop(&mut self) {
        let app = &self.peer.app;
        let mut table = self.users.table.lock();
        let gone = remove(&mut table.signed_in, (app.clone(), self.user.clone()), |peers| {
            peers.retain(|peer| !Arc::ptr_eq(peer, &self.peer));
            peers.is_empty()
        });
        for user in &self.watchlist {
            remove(&mut table.watched, (app.clone(), user.clone()), |watched| {
                watched.watchers.retain(|peer| !Arc::ptr_eq(peer, &self.peer));
                watched.watchers.is_empty()
            });
        }
        drop(table);
        // The last one in any case: the switch may have been on in between.
        if gone || self.counted {
            self.users.count_changed(app, &self.user);
        }
    }
}

/// Changes what stands under `key`, and removes it if `is_empty` says so. Whether it did.
fn remove<T>(map: &mut HashMap<User, T>, key: User, is_empty: impl FnOnce(&mut T) -> bool) -> bool {
    map.get_mut(&key).is_some_and(is_empty) && map.remove(&key).is_some()
}

/// The name under which a user's connections are counted. `None` for an id too long for any name, which no session lets
/// in.
fn counted_as(user: &ClientId) -> Option<ChannelName> {
    ChannelName::new(&format!("{COUNTED_AS}{user}")).ok()
}

fn counted_user(name: &ChannelName) -> Option<ClientId> {
    ClientId::new(name.as_str().strip_prefix(COUNTED_AS)?).ok()
}
