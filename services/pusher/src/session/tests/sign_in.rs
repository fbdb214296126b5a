//! Signing in: transcripts of pusher-js unless a test says otherwise.

use super::*;
use crate::fixtures::{capability, key};

const BAD_DATA: &str = r#"< {"event":"pusher:error","data":{"code":4009,"message":"user_data must be the JSON text of an object with id, a string of 1 to 1024 bytes without control characters, and watchlist, if any, an array of ids"}}"#;

/// Vector 4 of the protocol's documentation. Without the switch a watchlist is no business of ours.
#[test]
fn the_documented_user() {
    check(
        r#"
        > {"event":"pusher:signin","data":{"auth":"9f2c4be1d07a4c3e8b51:357d087459366106c17a5ec56e431e4a4811047cd4e7c8d172e96dd86e992919","user_data":"{\"id\":\"u-42\",\"user_info\":{\"name\":\"Ann\"},\"watchlist\":[\"u-7\",\"u-9\"]}"}}
        < {"event":"pusher:signin_success","data":{"user_data":"{\"id\":\"u-42\",\"user_info\":{\"name\":\"Ann\"},\"watchlist\":[\"u-7\",\"u-9\"]}"}}
        signin u-42 []
        "#,
    );
}

#[test]
fn user_data_comes_back_to_the_character() {
    check(
        r#"
        > {"event":"pusher:signin","data":{$USER({ "more" : 1e400, "id" : "\u00e9\/", "watchlist" : 7 })}}
        < {"event":"pusher:signin_success","data":{"user_data":"{ \"more\" : 1e400, \"id\" : \"\\u00e9\\/\", \"watchlist\" : 7 }"}}
        signin é/ []
        "#,
    );
}

#[test]
fn a_watchlist() {
    let mut scene = Scene::default();
    scene.app.pusher.watchlist = true;
    scene.app.limits.watchlist_users = 2;
    scene.check(
        r#"
        > {"event":"pusher:signin","data":{$USER({"id":"u1","watchlist":["u-7",10]})}}
        < {"event":"pusher:signin_success","data":{"user_data":"{\"id\":\"u1\",\"watchlist\":[\"u-7\",10]}"}}
        signin u1 ["u-7", "10"]
        "#,
    );
    // Only as many as are looked at have to be ids.
    scene.check(
        r#"
        > {"event":"pusher:signin","data":{$USER({"id":"u1","watchlist":["a","b","c",null]})}}
        < {"event":"pusher:signin_success","data":{"user_data":"{\"id\":\"u1\",\"watchlist\":[\"a\",\"b\",\"c\",null]}"}}
        < {"event":"pusher:error","data":{"code":4302,"message":"The watchlist has more than 2 users, only the first are watched"}}
        signin u1 ["a", "b"]
        "#,
    );
    for watchlist in ["7", "{}", r#""u""#, r#"[""]"#, "[1.5]", "[null]", "[[]]"] {
        scene.check(&format!(
            r#"
            > {{"event":"pusher:signin","data":{{$USER({{"id":"u1","watchlist":{watchlist}}})}}}}
            {BAD_DATA}
            close 4009
            "#
        ));
    }
    scene.check(
        r#"
        > {"event":"pusher:signin","data":{$USER({"id":"u1","watchlist":null})}}
        < {"event":"pusher:signin_success","data":{"user_data":"{\"id\":\"u1\",\"watchlist\":null}"}}
        signin u1 []
        "#,
    );
}

#[test]
fn the_same_user_again_and_no_other() {
    check(
        r#"
        > {"event":"pusher:signin","data":{$USER({"id":"u1"})}}
        < {"event":"pusher:signin_success","data":{"user_data":"{\"id\":\"u1\"}"}}
        signin u1 []
        > {"event":"pusher:signin","data":{$USER({"id":"u1","user_info":7})}}
        < {"event":"pusher:signin_success","data":{"user_data":"{\"id\":\"u1\",\"user_info\":7}"}}
        signin u1 []
        > {"event":"pusher:signin","data":{$USER({"id":"u2"})}}
        < {"event":"pusher:error","data":{"code":null,"message":"This connection is signed in as another user"}}
        > {"event":"pusher:subscribe","data":{"channel":"presence-a","auth":"$AUTH(presence-a)"}}
        join presence-a u1 7
        "#,
    );
}

