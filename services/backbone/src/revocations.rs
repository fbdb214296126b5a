//! Revocations of clients' tokens: which are stored, and the live copy that every token is held against.
//!
//! A revocation is about the tokens of one key that match a target and were issued before some time. What a target is, and
//! whether a token matches it, is the protocol's matter: here it is a text. Entries go when the last token that they can be
//! about has expired.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use channels::{AppId, KeyName};
use prost::Message as _;
use proto::backbone as wire;
use ring::digest;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::follow::{Follower, LiveCopy};
use crate::kv::{Bucket, Entry, Kv, KvError, WatchEvent};
use crate::{Backbone, hex};

/// Format of the values.
const VERSION: u32 = 1;

/// How often a change that lost to another one is tried again.
const ATTEMPTS: u32 = 16;

/// Most orders that one target has at a time. Only those count that no other one contains, so there is more than one only
/// while orders with different margins are about to apply.
const MAX_ORDERS: usize = 16;

/// Bytes of a hash that are in a key.
const HASH_BYTES: usize = 16;

/// When tokens are not taken any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Those that were issued before this time, milliseconds since the Unix epoch.
    pub issued_before_ms: u64,
    /// From this time on.
    pub applies_at_ms: u64,
}

impl Order {
    /// Whether it has everything that `other` has, at `now_ms` and later.
    fn contains(&self, other: &Self, now_ms: u64) -> bool {
        let in_time = self.applies_at_ms <= other.applies_at_ms.max(now_ms);
        in_time && self.issued_before_ms >= other.issued_before_ms
    }
}

/// What is to be revoked: tokens of which key, and which of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The app.
    pub app: AppId,
    /// The key that they were made with.
    pub key: KeyName,
    /// Which of them.
    pub target: String,
}

/// Every revocation. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Revocations {
    kv: Kv,
}

impl Backbone {
    /// The revocations of clients' tokens.
    pub fn revocations(&self) -> Revocations {
        Revocations { kv: self.kv(Bucket::Revoked) }
    }
}

impl Revocations {
    /// Revokes tokens, for `ttl` (whole seconds): longer than any of them lives. When this returns it is written, and every
    /// node is about to learn of it.
    ///
    /// # Errors
    /// [`KvError::Unavailable`], and [`KvError::Conflict`] if too many others do the same at the same time.
    pub async fn revoke(&self, target: &Target, order: Order, now_ms: u64, ttl: Duration) -> Result<(), KvError> {
        let key = key_of(target);
        for _ in 0..ATTEMPTS {
            let found = self.kv.get(&key).await?;
            // One that cannot be read is of another version; it must not be kept from standing with this one.
            let known = found.as_ref().and_then(decode).map(|(_, orders)| orders).unwrap_or_default();
            let value = encode(target, &with(known, order, now_ms));
            let written = match found {
                Some(Entry { revision, .. }) => self.kv.update_expiring(&key, value, revision, ttl).await,
                None => self.kv.create_expiring(&key, value, ttl).await,
            };
            match written {
                Ok(_) => return Ok(()),
                Err(KvError::Conflict | KvError::Exists) => {}
                Err(error @ (KvError::InvalidKey | KvError::Unavailable(_))) => return Err(error),
            }
        }
        Err(KvError::Conflict)
    }
}

/// `orders` and this one, without those that another one contains.
fn with(mut orders: Vec<Order>, order: Order, now_ms: u64) -> Vec<Order> {
    if orders.iter().any(|known| known.contains(&order, now_ms)) {
        return orders;
    }
    orders.retain(|known| !order.contains(known, now_ms));
    orders.push(order);
    if orders.len() > MAX_ORDERS {
        // All at the earliest time, for all that any of them is about: rather too early than not at all.
        let issued_before_ms = orders.iter().map(|order| order.issued_before_ms).max().unwrap_or_default();
        let applies_at_ms = orders.iter().map(|order| order.applies_at_ms).min().unwrap_or_default();
        orders = vec![Order { issued_before_ms, applies_at_ms }];
    }
    orders
}

/// What is revoked of one app: by key, then by target.
type OfApp = HashMap<KeyName, HashMap<String, Vec<Order>>>;

type Apps = HashMap<AppId, Arc<OfApp>>;

/// The revocations as they are now. Cheap to clone; asking takes no lock.
///
/// It only changes while [`run`](Self::run) runs, and when the backbone is away it stays as it was.
#[derive(Clone, Debug)]
pub struct Revoked {
    follower: Arc<Follower<Copy>>,
}

#[derive(Debug, Default)]
struct Copy(ArcSwap<Apps>);

/// The copy while it is being made.
#[derive(Debug, Default)]
struct Draft {
    apps: Apps,
    /// What stands under each key, for when it goes.
    keys: HashMap<String, (AppId, KeyName, String)>,
}

impl Revoked {
    /// A handle with nothing in it until [`run`](Self::run) runs.
    pub fn watch(revocations: Revocations) -> Self {
        Self { follower: Arc::new(Follower::new(revocations.kv, "revocations", Copy::default())) }
    }

