//! Frames: the JSON objects in WebSocket text frames, either way.

mod client;
mod server;

pub(crate) use client::{ClientEvent, ClientFrame, Subscribe, Unusable};
pub(crate) use server::{
    connection_established, error, event_with_json, event_with_string, pong, subscription_error, subscription_succeeded,
};
