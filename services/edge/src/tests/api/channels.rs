//! What channels are there, and what is known of one.

use super::*;

#[test]
fn channels_are_listed_while_occupied() {
    let node = Node::start(quick());
    assert_eq!(get(&node, "/apps/1001/channels", &[]), (200, json!({ "channels": {} })));
    let mut client = node.client();
    client.subscribe("room");
    client.subscribe("private-x");
    let (_, all) = get(&node, "/apps/1001/channels", &[("info", "subscription_count")]);
    let one = json!({ "subscription_count": 1 });
    assert_eq!(all, json!({ "channels": { "private-x": one, "room": one } }));
    let (_, some) = get(&node, "/apps/1001/channels", &[("filter_by_prefix", "priv")]);
    assert_eq!(some, json!({ "channels": { "private-x": {} } }));
    assert_eq!(get(&node, "/apps/1001/channels/room", &[]).1, json!({ "occupied": true }));
    assert_eq!(get(&node, "/apps/1001/channels/none", &[]).1, json!({ "occupied": false }));
    drop(client);
    eventually(
        || get(&node, "/apps/1001/channels/room", &[]).1 == json!({ "occupied": false }),
        || "still occupied".to_owned(),
    );
}

#[test]
fn users_are_counted_in_presence_channels_only() {
    let node = Node::start(quick());
    let (mut one, mut two, mut three) = (node.client(), node.client(), node.client());
    one.subscribe("room");
    join(&mut one, "presence-a", "ann");
    join(&mut two, "presence-a", "ann");
    join(&mut three, "presence-a", "bob");
    let counts = json!({ "subscription_count": 3, "user_count": 2 });
    let info = ("info", "user_count,subscription_count");
    let (_, listed) = get(&node, "/apps/1001/channels", &[info, ("filter_by_prefix", "presence-")]);
    assert_eq!(listed, json!({ "channels": { "presence-a": counts } }));
    let (_, one) = get(&node, "/apps/1001/channels/presence-a", &[info]);
    assert_eq!(one, json!({ "occupied": true, "subscription_count": 3, "user_count": 2 }));
    for (path, parameters) in [
        ("/apps/1001/channels", &[info][..]),
        ("/apps/1001/channels", &[info, ("filter_by_prefix", "private-")]),
        ("/apps/1001/channels/room", &[info]),
    ] {
        let refused = json!({ "error": "user_count is only available for presence channels" });
        assert_eq!(get(&node, path, parameters), (400, refused), "{path}");
    }
    let stats = get(&node, "/apps/1001/channels/room/stats", &[("info", "subscription_count,nonsense")]);
    assert_eq!(stats, (200, json!({ "occupied": true, "subscription_count": 1 })), "the old name");
}

/// Spec §5: the last event, whoever it was not meant for, and whether or not anybody is there.
#[test]
fn what_a_cache_channel_holds() {
    let node = Node::start(quick());
    let held = |channel: &str| get(&node, &format!("/apps/1001/channels/{channel}"), &[("info", "cache")]);
    let mut client = node.client();
    for channel in ["cache-a", "private-cache-a"] {
        assert_eq!(held(channel), (200, json!({ "occupied": false, "cache": null })));
        for data in ["first", "{ \"n\": 1e400 }"] {
            let body = json!({ "name": "e", "channel": channel, "data": data, "socket_id": client.socket_id });
            assert_eq!(node.api("POST", "/apps/1001/events", &[], &body).0, 200);
        }
        let check = |occupied: bool| {
            let (status, answer) = held(channel);
            assert_eq!((status, &answer["occupied"]), (200, &json!(occupied)));
            assert_eq!(answer["cache"]["data"], "{ \"n\": 1e400 }");
            let ttl = answer["cache"]["ttl"].as_u64().unwrap();
            assert!((1_700..=1_800).contains(&ttl), "{ttl}");
        };
        check(false);
        client.subscribe(channel);
        assert_eq!(client.next()["data"], "{ \"n\": 1e400 }");
        check(true);
    }
    node.publish("room", "x");
    assert_eq!(held("room"), (200, json!({ "occupied": false })), "no cache channel");
}

#[test]
fn what_is_cached_is_gone_in_time() {
    let mut app = fixtures::app();
    app.limits.cache_ttl = Duration::from_secs(5);
    let node = Node::with_app(quick(), app);
    node.publish("cache-a", "x");
    let held = || get(&node, "/apps/1001/channels/cache-a", &[("info", "cache")]).1["cache"].clone();
    assert_eq!(held()["data"], "x");
    eventually(|| held().is_null(), || "still held".to_owned());
}

/// Who is signed in is nobody's business.
#[test]
fn server_to_user_channels_are_not_shown() {
    let node = Node::start(quick());
    let mut client = node.client();
    sign_in(&mut client, "u");
    client.subscribe("#server-to-user-u");
    client.subscribe("room");
    assert_eq!(get(&node, "/apps/1001/channels", &[]).1, json!({ "channels": { "room": {} } }));
    assert_eq!(get(&node, "/apps/1001/channels", &[("filter_by_prefix", "#")]).1, json!({ "channels": {} }));
    assert_eq!(get(&node, "/apps/1001/channels/%23server-to-user-u", &[]).0, 400);
}
