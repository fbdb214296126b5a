//! All apps at one moment.
//!
//! With tens of thousands of apps, copying everything for every change would take milliseconds each time. So a snapshot
//! is made of many small maps, and the next one shares all but those that a change is in.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::Arc;

use channels::{App, AppId, Key, KeyName};

/// Small maps that make up one large one. With 20,000 apps about 80 entries are copied for a change, and 256 pointers.
const SHARDS: usize = 256;

/// All apps at one moment. Cheap to clone, also when the clone is changed a little.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    apps: Sharded<AppId, Arc<App>>,
    keys: Sharded<KeyName, AppKey>,
    unreadable: HashSet<AppId>,
    /// Whether two apps may have one key name, so that `keys` has to be made anew when an app changes.
    doubled: bool,
}

/// An active key and the app it belongs to. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AppKey {
    app: Arc<App>,
    /// Of the key in `app.keys`.
    index: usize,
}

impl AppKey {
    /// The app.
    pub fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// The key.
    pub fn key(&self) -> &Key {
        &self.app.keys[self.index]
    }

    /// Who had a key name first.
    fn rank(&self) -> (u64, &AppId) {
        (self.key().created_ms, &self.app.id)
    }
}

impl Snapshot {
    /// The app, enabled or not.
    pub fn get(&self, id: &AppId) -> Option<&Arc<App>> {
        self.apps.get(id)
    }

    /// The active key called `name`, and its app.
    pub fn by_key(&self, name: &str) -> Option<&AppKey> {
        self.keys.get(name)
    }

    /// The apps, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<App>> {
        self.apps.values()
    }

    /// How many apps there are.
    pub fn len(&self) -> usize {
        self.apps.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many entries could not be read and are therefore not here.
    pub fn unreadable(&self) -> usize {
        self.unreadable.len()
    }

    /// Puts an app in, instead of what was there under its id.
    pub(super) fn put(&mut self, app: Arc<App>) {
        self.remove(&app.id);
        self.add_keys(&app);
        self.apps.insert(app.id.clone(), app);
    }

    /// Notes that there is an app that cannot be read.
    pub(super) fn put_unreadable(&mut self, id: AppId) {
        self.remove(&id);
        self.unreadable.insert(id);
    }

    /// Takes an app out; tells whether anything was known of it.
    pub(super) fn remove(&mut self, id: &AppId) -> bool {
        let Some(app) = self.apps.remove(id) else { return self.unreadable.remove(id) };
        for key in &app.keys {
            if self.by_key(key.name.as_str()).is_some_and(|found| found.app.id == *id) {
                self.keys.remove(&key.name);
            }
        }
        true
    }

    /// Sees to it that a key name which several apps have finds the same one on all edges. To be called after changes.
    pub(super) fn settle(&mut self) {
        if std::mem::take(&mut self.doubled) {
            self.keys = Sharded::default();
            let apps: Vec<_> = self.iter().cloned().collect();
            for app in &apps {
                self.add_keys(app);
            }
        }
    }

    fn add_keys(&mut self, app: &Arc<App>) {
        for index in 0..app.keys.len() {
            let candidate = AppKey { app: Arc::clone(app), index };
            let name = &candidate.key().name;
            // The registry keeps names unique. Should two apps have one all the same, it is that of who had it first.
            let other = self.by_key(name.as_str()).filter(|other| other.app.id != app.id);
            let is_later = other.is_some_and(|other| other.rank() <= candidate.rank());
            if let Some(other) = other {
                tracing::error!(key = %name, app = %app.id, other = %other.app.id, "two apps have one key name");
                self.doubled = true;
            }
            if !is_later {
                self.keys.insert(name.clone(), candidate);
            }
        }
    }
}

/// A map in parts, of which clones share those that they have in common.
#[derive(Clone, Debug)]
struct Sharded<K, V> {
    hasher: RandomState,
    shards: Box<[Arc<HashMap<K, V>>]>,
}

impl<K, V> Default for Sharded<K, V> {
    fn default() -> Self {
        Self { hasher: RandomState::new(), shards: (0..SHARDS).map(|_| Arc::default()).collect() }
    }
}

impl<K: Clone + Eq + Hash, V: Clone> Sharded<K, V> {
    fn shard<Q: Hash + ?Sized>(&self, key: &Q) -> usize {
        let hash = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64);
        hash.expect("smaller than the number of shards")
    }

    fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.shards[self.shard(key)].get(key)
    }

    fn insert(&mut self, key: K, value: V) {
        let shard = self.shard(&key);
        Arc::make_mut(&mut self.shards[shard]).insert(key, value);
    }

    fn remove(&mut self, key: &K) -> Option<V> {
        let shard = self.shard(key);
        if !self.shards[shard].contains_key(key) {
            return None;
        }
        Arc::make_mut(&mut self.shards[shard]).remove(key)
    }

    fn values(&self) -> impl Iterator<Item = &V> {
        self.shards.iter().flat_map(|shard| shard.values())
    }

    fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.len()).sum()
    }
}