#[test]
fn a_failure_closes_for_good() {
    let signature = "invalid signature: expected KEY:HEX with the lower-case hex HMAC-SHA256 of 418372.90513377::user:: and user_data";
    for (auth, message) in [
        ("", "auth is missing"),
        ("nonsense", "auth must have the form KEY:SIGNATURE"),
        ("other:00", "auth names a key that is not an active key of this app"),
        (&format!("{KEY}:00"), signature),
        // Signed for a channel that is called like this.
        (&signer().channel(SOCKET_ID, "a", Some(r#"{"id":"u1"}"#)), signature),
    ] {
        // Once, for clients of every version.
        for protocol in [ProtocolVersion::V5, ProtocolVersion::V7] {
            Scene { protocol, ..Scene::default() }.check(&format!(
                r#"
                > {{"event":"pusher:signin","data":{{"auth":"{auth}","user_data":"{{\"id\":\"u1\"}}"}}}}
                < {{"event":"pusher:error","data":{{"code":4009,"message":"{message}"}}}}
                close 4009
                "#
            ));
        }
    }
}

#[test]
fn signed_data_that_describes_nobody() {
    for data in [
        "",
        "nonsense",
        "[]",
        r#""u1""#,
        "{}",
        r#"{"id":null}"#,
        r#"{"id":""}"#,
        r#"{"id":7}"#,
        r#"{"id":"a\nb"}"#,
        r#"{"id":"\udc00"}"#,
        r#"{"id":"a","id":"b"}"#,
        r#"{"user_id":"a"}"#,
    ] {
        check(&format!(
            r#"
            > {{"event":"pusher:signin","data":{{$USER({data})}}}}
            {BAD_DATA}
            close 4009
            "#
        ));
    }
    let mut scene = Scene::default();
    scene.app.limits.user_id_chars = 2;
    scene.check(
        r#"
        > {"event":"pusher:signin","data":{$USER({"id":"éé"})}}
        < {"event":"pusher:signin_success","data":{"user_data":"{\"id\":\"éé\"}"}}
        signin éé []
        > {"event":"pusher:signin","data":{$USER({"id":"ééé"})}}
        < {"event":"pusher:error","data":{"code":4009,"message":"id is longer than 2 characters"}}
        close 4009
        "#,
    );
}

#[test]
fn an_app_may_not_want_it() {
    let mut scene = Scene::default();
    scene.app.pusher.user_authentication = false;
    scene.check(
        r#"
        > {"event":"pusher:signin","data":{$USER({"id":"u1"})}}
        < {"event":"pusher:error","data":{"code":null,"message":"Signing in is not enabled for this app"}}
        > {"event":"pusher:ping"}
        < {"event":"pusher:pong","data":"{}"}
        "#,
    );
}

/// Whoever holds a key for a few channels must not become anybody it likes.
#[test]
fn a_key_signs_in_only_whom_it_could_listen_to() {
    let mut scene = Scene::default();
    scene.app.keys = vec![key(KEY, capability("private-a", "subscribe"))];
    scene.check(
        r#"
        > {"event":"pusher:signin","data":{$USER({"id":"u1"})}}
        < {"event":"pusher:error","data":{"code":4009,"message":"the key may not sign in this user: it may not subscribe to the user's channel"}}
        close 4009
        "#,
    );
    scene.app.keys = vec![key(KEY, capability("#server-to-user-u1", "subscribe"))];
    scene.check(
        r##"
        > {"event":"pusher:signin","data":{$USER({"id":"u1"})}}
        < {"event":"pusher:signin_success","data":{"user_data":"{\"id\":\"u1\"}"}}
        signin u1 []
        > {"event":"pusher:subscribe","data":{"auth":"","channel":"#server-to-user-u1"}}
        subscribe #server-to-user-u1 {"event":"pusher_internal:subscription_succeeded","channel":"#server-to-user-u1","data":"{}"}
        "##,
    );
}

#[test]
fn a_terminated_connection_is_told_what_makes_it_stay_away() {
    let mut out = Vec::new();
    let mut session = Scene::default().open(Instant::now(), &mut out);
    out.clear();
    session.close(CloseCode::Terminated, &mut out);
    assert_eq!(out.iter().map(shown).collect::<Vec<_>>(), ["close 4009"]);
}
