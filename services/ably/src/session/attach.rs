//! Attaching to channels and detaching from them, and what is left of that when a capability changes.

use std::sync::Arc;

use channels::{Capability, ChannelName};

use super::{Attach, Cause, Denied, Output, Session, written};
use crate::serial::parse_channel_serial;
use crate::wire::{ClientFrame, Field, Flags};
use crate::{ChannelParams, Code, ErrorInfo, Modes, Name, encode};

/// What a session remembers of an attachment.
#[derive(Debug)]
pub(super) struct Attachment {
    /// The channel.
    pub(super) channel: ChannelName,
    /// What its client asked for, of what there is.
    pub(super) requested: Modes,
    /// What it has of that.
    granted: Modes,
    /// Whether clients may publish there.
    pub(super) takes_publishes: bool,
}

impl Session {
    pub(super) fn attach(&mut self, frame: &ClientFrame<'_>, out: &mut Vec<Output>) {
        match self.attachment(frame) {
            Ok(attach) => out.push(Output::Attach(Box::new(attach))),
            Err(error) => self.refuse_attach(written(frame), error, out),
        }
    }

    fn attachment(&mut self, frame: &ClientFrame<'_>) -> Result<Attach, ErrorInfo> {
        let name = Name::parse(written(frame))?;
        let params = ChannelParams::parse(name.params(), frame.params.iter())?;
        let flags = frame.flags.given().copied().unwrap_or_default();
        let wanted = params.modes().unwrap_or_else(|| match Modes::from_flags(flags) {
            Modes::NONE => Modes::DEFAULT,
            modes => modes,
        });
        let mut requested = wanted & Modes::SUPPORTED;
        if requested.is_empty() {
            let objects = Modes::OBJECT_SUBSCRIBE | Modes::OBJECT_PUBLISH;
            return Err(if (wanted & objects).is_empty() { Code::NotMutable } else { Code::Objects }.into());
        }
        if !name.takes_publishes() {
            requested = requested & (Modes::SUBSCRIBE | Modes::PRESENCE_SUBSCRIBE);
        }
        let channel = name.base().clone();
        if !self.capability.permits_any(channel.as_str()) {
            return Err(Code::Capability.into());
        }
        let again = self.channels.contains_key(name.written());
        if !again && self.channels.len() >= self.settings.channels {
            let limit = self.settings.channels;
            return Err(Code::TooManyChannels.says(format!("more than {limit} channels on this connection")));
        }
        let granted = requested & Modes::permitted(&self.capability, channel.as_str());
        let attachment = Attachment { channel, requested, granted, takes_publishes: name.takes_publishes() };
        self.channels.insert(name.written().clone(), attachment);
        let serial = match &frame.channel_serial {
            Field::Absent => None,
            Field::Given(serial) if serial.is_empty() => None,
            Field::Given(serial) => Some(parse_channel_serial(serial)),
            Field::Wrong => Some(Err(crate::serial::Unreadable)),
        };
        Ok(Attach {
            modes: granted,
            serial,
            resume: Flags::from_bits(flags).contains(Flags::ATTACH_RESUME),
            echo: params.echo().unwrap_or(self.echo),
            again,
            name,
            params,
        })
    }

    /// An attachment cannot be, or no longer: its client is told, and tries again if the reason is one that passes.
    pub fn refuse_attach(&mut self, name: &str, error: ErrorInfo, out: &mut Vec<Output>) {
        if self.closed {
            return;
        }
        if let Some((name, _)) = self.channels.remove_entry(name) {
            out.push(Output::Detach { name });
        }
        let passes = error.status == 429 || error.status >= 500;
        let frame = if passes {
            encode::detached(self.format, name, Some(&error))
        } else {
            encode::channel_error(self.format, name, &error)
        };
        out.push(Output::Denied { denied: Denied::Attach(Cause::of(&error)), channel: name.to_owned(), error });
        out.push(Output::Send(frame));
    }

    /// An attachment has ended, of which its client has been told.
    pub fn forget(&mut self, name: &str) {
        self.channels.remove(name);
    }

    pub(super) fn detach(&mut self, frame: &ClientFrame<'_>, out: &mut Vec<Output>) {
        let name = written(frame);
        if let Some((name, _)) = self.channels.remove_entry(name) {
            out.push(Output::Detach { name });
        }
        out.push(Output::Send(encode::detached(self.format, name, None)));
    }

    pub(super) fn sync(&self, frame: &ClientFrame<'_>, out: &mut Vec<Output>) {
        if let Some((name, _)) = self.channels.get_key_value(written(frame)) {
            out.push(Output::Sync { name: name.clone() });
        }
    }

    /// It may what `capability` says from now on. What it may nothing of any more, it is no longer attached to.
    pub fn permit(&mut self, capability: Arc<Capability>, out: &mut Vec<Output>) {
        if self.closed {
            return;
        }
        let mut lost = Vec::new();
        for (name, attachment) in &mut self.channels {
            let channel = attachment.channel.as_str();
            if !capability.permits_any(channel) {
                lost.push(name.clone());
                continue;
            }
            let granted = attachment.requested & Modes::permitted(&capability, channel);
            if std::mem::replace(&mut attachment.granted, granted) != granted {
                out.push(Output::Modes { name: name.clone(), modes: granted });
            }
        }
        self.capability = capability;
        for name in lost {
            self.refuse_attach(&name, Code::Capability.into(), out);
        }
    }
}
