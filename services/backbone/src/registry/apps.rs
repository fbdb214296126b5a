//! The live copy of all apps that an edge serves from.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use channels::{App, AppId, Key};
use futures_util::FutureExt as _;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Registry, app_of, stored};
use crate::kv::{KvError, Watch, WatchEvent};

/// How often the backbone is asked whether it is still there. A quiet watch and a dead one look the same from here.
const PROBE_INTERVAL: Duration = Duration::from_secs(10);

/// First and longest pause before a failed watch is begun again. The longest stays below the probe interval, so that
/// a revoked key does not live on for long after an outage.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Most events put into one snapshot, so that an endless stream of changes cannot hold one back for ever.
const MAX_BATCH: usize = 1_000;

/// A live snapshot of all apps. Cheap to clone; reading takes no lock.
///
/// The snapshot only changes while [`run`](Self::run) runs. Before the first one is in ([`ready`](Self::ready)) there
/// are no apps; when the backbone is away, the last one stays.
///
/// An app whose entry cannot be read is not in the snapshot, whatever it was before: it is unknown here, as if
/// deleted, until somebody writes it again. Other apps do not notice.
#[derive(Clone, Debug)]
pub struct Apps {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    registry: Registry,
    snapshot: ArcSwap<Snapshot>,
    /// Counts snapshots; 0 until the first one is in.
    generation: watch::Sender<u64>,
    /// When the snapshot was last known to be current. `None` until the first one is in.
    confirmed: Mutex<Option<Instant>>,
    /// [`PROBE_INTERVAL`], but for tests.
    probe_interval: Duration,
}

/// All apps at one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    apps: HashMap<AppId, Arc<App>>,
    keys: HashMap<Box<str>, AppKey>,
    unreadable: usize,
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
}

/// What the bucket says about each app, while it is being followed. `None` is an entry that cannot be read.
type Loaded = HashMap<AppId, Option<Arc<App>>>;

impl Apps {
    /// A handle on the apps of `registry`, with nothing in it until [`run`](Self::run) runs.
    pub fn watch(registry: Registry) -> Self {
        Self::watch_probing(registry, PROBE_INTERVAL)
    }

    pub(super) fn watch_probing(registry: Registry, probe_interval: Duration) -> Self {
        let shared = Shared {
            registry,
            snapshot: ArcSwap::default(),
            generation: watch::channel(0).0,
            confirmed: Mutex::new(None),
            probe_interval,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Keeps the snapshot current until `cancellation`; a failed watch is begun again. To be spawned once, by whoever
    /// owns the process's tasks.
    pub fn run(&self, cancellation: CancellationToken) -> impl Future<Output = ()> + Send + 'static {
        let shared = Arc::clone(&self.shared);
        async move {
            tokio::select! {
                () = cancellation.cancelled() => {}
                () = shared.follow_for_ever() => {}
            }
        }
    }

    /// The app, enabled or not.
    pub fn get(&self, id: &AppId) -> Option<Arc<App>> {
        self.shared.snapshot.load().get(id).cloned()
    }

    /// The active key called `name`, and its app, enabled or not.
    pub fn by_key(&self, name: &str) -> Option<AppKey> {
        self.shared.snapshot.load().by_key(name).cloned()
    }

    /// Everything as it is now, for whoever needs several answers from one moment.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.snapshot.load_full()
    }

    /// Tells of every new snapshot: the value counts them, and 0 means that there is none yet. An app that is the same
    /// as in the snapshot before is the same `Arc`.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.shared.generation.subscribe()
    }

    /// How long ago the snapshot was last known to be current; `None` while there is none. A few seconds are normal.
    pub fn age(&self) -> Option<Duration> {
        self.shared.confirmed.lock().map(|at| at.elapsed())
    }

    /// Whether the first snapshot is in.
    pub fn is_ready(&self) -> bool {
        *self.shared.generation.borrow() > 0
    }

    /// Waits until the first snapshot is in.
    pub async fn ready(&self) {
        let mut generation = self.changed();
        // Cannot fail: `self` holds the sender.
        generation.wait_for(|generation| *generation > 0).await.ok();
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

    /// How many entries could not be read and are therefore not here.
    pub fn unreadable(&self) -> usize {
        self.unreadable
    }

    fn of(loaded: &Loaded) -> Self {
        let apps: HashMap<_, _> =
            loaded.iter().filter_map(|(id, app)| Some((id.clone(), Arc::clone(app.as_ref()?)))).collect();
        let mut keys: HashMap<Box<str>, AppKey> = HashMap::new();
        for app in apps.values() {
            for index in 0..app.keys.len() {
                let candidate = AppKey { app: Arc::clone(app), index };
                let name = candidate.key().name.as_str();
                // The registry keeps names unique. Should two apps have one all the same, all edges pick the same:
                // the one that had it first.
                match keys.get(name) {
                    Some(other) if rank(other) <= rank(&candidate) => {
                        tracing::error!(key = name, app = %app.id, other = %other.app.id, "two apps have one key name");
                    }
                    _ => {
                        keys.insert(name.into(), candidate);
                    }
                }
            }
        }
        Self { unreadable: loaded.len() - apps.len(), apps, keys }
    }
}

