//! Statistics are what nodes have counted.

use backbone::usage::{RawKey, encode_rows};
use backbone::{Bucket, usage};
use channels::AppId;
use metering::usage::{AppMinute, Counts, Period};

use super::*;

/// Writes what a node counted of a minute, as its agent does.
fn counted(node: &Node, name: &str, minute: u64, closed: bool, counts: Counts) {
    let app = AppId::new("1001").unwrap();
    let key = RawKey { minute, node: name.to_owned(), part: 0 };
    let rows = encode_rows(closed, &[(app, AppMinute { counts, connections: vec![] })]);
    let kv = node.backbone().kv(Bucket::Usage);
    node.runtime.block_on(async { kv.put(&key.to_key(), rows).await }).unwrap();
}

#[test]
fn what_nodes_counted_is_told_folded_or_not() {
    let node = Node::start(quick());
    let minute = now() / 60;
    let counts = |messages_in, messages_out| Counts { messages_in, messages_out, bytes_in: 100, ..Counts::default() };
    for name in ["one", "two"] {
        counted(&node, name, minute - 2, true, counts(3, 10));
    }
    let store = usage::UsageStore::new(node.backbone(), usage::Kept::default());
    node.runtime.block_on(async { store.fold(&[minute - 2].into()).await }).unwrap();
    counted(&node, "one", minute, false, counts(5, 1));

    let answer = node.ably_get("/stats");
    assert_eq!(answer.status, 200);
    let items = answer.value();
    let items = items.as_array().unwrap();
    let ids = each(items, "intervalId");
    assert_eq!(ids.len(), 2, "{items:?}");
    // Newest first.
    assert_eq!(ids, [Period::minute(minute), Period::minute(minute - 2)].map(|period| period.to_string()));
    assert_eq!(items[0]["entries"]["messages.inbound.all.messages.count"], 5);
    assert_eq!(items[1]["entries"]["messages.inbound.all.messages.count"], 6);
    assert_eq!(items[1]["entries"]["messages.outbound.all.messages.count"], 20);
    assert_eq!(items[1]["entries"]["messages.inbound.all.messages.data"], 200);
    assert_eq!((&items[0]["appId"], &items[0]["unit"]), (&json!("1001"), &json!("minute")));
    let month = node.ably_get("/stats?unit=month").value();
    let total: u64 = month
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["entries"]["messages.inbound.all.messages.count"].as_u64().unwrap())
        .sum();
    assert_eq!(total, 11);
    assert!(month[0]["inProgress"].is_string());
    let paged = node.all_pages("/stats", "limit=1&direction=forwards", || {});
    assert_eq!(each(&paged, "intervalId"), ids.iter().rev().cloned().collect::<Vec<_>>());
    let one = node.ably_get(&format!("/stats?start={0}&end={0}", ids[1])).value();
    assert_eq!(each(one.as_array().unwrap(), "intervalId"), [ids[1].clone()]);
    let old = node.exchange("GET", "/stats", &format!("{}X-Ably-Version: 2\r\n", basic()), &[]).value();
    assert_eq!(old[0]["inbound"]["all"]["messages"]["count"], 5);
}
