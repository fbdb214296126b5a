//! Signatures: who may subscribe, sign in and call the HTTP API, and who sent a webhook.
//!
//! Owns the strings that Pusher clients and libraries sign, the signing of them (for our tests, load generator and
//! command line, which play the application's server) and their checking in constant time. Deliberately knows nothing
//! of sockets, storage, JSON or clocks: the time is an argument, and what a valid signature is good for is decided by
//! the caller, from the key that a check hands back.

mod hex;
mod mac;
mod query;
mod request;
mod subscription;
mod webhook;

pub use mac::Signer;
pub use query::{MalformedQuery, Query};
pub use request::{InvalidRequest, SignedRequest, body_md5, check_body, check_request, signed_path, string_to_sign};
pub use subscription::{InvalidAuth, check_channel, check_user};

#[cfg(test)]
mod vectors;
