//! Writing values of either format straight into bytes: no trees, and one pass.

use std::fmt::{self, Write as _};

use bytes::Bytes;
use rmp::encode as msgpack;

use crate::data::{self, Shown};
use crate::wire::Format;

/// Bytes that grow.
#[derive(Debug)]
pub(crate) struct Writer {
    format: Format,
    out: Vec<u8>,
    /// Where text is put together whose length has to be known before it is written.
    scratch: String,
}

/// A vector takes whatever is written into it.
const FITS: &str = "a vector grows";

impl Writer {
    /// With room for `room` bytes.
    pub(crate) fn new(format: Format, room: usize) -> Self {
        Self { format, out: Vec::with_capacity(room), scratch: String::new() }
    }

    pub(crate) fn into_bytes(self) -> Bytes {
        self.out.into()
    }

    /// Begins a map.
    pub(crate) fn map(&mut self) -> Map<'_> {
        let at = self.out.len();
        self.out.push(match self.format {
            Format::Json => b'{',
            Format::MsgPack => 0x80,
        });
        Map { writer: self, at, fields: 0 }
    }

    /// Begins a list of `length` items.
    pub(crate) fn list(&mut self, length: usize) -> List<'_> {
        match self.format {
            Format::Json => self.out.push(b'['),
            Format::MsgPack => {
                let length = u32::try_from(length).expect("lists are shorter than frames");
                msgpack::write_array_len(&mut self.out, length).expect(FITS);
            }
        }
        List { writer: self, first: true }
    }

    pub(crate) fn text(&mut self, text: &str) {
        match self.format {
            Format::Json => serde_json::to_writer(&mut self.out, text).expect(FITS),
            Format::MsgPack => msgpack::write_str(&mut self.out, text).expect(FITS),
        }
    }

    /// Text that needs no escapes in JSON.
    pub(crate) fn plain(&mut self, text: impl fmt::Display) {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        write!(scratch, "{text}").expect("text grows");
        match self.format {
            Format::Json => {
                self.out.push(b'"');
                self.out.extend_from_slice(scratch.as_bytes());
                self.out.push(b'"');
            }
            Format::MsgPack => msgpack::write_str(&mut self.out, &scratch).expect(FITS),
        }
        self.scratch = scratch;
    }

    pub(crate) fn number(&mut self, number: u64) {
        match self.format {
            Format::Json => serde_json::to_writer(&mut self.out, &number).expect(FITS),
            Format::MsgPack => {
                msgpack::write_uint(&mut self.out, number).expect(FITS);
            }
        }
    }

    /// A value that is written already, in this format.
    pub(crate) fn raw(&mut self, value: &[u8]) {
        self.out.extend_from_slice(value);
    }

    /// JSON text, which MessagePack gets as the value it is.
    pub(crate) fn json(&mut self, json: &[u8]) {
        match self.format {
            Format::Json => self.out.extend_from_slice(json),
            Format::MsgPack => {
                // Text that is no JSON cannot have been published; nothing is what stands for it then.
                let value: serde_json::Value = serde_json::from_slice(json).unwrap_or_default();
                rmp_serde::encode::write_named(&mut self.out, &value).expect(FITS);
            }
        }
    }
}

/// A map that is being written. It has to be ended, also on the way out of a function.
#[must_use = "a map has to be ended"]
#[derive(Debug)]
pub(crate) struct Map<'w> {
    writer: &'w mut Writer,
    /// Where it begins.
    at: usize,
    fields: u16,
}

impl Map<'_> {
    /// Begins a field; its value has to follow. Keys need no escapes.
    pub(crate) fn key(&mut self, key: &str) -> &mut Writer {
        let out = &mut self.writer.out;
        match self.writer.format {
            Format::Json => {
                if self.fields > 0 {
                    out.push(b',');
                }
                out.push(b'"');
                out.extend_from_slice(key.as_bytes());
                out.extend_from_slice(b"\":");
            }
            Format::MsgPack => msgpack::write_str(out, key).expect(FITS),
        }
        self.fields += 1;
        self.writer
    }

    pub(crate) fn text(&mut self, key: &str, text: &str) {
        self.key(key).text(text);
    }

    pub(crate) fn text_if(&mut self, key: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(key, text);
        }
    }

    pub(crate) fn plain(&mut self, key: &str, text: impl fmt::Display) {
        self.key(key).plain(text);
    }

    pub(crate) fn number(&mut self, key: &str, number: u64) {
        self.key(key).number(number);
    }

    /// `data` and `encoding` of a stored payload, as this format shows them.
    pub(crate) fn payload(&mut self, stored: &[u8], encoding: &str) {
        let shown = match self.writer.format {
            Format::Json => data::in_json(stored, encoding),
            Format::MsgPack => data::in_msgpack(stored, encoding),
        };
        match shown {
            Shown::Nothing => {}
            Shown::Text(text, encoding) => {
                self.text("data", text);
                self.text_if("encoding", (!encoding.is_empty()).then_some(&*encoding));
            }
            Shown::Bytes(bytes, encoding) => self.bytes(&bytes, encoding),
        }
    }

    /// Bytes as `data`, with what is to be done with them as `encoding`.
    pub(crate) fn bytes(&mut self, bytes: &[u8], encoding: &str) {
        match self.writer.format {
            Format::Json => {
                self.key("data").plain(data::base64(bytes));
                self.text("encoding", &data::chain(encoding, "base64"));
            }
            Format::MsgPack => {
                msgpack::write_bin(&mut self.key("data").out, bytes).expect(FITS);
                self.text_if("encoding", (!encoding.is_empty()).then_some(encoding));
            }
        }
    }

    pub(crate) fn end(self) {
        let out = &mut self.writer.out;
        match self.writer.format {
            Format::Json => out.push(b'}'),
            Format::MsgPack => match u8::try_from(self.fields) {
                Ok(fields @ 0..=15) => out[self.at] = 0x80 | fields,
                // Too many for one byte, which nobody could know before.
                Ok(_) | Err(_) => {
                    let [high, low] = self.fields.to_be_bytes();
                    out.splice(self.at..=self.at, [0xde, high, low]);
                }
            },
        }
    }
}

/// A list that is being written. It has to be ended.
#[must_use = "a list has to be ended"]
#[derive(Debug)]
pub(crate) struct List<'w> {
    writer: &'w mut Writer,
    first: bool,
}

impl List<'_> {
    /// Begins an item; its value has to follow.
    pub(crate) fn item(&mut self) -> &mut Writer {
        if !self.first && self.writer.format == Format::Json {
            self.writer.out.push(b',');
        }
        self.first = false;
        self.writer
    }

    pub(crate) fn end(self) {
        if self.writer.format == Format::Json {
            self.writer.out.push(b']');
        }
    }
}
