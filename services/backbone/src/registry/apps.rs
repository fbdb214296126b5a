//! The live copy of all apps that an edge serves from.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use channels::{App, AppId};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::snapshot::{AppKey, Snapshot};
use super::{Registry, app_of, stored};
use crate::follow::{Follower, LiveCopy};
use crate::kv::WatchEvent;
use crate::sealing::ClusterKeys;

/// A live snapshot of all apps. Cheap to clone; reading takes no lock.
///
/// The snapshot only changes while [`run`](Self::run) runs. Before the first one is in ([`ready`](Self::ready)) there
/// are no apps; when the backbone is away, the last one stays.
///
/// An app whose entry cannot be read is not in the snapshot, whatever it was before: it is unknown here, as if
/// deleted, until somebody writes it again. Other apps do not notice.
#[derive(Clone, Debug)]
pub struct Apps {
    follower: Arc<Follower<Copy>>,
}

#[derive(Debug)]
struct Copy {
    keys: Arc<ClusterKeys>,
    snapshot: ArcSwap<Snapshot>,
}

impl Apps {
    /// A handle on the apps of `registry`, with nothing in it until [`run`](Self::run) runs.
    pub fn watch(registry: Registry) -> Self {
        Self { follower: Arc::new(follower(registry)) }
    }

    #[cfg(test)]
    pub(super) fn watch_probing(registry: Registry, probe_interval: Duration) -> Self {
        Self { follower: Arc::new(follower(registry).probing(probe_interval)) }
    }

    /// Keeps the snapshot current until `cancellation`; a failed watch is begun again. To be spawned once, by whoever
    /// owns the process's tasks.
    pub fn run(&self, cancellation: CancellationToken) -> impl Future<Output = ()> + Send + 'static {
        self.follower.run(cancellation)
    }

    /// The app, enabled or not.
    pub fn get(&self, id: &AppId) -> Option<Arc<App>> {
        self.follower.copy.snapshot.load().get(id).cloned()
    }

    /// The active key called `name`, and its app, enabled or not.
    pub fn by_key(&self, name: &str) -> Option<AppKey> {
        self.follower.copy.snapshot.load().by_key(name).cloned()
    }

    /// Everything as it is now, for whoever needs several answers from one moment.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.follower.copy.snapshot.load_full()
    }

    /// Tells of every new snapshot: the value counts them, and 0 means that there is none yet. An app that is the same
    /// as in the snapshot before is the same `Arc`.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.follower.changed()
    }

    /// How long ago the snapshot was last known to be current; `None` while there is none. A few seconds are normal.
    pub fn age(&self) -> Option<Duration> {
        self.follower.age()
    }

    /// Whether the first snapshot is in.
    pub fn is_ready(&self) -> bool {
        self.follower.is_ready()
    }

    /// Waits until the first snapshot is in.
    pub async fn ready(&self) {
        self.follower.ready().await;
    }
}

fn follower(registry: Registry) -> Follower<Copy> {
    Follower::new(registry.apps, "apps", Copy { keys: registry.keys, snapshot: ArcSwap::default() })
}

impl LiveCopy for Copy {
    type Draft = Snapshot;

    fn take(&self, draft: &mut Snapshot, event: WatchEvent) -> bool {
        match event {
            WatchEvent::Put(entry) => {
                let Some(id) = app_of(&entry.key) else { return false };
                match stored::decode(&id, &entry.value, entry.revision, &self.keys) {
                    Ok(read) => draft.put(self.same_or_new(read.app)),
                    Err(error) => {
                        let error = &error as &dyn std::error::Error;
                        tracing::error!(app = %id, error, "a stored app cannot be read and is not served");
                        draft.put_unreadable(id);
                    }
                }
                true
            }
            WatchEvent::Removed(key) => app_of(&key).is_some_and(|id| draft.remove(&id)),
            WatchEvent::Current => false,
        }
    }

    fn publish(&self, draft: &mut Snapshot) {
        draft.settle();
        self.snapshot.store(Arc::new(draft.clone()));
    }
}

impl Copy {
    /// `app`, as the `Arc` that is already being served if it has not changed.
    fn same_or_new(&self, app: App) -> Arc<App> {
        match self.snapshot.load().get(&app.id) {
            Some(served) if **served == app => Arc::clone(served),
            Some(_) | None => Arc::new(app),
        }
    }
}
