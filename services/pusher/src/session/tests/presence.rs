//! Presence channels: whom a connection is present as.

use super::*;

const IN: &str = r#"
    > {"event":"pusher:subscribe","data":{"channel":"presence-a",$JOIN(presence-a|{"user_id":"u1"})}}
    join presence-a u1
"#;

/// Vector 2 of the protocol's documentation.
#[test]
fn the_documented_member() {
    check(
        r#"
        > {"event":"pusher:subscribe","data":{"channel":"presence-room_7","auth":"9f2c4be1d07a4c3e8b51:2bf8be71ba7b240e4e1a9d2b373b0a7edefef753dc1378d05704914b2fca4cd8","channel_data":"{\"user_id\":\"u-42\",\"user_info\":{\"name\":\"Zoë 🚀\",\"role\":\"editor\"}}"}}
        join presence-room_7 u-42 {"name":"Zoë 🚀","role":"editor"}
        > {"event":"pusher:unsubscribe","data":{"channel":"presence-room_7"}}
        unsubscribe presence-room_7
        "#,
    );
}

/// Spec §18, 37, and vector 3.
#[test]
fn a_numeric_user_id_becomes_its_digits() {
    check(
        r#"
        > {"event":"pusher:subscribe","data":{"channel":"presence-room_7","auth":"9f2c4be1d07a4c3e8b51:1a423c839117971426e925c5cc746429bfeb0c253fb5a3c38d3bbee9445c0d10","channel_data":"{\"user_id\":10}"}}
        join presence-room_7 10
        > {"event":"pusher:subscribe","data":{"channel":"presence-a",$JOIN(presence-a|{"user_id": 12345678901234567890123 })}}
        join presence-a 12345678901234567890123
        > {"event":"pusher:subscribe","data":{"channel":"presence-b",$JOIN(presence-b|{"user_id":-7})}}
        join presence-b -7
        "#,
    );
}

