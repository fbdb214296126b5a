//! Replicas and nodes of one cluster, over real streams.

mod leading;
mod orders;
mod streams;
mod support;
