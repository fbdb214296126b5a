//! Frames: the JSON objects in WebSocket text frames, either way.

mod client;
mod presence;
mod server;

pub(crate) use client::{ClientEvent, ClientFrame, SignIn, Subscribe, Unusable};
pub use presence::{member_added, member_data, member_removed, presence_succeeded};
pub(crate) use server::{
    Event, connection_established, error, pong, signin_success, subscription_error, subscription_succeeded,
};
pub use server::{cache_miss, gap, subscription_count, watchlist_events};
