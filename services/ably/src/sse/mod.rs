//! Server-sent events and streams of JSON lines (spec §13): what is asked for, and what is sent.
//!
//! Owns queries, event ids and the text of events. Does not know HTTP, nor what a message is made of: items come as the
//! JSON that REST history has, too.

mod encoder;
mod event_id;
mod query;

pub use encoder::{Encoder, Form};
pub use event_id::{EventId, MOST_CHANNELS, Positions, Unreadable};
pub use query::{Path, StreamChannel, StreamRequest};
