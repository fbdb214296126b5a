//! Users: who is present, and whose connections end.

use backbone::registry::PusherChange;

use super::*;

#[test]
fn users_of_a_presence_channel() {
    let node = Node::start(quick());
    let users = |channel: &str| get(&node, &format!("/apps/1001/channels/{channel}/users"), &[]);
    let ids = |channel: &str| {
        let (status, answer) = users(channel);
        assert_eq!(status, 200, "{answer}");
        let mut ids: Vec<_> = answer["users"].as_array().unwrap().iter().map(|user| user["id"].to_string()).collect();
        ids.sort();
        ids.join(" ")
    };
    assert_eq!(users("presence-a"), (200, json!({ "users": [] })));
    let (mut one, mut two, mut three) = (node.client(), node.client(), node.client());
    join(&mut one, "presence-a", "ann");
    join(&mut two, "presence-a", "ann");
    join(&mut three, "presence-a", "10");
    assert_eq!(ids("presence-a"), r#""10" "ann""#);
    let refused = json!({ "error": "only presence channels have users" });
    assert_eq!(users("private-a"), (400, refused.clone()));
    assert_eq!(users("%23server-to-user-ann"), (400, refused));
    assert_eq!(users("presence-%20").0, 400);
    leave(&mut one, "presence-a");
    leave(&mut three, "presence-a");
    eventually(|| ids("presence-a") == r#""ann""#, || ids("presence-a"));
}

/// As the Python library asks: an MD5 of no body, which is signed.
#[test]
fn a_get_may_carry_the_md5_of_nothing() {
    let node = Node::start(quick());
    let digest = ("body_md5", "d41d8cd98f00b204e9800998ecf8427e");
    assert_eq!(get(&node, "/apps/1001/channels/presence-a/users", &[digest]), (200, json!({ "users": [] })));
    let other = ("body_md5", "d41d8cd98f00b204e9800998ecf8427f");
    assert_eq!(get(&node, "/apps/1001/channels/presence-a/users", &[other]).0, 401);
}

/// Spec §8: every connection that is signed in as the user, and no other; by either path, on every node.
#[test]
fn terminate_ends_the_connections_of_who_is_signed_in() {
    let node = Node::start(quick());
    let second = node.another(quick());
    let terminate = |path: &str| node.api("POST", path, &[], &json!({}));
    for path in ["/apps/1001/users/u%2B1@x/terminate_connections", "/users/u%2B1@x/terminate_connections"] {
        let (mut here, mut there) = (node.client(), second.client());
        let (mut member, mut other) = (node.client(), node.client());
        sign_in(&mut here, "u+1@x");
        sign_in(&mut there, "u+1@x");
        join(&mut member, "presence-a", "u+1@x");
        sign_in(&mut other, "u");
        assert_eq!(terminate(path), (200, json!({})));
        assert_eq!((here.close_code(), there.close_code()), (4009, 4009));
        member.check();
        other.check();
    }
    assert_eq!(terminate("/apps/1001/users/nobody/terminate_connections"), (200, json!({})));
    assert_eq!(terminate("/users/nobody/terminate_connections"), (200, json!({})));
    let unsigned = request("POST", "/users/u/terminate_connections", "{}", "Connection: close\r\n");
    assert_eq!(node.http(&unsigned).0, 401);
    let unknown = unsigned.replace("connections HTTP", "connections?auth_key=nobodys HTTP");
    assert_eq!(node.http(&unknown).0, 401);
}

/// Who can be watched is counted for the whole cluster, who cannot costs it nothing.
#[test]
fn signed_in_users_are_counted_where_they_can_be_watched() {
    let node = Node::start(quick());
    let counted = || {
        let kv = node.backbone().kv(backbone::Bucket::Occupancy);
        node.runtime.block_on(async { kv.entries().await }).unwrap().len()
    };
    let (mut ann, mut bob) = (node.client(), node.client());
    sign_in(&mut ann, "ann");
    bob.subscribe("room");
    eventually(|| counted() > 0, || "nothing is counted".to_owned());
    assert_eq!(counted(), 1, "the room alone");
    let watchlist = |on: bool| AppChange {
        pusher: PusherChange { watchlist: Some(on), ..PusherChange::default() },
        ..AppChange::default()
    };
    node.change(&watchlist(true), |app| app.pusher.watchlist);
    eventually(|| counted() == 2, || "who was there before is not counted".to_owned());
    sign_in(&mut bob, "bob");
    eventually(|| counted() == 3, || "who comes is not counted".to_owned());
    node.change(&watchlist(false), |app| !app.pusher.watchlist);
    drop((ann, bob));
    eventually(|| counted() == 0, || "still counted".to_owned());
}
