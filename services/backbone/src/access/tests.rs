use std::sync::Arc;

use testkit::eventually;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::Config;
use crate::registry::{Once, Registry};
use crate::sealing::ClusterKeys;

fn new(name: &str, app: Option<&str>, expires_ms: Option<u64>) -> NewToken {
    let scope = Scope { role: Role::Reader, app: app.map(|app| AppId::new(app).unwrap()) };
    NewToken { name: name.to_owned(), scope, created_by: "bootstrap".to_owned(), expires_ms }
}

struct World {
    access: Access,
    tokens: AccessTokens,
    _driver: AbortOnDropHandle<()>,
}

impl World {
    async fn start() -> Self {
        let access = Backbone::memory(&Config::default()).access();
        let tokens = AccessTokens::watch(access.clone());
        assert!(!tokens.is_ready());
        let driver = AbortOnDropHandle::new(tokio::spawn(tokens.run(CancellationToken::new())));
        tokens.ready().await;
        Self { access, tokens, _driver: driver }
    }

    /// Waits until the copy is as `expected`.
    async fn until(&self, what: &str, expected: impl Fn(&AccessTokens) -> bool) {
        eventually(what, || async { expected(&self.tokens).then_some(()) }).await;
    }

    fn admits(&self, token: &Secret, now_ms: u64) -> bool {
        self.tokens.verify(token.expose(), now_ms).is_some()
    }
}

#[tokio::test]
async fn a_token_lets_its_holder_in_until_it_is_revoked() {
    let world = World::start().await;
    let (token, secret) = world.access.create(new("ci", Some("1001"), None), 7).await.unwrap();
    world.until("the token", |tokens| tokens.verify(secret.expose(), 9).is_some()).await;
    let identity = world.tokens.verify(secret.expose(), 9).unwrap();
    assert_eq!((&identity.id, identity.name.as_str(), &identity.scope), (&token.id, "ci", &token.scope));
    assert_eq!(TokenId::of(secret.expose()), Some(token.id.clone()));
    let (other, others) = world.access.create(new("other", None, None), 8).await.unwrap();
    let mixed = secret.expose().replace(token.id.as_str(), other.id.as_str());
    world.until("the other", |tokens| tokens.verify(others.expose(), 9).is_some()).await;
    for wrong in ["", "fat_", "fat__", "node_00", &secret.expose()[..40], &format!("{}x", secret.expose()), &mixed] {
        assert_eq!(world.tokens.verify(wrong, 9), None, "{wrong}");
    }
    world.access.revoke(&token.id).await.unwrap();
    world.until("it gone", |tokens| tokens.verify(secret.expose(), 9).is_none()).await;
    assert!(matches!(world.access.revoke(&token.id).await, Err(AccessError::NoSuchToken(_))));
    assert_eq!(world.access.list().await.unwrap(), [other]);
}

#[tokio::test]
async fn an_expired_token_lets_nobody_in() {
    let world = World::start().await;
    let (_, secret) = world.access.create(new("brief", None, Some(10)), 7).await.unwrap();
    world.until("the token", |tokens| tokens.verify(secret.expose(), 9).is_some()).await;
    assert!(!world.admits(&secret, 10));
}

#[tokio::test]
async fn a_rotated_token_overlaps_as_long_as_was_asked() {
    let world = World::start().await;
    let (token, first) = world.access.create(new("ci", None, None), 0).await.unwrap();
    let (rotated, second) = world.access.rotate(&token.id, Duration::from_millis(50), 100).await.unwrap();
    assert_eq!((rotated.rotated_ms, rotated.previous_until_ms), (Some(100), Some(150)));
    assert!(rotated.revision > token.revision);
    world.until("the second secret", |tokens| tokens.verify(second.expose(), 149).is_some()).await;
    assert!(world.admits(&first, 149) && !world.admits(&first, 150) && world.admits(&second, 150));
    let (_, third) = world.access.rotate(&token.id, Duration::from_millis(50), 120).await.unwrap();
    world.until("the third secret", |tokens| tokens.verify(third.expose(), 130).is_some()).await;
    assert!(!world.admits(&first, 130) && world.admits(&second, 130));
    let (last, fourth) = world.access.rotate(&token.id, Duration::ZERO, 125).await.unwrap();
    world.until("the fourth secret", |tokens| tokens.verify(fourth.expose(), 130).is_some()).await;
    assert!(!world.admits(&second, 130) && !world.admits(&third, 130));
    assert_eq!(last.previous_until_ms, None);
    let gone = TokenId::new("000000000000").unwrap();
    assert!(matches!(world.access.rotate(&gone, Duration::ZERO, 0).await, Err(AccessError::NoSuchToken(_))));
}

