//! Channels of every kind: who is let in.

use super::*;
use crate::fixtures::{capability, key};

/// Vectors 5 and 7 of the protocol's documentation. The server has no part in the encryption.
#[test]
fn encrypted_and_cache_channels_with_the_documented_signatures() {
    check(
        r#"
        > {"event":"pusher:subscribe","data":{"auth":"9f2c4be1d07a4c3e8b51:bc915f44dc582525cf046c016d09284176a2c89a827a7b999f7bb77e422718bf","channel":"private-encrypted-vault"}}
        subscribe private-encrypted-vault {"event":"pusher_internal:subscription_succeeded","channel":"private-encrypted-vault","data":"{}"}
        > {"event":"pusher:subscribe","data":{"auth":"9f2c4be1d07a4c3e8b51:464b2c655bef36ff16540c86fe641df8ed8a3d0a4207011b62f139bfae6377af","channel":"private-cache-rates"}}
        subscribe private-cache-rates {"event":"pusher_internal:subscription_succeeded","channel":"private-cache-rates","data":"{}"}
        "#,
    );
}

#[test]
fn cache_channels_are_let_in_as_those_without_a_cache() {
    check(
        r#"
        > {"event":"pusher:subscribe","data":{"auth":"","channel":"cache-a"}}
        subscribe cache-a {"event":"pusher_internal:subscription_succeeded","channel":"cache-a","data":"{}"}
        > {"event":"pusher:subscribe","data":{"auth":"$AUTH(private-encrypted-cache-a)","channel":"private-encrypted-cache-a"}}
        subscribe private-encrypted-cache-a {"event":"pusher_internal:subscription_succeeded","channel":"private-encrypted-cache-a","data":"{}"}
        > {"event":"pusher:subscribe","data":{"channel":"presence-cache-a",$JOIN(presence-cache-a|{"user_id":"u1"})}}
        join presence-cache-a u1
        > {"event":"pusher:subscribe","data":{"channel":"private-cache-a"}}
        < {"event":"pusher:subscription_error","channel":"private-cache-a","data":{"type":"AuthError","error":"auth is missing","status":401}}
        "#,
    );
}

/// Spec §18, 36.
#[test]
fn a_users_channel_is_for_that_user_only() {
    check(
        r##"
        > {"event":"pusher:subscribe","data":{"auth":"","channel":"#server-to-user-u1"}}
        < {"event":"pusher:subscription_error","channel":"#server-to-user-u1","data":{"type":"AuthError","error":"this channel is only for connections signed in as its user","status":401}}
        > {"event":"pusher:subscribe","data":{"auth":"$AUTH(#server-to-user-u1)","channel":"#server-to-user-u1"}}
        < {"event":"pusher:subscription_error","channel":"#server-to-user-u1","data":{"type":"AuthError","error":"this channel is only for connections signed in as its user","status":401}}
        > {"event":"pusher:signin","data":{$USER({"id":"u1"})}}
        < {"event":"pusher:signin_success","data":{"user_data":"{\"id\":\"u1\"}"}}
        signin u1 []
        > {"event":"pusher:subscribe","data":{"auth":"","channel":"#server-to-user-u"}}
        < {"event":"pusher:subscription_error","channel":"#server-to-user-u","data":{"type":"AuthError","error":"this channel is only for connections signed in as its user","status":401}}
        > {"event":"pusher:subscribe","data":{"auth":"","channel":"#server-to-user-u1"}}
        subscribe #server-to-user-u1 {"event":"pusher_internal:subscription_succeeded","channel":"#server-to-user-u1","data":"{}"}
        > {"event":"client-x","channel":"#server-to-user-u1","data":1}
        < {"event":"pusher:error","data":{"code":null,"message":"Client events are only for private and presence channels that this connection is subscribed to"}}
        "##,
    );
}

/// Being the member of a presence channel is not being signed in.
#[test]
fn a_members_id_opens_no_users_channel() {
    check(
        r##"
        > {"event":"pusher:subscribe","data":{"channel":"presence-a",$JOIN(presence-a|{"user_id":"u1"})}}
        join presence-a u1
        > {"event":"pusher:subscribe","data":{"auth":"","channel":"#server-to-user-u1"}}
        < {"event":"pusher:subscription_error","channel":"#server-to-user-u1","data":{"type":"AuthError","error":"this channel is only for connections signed in as its user","status":401}}
        "##,
    );
}

/// Ids have no alphabet, so whoever can sign in can be reached.
#[test]
fn a_users_channel_takes_any_id() {
    check(
        r##"
        > {"event":"pusher:signin","data":{$USER({"id":"auth0|Zoë 7"})}}
        < {"event":"pusher:signin_success","data":{"user_data":"{\"id\":\"auth0|Zoë 7\"}"}}
        signin auth0|Zoë 7 []
        > {"event":"pusher:subscribe","data":{"auth":"","channel":"#server-to-user-auth0|Zoë 7"}}
        subscribe #server-to-user-auth0|Zoë 7 {"event":"pusher_internal:subscription_succeeded","channel":"#server-to-user-auth0|Zoë 7","data":"{}"}
        "##,
    );
}

#[test]
fn a_presence_channel_takes_a_key_that_may_be_present() {
    let mut scene = Scene::default();
    let refused = |message| {
        format!(
            r#"
            > {{"event":"pusher:subscribe","data":{{"channel":"presence-a",$JOIN(presence-a|{{"user_id":"u1"}})}}}}
            < {{"event":"pusher:subscription_error","channel":"presence-a","data":{{"type":"AuthError","error":"{message}","status":403}}}}
            "#
        )
    };
    scene.app.keys = vec![key(KEY, capability("*", "subscribe"))];
    scene.check(&refused("the key may not be present on this channel"));
    scene.app.keys = vec![key(KEY, capability("*", "presence"))];
    scene.check(&refused("the key may not subscribe to this channel"));
}
