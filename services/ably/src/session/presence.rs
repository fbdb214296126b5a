//! Entering, updating and leaving.

use channels::{App, ClientId, MemberData, Operation};

use super::{Change, Output, Presence, Session, written};
use crate::data::Payload;
use crate::publish::{Extras, check_connection};
use crate::serial::connection_key;
use crate::wire::{ClientFrame, ClientPresence, PresenceAction};
use crate::{Code, ErrorInfo, Modes};

/// Longest id of a presence item, in bytes: those of a connection are `connectionId:msgSerial:index`.
const MAX_ID_BYTES: usize = 128;

impl Session {
    pub(super) fn presence(
        &mut self,
        frame: &ClientFrame<'_>,
        serial: u64,
        app: &App,
        out: &mut Vec<Output>,
    ) -> Result<(), ErrorInfo> {
        let channel = self.may(written(frame), Operation::Presence, Modes::PRESENCE)?;
        let Some((name, _)) = self.channels.get_key_value(written(frame)) else {
            return Err(Code::PresenceState.into());
        };
        let items = &frame.presence;
        let limit = self.settings.messages_per_publish;
        if items.total > limit.min(items.items.len()) {
            return Err(Code::TooManyMessages.says(format!("more than {limit} presence items in one frame")));
        }
        let base = connection_key(self.connection.as_str(), serial);
        let changes = items.items.iter().enumerate();
        let changes = changes.map(|(index, item)| self.change(item, format!("{base}:{index}"), app));
        let changes = changes.collect::<Result<Vec<_>, _>>()?;
        if changes.is_empty() {
            self.answers.done(serial);
            return Ok(());
        }
        out.push(Output::Presence(Box::new(Presence { msg_serial: serial, name: name.clone(), channel, changes })));
        self.answers.entering(serial);
        Ok(())
    }

    fn change(&self, item: &ClientPresence<'_>, own_id: String, app: &App) -> Result<Change, ErrorInfo> {
        let action = item.action.given().and_then(|number| PresenceAction::from_client(*number));
        let action = action.ok_or_else(|| Code::BadRequest.says("a presence action is 2, 3 or 4"))?;
        let client = self.member(item)?;
        check_connection(&item.connection_id, Some(&self.connection))?;
        let payload = Payload::new(&item.data, &item.encoding)?;
        let extras = Extras::read(&item.extras)?.json;
        let limit = app.limits.message_bytes;
        if payload.size + extras.len() + client.as_str().len() > limit {
            return Err(Code::TooLarge.says(format!("the presence data is larger than maxMessageSize, {limit} bytes")));
        }
        // What was said before this transport is known by the id it had then; anybody else's is no concern of its own.
        let given = item.id.given().filter(|id| {
            let prefix = id.strip_prefix(self.connection.as_str()).and_then(|rest| rest.strip_prefix(':'));
            prefix.is_some() && id.len() <= MAX_ID_BYTES && !id.chars().any(char::is_control)
        });
        let data = MemberData {
            id: given.map_or(own_id, |id| id.to_string()),
            data: payload.data,
            encoding: payload.encoding,
            extras,
            timestamp_ms: self.now.unix_ms,
        };
        Ok(Change { client, action, data })
    }

    fn member(&self, item: &ClientPresence<'_>) -> Result<ClientId, ErrorInfo> {
        let claimed = item.client_id.checked(|| Code::ClientId.says("clientId must be a string"))?;
        let acting = self.identity.acting_as(claimed.map(AsRef::as_ref))?;
        acting.ok_or_else(|| Code::NoClientId.into())
    }
}