    /// Keeps the copy current until `cancellation`. To be spawned once, by whoever owns the process's tasks.
    pub fn run(&self, cancellation: CancellationToken) -> impl Future<Output = ()> + Send + 'static {
        self.follower.run(cancellation)
    }

    /// Whether everything that was revoked is known.
    pub fn is_ready(&self) -> bool {
        self.follower.is_ready()
    }

    /// Waits until everything that was revoked is known.
    pub async fn ready(&self) {
        self.follower.ready().await;
    }

    /// Tells of every change.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.follower.changed()
    }

    /// From when on a token of `key` is not taken that was issued at `issued_ms` and matches `targets`, all that it does
    /// match; `None` for one that is not revoked.
    pub fn applies_at<T: AsRef<str>>(
        &self,
        app: &AppId,
        key: &KeyName,
        issued_ms: u64,
        targets: impl IntoIterator<Item = T>,
    ) -> Option<u64> {
        let apps = self.follower.copy.0.load();
        let of_key = apps.get(app)?.get(key)?;
        let orders = targets.into_iter().filter_map(|target| of_key.get(target.as_ref())).flatten();
        orders.filter(|order| issued_ms < order.issued_before_ms).map(|order| order.applies_at_ms).min()
    }

    /// The apps whose revocations have changed since they were `seen`.
    pub fn changes(&self, seen: &mut Seen) -> Vec<AppId> {
        let now = self.follower.copy.0.load_full();
        let before = std::mem::replace(&mut seen.0, Arc::clone(&now));
        let same = |app: &AppId, all: &Arc<OfApp>| before.get(app).is_some_and(|before| Arc::ptr_eq(before, all));
        now.iter().filter(|(app, all)| !same(app, all)).map(|(app, _)| app.clone()).collect()
    }

    /// The next time after `after_ms` at which revocations begin to apply, and those of which apps.
    pub fn next(&self, after_ms: u64) -> Option<(u64, Vec<AppId>)> {
        let apps = self.follower.copy.0.load();
        let mut next: Option<(u64, Vec<AppId>)> = None;
        for (app, all) in apps.iter() {
            let orders = all.values().flat_map(HashMap::values).flatten();
            let Some(at) = orders.map(|order| order.applies_at_ms).filter(|at| *at > after_ms).min() else { continue };
            match &mut next {
                Some((earliest, _)) if at > *earliest => {}
                Some((earliest, apps)) if at == *earliest => apps.push(app.clone()),
                _ => next = Some((at, vec![app.clone()])),
            }
        }
        next
    }
}

/// The revocations as somebody saw them last. The default has seen none.
#[derive(Debug, Default)]
pub struct Seen(Arc<Apps>);

impl LiveCopy for Copy {
    type Draft = Draft;

    fn take(&self, draft: &mut Draft, event: WatchEvent) -> bool {
        match event {
            WatchEvent::Put(entry) => {
                let Some((Target { app, key, target }, orders)) = decode(&entry) else {
                    tracing::error!(key = entry.key, "a revocation cannot be read; its tokens are taken");
                    return false;
                };
                draft.keys.insert(entry.key, (app.clone(), key.clone(), target.clone()));
                let of_app = Arc::make_mut(draft.apps.entry(app).or_default());
                of_app.entry(key).or_default().insert(target, orders);
                true
            }
            WatchEvent::Removed(key) => {
                let Some((app, key, target)) = draft.keys.remove(&key) else { return false };
                let Some(of_app) = draft.apps.get_mut(&app).map(Arc::make_mut) else { return false };
                if let Some(of_key) = of_app.get_mut(&key) {
                    of_key.remove(&target);
                    if of_key.is_empty() {
                        of_app.remove(&key);
                    }
                }
                if of_app.is_empty() {
                    draft.apps.remove(&app);
                }
                true
            }
            WatchEvent::Current => false,
        }
    }

    fn publish(&self, draft: &mut Draft) {
        self.0.store(Arc::new(draft.apps.clone()));
    }
}

pub(crate) fn key_of(target: &Target) -> String {
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(target.key.as_str().as_bytes());
    // Not in a key's name.
    hash.update(b":");
    hash.update(target.target.as_bytes());
    format!("{}.{}", target.app, hex::encode(&hash.finish().as_ref()[..HASH_BYTES]))
}

pub(crate) fn encode(target: &Target, orders: &[Order]) -> Bytes {
    let order = |order: &Order| wire::revoked_tokens::Order {
        issued_before_ms: order.issued_before_ms,
        applies_at_ms: order.applies_at_ms,
    };
    let value = wire::RevokedTokens {
        version: VERSION,
        app_id: target.app.as_str().to_owned(),
        key_name: target.key.as_str().to_owned(),
        target: target.target.clone(),
        orders: orders.iter().map(order).collect(),
    };
    value.encode_to_vec().into()
}

