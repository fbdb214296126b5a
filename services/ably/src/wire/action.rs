//! What a frame is, what a presence item tells, and what a message does.

/// The `action` of a frame (spec §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "each variant is its wire word")]
pub enum Action {
    Heartbeat = 0,
    Ack = 1,
    Nack = 2,
    Connect = 3,
    Connected = 4,
    Disconnect = 5,
    Disconnected = 6,
    Close = 7,
    Closed = 8,
    Error = 9,
    Attach = 10,
    Attached = 11,
    Detach = 12,
    Detached = 13,
    Presence = 14,
    Message = 15,
    Sync = 16,
    Auth = 17,
    Activate = 18,
    Object = 19,
    ObjectSync = 20,
    Annotation = 21,
}

impl Action {
    const ALL: [Self; 22] = [
        Self::Heartbeat,
        Self::Ack,
        Self::Nack,
        Self::Connect,
        Self::Connected,
        Self::Disconnect,
        Self::Disconnected,
        Self::Close,
        Self::Closed,
        Self::Error,
        Self::Attach,
        Self::Attached,
        Self::Detach,
        Self::Detached,
        Self::Presence,
        Self::Message,
        Self::Sync,
        Self::Auth,
        Self::Activate,
        Self::Object,
        Self::ObjectSync,
        Self::Annotation,
    ];

    /// The action with this number, if there is one.
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }

    /// Its number.
    pub fn number(self) -> u8 {
        self as u8
    }
}

/// The `action` of a presence item (spec §7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PresenceAction {
    /// Is there: in a SYNC, or a list of members.
    Present = 1,
    /// Came.
    Enter = 2,
    /// Went.
    Leave = 3,
    /// Says something else.
    Update = 4,
}

impl PresenceAction {
    /// The action with this number, if a client may say it.
    pub fn from_client(number: u64) -> Option<channels::PresenceAction> {
        match number {
            2 => Some(channels::PresenceAction::Enter),
            3 => Some(channels::PresenceAction::Leave),
            4 => Some(channels::PresenceAction::Update),
            _ => None,
        }
    }

    /// Its number.
    pub fn number(self) -> u8 {
        self as u8
    }
}

impl From<channels::PresenceAction> for PresenceAction {
    fn from(action: channels::PresenceAction) -> Self {
        match action {
            channels::PresenceAction::Enter => Self::Enter,
            channels::PresenceAction::Update => Self::Update,
            channels::PresenceAction::Leave => Self::Leave,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (number, action) in (0..).zip(Action::ALL) {
            assert_eq!(Action::from_number(number), Some(action));
            assert_eq!(u64::from(action.number()), number);
        }
        assert_eq!(Action::from_number(22), None);
        assert_eq!(Action::from_number(u64::MAX), None);
    }
}
