//! Who is where, and which channels there are.

use super::super::api::join;
use super::*;

#[test]
fn members_of_all_nodes_in_both_formats() {
    let here = Node::start(quick());
    let there = here.another(quick());
    let (mut a, mut b) = (here.client(), there.client());
    join(&mut a, "presence-room", "ann");
    join(&mut b, "presence-room", "bob");
    let path = "/channels/presence-room/presence";
    for node in [&here, &there] {
        eventually(|| node.ably_get(path).value().as_array().unwrap().len() == 2, || "not both".to_owned());
        let members = node.all_pages(path, "limit=1", || {});
        let mut clients = each(&members, "clientId");
        clients.sort();
        assert_eq!(clients, ["ann", "bob"]);
        assert!(members.iter().all(|member| member["action"] == 1));
        let packed = node.exchange("GET", path, &format!("{}Accept: application/x-msgpack\r\n", basic()), &[]);
        assert_eq!(packed.value().as_array().unwrap().len(), 2);
        let one = node.ably_get(&format!("{path}?clientId=bob")).value();
        assert_eq!(each(one.as_array().unwrap(), "connectionId"), [b.socket_id.as_str()]);
        let batch = node.ably_get("/presence?channels=presence-room,empty,%5Bbad").value();
        assert_eq!((&batch["successCount"], &batch["failureCount"]), (&json!(2), &json!(1)));
        assert_eq!(batch["results"][0]["presence"].as_array().unwrap().len(), 2);
        assert_eq!(batch["results"][1], json!({ "channel": "empty", "presence": [] }));
        assert_eq!(batch["results"][2]["error"]["code"], 40010);
    }
}

#[test]
fn status_and_names_of_channels_are_the_clusters() {
    let here = Node::start(quick());
    let there = here.another(quick());
    let (mut a, mut b) = (here.client(), there.client());
    a.subscribe("room.1");
    b.subscribe("room.1");
    join(&mut b, "presence-x", "bob");
    let status = |channel: &str| here.ably_get(&format!("/channels/{channel}")).value();
    let connections = |channel: &str| status(channel)["status"]["occupancy"]["metrics"]["connections"].clone();
    eventually(|| connections("room.1") == 2, || status("room.1").to_string());
    eventually(|| connections("presence-x") == 1, || status("presence-x").to_string());
    let whole = status("room.1");
    assert_eq!((&whole["channelId"], &whole["name"]), (&json!("room.1"), &json!("room.1")));
    assert_eq!(whole["status"]["isActive"], true);
    assert_eq!(whole["status"]["occupancy"]["metrics"]["subscribers"], 2);
    let members = || status("presence-x")["status"]["occupancy"]["metrics"]["presenceMembers"].clone();
    eventually(|| members() == 1, || status("presence-x").to_string());
    let never = status("never");
    assert_eq!(
        (&never["status"]["isActive"], &never["status"]["occupancy"]["metrics"]["connections"]),
        (&json!(false), &json!(0))
    );

    let names = |query: &str| here.all_pages("/channels", query, || {});
    assert_eq!(names("limit=1"), [json!("presence-x"), json!("room.1")]);
    assert_eq!(names("prefix=room"), [json!("room.1")]);
    assert_eq!(each(&names("by=value"), "name"), ["presence-x", "room.1"]);
}
