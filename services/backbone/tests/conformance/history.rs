//! History.

use backbone::{Backbone, Direction, History, HistoryError, HistoryQuery};
use channels::{AppId, Epoch, Position, Tier};

use crate::support::*;

pub async fn cases(nodes: &Nodes) {
    acknowledged_is_readable_everywhere(nodes).await;
    pages_both_ways(nodes).await;
    bounded_by_time(nodes).await;
    completeness_is_honest(nodes).await;
    an_empty_channel_joins_up(nodes).await;
    another_epoch_is_told(nodes).await;
    ephemeral_has_none(nodes).await;
    a_crowd_reads_the_same(nodes).await;
    abandoned_reads_hold_nobody_up(nodes).await;
    a_place_beyond_the_end_is_no_error(nodes).await;
}

/// Readers that go away in the middle must not keep their turn.
async fn abandoned_reads_hold_nobody_up(nodes: &Nodes) {
    let app = app();
    fill(&nodes.a, &app, "room", 30).await;
    for patience in 0..100_u64 {
        let read = nodes.b.history(all(&app, "room"));
        let abandoned = tokio::time::timeout(std::time::Duration::from_micros(patience * 50), read);
        drop(abandoned.await);
    }
    let history = testkit::within("a read after abandoned ones", nodes.b.history(all(&app, "room"))).await;
    assert_eq!(texts(&history.unwrap()), numbers(0..30));
}

async fn a_place_beyond_the_end_is_no_error(nodes: &Nodes) {
    let app = app();
    let mut position = send(&nodes.a, &app, "room", "0").await;
    position.sequence += 1_000_000;
    let history = nodes.b.history(HistoryQuery { after: Some(position), ..all(&app, "room") }).await.unwrap();
    assert!(history.records.is_empty());
}

fn all(app: &AppId, name: &str) -> HistoryQuery {
    HistoryQuery::all(app.clone(), channel(name), Tier::Recoverable)
}

fn texts(history: &History) -> Vec<String> {
    history.records.iter().map(|stored| text(&stored.record)).collect()
}

async fn fill(backbone: &Backbone, app: &AppId, name: &str, count: usize) -> Vec<Position> {
    let mut positions = Vec::new();
    for number in 0..count {
        positions.push(send(backbone, app, name, &number.to_string()).await);
        // Others' messages lie between in the same shard.
        send(backbone, app, &format!("{name}-neighbour-{}", number % 5), "noise").await;
    }
    positions
}

async fn acknowledged_is_readable_everywhere(nodes: &Nodes) {
    let app = app();
    for number in 0..40 {
        let position = send(&nodes.a, &app, "room", &number.to_string()).await;
        let history = nodes.b.history(all(&app, "room")).await.unwrap();
        assert_eq!(texts(&history), numbers(0..number + 1), "read right after the acknowledgement");
        assert_eq!(history.records.last().unwrap().position, position);
        assert_eq!(history.head, position);
    }
}

async fn pages_both_ways(nodes: &Nodes) {
    let app = app();
    let positions = fill(&nodes.a, &app, "room", 50).await;
    let mut forward = Vec::new();
    let mut query = HistoryQuery { limit: 7, ..all(&app, "room") };
    loop {
        let page = nodes.b.history(query.clone()).await.unwrap();
        forward.extend(texts(&page));
        query.after = page.records.last().map(|last| last.position);
        assert!(page.complete);
        if !page.more {
            break;
        }
    }
    assert_eq!(forward, numbers(0..50));

    let mut backward = Vec::new();
    let mut query = HistoryQuery { limit: 7, direction: Direction::Backward, ..all(&app, "room") };
    loop {
        let page = nodes.b.history(query.clone()).await.unwrap();
        backward.extend(texts(&page));
        query.before = page.records.last().map(|last| last.position);
        if !page.more {
            break;
        }
    }
    backward.reverse();
    assert_eq!(backward, numbers(0..50));

    let middle = HistoryQuery { after: Some(positions[9]), before: Some(positions[20]), ..all(&app, "room") };
    assert_eq!(texts(&nodes.b.history(middle.clone()).await.unwrap()), numbers(10..20));
    let last_three = HistoryQuery { direction: Direction::Backward, limit: 3, ..middle };
    let page = nodes.b.history(last_three).await.unwrap();
    assert_eq!(texts(&page), ["19", "18", "17"]);
    assert!(page.more);
}

