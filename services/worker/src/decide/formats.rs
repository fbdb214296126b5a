//! Announcements, and events of the queue, held against what releases wrote.

use backbone::Entry;
use bytes::Bytes;
use channels::{AppId, ChannelName, ClientId, WebhookEvent};
use prost::Message as _;
use proto::backbone as wire;
use testkit::Formats;

use super::announced;
use super::state::{Note, Place};
use crate::event::Event;

#[test]
fn what_releases_wrote_is_read_and_still_written() {
    let mut formats = Formats::of(env!("CARGO_MANIFEST_DIR"), env!("CARGO_PKG_VERSION"));
    let channel = ChannelName::new("presence-räume.1").unwrap();
    let place = Place { app: AppId::new("1001").unwrap(), token: channel.token().as_str().into() };
    let user = ClientId::new("Jürgen ☃").unwrap();
    let notes = [(None, WebhookEvent::SubscriptionCount), (Some(&user), WebhookEvent::MemberRemoved)];
    for (name, (user, event)) in ["channel", "user"].into_iter().zip(notes) {
        let (key, note) = (announced::key(&place, user), Note { event, count: 7 });
        formats.text(&format!("key.announced.{name}"), &key);
        let stored = announced::Stored {
            place: place.clone(),
            channel: channel.clone(),
            user: user.cloned(),
            note,
            revision: 3,
        };
        let read =
            |old: &[u8]| announced::decode(Entry { key: key.clone(), value: Bytes::copy_from_slice(old), revision: 3 });
        formats.message(&format!("announced.{name}"), &stored, || announced::encode(&channel, user, note), read);
    }
    // What is not understood confirms nothing.
    let read = |old: &[u8]| Some(announced::decode_confirmed(Bytes::copy_from_slice(old))).filter(|upto| *upto > 0);
    formats.message("confirmed", &77, || announced::encode_confirmed(77), read);
    formats.text("key.confirmed", announced::CONFIRMED);

    let event = wire::WebhookEvent {
        version: backbone::WEBHOOK_EVENT_FORMAT,
        app_id: "1001".to_owned(),
        name: "client_event".to_owned(),
        channel: "presence-räume.1".to_owned(),
        time_ms: 1_795_356_300_123,
        user_id: "Jürgen ☃".to_owned(),
        event: "client-moved".to_owned(),
        data: Bytes::from_static(b"{}"),
        socket_id: "123.456".to_owned(),
        subscription_count: 7,
        webhook_id: "w1".to_owned(),
    };
    let json = r#"{"name":"client_event","channel":"presence-räume.1","event":"client-moved","data":"{}","socket_id":"123.456","user_id":"Jürgen ☃"}"#;
    let told = ("1001".to_owned(), 1_795_356_300_123, "w1".to_owned(), json.to_owned());
    formats.message(
        "webhook_event",
        &told,
        || event.encode_to_vec(),
        |old| {
            let event = Event::decode(Bytes::copy_from_slice(old)).ok()?;
            Some((event.app.to_string(), event.time_ms, event.webhook_id, String::from_utf8(event.json.to_vec()).ok()?))
        },
    );
    formats.check();
}
