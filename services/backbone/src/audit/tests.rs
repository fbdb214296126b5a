use super::*;
use crate::Config;

/// A time in the middle of a day.
const NOW: u64 = 20_000 * DAY_MS + DAY_MS / 2;

fn log() -> AuditLog {
    AuditLog::new(&Backbone::memory(&Config::default()), DEFAULT_KEPT_FOR)
}

fn app(id: &str) -> AppId {
    AppId::new(id).unwrap()
}

async fn note(log: &AuditLog, target: &str, app_id: Option<&str>, time_ms: u64) -> Begun {
    let actor = if target.starts_with('b') { "bob" } else { "anna" };
    let new = NewAudit {
        actor: actor.to_owned(),
        method: "CreateApp".to_owned(),
        app: app_id.map(app),
        target: target.to_owned(),
        changes: vec!["name".to_owned()],
        peer: "192.0.2.1:5".to_owned(),
    };
    log.begin(new, time_ms).await.unwrap()
}

async fn targets(log: &AuditLog, query: AuditQuery) -> Vec<String> {
    let page = log.list(&AuditQuery { most: 100, ..query }, NOW).await.unwrap();
    assert_eq!(page.next, None);
    page.entries.into_iter().map(|entry| entry.target).collect()
}

/// Entries of several days, apps and actors.
async fn some() -> AuditLog {
    let log = log();
    let times = [0, 1, DAY_MS, 3 * DAY_MS, 80 * DAY_MS];
    let entries = [("a1", None), ("b1", Some("1")), ("a2", Some("1")), ("b2", Some("2")), ("a3", None)];
    for ((target, app), ago) in entries.into_iter().zip(times) {
        let begun = note(&log, target, app, NOW - ago).await;
        log.finish(begun, Outcome::Done, 7).await.unwrap();
    }
    log
}

#[tokio::test]
async fn entries_of_one_millisecond_are_listed_in_their_order() {
    let log = log();
    for n in 0..50 {
        drop(note(&log.clone(), &n.to_string(), Some("1"), NOW).await);
    }
    let newest_first: Vec<String> = (0..50).rev().map(|n| n.to_string()).collect();
    assert_eq!(targets(&log, AuditQuery::default()).await, newest_first);
}

#[tokio::test]
async fn an_entry_is_there_before_its_outcome() {
    let log = log();
    let begun = note(&log, "a", Some("1"), NOW).await;
    let query = AuditQuery { most: 9, ..AuditQuery::default() };
    let only = async || log.list(&query, NOW).await.unwrap().entries.remove(0);
    let pending = only().await;
    assert_eq!((&pending.outcome, &pending.id, pending.id.time_ms()), (&Outcome::Pending, begun.id(), NOW));
    for outcome in [Outcome::Refused("NOT_FOUND".to_owned()), Outcome::Unknown, Outcome::Done] {
        let begun = Begun(begun.0.clone());
        log.finish(begun, outcome.clone(), 5).await.unwrap();
        assert_eq!(only().await, AuditEntry { outcome, revision: 5, ..pending.clone() });
    }
}

#[tokio::test]
async fn filters() {
    let log = some().await;
    let all = AuditQuery::default();
    assert_eq!(targets(&log, all.clone()).await, ["a1", "b1", "a2", "b2", "a3"]);
    assert_eq!(targets(&log, AuditQuery { app: Some(app("1")), ..all.clone() }).await, ["b1", "a2"]);
    assert_eq!(targets(&log, AuditQuery { actor: Some("bob".to_owned()), ..all.clone() }).await, ["b1", "b2"]);
    let range = AuditQuery { from_ms: Some(NOW - 3 * DAY_MS), until_ms: Some(NOW - 1), ..all.clone() };
    assert_eq!(targets(&log, range).await, ["a2", "b2"]);
    assert_eq!(targets(&log, AuditQuery { app: Some(app("3")), ..all }).await, [""; 0]);
}

#[tokio::test]
async fn pages_skip_nothing_and_repeat_nothing() {
    let log = some().await;
    let (mut before, mut seen) = (None, Vec::new());
    loop {
        let page = log.list(&AuditQuery { before, most: 2, ..AuditQuery::default() }, NOW).await.unwrap();
        assert!(page.entries.len() <= 2);
        seen.extend(page.entries.into_iter().map(|entry| entry.target));
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["a1", "b1", "a2", "b2", "a3"]);
}

#[tokio::test]
async fn a_rare_actor_is_found_page_by_page() {
    let log = log();
    let begun = note(&log, "b", None, NOW - DAY_MS).await;
    log.finish(begun, Outcome::Done, 0).await.unwrap();
    for n in 0..MAX_LOOKED_AT as u64 {
        let begun = note(&log, "a", None, NOW - n).await;
        drop(begun);
    }
    let query = AuditQuery { actor: Some("bob".to_owned()), most: 5, ..AuditQuery::default() };
    let first = log.list(&query, NOW).await.unwrap();
    assert!(first.entries.is_empty());
    let second = log.list(&AuditQuery { before: first.next, ..query }, NOW).await.unwrap();
    assert_eq!((second.entries.len(), second.next), (1, None));
}

#[tokio::test(start_paused = true)]
async fn old_entries_go_by_themselves() {
    let log = AuditLog { kept_for: Duration::from_secs(60), ..log() };
    let begun = note(&log, "a", None, NOW).await;
    tokio::time::sleep(Duration::from_secs(40)).await;
    log.finish(begun, Outcome::Done, 0).await.unwrap();
    assert_eq!(targets(&log, AuditQuery::default()).await.len(), 1);
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(targets(&log, AuditQuery::default()).await, [""; 0]);
}

#[test]
fn ids() {
    let id = AuditId::given(NOW, 0);
    assert_eq!(AuditId::new(id.as_str()), Ok(id.clone()));
    assert_eq!(id.time_ms(), NOW);
    for text in ["", "1730000000123", "1730000000123-", "173000000012x-0000000000000000", "1-0000000000000000"] {
        assert_eq!(AuditId::new(text), Err(InvalidAuditId), "{text}");
    }
}
