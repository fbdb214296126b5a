//! Publishing, attached or not.

use channels::{App, ChannelName, Operation, Record, RecordKind};

use super::answers::Publishing;
use super::{Output, Publish, Session, written};
use crate::publish::{Publisher, compose};
use crate::serial::{client_key, connection_key};
use crate::wire::{ClientFrame, Field};
use crate::{Code, ErrorInfo, Modes, Name};

impl Session {
    pub(super) fn publish(
        &mut self,
        frame: &ClientFrame<'_>,
        serial: u64,
        app: &App,
        out: &mut Vec<Output>,
    ) -> Result<(), ErrorInfo> {
        let channel = self.may(written(frame), Operation::Publish, Modes::PUBLISH)?;
        if frame.params.get("_forceNack") == Some("true") {
            return Err(Code::Forced.into());
        }
        if frame.messages.items.iter().any(|message| message.connection_key != Field::Absent) {
            return Err(Code::ForeignConnection.says("only a publish over HTTP may be for another connection"));
        }
        let publisher = Publisher {
            identity: &self.identity,
            connection: Some(&self.connection),
            message_bytes: app.limits.message_bytes,
            messages: self.settings.messages_per_publish,
        };
        let composed = compose(&frame.messages, &publisher)?;
        if composed.messages.is_empty() {
            self.answers.done(serial);
            return Ok(());
        }
        let resend = connection_key(self.connection.as_str(), serial);
        let key = composed.id.as_deref().map_or_else(|| resend.clone(), client_key);
        let record = Record {
            id: Some(composed.id.unwrap_or(resend)),
            kind: RecordKind::Messages,
            connection: Some(self.connection.clone()),
            client: composed.client,
            timestamp_ms: self.now.unix_ms,
            messages: composed.messages,
            traceparent: None,
        };
        let id = record.id.as_deref().unwrap_or_default().into();
        let messages = record.messages.len();
        self.answers.publishing(serial, Publishing { messages, id, timestamp_ms: record.timestamp_ms });
        out.push(Output::Publish(Box::new(Publish {
            msg_serial: serial,
            channel,
            record,
            key,
            ephemeral: composed.ephemeral,
            bytes: composed.bytes,
        })));
        Ok(())
    }

    /// The channel that its client calls `written`, if it may do `operation` there, for which an attachment needs `mode`.
    pub(super) fn may(&self, written: &str, operation: Operation, mode: Modes) -> Result<ChannelName, ErrorInfo> {
        let attachment = self.channels.get(written);
        let (channel, takes_publishes) = match attachment {
            Some(attachment) => (attachment.channel.clone(), attachment.takes_publishes),
            None => {
                let name = Name::parse(written)?;
                (name.base().clone(), name.takes_publishes())
            }
        };
        if !self.capability.permits(channel.as_str(), operation) {
            return Err(Code::Capability.into());
        }
        if !takes_publishes {
            return Err(Code::ChannelName.says("nobody publishes on a derived channel or a metachannel"));
        }
        if attachment.is_some_and(|attachment| !attachment.requested.contains(mode)) {
            return Err(Code::ModeNotRequested.into());
        }
        Ok(channel)
    }
}
