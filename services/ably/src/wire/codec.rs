//! Reading and writing values in either format, within bounds.
//!
//! What a reader takes of memory is bounded by what it reads, whatever lengths a frame claims: text and bytes are borrowed
//! or as long as they are there, lists grow as their items come, and depth is limited.

use serde::{Deserialize, Serialize};

use super::Format;

/// How deep values may nest in MessagePack. In JSON the reader's own limit is 128.
const MAX_DEPTH: usize = 64;

/// Bytes that are not one value of the expected shape in their format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(String);

/// Reads the value that `bytes` are. What follows it is malformed in JSON, and passed over in MessagePack.
pub fn from_slice<'a, T: Deserialize<'a>>(format: Format, bytes: &'a [u8]) -> Result<T, Malformed> {
    match format {
        Format::Json => serde_json::from_slice(bytes).map_err(|error| Malformed(error.to_string())),
        Format::MsgPack => {
            let mut reader = rmp_serde::Deserializer::from_read_ref(bytes);
            reader.set_max_depth(MAX_DEPTH);
            T::deserialize(&mut reader).map_err(|error| Malformed(error.to_string()))
        }
    }
}

/// Writes `value`; structs as maps.
///
/// # Panics
///
/// If `value` cannot be written, as a map whose keys are no text; types that are made to be written can.
pub fn to_vec<T: Serialize + ?Sized>(format: Format, value: &T) -> Vec<u8> {
    match format {
        Format::Json => serde_json::to_vec(value).expect("a value with text keys can be written"),
        Format::MsgPack => rmp_serde::to_vec_named(value).expect("a value with text keys can be written"),
    }
}