#[tokio::test]
async fn tokens_of_a_deleted_app_go_with_it() {
    let access = Backbone::memory(&Config::default()).access();
    for app in [Some("1"), Some("2"), None, Some("1")] {
        access.create(new("t", app, None), 0).await.unwrap();
    }
    assert_eq!(access.revoke_of_app(&AppId::new("1").unwrap()).await.unwrap(), 2);
    let left = access.list().await.unwrap();
    assert_eq!(left.len(), 2);
    assert!(left.iter().all(|token| token.scope.app.as_ref().is_none_or(|app| app.as_str() == "2")));
}

#[tokio::test]
async fn a_token_is_not_stored_and_one_that_is_not_understood_lets_nobody_in() {
    let world = World::start().await;
    let (token, secret) = world.access.create(new("ci", None, None), 0).await.unwrap();
    let entry = world.access.tokens.get(&key(&token.id)).await.unwrap().unwrap();
    let (_, random) = secret.expose().rsplit_once('_').unwrap();
    assert!(!entry.value.windows(random.len()).any(|bytes| bytes == random.as_bytes()));
    world.until("the token", |tokens| tokens.verify(secret.expose(), 0).is_some()).await;
    let mut newer = Stored::decode(entry.value).unwrap();
    newer.version = 2;
    world.access.tokens.put(&entry.key, newer.encode_to_vec().into()).await.unwrap();
    world.until("it out", |tokens| tokens.verify(secret.expose(), 0).is_none()).await;
    assert!(matches!(world.access.get(&token.id).await, Err(AccessError::Unreadable(_))));
    assert!(matches!(world.access.rotate(&token.id, Duration::ZERO, 0).await, Err(AccessError::Unreadable(_))));
    world.access.revoke(&token.id).await.unwrap();
    assert_eq!(world.access.get(&token.id).await.unwrap(), None);
}

#[tokio::test]
async fn a_repeated_create_gets_the_same_token() {
    let backbone = Backbone::memory(&Config::default());
    let registry = Registry::new(&backbone, Arc::new(ClusterKeys::generate()));
    let access = backbone.access();
    let once = |id: &str| Once::new("t", "CreateToken", id, b"request");
    let create = async |id: &str| access.create_once(new("ci", None, None), 5, &once(id), &registry).await;
    assert!(access.made(&once("x"), &registry).await.unwrap().is_none());
    let first = create("x").await.unwrap();
    assert_eq!(create("x").await.unwrap(), first);
    assert_eq!(access.made(&once("x"), &registry).await.unwrap().unwrap(), first);
    assert_ne!(create("y").await.unwrap().1, first.1);
    let other = Once::new("t", "CreateToken", "x", b"another");
    let reused = access.create_once(new("ci", None, None), 5, &other, &registry).await;
    assert!(matches!(reused, Err(AccessError::IdempotencyReused)), "{reused:?}");
    for entry in registry.cluster.entries().await.unwrap() {
        let text = first.1.expose().as_bytes();
        assert!(!entry.value.windows(text.len()).any(|bytes| bytes == text));
    }
    access.revoke(&first.0.id).await.unwrap();
    assert!(matches!(create("x").await, Err(AccessError::NoSuchToken(_))), "a revoked token stays revoked");
}
