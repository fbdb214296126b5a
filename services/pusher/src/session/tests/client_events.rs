//! Client events.

use channels::{Namespace, Namespaces, Tier};

use super::*;
use crate::fixtures::{capability, key};

const SUBSCRIBED: &str = r#"
    > {"event":"pusher:subscribe","data":{"channel":"private-a","auth":"$AUTH(private-a)"}}
    subscribe private-a {"event":"pusher_internal:subscription_succeeded","channel":"private-a","data":"{}"}
"#;

fn check_subscribed(scene: &Scene, script: &str) {
    scene.check(&format!("{SUBSCRIBED}{script}"));
}

#[test]
fn data_is_relayed_as_it_was_sent() {
    check_subscribed(
        &Scene::default(),
        r#"
        > {"event":"client-typing","channel":"private-a","data":{ "x" : 1e400, "é": "\u00e9\/" }}
        publish private-a client-typing "json" { "x" : 1e400, "é": "\u00e9\/" }
        > {"event":"client-typing","channel":"private-a","data":"{\"x\": 1}"}
        publish private-a client-typing "" {"x": 1}
        > {"event":"client-typing","channel":"private-a","data":"\u00e9🚀"}
        publish private-a client-typing "" é🚀
        > {"event":"client-typing","channel":"private-a","data":[ ]}
        publish private-a client-typing "json" [ ]
        > {"event":"client-typing","channel":"private-a","data":-0.10}
        publish private-a client-typing "json" -0.10
        > {"event":"client-typing","channel":"private-a","data":null}
        publish private-a client-typing "json" null
        > {"event":"client-typing","channel":"private-a"}
        publish private-a client-typing "json" null
        "#,
    );
}

#[test]
fn what_is_published_comes_out_the_same() {
    let scene = Scene::default();
    let (now, mut out) = (Instant::now(), Vec::new());
    let mut session = scene.open(now, &mut out);
    let subscribe = r#"{"event":"pusher:subscribe","data":{"channel":"private-a","auth":"$AUTH(private-a)"}}"#;
    session.handle(Input::Text(&signed(subscribe)), &scene.app, at(now), &mut out);
    for text in [
        r#"{"event":"client-x","channel":"private-a","data":{ "x" : 1e400, "é": "\u00e9\/" }}"#,
        r#"{"event":"client-x","channel":"private-a","data":"{\"x\": 1}"}"#,
        r#"{"event":"client-x","channel":"private-a","data":"not json"}"#,
    ] {
        out.clear();
        session.handle(Input::Text(text), &scene.app, at(now), &mut out);
        let [Output::Publish { channel, record }] = out.as_slice() else { panic!("{out:?}") };
        assert_eq!(crate::encode_record(channel, record, None), [text]);
    }
}

#[test]
fn only_with_a_subscription_that_is_signed() {
    check(
        r#"
        > {"event":"client-x","channel":"private-a","data":1}
        < {"event":"pusher:error","data":{"code":null,"message":"Client events are only for private and presence channels that this connection is subscribed to"}}
        > {"event":"pusher:subscribe","data":{"channel":"public"}}
        subscribe public {"event":"pusher_internal:subscription_succeeded","channel":"public","data":"{}"}
        > {"event":"client-x","channel":"public","data":1}
        < {"event":"pusher:error","data":{"code":null,"message":"Client events are only for private and presence channels that this connection is subscribed to"}}
        "#,
    );
    check_subscribed(
        &Scene::default(),
        r#"
        > {"event":"pusher:unsubscribe","data":{"channel":"private-a"}}
        unsubscribe private-a
        > {"event":"client-x","channel":"private-a","data":1}
        < {"event":"pusher:error","data":{"code":null,"message":"Client events are only for private and presence channels that this connection is subscribed to"}}
        "#,
    );
}

/// Spec §18, 12.
#[test]
fn reserved_names_are_never_relayed() {
    check_subscribed(
        &Scene::default(),
        r#"
        > {"event":"pusher_internal:member_added","channel":"private-a","data":"{}"}
        < {"event":"pusher:error","data":{"code":null,"message":"Unsupported event received on socket: pusher_internal:member_added"}}
        > {"event":"pusher:error","channel":"private-a","data":"{}"}
        < {"event":"pusher:error","data":{"code":null,"message":"Unsupported event received on socket: pusher:error"}}
        > {"event":"order-placed","channel":"private-a","data":"{}"}
        < {"event":"pusher:error","data":{"code":null,"message":"Unsupported event received on socket: order-placed"}}
        > {"event":"client-x","data":"{}"}
        < {"event":"pusher:error","data":{"code":null,"message":"a client event needs the string member \"channel\""}}
        "#,
    );
}

