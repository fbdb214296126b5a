//! What is counted of what was refused.

use super::*;

/// What `session` says it denies when it gets `text`.
fn denied(scene: &Scene, session: &mut Session, text: &str) -> Option<Denied> {
    let mut out = Vec::new();
    session.handle(Input::Text(&signed(text)), &scene.app, at(Instant::now()), &mut out);
    match out.as_slice() {
        [Output::Deny { denied, .. }] => Some(*denied),
        [_] => None,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn every_refusal_says_what_and_why() {
    use Cause::{Invalid, OverLimit, TooLarge, Unauthorized};
    let mut scene = Scene::default();
    scene.app.limits.channels_per_connection = 1;
    scene.app.limits.event_data_bytes = 4;
    scene.app.limits.client_events_per_second = 5;
    scene.app.limits.presence_user_id_chars = 3;
    let mut session = scene.open(Instant::now(), &mut Vec::new());
    let subscribe = Denied::Subscribe;
    let event = Denied::ClientEvent;
    for (text, expected) in [
        ("nonsense", None),
        (r#"{"event":"pusher:signin","data":{}}"#, None),
        (r#"{"event":"pusher:subscribe","data":{"channel":"a b"}}"#, Some(subscribe(Invalid))),
        (r##"{"event":"pusher:subscribe","data":{"channel":"#server-to-user-a"}}"##, Some(subscribe(Unauthorized))),
        (r#"{"event":"pusher:subscribe","data":{"channel":"presence-a"}}"#, Some(subscribe(Unauthorized))),
        (
            r#"{"event":"pusher:subscribe","data":{"channel":"presence-a","auth":"$AUTH(presence-a)"}}"#,
            Some(subscribe(Unauthorized)),
        ),
        (
            r#"{"event":"pusher:subscribe","data":{"channel":"presence-a",$JOIN(presence-a|{"user_id":"long"})}}"#,
            Some(subscribe(TooLarge)),
        ),
        (
            r#"{"event":"pusher:subscribe","data":{"channel":"presence-a",$JOIN(presence-a|{"user_id":""})}}"#,
            Some(subscribe(Invalid)),
        ),
        (r#"{"event":"pusher:subscribe","data":{"channel":"private-a"}}"#, Some(subscribe(Unauthorized))),
        (r#"{"event":"pusher:subscribe","data":{"channel":"private-a","auth":"x:y"}}"#, Some(subscribe(Unauthorized))),
        (r#"{"event":"pusher:subscribe","data":{"channel":"private-a","auth":"$AUTH(private-a)"}}"#, None),
        (r#"{"event":"pusher:subscribe","data":{"channel":"private-a"}}"#, Some(subscribe(Invalid))),
        (r#"{"event":"pusher:subscribe","data":{"channel":"b"}}"#, Some(subscribe(OverLimit))),
        (r#"{"event":"client-x","channel":"private-a","data":1}"#, None),
        (r#"{"event":"client-x","channel":"private-b","data":1}"#, Some(event(Unauthorized))),
        (r#"{"event":"client-x","channel":"private-a","data":12345}"#, Some(event(TooLarge))),
        (r#"{"event":"client-x","channel":"private-a","data":"\ud83d"}"#, Some(event(Invalid))),
        (r#"{"event":"client-x","channel":"private-a","data":1}"#, None),
        (r#"{"event":"client-x","channel":"private-a","data":1}"#, Some(event(OverLimit))),
    ] {
        assert_eq!(denied(&scene, &mut session, text), expected, "{text}");
    }
    let mut out = Vec::new();
    session.refuse_join(&ChannelName::new("private-a").unwrap(), &scene.app, &mut out);
    assert!(matches!(out.as_slice(), [Output::Deny { denied: Denied::Subscribe(OverLimit), .. }]));
    out.clear();
    session.refuse_client_event(&ChannelName::new("private-a").unwrap(), QUOTA.to_owned(), &mut out);
    assert!(matches!(out.as_slice(), [Output::Deny { denied: Denied::ClientEvent(Cause::OverQuota), .. }]));
    let mut scene = Scene::default();
    scene.app.pusher.client_events = false;
    let text = r#"{"event":"client-x","channel":"private-a","data":1}"#;
    let mut session = scene.open(Instant::now(), &mut Vec::new());
    let subscribe = r#"{"event":"pusher:subscribe","data":{"channel":"private-a","auth":"$AUTH(private-a)"}}"#;
    assert_eq!(denied(&scene, &mut session, subscribe), None);
    assert_eq!(denied(&scene, &mut session, text), Some(event(Unauthorized)));
}
