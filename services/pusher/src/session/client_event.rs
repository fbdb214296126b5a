//! Client events: from one subscriber to the others.

use std::time::Instant;

use bytes::Bytes;
use channels::{Access, App, ChannelKind, ChannelName, Message, Operation, Record, RecordKind};

use super::complaint::Complaint;
use super::{Output, Session};
use crate::frame::ClientEvent;

impl Session {
    pub(super) fn client_event(
        &mut self,
        event: &ClientEvent<'_>,
        app: &App,
        now: Instant,
        out: &mut Vec<Output>,
    ) -> Result<(), Complaint> {
        let channel = self.channels.get(event.channel.as_ref());
        if channel.is_some_and(|channel| !app.client_events(channel)) {
            return Err(Complaint::ClientEventsDisabled);
        }
        let limits = &app.limits;
        // Attempts count, not successes: otherwise a flood of bad ones would be free.
        let per_second = limits.client_events_per_second;
        if !self.client_events.take(per_second, per_second, now) {
            return Err(Complaint::TooManyClientEvents(per_second));
        }
        let channel = channel.ok_or(Complaint::NotOnThisChannel)?;
        match ChannelKind::of(channel.as_str()).access() {
            Access::Private | Access::Presence => {}
            Access::Public | Access::User => return Err(Complaint::NotOnThisChannel),
        }
        let may_publish = |key: &channels::Key| key.capability.permits(channel.as_str(), Operation::Publish);
        if !app.key(self.key.as_str()).is_some_and(may_publish) {
            return Err(Complaint::MayNotPublish);
        }
        if event.name.chars().count() > limits.event_name_chars {
            return Err(Complaint::NameTooLong(limits.event_name_chars));
        }
        let (data, encoding) = payload(event)?;
        if data.len() > limits.event_data_bytes {
            return Err(Complaint::DataTooLarge(limits.event_data_bytes));
        }
        let message = Message {
            id: None,
            client: None,
            name: Some(event.name.clone().into_owned()),
            data,
            encoding: encoding.to_owned(),
            extras: Bytes::new(),
        };
        let record = Record {
            id: None,
            kind: RecordKind::ClientEvent,
            connection: Some(self.socket_id.connection().clone()),
            // Who it was let in as, never what the message says.
            client: self.identity.as_ref().and_then(|identity| identity.members.get(channel)).cloned(),
            timestamp_ms: 0,
            messages: vec![message],
            traceparent: None,
        };
        out.push(Output::Publish { channel: channel.clone(), record });
        Ok(())
    }

    /// An [`Output::Publish`] to `channel` was not done: a quota of the app is used up, as `text` says.
    pub fn refuse_client_event(&self, channel: &ChannelName, text: String, out: &mut Vec<Output>) {
        out.push(Complaint::OverQuota(text).output(channel.as_str()));
    }
}

/// The bytes to relay, and their encoding: a string is its characters, anything else its JSON text. No data is null.
fn payload(event: &ClientEvent<'_>) -> Result<(Bytes, &'static str), Complaint> {
    let json = event.data.map_or("null", |data| data.get());
    if !json.starts_with('"') {
        return Ok((Bytes::copy_from_slice(json.as_bytes()), "json"));
    }
    // The syntax was checked with the frame; half a surrogate pair is all that can still be wrong.
    let text: String = serde_json::from_str(json).map_err(|_| Complaint::DataNotUnicode)?;
    Ok((text.into(), ""))
}
