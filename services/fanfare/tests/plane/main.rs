//! A cluster of real processes and what its operators and tenants see of it: three control replicas, three edges, a worker
//! and three NATS servers, with callers of gRPC, publishers and clients. Processes are killed, stopped and misled.

#![expect(clippy::unwrap_used, reason = "tests state their expectations with unwrap, helpers of tests too")]

mod admin;
mod backup;
mod clock;
mod cluster;
mod collector;
mod disk;
mod failover;
mod figures;
mod live;
mod measures;
mod nats_away;
mod node;
mod propagation;
mod publisher;
mod races;
mod single;
mod subscriber;
mod tracing;
mod usage;
