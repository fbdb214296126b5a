//! How connections are ended by the server, and what their clients do then.

use bytes::Bytes;

use crate::wire::Format;
use crate::{Code, ErrorInfo, encode};

/// What becomes of a connection that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Parting {
    /// For good: its members leave at once.
    Closed,
    /// Its client may resume it, and its members stay for a while.
    Kept,
}

/// Why the server ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// A newer transport of the same connection has taken over.
    Superseded,
    /// The node drains.
    Draining,
    /// Its token has expired.
    TokenExpired,
    /// Its token was revoked.
    TokenRevoked,
    /// Its key was revoked.
    KeyRevoked,
    /// The app was disabled.
    AppDisabled,
    /// The app was deleted.
    AppDeleted,
    /// It does not read fast enough.
    TooSlow,
    /// The node cannot reach its backbone.
    Unavailable,
    /// Its user's connections were ended.
    Terminated,
    /// An operator closed it, and its client may come back.
    ClosedForNow,
    /// An operator closed it, and does not want it back.
    ClosedForGood,
    /// Nothing was heard of it, even after a ping.
    Silent,
    /// It sends more than anybody may.
    Flood,
    /// What it sent is no frame, or too large for one.
    Protocol,
}

impl End {
    /// Every reason.
    pub const ALL: [Self; 15] = [
        Self::Superseded,
        Self::Draining,
        Self::TokenExpired,
        Self::TokenRevoked,
        Self::KeyRevoked,
        Self::AppDisabled,
        Self::AppDeleted,
        Self::TooSlow,
        Self::Unavailable,
        Self::Terminated,
        Self::ClosedForNow,
        Self::ClosedForGood,
        Self::Silent,
        Self::Flood,
        Self::Protocol,
    ];

    /// What its client is told.
    pub fn error(self) -> ErrorInfo {
        match self {
            Self::Superseded => Code::Disconnected.says("superseded by a newer transport of the same connection"),
            Self::Draining => Code::GoElsewhere.info(),
            Self::TokenExpired => Code::TokenExpired.info(),
            Self::TokenRevoked => Code::TokenRevoked.info(),
            Self::KeyRevoked => Code::KeyRevoked.info(),
            Self::AppDisabled => Code::AppDisabled.info(),
            Self::AppDeleted => Code::NotFound.says("the app was deleted"),
            Self::TooSlow => Code::OutboundBacklog.info(),
            Self::Unavailable => Code::Unavailable.info(),
            Self::Terminated => Code::Forbidden.says("the user's connections were terminated"),
            Self::ClosedForNow => Code::Disconnected.says("closed by an operator, reconnect"),
            Self::ClosedForGood => Code::Forbidden.says("closed by an operator"),
            Self::Silent => Code::Disconnected.says("nothing was heard of the client"),
            Self::Flood => Code::Flood.info(),
            Self::Protocol => Code::Protocol.info(),
        }
    }

    /// Whether its client may resume it.
    pub fn parting(self) -> Parting {
        match self {
            Self::Superseded
            | Self::Draining
            | Self::TokenExpired
            | Self::TokenRevoked
            | Self::TooSlow
            | Self::Unavailable
            | Self::ClosedForNow
            | Self::Silent => Parting::Kept,
            Self::KeyRevoked
            | Self::AppDisabled
            | Self::AppDeleted
            | Self::Terminated
            | Self::ClosedForGood
            | Self::Flood
            | Self::Protocol => Parting::Closed,
        }
    }

    /// The last frame: DISCONNECTED, upon which clients come back at once, or ERROR, upon which they give up.
    pub fn frame(self, format: Format) -> Bytes {
        last_frame(format, self.parting(), &self.error())
    }
}

pub(super) fn last_frame(format: Format, parting: Parting, error: &ErrorInfo) -> Bytes {
    match parting {
        Parting::Kept => encode::disconnected(format, error),
        Parting::Closed => encode::connection_error(format, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ERROR with a token error would make clients renew their token and come back, a DISCONNECTED with another 401
    /// come back with the same credentials.
    #[test]
    fn only_token_errors_ask_for_a_new_token() {
        for end in End::ALL {
            let error = end.error();
            match end.parting() {
                Parting::Closed => assert!(!error.is_token_error() && error.status < 500, "{end:?}"),
                Parting::Kept => assert!(error.is_token_error() || error.status != 401, "{end:?}"),
            }
        }
    }
}
