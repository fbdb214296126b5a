//! The HTTP/JSON gateway, called by clients that speak HTTP/1.1 or HTTP/2 and know nothing of gRPC.

#![allow(clippy::unwrap_used, reason = "tests state their expectations with it, in helpers too")]

mod calls;
mod described;
mod errors;
mod http;
mod node;
mod streams;
#[path = "../support/mod.rs"]
mod support;
mod transports;
