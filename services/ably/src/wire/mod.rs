//! The wire forms of the protocol: the two formats, numbers and bits, and frames as clients send them.

mod action;
mod codec;
mod flags;
mod format;
mod frame;
mod value;

pub use action::{Action, PresenceAction};
pub use codec::{Malformed, from_slice, to_vec};
pub use flags::{Flags, Modes};
pub use format::Format;
pub use frame::{ClientFrame, ClientMessage, ClientPresence, Items, decode, items};
pub use value::{Data, Field, Json, Text};

#[cfg(test)]
mod tests;
