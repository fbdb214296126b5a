//! Types generated from `backbone.proto` and `control.proto`, committed so that building needs no protobuf compiler.
//!
//! `tests/generated.rs` regenerates them and fails if they differ; `FANFARE_BLESS=1 cargo test -p proto` writes them.
//! These are wire types: domain types live in `channels`, and each crate converts at its own boundary.

pub mod json;

pub use prost_types::FieldMask;

/// What is stored in, and sent through, the backbone.
pub mod backbone {
    include!("generated/fanfare.backbone.v1.rs");
}

/// The control plane's gRPC API, version 1.
#[allow(clippy::all, missing_docs)]
pub mod control {
    include!("generated/fanfare.control.v1.rs");

    /// The encoded `FileDescriptorSet` of the API, for gRPC reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("generated/control.descriptors.bin");
}
