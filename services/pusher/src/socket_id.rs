//! Socket ids: the public ids of Pusher connections.

use std::fmt;

use channels::ConnectionId;

/// A socket id: two runs of digits joined with a dot, which is what every server library checks for. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SocketId(ConnectionId);

/// A text that is not a [`SocketId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("socket_id must be two numbers joined with a dot")]
pub struct InvalidSocketId;

impl SocketId {
    /// The id made of two numbers, which the caller draws at random: together they have to be unique in the cluster,
    /// and 64 bits make that sure enough for tens of millions of connections.
    pub fn new(first: u32, second: u32) -> Self {
        Self(ConnectionId::new(&format!("{first}.{second}")).expect("digits and a dot are an identity"))
    }

    /// Checks `text`.
    pub fn parse(text: &str) -> Result<Self, InvalidSocketId> {
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        match text.split_once('.') {
            Some((first, second)) if digits(first) && digits(second) => {
                ConnectionId::new(text).map(Self).map_err(|_| InvalidSocketId)
            }
            Some(_) | None => Err(InvalidSocketId),
        }
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The id as records carry it.
    pub fn connection(&self) -> &ConnectionId {
        &self.0
    }
}

impl From<SocketId> for ConnectionId {
    fn from(id: SocketId) -> Self {
        id.0
    }
}

impl fmt::Debug for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_two_numbers_and_a_dot() {
        for text in ["1.2", "418372.90513377", "0.0", &format!("{}.1", u128::MAX)] {
            assert_eq!(SocketId::parse(text).unwrap().as_str(), text);
        }
        let long = format!("1.{}", "1".repeat(2000));
        for text in ["", ".", "1.", ".1", "1", "1.2.3", "-1.2", "1.2\n", " 1.2", "١.٢", &long] {
            assert_eq!(SocketId::parse(text), Err(InvalidSocketId), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_two_numbers_make_a_valid_one(first: u32, second: u32) {
            let id = SocketId::new(first, second);
            prop_assert_eq!(SocketId::parse(id.as_str()), Ok(id));
        }

        #[test]
        fn any_text_is_answered(text in prop_oneof!["\\PC*", "[0-9.]{0,12}"]) {
            if let Ok(id) = SocketId::parse(&text) {
                prop_assert_eq!(id.as_str(), &text);
                prop_assert_eq!(id.connection().as_str(), &text);
            }
        }
    }
}
