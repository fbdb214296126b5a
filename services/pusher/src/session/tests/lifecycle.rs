//! Opening, keeping alive, closing.

use super::*;

fn opened(protocol: ProtocolVersion) -> (Session, Vec<Output>) {
    let mut out = Vec::new();
    let scene = Scene { protocol, ..Scene::default() };
    let session = scene.open(Instant::now(), &mut out);
    (session, out)
}

fn lines(out: &[Output]) -> Vec<String> {
    out.iter().map(shown).collect()
}

/// Spec §18, 1 and 2.
#[test]
fn the_greeting_is_first_and_has_a_timeout() {
    let (_, out) = opened(ProtocolVersion::V7);
    let greeting = r#"< {"event":"pusher:connection_established","data":"{\"socket_id\":\"418372.90513377\",\"activity_timeout\":120}"}"#;
    assert_eq!(lines(&out), [greeting]);
    let settings = Settings { activity_timeout: Duration::from_millis(300), ..Settings::default() };
    let mut out = Vec::new();
    Scene { settings, ..Scene::default() }.open(Instant::now(), &mut out);
    assert!(lines(&out)[0].contains(r#"\"activity_timeout\":1}"#), "never 0");
}

#[test]
fn an_idle_session_is_small() {
    assert!(size_of::<Session>() <= 128, "{}", size_of::<Session>());
}

#[test]
fn pusher_js_pings() {
    check(
        r#"
        > {"event":"pusher:ping","data":{}}
        < {"event":"pusher:pong","data":"{}"}
        "#,
    );
}

#[test]
fn java_pings_without_data() {
    Scene { protocol: ProtocolVersion::V5, ..Scene::default() }.check(
        r#"
        > {"event": "pusher:ping"}
        < {"event":"pusher:pong","data":"{}"}
        "#,
    );
}

/// Swift sends WebSocket pings only; any frame is a sign of life.
#[test]
fn any_sign_of_life_postpones_the_ping() {
    check(
        r#"
        wait 119
        alive
        wait 119
        > nonsense
        < {"event":"pusher:error","data":{"code":null,"message":"Frame is not JSON"}}
        wait 119
        > {"event":"pusher:pong","data":{}}
        wait 120
        ping
        "#,
    );
}

#[test]
fn silence_after_a_ping_closes() {
    check(
        r#"
        wait 120
        ping
        wait 29
        wait 1
        close 4201
        wait 1000
        > {"event":"pusher:ping"}
        alive
        binary
        "#,
    );
}

#[test]
fn a_pong_in_time_starts_over() {
    check(
        r#"
        wait 120
        ping
        wait 29
        alive
        wait 119
        wait 1
        ping
        wait 30
        close 4201
        "#,
    );
}

#[test]
fn an_early_tick_does_nothing() {
    let (mut session, _) = opened(ProtocolVersion::V7);
    let mut out = Vec::new();
    session.handle(Input::Tick, &fixtures::app(), at(Instant::now()), &mut out);
    assert!(out.is_empty());
}

/// Spec §18, 43.
#[test]
fn an_unasked_pong_is_ignored() {
    check(r#"> {"event":"pusher:pong","data":{}}"#);
}

#[test]
fn binary_closes() {
    check(
        "
        binary
        close 1003
        ",
    );
}

#[test]
fn what_makes_no_sense_is_said_and_kept_open() {
    check(
        r#"
        > hello
        < {"event":"pusher:error","data":{"code":null,"message":"Frame is not JSON"}}
        > [1]
        < {"event":"pusher:error","data":{"code":null,"message":"Frame must be a JSON object with a string member \"event\""}}
        > {"event":"pusher:whatever"}
        < {"event":"pusher:error","data":{"code":null,"message":"Unsupported event received on socket: pusher:whatever"}}
        > {"event":"pusher:signin","data":{"auth":"k:f"}}
        < {"event":"pusher:error","data":{"code":null,"message":"pusher:signin needs the string member \"data.user_data\""}}
        > {"event":"pusher:ping"}
        < {"event":"pusher:pong","data":"{}"}
        "#,
    );
}

/// Spec §18, 41 in the form the design chose, and §1 on versions 4 and 5.
#[test]
fn reasons_of_the_server() {
    for code in CloseCode::ALL {
        let (mut session, _) = opened(ProtocolVersion::V7);
        let mut out = Vec::new();
        session.close(code, &mut out);
        session.close(CloseCode::TooSlow, &mut out);
        assert_eq!(out, [Output::Close(code)], "closes once");
        for protocol in [ProtocolVersion::V4, ProtocolVersion::V5] {
            let (mut session, _) = opened(protocol);
            out.clear();
            session.close(code, &mut out);
            let error = frame::error(Some(code.number()), code.reason());
            assert_eq!(out, [Output::Send(error), Output::Close(code)]);
        }
    }
}

#[test]
fn the_app_may_change_under_a_connection() {
    let mut gone = fixtures::app();
    gone.keys.clear();
    let mut disabled = fixtures::app();
    disabled.enabled = false;
    for (app, expected) in [
        (None, Some(CloseCode::AppDeleted)),
        (Some(disabled), Some(CloseCode::AppDisabled)),
        (Some(gone), Some(CloseCode::KeyRevoked)),
        (Some(fixtures::app()), None),
    ] {
        let (mut session, _) = opened(ProtocolVersion::V7);
        let mut out = Vec::new();
        session.recheck(app.as_ref(), &mut out);
        assert_eq!(out, expected.map(Output::Close).into_iter().collect::<Vec<_>>());
        // A frame finds out by itself, should nobody have rechecked.
        if let Some(app) = app {
            let (mut session, _) = opened(ProtocolVersion::V7);
            out.clear();
            session.handle(Input::Text("{}"), &app, at(Instant::now()), &mut out);
            assert_eq!(matches!(out[0], Output::Close(_)), expected.is_some());
        }
    }
}
