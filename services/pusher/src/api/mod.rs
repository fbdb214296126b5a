//! The HTTP API for application servers: routes, authentication, bodies and answers as functions over text and bytes.
//!
//! Owns what the server libraries send and expect. Deliberately knows nothing of HTTP connections, of publishing and of
//! where counts come from: the edge reads a request, asks here what it means, does it, and asks here for the answer.
//! Every answer is 200 with a JSON object (but for one deprecated route); the libraries stumble over anything else.

mod authenticate;
mod error;
mod events;
mod info;
mod occupancy;
mod publish;
mod route;
mod users;

pub use authenticate::{Authenticated, authenticate};
pub use error::ApiError;
pub use events::{EventsAnswer, EventsQuery, Page};
pub use info::{Cached, Counts, Info};
pub use occupancy::{ChannelQuery, ChannelsQuery};
pub use publish::{Event, batch_answer, event_answer, parse_batch, parse_channel_event, parse_event};
pub use route::{Action, Route, route};
pub use users::{parse_terminate, parse_users, users_answer};

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The answer where there is nothing to tell.
pub const EMPTY_ANSWER: &str = "{}";

/// Data as it is delivered: text, or else base64.
fn text(data: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(data).map_or_else(|_| STANDARD.encode(data).into(), Cow::Borrowed)
}

#[cfg(test)]
mod tests;
