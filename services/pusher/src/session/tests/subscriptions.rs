//! Subscribing: transcripts of pusher-js unless a test says otherwise.

use super::*;
use crate::fixtures::{capability, key};

#[test]
fn a_public_channel() {
    check(
        r#"
        > {"event":"pusher:subscribe","data":{"auth":"","channel":"ticker.acme"}}
        subscribe ticker.acme {"event":"pusher_internal:subscription_succeeded","channel":"ticker.acme","data":"{}"}
        > {"event":"pusher:unsubscribe","data":{"channel":"ticker.acme"}}
        unsubscribe ticker.acme
        "#,
    );
}

#[test]
fn a_private_channel_with_the_documented_signature() {
    check(
        r#"
        > {"event":"pusher:subscribe","data":{"auth":"9f2c4be1d07a4c3e8b51:d2fb79ec8e038d0089aa070426f5967dcf7132416e95e83ddf66d76980adff06","channel":"private-orders.17"}}
        subscribe private-orders.17 {"event":"pusher_internal:subscription_succeeded","channel":"private-orders.17","data":"{}"}
        "#,
    );
}

#[test]
fn data_may_be_encoded_twice() {
    check(
        r#"
        > {"event":"pusher:subscribe","data":"{\"channel\":\"a\"}"}
        subscribe a {"event":"pusher_internal:subscription_succeeded","channel":"a","data":"{}"}
        > {"event":"pusher:unsubscribe","data":"{\"channel\":\"a\"}"}
        unsubscribe a
        "#,
    );
}

#[test]
fn bad_auth_is_told_on_the_channel() {
    check(
        r#"
        > {"event":"pusher:subscribe","data":{"channel":"private-a"}}
        < {"event":"pusher:subscription_error","channel":"private-a","data":{"type":"AuthError","error":"auth is missing","status":401}}
        > {"event":"pusher:subscribe","data":{"auth":"nonsense","channel":"private-a"}}
        < {"event":"pusher:subscription_error","channel":"private-a","data":{"type":"AuthError","error":"auth must have the form KEY:SIGNATURE","status":401}}
        > {"event":"pusher:subscribe","data":{"auth":"other:00","channel":"private-a"}}
        < {"event":"pusher:subscription_error","channel":"private-a","data":{"type":"AuthError","error":"auth names a key that is not an active key of this app","status":401}}
        > {"event":"pusher:subscribe","data":{"auth":"$AUTH(private-b)","channel":"private-a"}}
        < {"event":"pusher:subscription_error","channel":"private-a","data":{"type":"AuthError","error":"invalid signature: expected KEY:HEX with the lower-case hex HMAC-SHA256 of 418372.90513377:private-a","status":401}}
        > {"event":"pusher:subscribe","data":{"auth":"$AUTH(private-a)","channel":"private-a"}}
        subscribe private-a {"event":"pusher_internal:subscription_succeeded","channel":"private-a","data":"{}"}
        "#,
    );
}

/// Spec §18, 6. A refused subscription is none, so it may be tried again.
#[test]
fn twice_is_an_error_and_changes_nothing() {
    check(
        r#"
        > {"event":"pusher:subscribe","data":{"channel":"a"}}
        subscribe a {"event":"pusher_internal:subscription_succeeded","channel":"a","data":"{}"}
        > {"event":"pusher:subscribe","data":{"channel":"a"}}
        < {"event":"pusher:error","data":{"code":null,"message":"Existing subscription to channel a"}}
        > {"event":"pusher:unsubscribe","data":{"channel":"a"}}
        unsubscribe a
        "#,
    );
}

/// Spec §18, 4 and 5: every step in order, and success is asked for each time.
#[test]
fn leaving_and_coming_back_at_once() {
    check(
        r#"
        > {"event":"pusher:subscribe","data":{"channel":"a"}}
        subscribe a {"event":"pusher_internal:subscription_succeeded","channel":"a","data":"{}"}
        > {"event":"pusher:unsubscribe","data":{"channel":"a"}}
        unsubscribe a
        > {"event":"pusher:subscribe","data":{"channel":"a"}}
        subscribe a {"event":"pusher_internal:subscription_succeeded","channel":"a","data":"{}"}
        "#,
    );
}

#[test]
fn leaving_what_was_not_joined_is_silent() {
    check(
        r#"
        > {"event":"pusher:unsubscribe","data":{"channel":"never"}}
        > {"event":"pusher:unsubscribe","data":{"channel":"not a name !"}}
        > {"event":"pusher:unsubscribe","data":{}}
        < {"event":"pusher:error","data":{"code":null,"message":"pusher:unsubscribe needs the string member \"data.channel\""}}
        "#,
    );
}

