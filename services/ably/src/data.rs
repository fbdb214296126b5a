//! Payloads, and how they cross from one format to the other (spec §1.3).
//!
//! A payload is stored in the form it has in JSON, which every surface can show: text as it is, bytes as base64 text with
//! `base64` appended to the encoding, objects as JSON text. MessagePack clients get bytes as bytes again. What an encoding
//! means is nobody's business here; only a `base64` at its end is ever taken off or put on.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use crate::wire::{Data, Field, Text};
use crate::{Code, ErrorInfo};

/// The encoding of a payload that is not there. An empty text has the empty encoding.
pub const ABSENT: &str = "none";

/// A payload as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// Text.
    pub data: Bytes,
    /// How it is to be read.
    pub encoding: String,
    /// How large it counts as: bytes before they became base64.
    pub size: usize,
}

impl Payload {
    /// What is stored of `data` that came with `encoding`. 40013 if that is no payload.
    pub fn new(data: &Data<'_>, encoding: &Field<Text<'_>>) -> Result<Self, ErrorInfo> {
        let encoding = encoding.checked(|| Code::Data.says("encoding must be a string"))?;
        let encoding = encoding.map_or("", |encoding| encoding.as_ref());
        Ok(match data {
            Data::Absent => Self { data: Bytes::new(), encoding: ABSENT.to_owned(), size: 0 },
            Data::Text(text) => {
                let size = match strip_base64(encoding) {
                    Some(_) => text.trim_end_matches('=').len() / 4 * 3 + text.trim_end_matches('=').len() % 4 * 3 / 4,
                    None => text.len(),
                };
                Self { data: Bytes::copy_from_slice(text.as_bytes()), encoding: encoding.to_owned(), size }
            }
            Data::Bytes(bytes) => {
                Self { data: base64(bytes).into(), encoding: chain(encoding, "base64").into_owned(), size: bytes.len() }
            }
            Data::Json(json) => {
                let encoding = if encoding == "json" { Cow::Borrowed(encoding) } else { chain(encoding, "json") };
                Self {
                    data: Bytes::copy_from_slice(json.as_bytes()),
                    encoding: encoding.into_owned(),
                    size: json.len(),
                }
            }
            Data::TooLarge => return Err(Code::TooLarge.into()),
            Data::Unusable => return Err(Code::Data.says("data must be a string, bytes, an object or an array")),
        })
    }
}

/// A stored payload as one format shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shown<'a> {
    Nothing,
    Text(&'a str, Cow<'a, str>),
    Bytes(Cow<'a, [u8]>, &'a str),
}

/// How JSON shows what is stored.
pub(crate) fn in_json<'a>(data: &'a [u8], encoding: &'a str) -> Shown<'a> {
    if is_absent(data, encoding) {
        return Shown::Nothing;
    }
    match std::str::from_utf8(data) {
        Ok(text) => Shown::Text(text, Cow::Borrowed(encoding)),
        // Nothing of this protocol's making.
        Err(_) => Shown::Bytes(Cow::Borrowed(data), encoding),
    }
}

/// How MessagePack shows what is stored.
pub(crate) fn in_msgpack<'a>(data: &'a [u8], encoding: &'a str) -> Shown<'a> {
    match (in_json(data, encoding), strip_base64(encoding)) {
        (Shown::Text(text, encoding), Some(rest)) => match STANDARD.decode(text) {
            Ok(bytes) => Shown::Bytes(Cow::Owned(bytes), rest),
            Err(_) => Shown::Text(text, encoding),
        },
        (shown, _) => shown,
    }
}

/// Whether what is stored is no payload. JSON text is never empty, so that there is none is told by that, too.
pub fn is_absent(data: &[u8], encoding: &str) -> bool {
    data.is_empty() && (encoding == ABSENT || encoding == "json")
}

/// The bytes that are stored: `data` after undoing a `base64` at the end of its encoding, and what is left of that.
pub fn decoded<'a>(data: &'a [u8], encoding: &'a str) -> (Cow<'a, [u8]>, &'a str) {
    match in_msgpack(data, encoding) {
        Shown::Nothing => (Cow::Borrowed(&[]), ""),
        Shown::Text(text, _) => (Cow::Borrowed(text.as_bytes()), encoding),
        Shown::Bytes(bytes, rest) => (bytes, rest),
    }
}

/// `encoding` with one more step.
pub fn chain<'a>(encoding: &'a str, step: &'a str) -> Cow<'a, str> {
    if encoding.is_empty() { Cow::Borrowed(step) } else { Cow::Owned(format!("{encoding}/{step}")) }
}

/// What of `encoding` is in front of a `base64` at its end.
fn strip_base64(encoding: &str) -> Option<&str> {
    let rest = encoding.strip_suffix("base64")?;
    if rest.is_empty() { Some(rest) } else { rest.strip_suffix('/') }
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}
