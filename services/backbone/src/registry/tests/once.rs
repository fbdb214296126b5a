//! Creates that are repeated.

use super::*;

fn once(id: &str) -> Once {
    Once::new("token t", "CreateApp", id, b"a request")
}

/// An app as the control plane makes it up anew for each call.
fn made_up(secret: &str) -> App {
    let mut app = app(&format!("app-{secret}"), &[&format!("key-{secret}")]);
    app.keys[0].secret = Secret::new(secret).unwrap();
    app
}

/// Everything about the app's creation that a repeated answer has to tell again.
fn answer(created: &RegisteredApp) -> (App, u64, u64) {
    (created.app.clone(), created.created_ms, created.revision)
}

async fn count(registry: &Registry) -> usize {
    registry.list(None, 100).await.unwrap().apps.len()
}

#[tokio::test]
async fn a_repeated_create_gets_the_same_answer() {
    let registry = registry();
    let first = registry.create_once(made_up("one"), 1, &once("x")).await.unwrap();
    assert_eq!(first.app, made_up("one"));
    registry.update(&first.app.id, None, &disable()).await.unwrap();
    let second = registry.create_once(made_up("two"), 2, &once("x")).await.unwrap();
    assert_eq!(answer(&second), answer(&first));
    assert_eq!(count(&registry).await, 1);
    registry.delete(&first.app.id).await.unwrap();
    let third = registry.create_once(made_up("three"), 3, &once("x")).await.unwrap();
    assert_eq!(answer(&third), answer(&first));
    assert_eq!(count(&registry).await, 0);
}

#[tokio::test]
async fn ids_are_of_one_caller_method_and_request() {
    let registry = registry();
    registry.create_once(made_up("one"), 1, &once("x")).await.unwrap();
    let other_request = Once::new("token t", "CreateApp", "x", b"another request");
    let reused = registry.create_once(made_up("two"), 1, &other_request).await;
    assert!(matches!(reused, Err(RegistryError::IdempotencyReused)), "{reused:?}");
    for (n, once) in [
        Once::new("token u", "CreateApp", "x", b"a request"),
        Once::new("token t", "CreateOther", "x", b"a request"),
        Once::new("token tC", "reateApp", "x", b"a request"),
        once("y"),
    ]
    .into_iter()
    .enumerate()
    {
        registry.create_once(made_up(&format!("other-{n}")), 1, &once).await.unwrap();
    }
    assert_eq!(count(&registry).await, 5);
}

#[tokio::test]
async fn a_refused_create_may_be_tried_again() {
    let registry = registry();
    registry.create(made_up("one"), 0).await.unwrap();
    let refused = registry.create_once(made_up("one"), 1, &once("x")).await;
    assert!(matches!(refused, Err(RegistryError::AppExists(_))), "{refused:?}");
    let mut taken = made_up("two");
    taken.keys[0].name = name("key-one");
    let refused = registry.create_once(taken, 1, &once("x")).await;
    assert!(matches!(refused, Err(RegistryError::KeyTaken { .. })), "{refused:?}");
    assert_eq!(count(&registry).await, 1);
    assert_eq!(registry.create_once(made_up("three"), 1, &once("x")).await.unwrap().app, made_up("three"));
}

/// A process dies after each of the steps, and the next one goes on.
#[tokio::test]
async fn whoever_comes_next_goes_on_where_a_process_died() {
    for steps in 0..=3 {
        let registry = registry();
        let mark = Bytes::from_static(b"0123456789abcdef");
        let plan =
            RegisteredApp { made_by: mark, created_ms: 1, revision: 0, ..registered(made_up("one"), Vec::new()) };
        let first = once("x");
        let begun = registry.begin_once(&first, &plan.app.id, super::super::once::Plan::App(Box::new(plan.clone())));
        let begun = begun.await.unwrap();
        if steps >= 1 {
            let bare = RegisteredApp { app: App { keys: Vec::new(), ..plan.app.clone() }, ..plan.clone() };
            registry.apps.create(&app_entry(&plan.app.id), registry.value(&bare).unwrap()).await.unwrap();
        }
        if steps >= 2 {
            registry.add_keys(&plan.app.id, &plan.app.keys).await.unwrap();
        }
        if steps >= 3 {
            // It was not the last thing that happened to the app.
            registry.revoke_key(&plan.app.id, &plan.app.keys[0].name, 9).await.unwrap();
        }
        let second = registry.create_once(made_up("two"), 2, &once("x")).await.unwrap();
        assert_eq!((&second.app, second.created_ms), (&plan.app, 1), "after {steps} steps");
        let stored = registry.list(None, 9).await.unwrap().apps;
        assert!(stored.iter().map(|app| &app.app.id).eq([&plan.app.id]));
        assert_eq!(stored[0].app.keys.len(), usize::from(steps < 3), "a revoked key stays revoked");
        // The first one was only slow.
        let late = registry.end_once(&begun, Ok(second.revision)).await.unwrap();
        let third = registry.create_once(made_up("three"), 3, &once("x")).await.unwrap();
        assert_eq!((late, answer(&third)), (second.revision, answer(&second)));
    }
}

