//! Close codes and error codes: the one table of them, with what each makes a client do.

/// What stock clients do after a close, decided by the hundreds of the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// 4000-4099: pusher-js, Java and Swift give up for good, so it is only for what does not heal by itself.
    GiveUp,
    /// 4100-4199: they reconnect after a second or with a back-off.
    BackOff,
    /// 4200-4299: they reconnect at once.
    Reconnect,
    /// 1002-1009: they reconnect after a second; pusher-js counts 1002-1004 against the transport.
    Transport,
}

/// Why the server closes a connection.
///
/// Several reasons can share a number: the number tells the client what to do, the reason tells its developer why.
/// There is nothing in 4300 and above, which pusher-js takes for good and Java for a reconnect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseCode {
    /// 1002: frames that break the rules of WebSocket.
    BrokenRules,
    /// 1003: a binary frame. Every Pusher client sends text only.
    NotText,
    /// 1007: a text frame that is not UTF-8.
    NotUtf8,
    /// 1009: a frame over the size limit of the listener.
    FrameTooLarge,
    /// 4000: plain text to an app that demands TLS.
    TlsOnly,
    /// 4001: no app has the key.
    UnknownKey,
    /// 4001: the app was deleted while the connection was open.
    AppDeleted,
    /// 4003: the app is disabled, or was while the connection was open.
    AppDisabled,
    /// 4004: the app's connection quota is used up.
    OverQuota,
    /// 4005: an upgrade on a path that is not `/app/{key}`.
    UnknownPath,
    /// 4007: a protocol version other than 4 to 7.
    UnsupportedProtocol,
    /// 4009: the key was revoked while the connection was open. It stops clients for good, as 4001 would, but tells
    /// their developers apart from a mistyped key.
    KeyRevoked,
    /// 4009: a sign-in that cannot be verified.
    SignInFailed,
    /// 4009: a web page from somewhere that the app does not allow.
    OriginNotAllowed,
    /// 4009: it has neither signed in nor been let into a private or presence channel in the time the app gives.
    Unauthorized,
    /// 4009: the app's backend terminated the connections of the user it is signed in as.
    Terminated,
    /// 4009: an operator closed the connection, and does not want it back.
    ClosedForGood,
    /// 4100: the node is full.
    OverCapacity,
    /// 4100: the connection does not read fast enough. Not 4200: whoever could not keep up gains nothing from coming
    /// back in the same millisecond.
    TooSlow,
    /// 4100: the node cannot reach its backbone, so that it can promise no delivery.
    Unavailable,
    /// 4200: messages of one of its channels may be missing. Stock clients know no other sign of it than a new
    /// connection, on which they subscribe anew.
    Missed,
    /// 4200: an operator closed the connection, and its client may come back.
    ClosedForNow,
    /// 4200: the node drains. Stagger it: everybody at once is a stampede.
    Draining,
    /// 4201: silence, even after a ping.
    PongTimeout,
}

impl CloseCode {
    /// Every reason.
    pub const ALL: [Self; 24] = [
        Self::BrokenRules,
        Self::NotText,
        Self::NotUtf8,
        Self::FrameTooLarge,
        Self::TlsOnly,
        Self::UnknownKey,
        Self::AppDeleted,
        Self::AppDisabled,
        Self::OverQuota,
        Self::UnknownPath,
        Self::UnsupportedProtocol,
        Self::KeyRevoked,
        Self::SignInFailed,
        Self::OriginNotAllowed,
        Self::Unauthorized,
        Self::Terminated,
        Self::ClosedForGood,
        Self::OverCapacity,
        Self::TooSlow,
        Self::Unavailable,
        Self::Missed,
        Self::Draining,
        Self::ClosedForNow,
        Self::PongTimeout,
    ];

    /// The number in the close frame.
    pub fn number(self) -> u16 {
        self.row().0
    }

