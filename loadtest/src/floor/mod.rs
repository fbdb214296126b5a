//! What Fanfare is held against: the least that anybody has to do for the same.

pub(crate) mod jetstream;
pub(crate) mod websocket;
