//! The Pusher Channels protocol, version 4 to 7.
//!
//! Owns everything a Pusher client or server library can see: frames, the connection's state machine, the bodies and
//! statuses of the HTTP API, names, close codes and error codes. Deliberately knows nothing of sockets, HTTP parsing,
//! tokio, NATS, clocks or random numbers: text and times come in, outputs go out, and the edge does what they say.

pub mod api;
mod codes;
mod encode;
mod frame;
mod handshake;
mod json;
mod name;
mod session;
mod socket_id;
pub mod xhr;

pub use codes::{Class, CloseCode, ErrorCode};
pub use encode::encode_record;
pub use frame::{
    cache_miss, gap, member_added, member_data, member_removed, presence_succeeded, subscription_count,
    watchlist_events,
};
pub use handshake::{Handshake, ProtocolVersion, Refused, Rejection, parse_handshake, select_subprotocol};
pub use name::{InvalidName, parse_channel_name};
pub use session::{Cause, Denied, Input, Now, Output, Session, Settings};
pub use socket_id::{InvalidSocketId, SocketId};

#[cfg(test)]
mod fixtures;
