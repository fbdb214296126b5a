//! From CONNECTED to the end.

use bytes::Bytes;

use super::*;

#[test]
fn connected_comes_first_and_says_everything() {
    let mut out = Vec::new();
    let Scene { app, settings, opening } = Scene::of("bob", "*");
    let opening = Opening { error: Some(Code::ConnectionKey.info()), ..opening };
    let now = Now { instant: Instant::now(), unix_ms: WALL_MS };
    let session = Session::open(opening, &Arc::new(settings), &app, now, &mut out);
    let expected = r#"{"action":4,"connectionId":"c0nnA","connectionKey":"c0nnA!k1","connectionDetails":{"clientId":"bob","connectionKey":"c0nnA!k1","maxMessageSize":65536,"maxFrameSize":262144,"maxInboundRate":50,"maxOutboundRate":1000,"connectionStateTtl":120000,"maxIdleInterval":15000,"serverId":"edge"},"error":{"code":80018,"statusCode":400,"message":"invalid connection key","href":"https://help.ably.io/error/80018"}}"#;
    assert_eq!(out, [Output::Send(Bytes::from_static(expected.as_bytes()))]);
    assert_eq!(session.connection().as_str(), "c0nnA");
    assert!(session.accepts_frames() && !session.is_closed());
}

#[test]
fn who_it_is() {
    for (who, shown) in [("bob", r#""clientId":"bob","#), ("*", r#""clientId":"*","#), ("-", "")] {
        Scene::of(who, "*").check(&format!(
            "< {{\"action\":4,\"connectionId\":\"c0nnA\",\"connectionKey\":\"c0nnA!k1\",\"connectionDetails\":\
             {{{shown}\"connectionKey\":\"c0nnA!k1\"}}}}"
        ));
    }
}

#[test]
fn pings_are_answered_at_once() {
    check(
        r#"
        > {"action":0,"id":"x1"}
        < {"action":0,"id":"x1"}
        > {"action":0}
        < {"action":0}
        > {"action":0,"id":5}
        < {"action":0}
    "#,
    );
}

/// The server is never silent for longer than it promised; what the hub sends counts.
#[test]
fn heartbeats_fill_silence() {
    check(
        r#"
        wait 14.9
        wait 0.1
        < {"action":0}
        wait 10
        sent
        wait 14
        wait 1
        < {"action":0}
        alive
        wait 15
        < {"action":0}
    "#,
    );
}

#[test]
fn who_sees_pings_gets_those() {
    let mut scene = Scene::default();
    scene.opening.heartbeats = false;
    scene.check("wait 15\nping\nalive\nwait 15\nping\nwait 14");
}

#[test]
fn a_silent_client_is_asked_and_then_let_go() {
    let mut scene = Scene::default();
    scene.settings.max_idle_interval = Duration::ZERO;
    scene.check("wait 60\nping\nalive\nwait 60\nping\nwait 29\nwait 1\n< {\"action\":6,\"error\":80003}\nclose Kept");
}

#[test]
fn a_client_takes_its_leave() {
    check(
        r#"
        > {"action":15,"channel":"a","msgSerial":0,"messages":[{}]}
        publish 0 a c0nnA:0 ::none:
        > {"action":7}
        < {"action":8}
        close Closed
        stored 0 1
        > {"action":0}
        end Draining
        wait 1000
        hint
        permit a
        refuse a 50000
        accept k * a
    "#,
    );
}

#[test]
fn the_server_ends_it() {
    for (end, frame, parting) in [
        (End::Superseded, r#"{"action":6,"error":80003}"#, "Kept"),
        (End::Draining, r#"{"action":6,"error":50320}"#, "Kept"),
        (End::TokenRevoked, r#"{"action":6,"error":40141}"#, "Kept"),
        (End::KeyRevoked, r#"{"action":9,"error":40131}"#, "Closed"),
        (End::AppDisabled, r#"{"action":9,"error":40120}"#, "Closed"),
        (End::AppDeleted, r#"{"action":9,"error":40400}"#, "Closed"),
        (End::TooSlow, r#"{"action":6,"error":42916}"#, "Kept"),
        (End::Unavailable, r#"{"action":6,"error":50004}"#, "Kept"),
        (End::Terminated, r#"{"action":9,"error":40300}"#, "Closed"),
    ] {
        check(&format!("end {end:?}\n< {frame}\nclose {parting}\nend {end:?}"));
    }
}

#[test]
fn what_is_no_frame_ends_it_and_what_is_unknown_does_not() {
    for frame in ["", "[]", "hello", "{\"action\":15,\"messages\":[1]}"] {
        let line = format!("> {frame}");
        check(&format!("{}\n< {{\"action\":9,\"error\":80013}}\nclose Closed", line.trim()));
    }
    check(
        r#"
        > {}
        > {"action":99}
        > {"action":"attach"}
        > {"action":null,"channel":"a"}
        > {"action":3}
        > {"action":5}
        > {"action":18}
        > {"action":1,"msgSerial":0}
        > {"action":4,"connectionId":"x"}
        > {"action":11,"channel":"a","unknown":{"deep":[1]}}
        > {"action":20,"channel":"a"}
    "#,
    );
}

/// A node holds a hundred thousand of them.
#[test]
fn a_session_is_small() {
    assert!(size_of::<Session>() <= 320, "{} bytes", size_of::<Session>());
    assert!(size_of::<Output>() <= 80, "{} bytes", size_of::<Output>());
}
