//! Frames and bodies as the server writes them, in either format.
//!
//! One function per frame, each from plain data straight to bytes. What channel-scoped frames say does not depend on who
//! gets them, so one encoding serves every subscriber that called the channel by the same name.

mod channel;
mod connection;
mod items;
pub(crate) mod writer;

pub use channel::{Attached, attached, channel_error, detached, messages, messages_with, occupancy, presence, sync};
pub use connection::{
    Acknowledged, Connected, ack, auth, closed, connected, connection_error, disconnected, heartbeat, nack,
};
pub use items::{
    Item, MessageAt, PresenceItem, error_body, error_item, history, member_list, message_item, presence_item,
    presence_list,
};

#[cfg(test)]
mod tests;