/// Who had a key name first.
fn rank(key: &AppKey) -> (u64, &AppId) {
    (key.key().created_ms, &key.app.id)
}

impl Shared {
    async fn follow_for_ever(&self) {
        let mut pause = BACKOFF.0;
        loop {
            let begun = Instant::now();
            let error = match self.begin().await {
                Ok((watch, loaded)) => tokio::select! {
                    error = self.follow(watch, loaded) => error,
                    () = self.outage() => {
                        tracing::info!("the registry is back; reading all apps anew");
                        continue;
                    }
                },
                Err(error) => error,
            };
            if begun.elapsed() > BACKOFF.1 {
                pause = BACKOFF.0;
            }
            tracing::warn!(error = &error as &dyn std::error::Error, retry_in = ?pause, "lost the watch over apps");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(BACKOFF.1);
        }
    }

    /// Begins a watch and takes everything in, while the previous snapshot is still served.
    async fn begin(&self) -> Result<(Watch, Loaded), KvError> {
        let mut watch = self.registry.apps.watch().await?;
        let mut loaded = Loaded::new();
        loop {
            let event = watch.next().await?;
            if event == WatchEvent::Current {
                break;
            }
            self.take(&mut loaded, event);
        }
        self.publish(&loaded);
        Ok((watch, loaded))
    }

    /// Applies changes until the watch fails.
    async fn follow(&self, mut watch: Watch, mut loaded: Loaded) -> KvError {
        loop {
            let mut event = watch.next().await;
            let mut changed = false;
            for _ in 0..MAX_BATCH {
                match event {
                    Ok(event) => changed |= self.take(&mut loaded, event),
                    Err(error) => return error,
                }
                match watch.next().now_or_never() {
                    Some(next) => event = next,
                    None => break,
                }
            }
            if changed {
                self.publish(&loaded);
            } else {
                self.confirm();
            }
        }
    }

    /// Notes, again and again, that the backbone is reachable. Returns when it is so again after it was not: the marker
    /// of a removed app goes after a while, so a watch that goes on after an outage may never learn of the removal.
    async fn outage(&self) {
        let mut away = false;
        loop {
            tokio::time::sleep(self.probe_interval).await;
            match self.registry.apps.get("probe").await {
                Ok(_) if away => return,
                Ok(_) => self.confirm(),
                Err(error) => {
                    away = true;
                    tracing::debug!(error = &error as &dyn std::error::Error, "the registry cannot be reached");
                }
            }
        }
    }

    /// Applies one event; tells whether it was about an app.
    fn take(&self, loaded: &mut Loaded, event: WatchEvent) -> bool {
        match event {
            WatchEvent::Put(entry) => {
                let Some(id) = app_of(&entry.key) else { return false };
                let app = match stored::decode(&id, &entry.value, entry.revision) {
                    Ok(read) => Some(self.same_or_new(read.app)),
                    Err(error) => {
                        let error = &error as &dyn std::error::Error;
                        tracing::error!(app = %id, error, "a stored app cannot be read and is not served");
                        None
                    }
                };
                loaded.insert(id, app);
                true
            }
            WatchEvent::Removed(key) => app_of(&key).is_some_and(|id| loaded.remove(&id).is_some()),
            WatchEvent::Current => false,
        }
    }

    /// `app`, as the `Arc` that is already being served if it has not changed.
    fn same_or_new(&self, app: App) -> Arc<App> {
        match self.snapshot.load().get(&app.id) {
            Some(served) if **served == app => Arc::clone(served),
            Some(_) | None => Arc::new(app),
        }
    }

    fn publish(&self, loaded: &Loaded) {
        self.snapshot.store(Arc::new(Snapshot::of(loaded)));
        self.confirm();
        self.generation.send_modify(|generation| *generation += 1);
    }

    fn confirm(&self) {
        *self.confirmed.lock() = Some(Instant::now());
    }
}
