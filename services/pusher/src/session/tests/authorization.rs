//! Connections that have to show in time who they are.

use super::*;

fn scene() -> Scene {
    let mut scene = Scene::default();
    scene.app.pusher.authorized_connections = Some(Duration::from_secs(30));
    scene
}

#[test]
fn whoever_shows_nothing_in_time_is_closed() {
    scene().check(
        r#"
        > {"event":"pusher:subscribe","data":{"channel":"public"}}
        subscribe public {"event":"pusher_internal:subscription_succeeded","channel":"public","data":"{}"}
        wait 29.9
        > {"event":"pusher:ping"}
        < {"event":"pusher:pong","data":"{}"}
        > {"event":"pusher:subscribe","data":{"channel":"private-a","auth":"x:y"}}
        < {"event":"pusher:subscription_error","channel":"private-a","data":{"type":"AuthError","error":"auth names a key that is not an active key of this app","status":401}}
        wait 0.1
        close 4009
        "#,
    );
}

#[test]
fn old_versions_are_told_by_an_event_too() {
    Scene { protocol: ProtocolVersion::V5, ..scene() }.check(
        r#"
        wait 30
        < {"event":"pusher:error","data":{"code":4009,"message":"Neither signed in nor subscribed with authorization in time"}}
        close 4009
        "#,
    );
}

#[test]
fn a_private_channel_is_enough() {
    scene().check(
        r#"
        > {"event":"pusher:subscribe","data":{"channel":"private-a","auth":"$AUTH(private-a)"}}
        subscribe private-a {"event":"pusher_internal:subscription_succeeded","channel":"private-a","data":"{}"}
        > {"event":"pusher:unsubscribe","data":{"channel":"private-a"}}
        unsubscribe private-a
        wait 119
        wait 1
        ping
        "#,
    );
}

#[test]
fn a_presence_channel_is_enough() {
    scene().check(
        r#"
        > {"event":"pusher:subscribe","data":{"channel":"presence-a",$JOIN(presence-a|{"user_id":"u1"})}}
        join presence-a u1
        wait 119
        "#,
    );
}

#[test]
fn a_sign_in_is_enough() {
    scene().check(
        r#"
        > {"event":"pusher:signin","data":{$USER({"id":"u1"})}}
        < {"event":"pusher:signin_success","data":{"user_data":"{\"id\":\"u1\"}"}}
        signin u1 []
        wait 119
        "#,
    );
}

/// The app may want it, or stop wanting it, while a connection is open.
#[test]
fn the_setting_may_change() {
    let (start, mut out) = (Instant::now(), Vec::new());
    let after = |seconds| start + Duration::from_secs(seconds);
    let (plain, strict) = (Scene::default(), scene());
    let mut session = plain.open(start, &mut out);
    out.clear();
    assert_eq!(session.deadline(), after(120));
    session.recheck(Some(&strict.app), &mut out);
    assert_eq!(session.deadline(), after(30));
    session.recheck(Some(&plain.app), &mut out);
    assert_eq!(session.deadline(), after(120));
    session.handle(Input::Tick, &plain.app, at(after(31)), &mut out);
    assert_eq!(out, []);
    // Nobody rechecked, but the tick finds out.
    session.handle(Input::Tick, &strict.app, at(after(31)), &mut out);
    assert_eq!(out, [Output::Close(CloseCode::Unauthorized)]);
}
