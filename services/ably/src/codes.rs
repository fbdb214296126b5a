//! Every error code that a server of this protocol emits, in one table, and the form in which errors are told.
//!
//! What a code makes a client do follows from the number: 40140 to 40149 with status 401 make it renew its token, 500 to
//! 504 as a status makes it come back at once (to another host, where it knows one).

use std::borrow::Cow;
use std::fmt;

/// Most bytes of an error's words.
const MAX_MESSAGE_BYTES: usize = 400;

/// An error as clients are told it: in an `error` field, a REST body, or an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorInfo {
    /// The number that SDKs act on.
    pub code: u32,
    /// The HTTP status that goes with it, on REST and in frames alike.
    pub status: u16,
    /// For developers.
    pub message: Cow<'static, str>,
}

impl ErrorInfo {
    /// Where the code is explained.
    pub fn href(&self) -> String {
        format!("https://help.ably.io/error/{}", self.code)
    }

    /// Whether it makes SDKs renew their token and try again.
    pub fn is_token_error(&self) -> bool {
        (40140..40150).contains(&self.code)
    }
}

impl fmt::Display for ErrorInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl std::error::Error for ErrorInfo {}

impl From<Code> for ErrorInfo {
    fn from(code: Code) -> Self {
        let (number, status, message) = code.row();
        Self { code: number, status, message: Cow::Borrowed(message) }
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $status:literal, $message:literal;)*) => {
        /// A row of the table: why something is refused or ended.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[$doc])* $name,)*
        }

        impl Code {
            /// Every code, by number.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            fn row(self) -> (u32, u16, &'static str) {
                match self {
                    $(Self::$name => ($number, $status, $message),)*
                }
            }
        }
    };
}

impl Code {
    /// The number on the wire.
    pub fn number(self) -> u32 {
        self.row().0
    }

    /// The HTTP status that goes with it.
    pub fn status(self) -> u16 {
        self.row().1
    }

    /// The error with the table's own words.
    pub fn info(self) -> ErrorInfo {
        self.into()
    }

    /// The error in words that fit the case better; the first few hundred bytes of them, since they may repeat what a
    /// client wrote.
    pub fn says(self, message: impl Into<Cow<'static, str>>) -> ErrorInfo {
        let mut message = message.into();
        if message.len() > MAX_MESSAGE_BYTES {
            let end = message.floor_char_boundary(MAX_MESSAGE_BYTES);
            message.to_mut().truncate(end);
        }
        ErrorInfo { message, ..self.info() }
    }
}

