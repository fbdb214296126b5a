//! What a client asked for and was refused, for those who count.

use crate::ErrorInfo;

/// What was refused; its client has been told why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Denied {
    /// An attachment.
    Attach(Cause),
    /// A publish.
    Publish(Cause),
    /// To enter, update or leave.
    Presence(Cause),
}

/// What was wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// It makes no sense, or asks for what is not there.
    Invalid,
    /// It is larger than its app allows.
    TooLarge,
    /// Its client may not.
    Unauthorized,
    /// Its client has had its share, or the channel is full.
    OverLimit,
    /// Its app has.
    OverQuota,
    /// It was in order, and could not be done.
    Failed,
}

impl Cause {
    /// What `error` says.
    pub fn of(error: &ErrorInfo) -> Self {
        match (error.code, error.status) {
            (40009, _) => Self::TooLarge,
            (40034 | 42911 | 90010 | 90021 | 91003, _) => Self::OverLimit,
            (40110..=40119, _) | (_, 429) => Self::OverQuota,
            (_, 401 | 403) | (40012, _) => Self::Unauthorized,
            (_, 500..) => Self::Failed,
            _ => Self::Invalid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Code;

    #[test]
    fn causes() {
        for (code, cause) in [
            (Code::TooLarge, Cause::TooLarge),
            (Code::Capability, Cause::Unauthorized),
            (Code::ModeNotRequested, Cause::Unauthorized),
            (Code::ClientId, Cause::Unauthorized),
            (Code::ConnectionRate, Cause::OverLimit),
            (Code::TooManyMembers, Cause::OverLimit),
            (Code::Rate, Cause::OverQuota),
            (Code::ChannelQuota, Cause::OverQuota),
            (Code::Timeout, Cause::Failed),
            (Code::Data, Cause::Invalid),
            (Code::PresenceState, Cause::Invalid),
        ] {
            assert_eq!(Cause::of(&code.info()), cause, "{code:?}");
        }
    }
}