async fn bounded_by_time(nodes: &Nodes) {
    let app = app();
    fill(&nodes.a, &app, "room", 3).await;
    let before = nodes.a.history(all(&app, "room")).await.unwrap().records[2].stored_ms;
    // Times have a resolution of a millisecond: go on when the next one has begun.
    testkit::eventually("the next millisecond", || async {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
        (now > u128::from(before) + 1).then_some(())
    })
    .await;
    fill(&nodes.a, &app, "room", 2).await;
    let late = HistoryQuery { start_ms: Some(before + 1), ..all(&app, "room") };
    assert_eq!(texts(&nodes.b.history(late).await.unwrap()), numbers(0..2));
    let early = HistoryQuery { end_ms: Some(before), ..all(&app, "room") };
    assert_eq!(texts(&nodes.b.history(early.clone()).await.unwrap()), numbers(0..3));
    let early_backward = HistoryQuery { direction: Direction::Backward, limit: 1, ..early };
    assert_eq!(texts(&nodes.b.history(early_backward).await.unwrap()), ["2"]);
}

async fn completeness_is_honest(nodes: &Nodes) {
    let app = app();
    let positions = fill(&nodes.a, &app, "room", 130).await;
    let history = nodes.b.history(all(&app, "room")).await.unwrap();
    assert_eq!(texts(&history), numbers(30..130), "100 are kept");
    let since = |position| HistoryQuery { after: Some(position), ..all(&app, "room") };
    assert!(!nodes.b.history(since(positions[10])).await.unwrap().complete, "11 to 29 are gone");
    let recent = nodes.b.history(since(positions[60])).await.unwrap();
    assert!(recent.complete);
    assert_eq!(texts(&recent), numbers(61..130));
    let nothing = nodes.b.history(since(positions[129])).await.unwrap();
    assert!(nothing.complete && nothing.records.is_empty());
}

/// A subscriber of a channel that never had a message knows a position, too.
async fn an_empty_channel_joins_up(nodes: &Nodes) {
    let app = app();
    send(&nodes.a, &app, "other", "noise").await;
    let head = attach(&nodes.b, &app, "quiet").await.head();
    send(&nodes.a, &app, "quiet", "0").await;
    let history = nodes.b.history(HistoryQuery { after: Some(head), ..all(&app, "quiet") }).await.unwrap();
    assert!(history.complete);
    assert_eq!(texts(&history), ["0"]);
}

async fn another_epoch_is_told(nodes: &Nodes) {
    let app = app();
    let mut position = send(&nodes.a, &app, "room", "0").await;
    position.epoch = Epoch::new(position.epoch.get() ^ 1);
    let answer = nodes.b.history(HistoryQuery { after: Some(position), ..all(&app, "room") }).await;
    assert!(matches!(answer, Err(HistoryError::OtherEpoch { .. })));
}

async fn ephemeral_has_none(nodes: &Nodes) {
    let query = HistoryQuery::all(app(), channel("cursor"), Tier::Ephemeral);
    assert!(matches!(nodes.a.history(query).await, Err(HistoryError::NotStored)));
}

async fn a_crowd_reads_the_same(nodes: &Nodes) {
    let app = app();
    fill(&nodes.a, &app, "room", 20).await;
    let reads = (0..50).map(|_| nodes.b.history(all(&app, "room")));
    for history in futures_util::future::join_all(reads).await {
        assert_eq!(texts(&history.unwrap()), numbers(0..20));
    }
}
