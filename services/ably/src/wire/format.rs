//! The two formats that everything travels in.

/// How frames and bodies are written (spec §1.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    /// Text frames; what clients get that ask for nothing.
    #[default]
    Json,
    /// Binary frames.
    MsgPack,
}

impl Format {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Json, Self::MsgPack];

    /// What `format` in a query names.
    pub fn from_query(word: &str) -> Option<Self> {
        match word {
            "json" => Some(Self::Json),
            "msgpack" => Some(Self::MsgPack),
            _ => None,
        }
    }

    /// The `Content-Type`, to the letter: SDKs compare it so.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::MsgPack => "application/x-msgpack",
        }
    }

    /// Whether its WebSocket frames are binary.
    pub fn is_binary(self) -> bool {
        match self {
            Self::Json => false,
            Self::MsgPack => true,
        }
    }
}
