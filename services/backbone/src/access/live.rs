//! The live copy of all tokens that requests are checked against.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use super::{Access, Identity, KIND, Known, TokenId, decode};
use crate::follow::{Follower, LiveCopy};
use crate::kv::WatchEvent;

/// The tokens as they are now. Cheap to clone; checking takes no lock.
///
/// It only changes while [`run`](Self::run) runs. Before it is [`ready`](Self::ready) it knows no token; when the
/// backbone is away it stays as it was. A token that cannot be read lets nobody in.
#[derive(Clone, Debug)]
pub struct AccessTokens {
    follower: Arc<Follower<Copy>>,
}

#[derive(Debug, Default)]
struct Copy(ArcSwap<HashMap<TokenId, Known>>);

impl AccessTokens {
    /// A handle on the tokens, with nothing in it until [`run`](Self::run) runs.
    pub fn watch(access: Access) -> Self {
        Self { follower: Arc::new(Follower::new(access.tokens, "access tokens", Copy::default())) }
    }

    /// Keeps the copy current until `cancellation`. To be spawned once, by whoever owns the process's tasks.
    pub fn run(&self, cancellation: CancellationToken) -> impl Future<Output = ()> + Send + 'static {
        self.follower.run(cancellation)
    }

    /// Whose token it is, if it is taken at `now_ms`, milliseconds since the Unix epoch.
    pub fn verify(&self, token: &str, now_ms: u64) -> Option<Identity> {
        let known = self.follower.copy.0.load();
        let known = known.get(&TokenId::of(token)?)?;
        known.admits(token, now_ms).then(|| known.identity())
    }

    /// Whether the tokens are known.
    pub fn is_ready(&self) -> bool {
        self.follower.is_ready()
    }

    /// Waits until the tokens are known.
    pub async fn ready(&self) {
        self.follower.ready().await;
    }

    /// How long ago the copy was last known to be current; `None` while there is none. A few seconds are normal.
    pub fn age(&self) -> Option<Duration> {
        self.follower.age()
    }
}

impl LiveCopy for Copy {
    type Draft = HashMap<TokenId, Known>;

    fn take(&self, draft: &mut Self::Draft, event: WatchEvent) -> bool {
        match event {
            WatchEvent::Put(entry) => {
                let Some(id) = id_of(&entry.key) else { return false };
                match decode(&entry) {
                    Some(known) => draft.insert(id, known),
                    None => {
                        tracing::error!(token = %id, "a stored token cannot be read and lets nobody in");
                        draft.remove(&id)
                    }
                };
                true
            }
            WatchEvent::Removed(key) => id_of(&key).is_some_and(|id| draft.remove(&id).is_some()),
            WatchEvent::Current => false,
        }
    }

    fn publish(&self, draft: &mut Self::Draft) {
        self.0.store(Arc::new(draft.clone()));
    }
}

/// The token whose entry has this key; `None` for entries of other kinds.
fn id_of(key: &str) -> Option<TokenId> {
    TokenId::new(key.strip_prefix(KIND)?.strip_prefix('.')?).ok()
}
