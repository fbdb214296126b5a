//! What a client asked for and was refused, for those who count.

/// What was refused; its client has been told why in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Denied {
    /// A subscription.
    Subscribe(Cause),
    /// A client event.
    ClientEvent(Cause),
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
    /// Its client has had its share.
    OverLimit,
    /// Its app has.
    OverQuota,
}