#[test]
fn only_if_app_and_key_allow_them() {
    let event = r#"> {"event":"client-x","channel":"private-a","data":1}"#;
    let mut scene = Scene::default();
    scene.app.pusher.client_events = false;
    let disabled =
        r#"< {"event":"pusher:error","data":{"code":null,"message":"Client events are not enabled for this channel"}}"#;
    check_subscribed(&scene, &format!("{event}\n{disabled}"));
    // What the channel's namespace says counts more.
    let rule = |client_events| {
        let rule = Namespace { client_events: Some(client_events), ..Namespace::new("private-", Tier::default()) };
        Namespaces::new(vec![rule]).unwrap()
    };
    scene.app.namespaces = rule(true);
    check_subscribed(&scene, &format!("{event}\npublish private-a client-x \"json\" 1"));
    let mut scene = Scene::default();
    scene.app.namespaces = rule(false);
    check_subscribed(&scene, &format!("{event}\n{disabled}"));
    let mut scene = Scene::default();
    scene.app.keys = vec![key(KEY, capability("*", "subscribe"))];
    let denied = r#"< {"event":"pusher:error","data":{"code":null,"message":"The key of this connection may not publish on this channel"}}"#;
    check_subscribed(&scene, &format!("{event}\n{denied}"));
}

#[test]
fn the_rate_is_limited_and_the_connection_stays() {
    let mut scene = Scene::default();
    scene.app.limits.client_events_per_second = 2;
    check_subscribed(
        &scene,
        r#"
        > {"event":"client-x","channel":"private-a","data":1}
        publish private-a client-x "json" 1
        > {"event":"client-x","channel":"private-a","data":2}
        publish private-a client-x "json" 2
        > {"event":"client-x","channel":"private-a","data":3}
        < {"event":"pusher:error","data":{"code":4301,"message":"More than 2 client events in a second, this one was dropped"}}
        wait 0.5
        > {"event":"client-x","channel":"private-a","data":4}
        publish private-a client-x "json" 4
        > {"event":"client-x","channel":"private-a","data":5}
        < {"event":"pusher:error","data":{"code":4301,"message":"More than 2 client events in a second, this one was dropped"}}
        "#,
    );
}

/// Spec §18, 39.
#[test]
fn sizes_are_limited() {
    let mut scene = Scene::default();
    scene.app.limits.event_data_bytes = 4;
    scene.app.limits.event_name_chars = 8;
    check_subscribed(
        &scene,
        r#"
        > {"event":"client-é","channel":"private-a","data":"éé"}
        publish private-a client-é "" éé
        > {"event":"client-é","channel":"private-a","data":"ééx"}
        < {"event":"pusher:error","data":{"code":null,"message":"Event data is larger than 4 bytes"}}
        > {"event":"client-é","channel":"private-a","data":[1,2]}
        < {"event":"pusher:error","data":{"code":null,"message":"Event data is larger than 4 bytes"}}
        > {"event":"client-éé","channel":"private-a","data":1}
        < {"event":"pusher:error","data":{"code":null,"message":"Event name is longer than 8 characters"}}
        > {"event":"client-x","channel":"private-a","data":"\ud83d"}
        < {"event":"pusher:error","data":{"code":null,"message":"Event data is a string that is not Unicode"}}
        "#,
    );
}

/// Private and presence channels of every kind, and no others.
#[test]
fn every_kind_that_is_signed_takes_them() {
    for channel in ["private-a", "private-cache-a", "private-encrypted-a", "private-encrypted-cache-a"] {
        check(&format!(
            r#"
            > {{"event":"pusher:subscribe","data":{{"channel":"{channel}","auth":"$AUTH({channel})"}}}}
            subscribe {channel} {{"event":"pusher_internal:subscription_succeeded","channel":"{channel}","data":"{{}}"}}
            > {{"event":"client-x","channel":"{channel}","data":1}}
            publish {channel} client-x "json" 1
            "#
        ));
    }
    for channel in ["presence-a", "presence-cache-a"] {
        check(&format!(
            r#"
            > {{"event":"pusher:subscribe","data":{{"channel":"{channel}",$JOIN({channel}|{{"user_id":7}})}}}}
            join {channel} 7
            > {{"event":"client-x","channel":"{channel}","data":1,"user_id":"somebody else"}}
            publish {channel} client-x "json" 1 from 7
            "#
        ));
    }
    for channel in ["a", "cache-a"] {
        check(&format!(
            r#"
            > {{"event":"pusher:subscribe","data":{{"channel":"{channel}"}}}}
            subscribe {channel} {{"event":"pusher_internal:subscription_succeeded","channel":"{channel}","data":"{{}}"}}
            > {{"event":"client-x","channel":"{channel}","data":1}}
            < {{"event":"pusher:error","data":{{"code":null,"message":"Client events are only for private and presence channels that this connection is subscribed to"}}}}
            "#
        ));
    }
}

/// A member is only a member where it joined.
#[test]
fn a_signed_in_user_is_nobody_on_a_private_channel() {
    check_subscribed(
        &Scene::default(),
        r#"
        > {"event":"pusher:signin","data":{$USER({"id":"u1"})}}
        < {"event":"pusher:signin_success","data":{"user_data":"{\"id\":\"u1\"}"}}
        signin u1 []
        > {"event":"client-x","channel":"private-a","data":1}
        publish private-a client-x "json" 1
        "#,
    );
}