    /// The text in the close frame: for developers, and at most the 123 bytes that fit.
    pub fn reason(self) -> &'static str {
        self.row().1
    }

    fn row(self) -> (u16, &'static str) {
        match self {
            Self::BrokenRules => (1002, "The rules of WebSocket are broken"),
            Self::NotText => (1003, "Only text frames are understood"),
            Self::NotUtf8 => (1007, "Text must be UTF-8"),
            Self::FrameTooLarge => (1009, "Frame too large"),
            Self::TlsOnly => (4000, "The app takes connections over TLS only"),
            Self::UnknownKey => (4001, "No app has this key"),
            Self::AppDeleted => (4001, "The app was deleted"),
            Self::AppDisabled => (4003, "The app is disabled"),
            Self::OverQuota => (4004, "The app is over its connection quota"),
            Self::UnknownPath => (4005, "Path not found, connect to /app/KEY"),
            Self::UnsupportedProtocol => (4007, "Unsupported protocol version, use 4 to 7"),
            Self::KeyRevoked => (4009, "The key was revoked"),
            Self::SignInFailed => (4009, "Sign-in failed"),
            Self::OriginNotAllowed => (4009, "The app takes no connections from this origin"),
            Self::Unauthorized => (4009, "Neither signed in nor subscribed with authorization in time"),
            Self::Terminated => (4009, "The user's connections were terminated"),
            Self::ClosedForGood => (4009, "Closed by an operator"),
            Self::OverCapacity => (4100, "Over capacity"),
            Self::TooSlow => (4100, "Messages were not read fast enough"),
            Self::Unavailable => (4100, "Temporarily unavailable"),
            Self::Missed => (4200, "Messages may have been missed, reconnect"),
            Self::Draining => (4200, "The server is restarting, reconnect"),
            Self::ClosedForNow => (4200, "Closed by an operator, reconnect"),
            Self::PongTimeout => (4201, "No pong in time"),
        }
    }

    /// What clients do with it.
    pub fn class(self) -> Class {
        match self {
            Self::BrokenRules | Self::NotText | Self::NotUtf8 | Self::FrameTooLarge => Class::Transport,
            Self::TlsOnly
            | Self::UnknownKey
            | Self::AppDeleted
            | Self::AppDisabled
            | Self::OverQuota
            | Self::UnknownPath
            | Self::UnsupportedProtocol
            | Self::KeyRevoked
            | Self::SignInFailed
            | Self::OriginNotAllowed
            | Self::Unauthorized
            | Self::Terminated
            | Self::ClosedForGood => Class::GiveUp,
            Self::OverCapacity | Self::TooSlow | Self::Unavailable => Class::BackOff,
            Self::Missed | Self::Draining | Self::ClosedForNow | Self::PongTimeout => Class::Reconnect,
        }
    }
}

/// A `code` in a `pusher:error` that closes nothing. All other such errors have the code null: a client cannot tell
/// them apart anyway, and Java insists on a number or null.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// 4301: more client events in a second than the app allows.
    ClientEventRate,
    /// 4302: a watchlist longer than the app allows; its first users are watched.
    WatchlistTooLong,
}

impl ErrorCode {
    /// Every code.
    pub const ALL: [Self; 2] = [Self::ClientEventRate, Self::WatchlistTooLong];

    /// The number.
    pub fn number(self) -> u16 {
        match self {
            Self::ClientEventRate => 4301,
            Self::WatchlistTooLong => 4302,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The page shows this very table.
    const PAGE: &str = include_str!("../../../docs/protocols/pusher.md");

    #[test]
    fn the_number_fits_the_class() {
        for code in CloseCode::ALL {
            let range = match code.class() {
                Class::GiveUp => 4000..=4099,
                Class::BackOff => 4100..=4199,
                Class::Reconnect => 4200..=4299,
                Class::Transport => 1002..=1009,
            };
            assert!(range.contains(&code.number()), "{code:?}");
            assert!(code.reason().len() <= 123, "{code:?}");
        }
    }

    #[test]
    fn the_page_shows_every_code() {
        for code in CloseCode::ALL {
            let row = format!("| {} | {} | {:?} |", code.number(), code.reason(), code.class());
            assert!(PAGE.contains(&format!("\n{row}")), "docs/protocols/pusher.md lacks the row\n{row}");
        }
        for code in ErrorCode::ALL {
            assert!(PAGE.contains(&format!("\n| {} |", code.number())), "{code:?}");
        }
    }
}
