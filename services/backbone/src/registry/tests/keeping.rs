//! Rotation, and what is done to all apps now and then.

use super::*;
use crate::access::{NewToken, Role, Scope};

fn secret(text: &str) -> Secret {
    Secret::new(text).unwrap()
}

fn previous(app: &RegisteredApp) -> Option<(&str, u64)> {
    app.app.keys[0].previous.as_ref().map(|previous| (previous.secret.expose(), previous.until_ms))
}

#[tokio::test]
async fn a_rotated_key_keeps_the_secret_before_for_a_while() {
    let (registry, now) = (registry(), unix_ms());
    registry.create(app("1", &["a"]), 0).await.unwrap();
    let rotate = async |text, overlap_ms| {
        let overlap = Duration::from_millis(overlap_ms);
        registry.rotate_key(&id("1"), &name("a"), secret(text), overlap, now).await.unwrap()
    };
    let second = rotate("second", 60_000).await;
    assert_eq!((second.app.keys[0].secret.expose(), second.app.keys[0].created_ms), ("second", 5));
    assert_eq!(previous(&second), Some(("secret-of-a-key", now + 60_000)));
    assert_eq!(registry.get(&id("1")).await.unwrap(), Some(second));
    let third = rotate("third", 1_000).await;
    assert_eq!(previous(&third), Some(("second", now + 1_000)), "the first one signs no more");
    assert_eq!(previous(&rotate("fourth", 0).await), None);
    let missing = registry.rotate_key(&id("1"), &name("b"), secret("x"), Duration::ZERO, now).await;
    assert!(matches!(missing, Err(RegistryError::NoSuchKey { .. })), "{missing:?}");
    registry.revoke_key(&id("1"), &name("a"), now).await.unwrap();
    let revoked = registry.rotate_key(&id("1"), &name("a"), secret("x"), Duration::ZERO, now).await;
    assert!(matches!(revoked, Err(RegistryError::NoSuchKey { .. })), "{revoked:?}");
}

#[tokio::test]
async fn an_expired_secret_is_forgotten() {
    let (registry, now) = (registry(), unix_ms());
    for (n, ago) in [("1", 2 * FORGOTTEN_AFTER_MS), ("2", FORGOTTEN_AFTER_MS / 2), ("3", 2 * FORGOTTEN_AFTER_MS)] {
        let mut app = app(n, &[&format!("k{n}")]);
        app.keys[0].previous = Some(PreviousSecret { secret: secret("old"), until_ms: now - ago });
        registry.create(App { keys: Vec::new(), ..app.clone() }, 0).await.unwrap();
        // As a writer without a clock would.
        let written = RegisteredApp { app, ..registry.existing(&id(n)).await.unwrap() };
        registry.apps.put(&app_entry(&id(n)), registry.value(&written).unwrap()).await.unwrap();
    }
    let has_previous = async |n| previous(&registry.existing(&id(n)).await.unwrap()).is_some();
    registry.update(&id("3"), None, &disable()).await.unwrap();
    assert!(!has_previous("3").await, "any write forgets it");
    assert!(has_previous("1").await && has_previous("2").await);
    assert_eq!(registry.sweep_expired(now).await.unwrap(), 1);
    assert!(!has_previous("1").await && has_previous("2").await, "clocks differ by some minutes");
    assert_eq!(registry.sweep_expired(now).await.unwrap(), 0);
    assert_eq!(registry.sweep_expired(now + FORGOTTEN_AFTER_MS).await.unwrap(), 1);
}

/// The same registry with other keys.
fn with_keys(registry: &Registry, bytes: &str) -> Registry {
    Registry { keys: keys_of(bytes), ..registry.clone() }
}

#[tokio::test]
async fn a_cluster_key_is_replaced() {
    let backbone = Backbone::memory(&Config::default());
    let old = Registry::new(&backbone, keys());
    let of_old = old.keys.ids().next().unwrap();
    for n in ["1", "2", "3"] {
        old.create(app(n, &[&format!("k{n}")]), 0).await.unwrap();
    }
    let once = Once::new("t", "CreateApp", "x", b"request");
    old.create_once(app("4", &["k4"]), 0, &once).await.unwrap();
    let access = backbone.access();
    let of_token = Once::new("t", "CreateToken", "x", b"request");
    let scope = Scope { role: Role::Admin, app: None };
    let token = NewToken { name: "ci".to_owned(), scope, created_by: "me".to_owned(), expires_ms: None };
    let made = access.create_once(token.clone(), 0, &of_token, &old).await.unwrap();
    let nothing = with_keys(&old, "cd").reseal().await.unwrap();
    assert_eq!(
        (nothing.apps, nothing.remembered, nothing.unreadable.len()),
        (0, 0, 4),
        "who has no key changes nothing"
    );

    let both = with_keys(&old, "cd ab");
    let of_new = both.keys.ids().next().unwrap();
    assert_eq!(both.seal_report().await.unwrap().entries, BTreeMap::from([(of_old, 6)]));
    both.create(app("5", &["k5"]), 0).await.unwrap();
    let resealed = both.reseal().await.unwrap();
    assert_eq!((resealed.apps, resealed.remembered, resealed.unreadable.len()), (4, 2, 0));
    let report = both.seal_report().await.unwrap();
    assert_eq!(report, SealReport { entries: BTreeMap::from([(of_new, 7)]), plain: 0, unreadable: 0 });
    let again = both.reseal().await.unwrap();
    assert_eq!((again.apps, again.remembered), (0, 0));

    let new = with_keys(&old, "cd");
    assert_eq!(new.list(None, 9).await.unwrap().apps.len(), 5);
    assert_eq!(new.create_once(app("4", &["k4"]), 0, &once).await.unwrap().app, app("4", &["k4"]));
    assert_eq!(access.create_once(token, 0, &of_token, &new).await.unwrap(), made);
    assert_eq!(old.list(None, 9).await.unwrap().unreadable.len(), 5);
}

#[tokio::test]
async fn an_app_without_its_key_is_not_served_and_others_are() {
    let old = registry();
    old.create(app("1", &["a"]), 0).await.unwrap();
    let new = with_keys(&old, "cd");
    new.create(app("2", &["b"]), 0).await.unwrap();
    let apps = Apps::watch(new);
    let _driver = AbortOnDropHandle::new(tokio::spawn(apps.run(CancellationToken::new())));
    apps.ready().await;
    assert!(apps.by_key("b").is_some() && apps.by_key("a").is_none());
    assert_eq!((apps.snapshot().len(), apps.snapshot().unreadable()), (1, 1));
}
