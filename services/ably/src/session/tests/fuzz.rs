//! Whatever comes in, what goes out is well-formed, ordered and bounded.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::*;
use crate::wire::{from_slice, to_vec};

/// What a client may send, as JSON: mostly frames that mean something.
fn frames() -> impl Strategy<Value = String> {
    let channel = prop_oneof![
        "[a-c]",
        Just("[?rewind=1]a".to_owned()),
        Just("[meta]connection.lifecycle".to_owned()),
        Just("[filter=bmFtZSA9PSAneCc=]a".to_owned()),
        "[:\\[#]?[a-c]{0,2}",
    ];
    let serial = prop_oneof![
        Just(String::new()),
        (0..30_u64).prop_map(|serial| format!(",\"msgSerial\":{serial}")),
        Just(",\"msgSerial\":-1".to_owned())
    ];
    let item = prop_oneof![
        r#"\{"action":[0-6],"clientId":"[a-c*]?","data":("x"|\{"a":1\}|\[\]|1|null|"\\\\ud83d")\}"#,
        r#"\{"name":"[a-z]{0,3}","data":"\PC{0,5}","encoding":"(json|base64|x)","id":"(b:0|c0nnA:1:0|x)"\}"#
            .prop_map(|item| item.replace('\\', "")),
        r#"\{"data":"(AQL/){0,2}","encoding":"(json/)?base64"\}"#,
        r#"\{"extras":(\{"ephemeral":true\}|\{\}|[0-9]|\{"a":1e999\}),"connectionId":"c0nn[AB]"\}"#,
        Just("{}".to_owned()),
    ];
    let body = proptest::collection::vec(item, 0..4).prop_map(|items| items.join(","));
    let whole = (0..24_u8, channel, serial, body, 0..8_u32).prop_map(|(action, channel, serial, body, bits)| {
        let list = if action == 14 { "presence" } else { "messages" };
        let flags = bits << 16;
        format!(
            r#"{{"action":{action},"channel":"{channel}"{serial},"{list}":[{body}],"flags":{flags},"auth":{{"accessToken":"t"}}}}"#
        )
    });
    prop_oneof![8 => whole, 1 => "\\PC{0,40}", 1 => r#"\{"action":(10|14|15),"(channel|messages|presence|params)":[0-9\[\]{}"a:,]{0,9}\}"#]
}

/// What a result, or the server's own doing, may be.
#[derive(Clone, Debug)]
enum Step {
    Frame(String),
    Bytes(Vec<u8>),
    Tick(u64),
    Settle(u64, bool),
    Permit(&'static str),
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => frames().prop_map(Step::Frame),
        1 => proptest::collection::vec(any::<u8>(), 0..60).prop_map(Step::Bytes),
        2 => (0..20_u64).prop_map(Step::Tick),
        6 => (0..30_u64, any::<bool>()).prop_map(|(serial, good)| Step::Settle(serial, good)),
        1 => prop_oneof![Just("*"), Just("a=subscribe"), Just("b=publish,presence c=history")].prop_map(Step::Permit),
    ]
}

/// What the outputs so far amount to.
#[derive(Default)]
struct Seen {
    attached: BTreeSet<Arc<str>>,
    /// Publishes and changes of presence that are under way.
    open: BTreeSet<u64>,
    answered: Option<u64>,
    verify: bool,
    closed: bool,
}

impl Seen {
    fn note(&mut self, output: &Output, format: Format) -> Result<(), TestCaseError> {
        prop_assert!(!self.closed, "something follows the end: {output:?}");
        match output {
            Output::Send(frame) => {
                let frame: Value = from_slice(format, frame).unwrap();
                let answers = frame["action"] == 1 || frame["action"] == 2;
                if answers {
                    let first = frame["msgSerial"].as_u64().unwrap();
                    let count = frame["count"].as_u64().unwrap();
                    prop_assert!(self.answered.is_none_or(|answered| answered < first));
                    prop_assert!(self.open.range(..first + count).next().is_none(), "answered too soon: {frame}");
                    self.answered = Some(first + count - 1);
                }
            }
            Output::Attach(attach) => {
                prop_assert_eq!(attach.again, !self.attached.insert(attach.name.written().clone()));
                prop_assert!(crate::Modes::SUPPORTED.contains(attach.modes));
            }
            Output::Modes { name, .. } | Output::Sync { name } => prop_assert!(self.attached.contains(name)),
            Output::Detach { name } => prop_assert!(self.attached.remove(name)),
            Output::Publish(publish) => {
                prop_assert!(self.open.insert(publish.msg_serial));
                prop_assert!(!publish.record.messages.is_empty());
                for format in Format::ALL {
                    let frame = encode::messages(format, "c", &publish.record, Some(position(1)));
                    // JSON's values have no bytes, which MessagePack shows base64 as.
                    prop_assert!(from_slice::<IgnoredAny>(format, &frame).is_ok());
                }
            }
            Output::Presence(presence) => {
                prop_assert!(self.open.insert(presence.msg_serial) && !presence.changes.is_empty());
                prop_assert!(self.attached.contains(&presence.name));
            }
            Output::Verify { .. } => self.verify = true,
            Output::Close(..) => self.closed = true,
            Output::Ping | Output::Denied { .. } => {}
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn any_input_is_answered(steps in proptest::collection::vec(steps(), 0..80), msgpack: bool, client in "[ab*-]", token in proptest::option::of(0..200_u64)) {
        let mut scene = Scene::of(&client, "*");
        scene.settings.channels = 3;
        scene.settings.in_flight = 8;
        let format = if msgpack { Format::MsgPack } else { Format::Json };
        scene.opening.format = format;
        scene.opening.authority.token = token.map(|seconds| Validity { issued_ms: WALL_MS, expires_ms: WALL_MS + seconds * 1000 });
        let mut now = Now { instant: Instant::now(), unix_ms: WALL_MS };
        let (mut out, mut seen) = (Vec::new(), Seen::default());
        let mut session = Session::open(scene.opening.clone(), &Arc::new(scene.settings.clone()), &scene.app, now, &mut out);
        for step in steps {
            match step {
                Step::Frame(text) if msgpack => match serde_json::from_str::<Value>(&text) {
                    Ok(value) => session.handle(Input::Frame(&to_vec(format, &value)), &scene.app, now, &mut out),
                    Err(_) => continue,
                },
                Step::Frame(text) => session.handle(Input::Frame(text.as_bytes()), &scene.app, now, &mut out),
                Step::Bytes(bytes) => session.handle(Input::Frame(&bytes), &scene.app, now, &mut out),
                Step::Tick(seconds) => {
                    now.instant += Duration::from_secs(seconds);
                    now.unix_ms += seconds * 1000;
                    session.handle(Input::Tick { sent: now.instant }, &scene.app, now, &mut out);
                }
                Step::Settle(serial, good) => {
                    seen.open.remove(&serial);
                    session.published(serial, if good { Ok(Some(position(9))) } else { Err(Code::Timeout.info()) }, &mut out);
                    session.presence_done(serial, if good { Ok(()) } else { Err(Code::Busy.info()) }, &mut out);
                }
                Step::Permit(words) => session.permit(Arc::new(capability(words)), &mut out),
            }
            if std::mem::take(&mut seen.verify) {
                let authority = Authority { identity: identity(&client), capability: Arc::new(capability("a b")), token: None };
                session.authorized(Ok((authority, "k".to_owned())), &scene.app, now, &mut out);
            }
            prop_assert!(out.len() < 64, "one input makes few outputs");
            for output in out.drain(..) {
                seen.note(&output, format)?;
            }
            prop_assert!(session.answers.len() <= 16 && session.channels.len() <= 3);
            if !session.is_closed() {
                prop_assert!(seen.attached.iter().eq(session.attachments()));
                prop_assert!(session.deadline() <= now.instant + Duration::from_secs(60));
            }
        }
    }
}