/// Spec §18, 38: as it is, to the character, whatever it is.
#[test]
fn user_info_is_passed_on_as_it_is() {
    for (info, passed) in [
        ("true", "true"),
        ("null", ""),
        ("[ ]", "[ ]"),
        (r#"{ "n" : 1e400, "é": "\u00e9\/" }"#, r#"{ "n" : 1e400, "é": "\u00e9\/" }"#),
        (r#"{"__proto__":{"constructor":1}}"#, r#"{"__proto__":{"constructor":1}}"#),
        (r#"{"user_info":{"a":1}}"#, r#"{"user_info":{"a":1}}"#),
        (r#""just text""#, r#""just text""#),
    ] {
        check(&format!(
            r#"
            > {{"event":"pusher:subscribe","data":{{"channel":"presence-a",$JOIN(presence-a|{{"more":1,"user_info": {info} ,"user_id":"u1"}})}}}}
            {}
            "#,
            format!("join presence-a u1 {passed}").trim_end()
        ));
    }
}

/// Spec §18, 44.
#[test]
fn any_text_is_a_user_id() {
    for id in ["__proto__", "constructor", "u 1", "Zoë", "0", "a:b/c#d"] {
        check(&format!(
            r#"
            > {{"event":"pusher:subscribe","data":{{"channel":"presence-a",$JOIN(presence-a|{{"user_id":"{id}"}})}}}}
            join presence-a {id}
            "#
        ));
    }
}

#[test]
fn the_signature_is_over_the_very_characters() {
    let signed = r#"{"user_id":"u1"}"#;
    let auth = signer().channel(SOCKET_ID, "presence-a", Some(signed));
    let private = signer().channel(SOCKET_ID, "presence-a", None);
    let refused = r#"< {"event":"pusher:subscription_error","channel":"presence-a","data":{"type":"AuthError","error":"invalid signature: expected KEY:HEX with the lower-case hex HMAC-SHA256 of 418372.90513377:presence-a and : and channel_data","status":401}}"#;
    for (auth, data) in [
        (&auth, r#""{\"user_id\": \"u1\"}""#),
        (&auth, r#""{\"user_id\":\"u2\"}""#),
        (&auth, r#""""#),
        (&auth, r#"{ "user_id":"u1"}"#),
        (&private, r#""{\"user_id\":\"u1\"}""#),
    ] {
        check(&format!(
            r#"
            > {{"event":"pusher:subscribe","data":{{"channel":"presence-a","auth":"{auth}","channel_data":{data}}}}}
            {refused}
            "#
        ));
    }
    // Written in another way, but the same characters.
    for data in [r#""{\u0022user_id\":\"u1\"}""#, signed] {
        check(&format!(
            r#"
            > {{"event":"pusher:subscribe","data":{{"channel":"presence-a","auth":"{auth}","channel_data":{data}}}}}
            join presence-a u1
            "#
        ));
    }
}

#[test]
fn signed_data_that_describes_nobody() {
    for data in [
        "",
        "nonsense",
        "[]",
        "null",
        r#""u1""#,
        "{}",
        r#"{"user_id":null}"#,
        r#"{"user_id":""}"#,
        r#"{"user_id":"a\nb"}"#,
        r#"{"user_id":"\ud800"}"#,
        r#"{"user_id":{}}"#,
        r#"{"user_id":true}"#,
        r#"{"user_id":1.5}"#,
        r#"{"user_id":1e3}"#,
        r#"{"user_id":"a","user_id":"b"}"#,
        r#"{"user_info":{}}"#,
    ] {
        check(&format!(
            r#"
            > {{"event":"pusher:subscribe","data":{{"channel":"presence-a",$JOIN(presence-a|{data})}}}}
            < {{"event":"pusher:subscription_error","channel":"presence-a","data":{{"type":"AuthError","error":"channel_data must be the JSON text of an object with user_id, an integer or a string of 1 to 1024 bytes without control characters","status":401}}}}
            "#
        ));
    }
}

/// Spec §18, 35, and vector 6.
#[test]
fn a_user_who_has_signed_in_needs_no_channel_data() {
    check(
        r#"
        > {"event":"pusher:subscribe","data":{"channel":"presence-room_7","auth":"9f2c4be1d07a4c3e8b51:115ac8605ba87be5a19507fe42b080beae215117a08b2140ec16cce53c0b0371"}}
        < {"event":"pusher:subscription_error","channel":"presence-room_7","data":{"type":"AuthError","error":"channel_data is missing, and the connection has not signed in","status":401}}
        > {"event":"pusher:signin","data":{$USER({"id":"u-42","user_info":{ "name":"Ann"}})}}
        < {"event":"pusher:signin_success","data":{"user_data":"{\"id\":\"u-42\",\"user_info\":{ \"name\":\"Ann\"}}"}}
        signin u-42 []
        > {"event":"pusher:subscribe","data":{"channel":"presence-room_7","auth":"9f2c4be1d07a4c3e8b51:115ac8605ba87be5a19507fe42b080beae215117a08b2140ec16cce53c0b0371"}}
        join presence-room_7 u-42 { "name":"Ann"}
        > {"event":"pusher:subscribe","data":{"channel":"presence-b",$JOIN(presence-b|{"user_id":"other"})}}
        join presence-b other
        > {"event":"client-x","channel":"presence-b","data":1}
        publish presence-b client-x "json" 1 from other
        "#,
    );
}

#[test]
fn twice_is_an_error_and_changes_nothing() {
    check(&format!(
        r#"{IN}
        > {{"event":"pusher:subscribe","data":{{"channel":"presence-a",$JOIN(presence-a|{{"user_id":"u2"}})}}}}
        < {{"event":"pusher:error","data":{{"code":null,"message":"Existing subscription to channel presence-a"}}}}
        > {{"event":"client-x","channel":"presence-a","data":1}}
        publish presence-a client-x "json" 1 from u1
        "#
    ));
}

/// Spec §18, 5.
#[test]
fn leaving_and_coming_back_as_somebody_else() {
    check(&format!(
        r#"{IN}
        > {{"event":"pusher:unsubscribe","data":{{"channel":"presence-a"}}}}
        unsubscribe presence-a
        > {{"event":"pusher:subscribe","data":{{"channel":"presence-a",$JOIN(presence-a|{{"user_id":"u2"}})}}}}
        join presence-a u2
        > {{"event":"client-x","channel":"presence-a","data":1}}
        publish presence-a client-x "json" 1 from u2
        "#
    ));
}

#[test]
fn members_have_a_size() {
    let mut scene = Scene::default();
    scene.app.limits.presence_user_id_chars = 2;
    scene.app.limits.presence_user_info_bytes = 4;
    scene.check(
        r#"
        > {"event":"pusher:subscribe","data":{"channel":"presence-a",$JOIN(presence-a|{"user_id":"éé","user_info":"é"})}}
        join presence-a éé "é"
        > {"event":"pusher:subscribe","data":{"channel":"presence-b",$JOIN(presence-b|{"user_id":"abc"})}}
        < {"event":"pusher:subscription_error","channel":"presence-b","data":{"type":"LimitReached","error":"user_id is longer than 2 characters","status":413}}
        > {"event":"pusher:subscribe","data":{"channel":"presence-b",$JOIN(presence-b|{"user_id":123})}}
        < {"event":"pusher:subscription_error","channel":"presence-b","data":{"type":"LimitReached","error":"user_id is longer than 2 characters","status":413}}
        > {"event":"pusher:subscribe","data":{"channel":"presence-b",$JOIN(presence-b|{"user_id":"a","user_info":"éé"})}}
        < {"event":"pusher:subscription_error","channel":"presence-b","data":{"type":"LimitReached","error":"user_info is larger than 4 bytes","status":413}}
        "#,
    );
    scene.check(
        r#"
        > {"event":"pusher:signin","data":{$USER({"id":"abc"})}}
        < {"event":"pusher:signin_success","data":{"user_data":"{\"id\":\"abc\"}"}}
        signin abc []
        > {"event":"pusher:subscribe","data":{"channel":"presence-a","auth":"$AUTH(presence-a)"}}
        < {"event":"pusher:subscription_error","channel":"presence-a","data":{"type":"LimitReached","error":"user_id is longer than 2 characters","status":413}}
        "#,
    );
}

#[test]
fn a_full_channel_is_refused_afterwards() {
    check(&format!(
        r#"{IN}
        full presence-a
        < {{"event":"pusher:subscription_error","channel":"presence-a","data":{{"type":"LimitReached","error":"this channel already has 100 members, the most it may have","status":4004}}}}
        full presence-a
        > {{"event":"client-x","channel":"presence-a","data":1}}
        < {{"event":"pusher:error","data":{{"code":null,"message":"Client events are only for private and presence channels that this connection is subscribed to"}}}}
        > {{"event":"pusher:unsubscribe","data":{{"channel":"presence-a"}}}}
        {IN}
        "#
    ));
}

#[test]
fn whoever_left_or_was_closed_is_refused_nothing() {
    check(&format!(
        r#"{IN}
        > {{"event":"pusher:unsubscribe","data":{{"channel":"presence-a"}}}}
        unsubscribe presence-a
        full presence-a
        "#
    ));
    check(&format!(
        "{IN}
        binary
        close 1003
        full presence-a
        "
    ));
}