/// `None` for what this process does not understand.
pub(crate) fn decode(entry: &Entry) -> Option<(Target, Vec<Order>)> {
    let value = wire::RevokedTokens::decode(entry.value.clone()).ok().filter(|value| value.version == VERSION)?;
    let target =
        Target { app: AppId::new(&value.app_id).ok()?, key: KeyName::new(&value.key_name).ok()?, target: value.target };
    let order = |order: &wire::revoked_tokens::Order| Order {
        issued_before_ms: order.issued_before_ms,
        applies_at_ms: order.applies_at_ms,
    };
    Some((target, value.orders.iter().map(order).collect()))
}

#[cfg(test)]
mod tests {
    use testkit::eventually;
    use tokio_util::task::AbortOnDropHandle;

    use super::*;
    use crate::Config;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn target(key: &str, target: &str) -> Target {
        Target { app: AppId::new("1001").unwrap(), key: KeyName::new(key).unwrap(), target: target.to_owned() }
    }

    fn order(issued_before_ms: u64, applies_at_ms: u64) -> Order {
        Order { issued_before_ms, applies_at_ms }
    }

    fn applies(revoked: &Revoked, key: &str, issued_ms: u64) -> Option<u64> {
        let of = target(key, "");
        revoked.applies_at(&of.app, &of.key, issued_ms, ["clientId:bob"])
    }

    #[test]
    fn only_orders_that_say_something_more_are_kept() {
        assert_eq!(with(vec![], order(10, 10), 10), [order(10, 10)]);
        assert_eq!(with(vec![order(10, 10)], order(20, 20), 20), [order(20, 20)]);
        assert_eq!(with(vec![order(20, 20)], order(10, 10), 20), [order(20, 20)]);
        let margin = with(vec![order(10, 10)], order(20, 50), 20);
        assert_eq!(margin, [order(10, 10), order(20, 50)], "the earlier ones apply already");
        assert_eq!(with(margin.clone(), order(15, 20), 20), [order(20, 50), order(15, 20)]);
        assert_eq!(with(margin, order(30, 60), 60), [order(30, 60)]);
        let many = (0..40).fold(vec![], |orders, n| with(orders, order(100 + n, 1000 + n), 0));
        assert!(many.len() <= MAX_ORDERS && many.iter().all(|order| order.applies_at_ms >= 1000));
        assert_eq!(many.iter().map(|order| order.issued_before_ms).max(), Some(139));
    }

    #[tokio::test]
    async fn every_copy_learns_and_a_new_one_begins_with_all() {
        let backbone = Backbone::memory(&Config::default());
        let revocations = backbone.revocations();
        let begin = || {
            let revoked = Revoked::watch(backbone.revocations());
            assert!(!revoked.is_ready());
            let driver = AbortOnDropHandle::new(tokio::spawn(revoked.run(CancellationToken::new())));
            (revoked, driver)
        };
        let (first, _driver) = begin();
        first.ready().await;
        assert_eq!(applies(&first, "k", 0), None);
        let mut seen = Seen::default();
        assert_eq!(first.changes(&mut seen), []);
        revocations.revoke(&target("k", "clientId:bob"), order(100, 200), 100, DAY).await.unwrap();
        revocations.revoke(&target("other", "clientId:bob"), order(100, 100), 100, DAY).await.unwrap();
        eventually("the revocation", || async { applies(&first, "other", 0) }).await;
        assert_eq!(first.changes(&mut seen), [target("k", "").app]);
        assert_eq!(first.changes(&mut seen), []);
        let (second, _driver) = begin();
        second.ready().await;
        for revoked in [&first, &second] {
            assert_eq!(applies(revoked, "k", 99), Some(200));
            assert_eq!(applies(revoked, "k", 100), None, "issued at that time, not before");
            assert_eq!(revoked.next(150), Some((200, vec![target("k", "").app])));
            assert_eq!(revoked.next(200), None);
        }
        revocations.revoke(&target("k", "clientId:bob"), order(90, 110), 110, DAY).await.unwrap();
        eventually("the second one", || async { (applies(&first, "k", 0) == Some(110)).then_some(()) }).await;
        assert_eq!(applies(&first, "k", 95), Some(200));
    }

    #[tokio::test]
    async fn it_is_forgotten_when_no_token_can_be_left() {
        let backbone = Backbone::memory(&Config::default());
        let revoked = Revoked::watch(backbone.revocations());
        let _driver = AbortOnDropHandle::new(tokio::spawn(revoked.run(CancellationToken::new())));
        let second = Duration::from_secs(1);
        backbone.revocations().revoke(&target("k", "clientId:bob"), order(9, 9), 9, second).await.unwrap();
        eventually("it known", || async { applies(&revoked, "k", 0) }).await;
        eventually("it gone", || async { applies(&revoked, "k", 0).is_none().then_some(()) }).await;
        assert_eq!(revoked.next(0), None);
    }
}
