//! Tokens that expire, are renewed in band, or allow something else than before.

use super::*;

#[test]
fn a_token_that_expires_disconnects_and_the_connection_can_be_resumed() {
    let node = Node::start(quick());
    let (mut client, _) = node.connected(&format!("access_token={}", token(5.0, None, Some("bob"))));
    let end = client.last();
    assert_eq!(end["action"], DISCONNECTED, "{end}: no hint for a token that was short");
    assert_eq!((&end["error"]["code"], &end["error"]["statusCode"]), (&json!(40142), &json!(401)));
    let fresh = token(60.0, None, Some("bob"));
    let (back, _) = node.connected(&format!("access_token={fresh}&resume={}", client.key));
    assert_eq!(back.id, client.id);
}

#[test]
fn a_token_is_renewed_in_band() {
    let node = Node::start(quick());
    let narrow = json!({ "a": ["*"], "b": ["*"] });
    let (mut client, _) = node.connected(&format!("access_token={}", token(60.0, Some(narrow), Some("bob"))));
    client.attach("a");
    client.attach("b");
    client.publish("c", 0, "x");
    assert_eq!(client.await_action(NACK)["error"]["code"], 40160);
    let wide = json!({ "b": ["subscribe"], "c": ["*"] });
    client.send(&json!({ "action": AUTH, "auth": { "accessToken": token(60.0, Some(wide), Some("bob")) } }));
    let connected = client.next();
    assert_eq!((&connected["action"], &connected["connectionId"]), (&json!(CONNECTED), &json!(client.id)));
    let lost = client.next();
    assert_eq!(
        (&lost["action"], &lost["channel"], &lost["error"]["code"]),
        (&json!(ERROR), &json!("a"), &json!(40160))
    );
    client.publish("b", 1, "x");
    assert_eq!(client.await_action(NACK)["error"]["code"], 40160, "publish was lost without a word");
    client.publish("c", 2, "x");
    client.acknowledged(2);
    // The key of that CONNECTED resumes, too.
    let key = connected["connectionDetails"]["connectionKey"].as_str().unwrap();
    let (back, _) = node.connected(&format!("{KEY}&resume={key}"));
    assert_eq!(back.id, client.id);
}

#[test]
fn a_bad_renewal_is_the_end() {
    let node = Node::start(quick());
    let end = |token: &str| {
        let (mut client, _) = node.connected(&format!("{KEY}&clientId=bob"));
        client.send(&json!({ "action": AUTH, "auth": { "accessToken": token } }));
        let end = client.last();
        assert_eq!(end["action"], ERROR, "{end}");
        assert!(end.as_object().unwrap().get("channel").is_none());
        end["error"]["code"].as_u64().unwrap()
    };
    assert_eq!(end(&token(60.0, None, Some("eve"))), 40102);
    assert_eq!(end(&token(-1.0, None, Some("bob"))), 40142);
    assert!((40140..40150).contains(&end("garbage")));
}