codes! {
    /// The request makes no sense; a capability that is malformed, a channel param that cannot be read.
    BadRequest = 40000, 400, "bad request";
    /// A body that cannot be parsed.
    Unparsable = 40001, 400, "the body cannot be parsed";
    /// A parameter that nobody knows.
    UnknownParam = 40002, 400, "unknown parameter";
    /// A parameter's value: ttl, limit, direction, a missing serial.
    BadParam = 40003, 400, "invalid parameter value";
    /// A header.
    BadHeader = 40004, 400, "invalid header";
    /// A key or token that does not look like one.
    MalformedCredentials = 40005, 400, "malformed credentials";
    /// A connectionId or connectionKey on a message that is not its publisher's.
    ForeignConnection = 40006, 400, "the message names a connection that its publisher does not speak for";
    /// A publish larger than `maxMessageSize`.
    TooLarge = 40009, 400, "the message is too large";
    /// A channel name.
    ChannelName = 40010, 400, "invalid channel name";
    /// A page whose items are no longer there.
    PageGone = 40011, 400, "the page is no longer valid";
    /// A clientId that is malformed, or not its publisher's to use.
    ClientId = 40012, 400, "the clientId is not acceptable";
    /// Data that is neither text, bytes, an object nor an array; or an encoding that is no text.
    Data = 40013, 400, "invalid message data or encoding";
    /// `v` makes no sense.
    ProtocolVersion = 40017, 400, "invalid protocol version";
    /// Some of a batch failed, told to clients of protocol 2 and before.
    BatchFailures = 40020, 400, "the batch was done in part";
    /// A publish that is malformed.
    InvalidPublish = 40030, 400, "invalid publish request";
    /// Message ids that do not go together.
    MessageId = 40031, 400, "invalid message id";
    /// `extras` that are no object.
    Extras = 40032, 400, "invalid extras";
    /// More messages in a publish than are taken.
    TooManyMessages = 40034, 400, "too many messages in one publish";
    /// `params._forceNack`: a client wanted to see a refusal.
    Forced = 40099, 400, "refused, as was asked for";
    /// No credentials, or wrong ones.
    Unauthorized = 40101, 401, "invalid credentials";
    /// Credentials that do not go with the connection they are for.
    Incompatible = 40102, 401, "the credentials are incompatible with the connection";
    /// The timestamp of a token request.
    Timestamp = 40104, 401, "the timestamp is not current";
    /// The nonce of a token request was used before.
    Nonce = 40105, 401, "the nonce was used before";
    /// The account is disabled.
    AccountDisabled = 40110, 401, "the account is disabled";
    /// A quota on connections is used up.
    ConnectionQuota = 40111, 401, "the connection quota is used up";
    /// A quota on messages is used up, for long.
    MessageQuota = 40112, 401, "the message quota is used up";
    /// The account is blocked.
    AccountBlocked = 40113, 401, "the account is blocked";
    /// A quota on channels is used up.
    ChannelQuota = 40114, 401, "the channel quota is used up";
    /// A quota on requests is used up.
    RequestQuota = 40115, 401, "the request quota is used up";
    /// The app is disabled.
    AppDisabled = 40120, 401, "the app is disabled";
    /// The key was revoked.
    KeyRevoked = 40131, 401, "the key was revoked";
    /// The key has expired.
    KeyExpired = 40132, 401, "the key has expired";
    /// Another key than the one the request is about.
    WrongKey = 40133, 401, "the key is not the one in the request";
    /// A token is not accepted, for a reason that has no code of its own.
    Token = 40140, 401, "the token is not accepted";
    /// The token was revoked.
    TokenRevoked = 40141, 401, "token revoked";
    /// The token has expired.
    TokenExpired = 40142, 401, "token expired";
    /// No such token.
    TokenUnknown = 40143, 401, "token unrecognised";
    /// A JWT that cannot be read or is badly signed.
    InvalidJwt = 40144, 401, "invalid JWT";
    /// A token string that cannot be read.
    InvalidToken = 40145, 401, "invalid token";
    /// The capability does not allow it.
    Capability = 40160, 401, "the credentials do not permit this operation";
    /// Only an identified client may.
    IdentityRequired = 40161, 401, "an identified client is required";
    /// Only a key, no token, may.
    BasicAuthRequired = 40162, 401, "the operation requires basic authentication";
    /// The key's tokens cannot be revoked.
    NotRevocable = 40163, 401, "tokens of this key cannot be revoked";
    /// The channel was attached without the mode that this needs.
    ModeNotRequested = 40165, 401, "the channel mode was not requested";
    /// Own messages cannot be told from others' without an identity.
    OwnIdentityRequired = 40166, 401, "an identified client is required to change its own messages";
    /// Forbidden.
    Forbidden = 40300, 403, "forbidden";
    /// Nothing there.
    NotFound = 40400, 404, "not found";
    /// A path that is there, with a method that is not.
    Method = 40500, 405, "method not allowed";
    /// Too fast, whatever it is.
    Rate = 42910, 429, "rate limit exceeded";
    /// More frames in a second than a connection may send.
    ConnectionRate = 42911, 429, "the connection's rate limit is exceeded, this frame was refused";
    /// Too many enumerations at one time.
    EnumerationRate = 42912, 429, "too many enumerations at one time";
    /// More messages in a second than a channel takes.
    ChannelRate = 42913, 429, "the channel's message rate is exceeded";
    /// More bytes in a second than a channel takes.
    ChannelBandwidth = 42914, 429, "the channel's bandwidth is exceeded";
    /// More messages in a second than a connection is sent.
    OutboundRate = 42915, 429, "the connection's outbound rate is exceeded";
    /// More waits for a connection than is kept for it.
    OutboundBacklog = 42916, 429, "the connection does not read fast enough";
    /// Floods: the connection is ended.
    Flood = 42920, 429, "the connection's rate limit was exceeded too often";
    /// Something failed inside.
    Internal = 50000, 500, "internal error";
    /// The backbone did not answer in time; whether it was done is unknown.
    Timeout = 50003, 504, "timed out, the outcome is unknown";
    /// The backbone is not there. It was not done.
    Unavailable = 50004, 503, "temporarily unavailable";
    /// Too much at one time.
    Busy = 50005, 503, "busy, try again";
    /// The node goes: come back at once, where another one answers.
    GoElsewhere = 50320, 503, "the server is going away, reconnect";
    /// The connection was ended by the server, and may be resumed.
    Disconnected = 80003, 400, "disconnected";
    /// The connection's state is gone.
    Unrecoverable = 80008, 400, "unable to recover the connection, its state has expired";
    /// A frame that is none.
    Protocol = 80013, 400, "protocol error";
    /// A newer transport has taken over.
    Superseded = 80016, 400, "superseded by a newer transport of the same connection";
    /// The connection is closed.
    ConnectionClosed = 80017, 400, "the connection is closed";
    /// A connection key that nobody knows.
    ConnectionKey = 80018, 400, "invalid connection key";
    /// A channel operation failed.
    ChannelFailed = 90000, 400, "the channel operation failed";
    /// The channel is not in the state for it.
    ChannelState = 90001, 400, "the channel is not attached";
    /// What came after the client's serial is no longer all there.
    ContinuityLost = 90003, 404, "continuity is lost: messages after the given serial are no longer stored";
    /// More was missed than is replayed.
    BacklogTooLarge = 90004, 400, "more was missed than is replayed";
    /// The client's serial is of another life of the channel, or none.
    ForeignSerial = 90005, 404, "continuity is lost: the channelSerial is not of this channel's log";
    /// More channels than one connection may attach.
    TooManyChannels = 90010, 400, "too many channels on this connection";
    /// Channels are made too fast.
    ChannelCreationRate = 90021, 429, "channels are attached too fast";
    /// A member without a clientId.
    NoClientId = 91000, 400, "presence needs a clientId";
    /// Presence on a channel that is not attached.
    PresenceState = 91001, 400, "unable to be present: the channel is not attached";
    /// As many members as there may be.
    TooManyMembers = 91003, 400, "the channel has as many members as it may have";
    /// The member left since its connection went.
    MemberLost = 91100, 400, "the member left as its connection closed";
    /// LiveObjects.
    Objects = 92000, 400, "LiveObjects are not available on this server";
    /// Annotations without the mode for them.
    AnnotationMode = 93001, 400, "the channel was attached without the annotation mode";
    /// Message updates and annotations where none are enabled.
    NotMutable = 93002, 400, "message updates, deletes and annotations are not enabled on this channel";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_unique_and_ordered_and_begin_with_their_status() {
        assert!(Code::ALL.windows(2).all(|pair| pair[0].number() < pair[1].number()));
        for code in Code::ALL {
            assert!((400..=504).contains(&code.status()), "{code:?}");
            // 40xxx to 50xxx carry the status in their first digits; later families have statuses of their own.
            if code.number() < 80000 && !matches!(code.status(), 503 | 504) {
                let family = code.number() / 100;
                assert_eq!(u32::from(code.status() / 100), family / 100, "{code:?}");
            }
        }
    }

    #[test]
    fn an_error_says_where_it_is_explained() {
        let error = Code::TokenExpired.says("token expired at noon");
        assert_eq!((error.code, error.status), (40142, 401));
        assert_eq!(error.href(), "https://help.ably.io/error/40142");
        assert_eq!(error.to_string(), "token expired at noon (40142)");
        assert_eq!(Code::BadRequest.says("é".repeat(1000)).message, "é".repeat(200));
        assert!(error.is_token_error() && !Code::Capability.info().is_token_error());
    }
}