/// The app that is in the way after a death is somebody else's.
#[tokio::test]
async fn an_app_of_another_is_not_taken_for_ours() {
    let registry = registry();
    let (first, plan) = (once("x"), registered(made_up("one"), Vec::new()));
    let plan = RegisteredApp { made_by: Bytes::from_static(b"0123456789abcdef"), ..plan };
    let id = plan.app.id.clone();
    drop(registry.begin_once(&first, &id, super::super::once::Plan::App(Box::new(plan))).await.unwrap());
    registry.create(App { keys: Vec::new(), ..made_up("one") }, 1).await.unwrap();
    let refused = registry.create_once(made_up("one"), 1, &once("x")).await;
    assert!(matches!(refused, Err(RegistryError::AppExists(_))), "{refused:?}");
    assert_eq!(registry.existing(&id).await.unwrap().app.keys, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_at_once_all_get_the_same_app() {
    for _ in 0..20 {
        let registry = registry();
        let creators = (0..8).map(|n| {
            let registry = registry.clone();
            tokio::spawn(async move { registry.create_once(made_up(&n.to_string()), n, &once("x")).await.unwrap() })
        });
        let mut answers = Vec::new();
        for creator in creators.collect::<Vec<_>>() {
            let created = creator.await.unwrap();
            answers.push((created.app, created.created_ms));
        }
        assert_eq!(count(&registry).await, 1);
        assert!(answers.iter().all(|answer| *answer == answers[0]));
        let stored = registry.existing(&answers[0].0.id).await.unwrap();
        assert_eq!(stored.app, answers[0].0);
    }
}

#[tokio::test]
async fn a_repeated_key_gets_the_same_secret() {
    let registry = registry();
    registry.create(app("1", &[]), 0).await.unwrap();
    let add = async |text: &str, id_of_call: &str| {
        let key = made_up(text).keys.remove(0);
        registry.add_key_once(&id("1"), key, &once(id_of_call)).await
    };
    let first = add("one", "x").await.unwrap();
    assert_eq!(add("two", "x").await.unwrap(), first);
    assert_eq!(first.key, made_up("one").keys[0]);
    assert_eq!(registry.existing(&id("1")).await.unwrap().app.keys.len(), 1);
    let taken = add("one", "y").await;
    // It is the same key by name, secret and time, as after a death between adding it and noting that.
    assert_eq!(taken.unwrap().key, first.key);
    let mut other = made_up("one").keys.remove(0);
    other.secret = Secret::new("other").unwrap();
    let refused = registry.add_key_once(&id("1"), other, &once("z")).await;
    assert!(matches!(refused, Err(RegistryError::KeyTaken { .. })), "{refused:?}");
    let nowhere = registry.add_key_once(&id("2"), first.key, &once("u")).await;
    assert!(matches!(nowhere, Err(RegistryError::NoSuchApp(_))), "{nowhere:?}");
}

#[tokio::test]
async fn nothing_secret_is_remembered_in_the_open() {
    let registry = registry();
    registry.create_once(made_up("hush-hush"), 1, &once("x")).await.unwrap();
    registry.add_key_once(&id("app-hush-hush"), made_up("psst-psst").keys.remove(0), &once("y")).await.unwrap();
    let entries = registry.cluster.entries().await.unwrap();
    assert_eq!(entries.len(), 2);
    for entry in entries {
        let request = ring::digest::digest(&ring::digest::SHA256, b"a request");
        assert!(!entry.value.windows(32).any(|bytes| bytes == request.as_ref()), "a hash of a secret may be guessed");
        let times = |text: &str| entry.value.windows(text.len()).filter(|bytes| *bytes == text.as_bytes()).count();
        // Names of apps and keys have it too.
        assert_eq!(times("hush-hush"), times("app-hush-hush") + times("key-hush-hush"));
        assert_eq!(times("psst-psst"), times("key-psst-psst"));
    }
}
