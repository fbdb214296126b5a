//! The HTTP API for application servers: routes, authentication, bodies and answers as functions over text and bytes.
//!
//! Owns what the server libraries send and expect. Deliberately knows nothing of HTTP connections, of publishing and of
//! where counts come from: the edge reads a request, asks here what it means, does it, and asks here for the answer.
//! Every answer is 200 with a JSON object; the libraries stumble over anything else.

mod authenticate;
mod error;
mod info;
mod occupancy;
mod publish;
mod route;

pub use authenticate::{Authenticated, authenticate};
pub use error::ApiError;
pub use info::{Counts, Info};
pub use occupancy::{ChannelQuery, ChannelsQuery};
pub use publish::{Event, batch_answer, event_answer, parse_batch, parse_event};
pub use route::{Route, route};