#[test]
fn names_are_checked() {
    check(
        r##"
        > {"event":"pusher:subscribe","data":{"channel":""}}
        < {"event":"pusher:subscription_error","channel":"","data":{"type":"InvalidChannel","error":"channel name is empty","status":400}}
        > {"event":"pusher:subscribe","data":{"channel":"a\"b"}}
        < {"event":"pusher:subscription_error","channel":"a\"b","data":{"type":"InvalidChannel","error":"channel name may hold only A-Z a-z 0-9 _ - = @ , . ;","status":400}}
        > {"event":"pusher:subscribe","data":{"channel":"#other"}}
        < {"event":"pusher:subscription_error","channel":"#other","data":{"type":"InvalidChannel","error":"a channel name that starts with # must be #server-to-user- and a user id","status":400}}
        > {"event":"pusher:subscribe","data":{}}
        < {"event":"pusher:error","data":{"code":null,"message":"pusher:subscribe needs the string member \"data.channel\""}}
        "##,
    );
    let mut scene = Scene::default();
    scene.app.limits.channel_name_chars = 3;
    scene.check(
        r#"
        > {"event":"pusher:subscribe","data":{"channel":"abcd"}}
        < {"event":"pusher:subscription_error","channel":"abcd","data":{"type":"InvalidChannel","error":"channel name is longer than 3 characters","status":400}}
        "#,
    );
}

/// Spec §18, 44: names are data, never members of an object.
#[test]
fn a_channel_called_constructor() {
    check(
        r#"
        > {"event":"pusher:subscribe","data":{"channel":"constructor"}}
        subscribe constructor {"event":"pusher_internal:subscription_succeeded","channel":"constructor","data":"{}"}
        "#,
    );
}

#[test]
fn so_many_channels_and_no_more() {
    let mut scene = Scene::default();
    scene.app.limits.channels_per_connection = 1;
    scene.check(
        r#"
        > {"event":"pusher:subscribe","data":{"channel":"a"}}
        subscribe a {"event":"pusher_internal:subscription_succeeded","channel":"a","data":"{}"}
        > {"event":"pusher:subscribe","data":{"channel":"b"}}
        < {"event":"pusher:subscription_error","channel":"b","data":{"type":"LimitReached","error":"this connection already has 1 subscriptions, the most it may have","status":4004}}
        > {"event":"pusher:unsubscribe","data":{"channel":"a"}}
        unsubscribe a
        > {"event":"pusher:subscribe","data":{"channel":"b"}}
        subscribe b {"event":"pusher_internal:subscription_succeeded","channel":"b","data":"{}"}
        "#,
    );
}

#[test]
fn both_the_connecting_and_the_signing_key_must_be_allowed() {
    let refused = r#"
        > {"event":"pusher:subscribe","data":{"channel":"private-a","auth":"$AUTH(private-a)"}}
        < {"event":"pusher:subscription_error","channel":"private-a","data":{"type":"AuthError","error":"the key may not subscribe to this channel","status":403}}
        "#;
    let mut scene = Scene::default();
    scene.app.keys = vec![key(KEY, capability("*", "publish"))];
    scene.check(refused);
    scene.app.keys = vec![key(KEY, capability("ticker", "subscribe"))];
    scene.check(refused);
    scene.check(
        r#"
        > {"event":"pusher:subscribe","data":{"channel":"ticker"}}
        subscribe ticker {"event":"pusher_internal:subscription_succeeded","channel":"ticker","data":"{}"}
        > {"event":"pusher:subscribe","data":{"channel":"other"}}
        < {"event":"pusher:subscription_error","channel":"other","data":{"type":"AuthError","error":"the key may not subscribe to this channel","status":403}}
        "#,
    );
    // The second key signs, but may subscribe to something else only.
    scene.app.keys = vec![key(KEY, channels::Capability::all()), key("second", capability("b", "subscribe"))];
    let signed = auth::Signer::from(&scene.app.keys[1]).channel(SOCKET_ID, "private-a", None);
    scene.check(&refused.replace("$AUTH(private-a)", &signed));
}

/// Subscriptions and sign-ins alike. What is subscribed to stays so.
#[test]
fn a_rotated_secret_signs_until_its_end() {
    let mut scene = Scene::default();
    let key = &mut scene.app.keys[0];
    let secret = std::mem::replace(&mut key.secret, channels::Secret::new("the new secret").unwrap());
    key.previous = Some(channels::PreviousSecret { secret, until_ms: WALL_MS + 1 });
    scene.check(
        r#"
        > {"event":"pusher:subscribe","data":{"channel":"private-a","auth":"$AUTH(private-a)"}}
        subscribe private-a {"event":"pusher_internal:subscription_succeeded","channel":"private-a","data":"{}"}
        > {"event":"pusher:signin","data":{$USER({"id":"u"})}}
        < {"event":"pusher:signin_success","data":{"user_data":"{\"id\":\"u\"}"}}
        signin u []
        "#,
    );
    scene.app.keys[0].previous.as_mut().unwrap().until_ms = WALL_MS;
    scene.check(
        r#"
        > {"event":"pusher:subscribe","data":{"channel":"private-a","auth":"$AUTH(private-a)"}}
        < {"event":"pusher:subscription_error","channel":"private-a","data":{"type":"AuthError","error":"invalid signature: expected KEY:HEX with the lower-case hex HMAC-SHA256 of 418372.90513377:private-a","status":401}}
        > {"event":"pusher:signin","data":{$USER({"id":"u"})}}
        < {"event":"pusher:error","data":{"code":4009,"message":"invalid signature: expected KEY:HEX with the lower-case hex HMAC-SHA256 of 418372.90513377::user:: and user_data"}}
        close 4009
        "#,
    );
}
