//! Deltas (`delta=vcdiff`): what a subscriber is sent in place of a message whose predecessor it has.
//!
//! Owns the VCDIFF encoder (RFC 3284, default code table, no secondary compression, one window) and the rule what is
//! the base of what. Does not know who has received what: a [`Chain`] is one subscriber's, and its owner tells it when
//! something came in between.

use std::borrow::Cow;

use bytes::Bytes;
use channels::Message;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use crate::data;

/// The only format of deltas there is, as in `delta=vcdiff` and `extras.delta.format`.
pub const FORMAT: &str = "vcdiff";

/// What one subscriber has received last, so that the next message may be told by how it differs.
///
/// The SDK compares `extras.delta.from` with the id of the last message that it got on the channel, whatever that was.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    base: Option<Base>,
}

#[derive(Clone, Debug)]
struct Base {
    id: String,
    payload: Bytes,
}

/// What is sent in place of a message's payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta {
    /// The VCDIFF, as bytes: never valid UTF-8, so it goes to JSON clients as base64.
    pub data: Bytes,
    /// The message's encoding with the steps of the delta behind it: `json/utf-8/vcdiff`.
    pub encoding: String,
    /// The message's extras with `delta` among them, as JSON text.
    pub extras: Bytes,
}

impl Chain {
    /// The delta to send for `message`, called `id`, or none if it is to be sent as it is: there is no base, or the
    /// delta would not be smaller. Either way `message` is the base of the next one, which has to be sent to the same
    /// subscriber right after it.
    pub fn next(&mut self, id: Option<&str>, message: &Message) -> Option<Delta> {
        let payload = base_payload(message).filter(|_| !data::is_absent(&message.data, &message.encoding));
        let (Some(id), Some((payload, mut encoding))) = (id, payload) else {
            self.forget();
            return None;
        };
        let base = self.base.replace(Base { id: id.to_owned(), payload: payload.clone() })?;
        let data = encode(&base.payload, &payload)?;
        encoding.push(FORMAT);
        Some(Delta { data: data.into(), encoding: encoding.join("/"), extras: with_delta(&message.extras, &base.id) })
    }

    /// Ends the chain: the next message is sent whole. To be called when anything else was sent on the channel as a
    /// message, when something may not have arrived, and after any resume.
    pub fn forget(&mut self) {
        self.base = None;
    }

    /// The message whose payload the next delta would refer to. Chains with the same base give the same delta.
    pub fn base(&self) -> Option<&str> {
        self.base.as_ref().map(|base| base.id.as_str())
    }
}

/// What SDKs keep of a message as base: its data after a trailing base64 is undone, and nothing else; with the steps
/// that lead from there to the publisher's data. None if they keep nothing, since they cannot undo all of the encoding.
fn base_payload(message: &Message) -> Option<(Bytes, Vec<&str>)> {
    let (payload, left) = data::decoded(&message.data, &message.encoding);
    let is_text = left == message.encoding;
    let payload = match payload {
        Cow::Borrowed(_) => message.data.clone(),
        Cow::Owned(bytes) => bytes.into(),
    };
    // A delta gives bytes, of which text is made anew.
    let steps = left.split('/').filter(|step| !step.is_empty()).chain(is_text.then_some("utf-8"));
    let steps: Vec<_> = steps.collect();
    let is_readable = match steps.as_slice() {
        [] | ["utf-8"] => true,
        ["json", "utf-8"] => serde_json::from_slice::<IgnoredAny>(&payload).is_ok(),
        [inner @ .., cipher] if cipher.starts_with("cipher+") => matches!(inner, [] | ["utf-8"] | ["json", "utf-8"]),
        _ => false,
    };
    is_readable.then_some((payload, steps))
}

fn with_delta(extras: &[u8], from: &str) -> Bytes {
    let mut extras: Map<String, Value> = serde_json::from_slice(extras).unwrap_or_default();
    extras.insert("delta".to_owned(), json!({ "format": FORMAT, "from": from }));
    Value::Object(extras).to_string().into()
}

/// Magic, version 0, no secondary compressor and no code table of our own (RFC 3284 §4.1).
const HEADER: [u8; 5] = [0xd6, 0xc3, 0xc4, 0x00, 0x00];
/// The window refers to a segment of the source (§4.2).
const VCD_SOURCE: u8 = 0x01;
/// Neither section is compressed (§4.3).
const DELTA_INDICATOR: u8 = 0x00;
/// Bytes that are looked up at once.
const SEED: usize = 4;
/// The shortest copy: a shorter one takes as many bytes for its instruction and address.
const SHORTEST: usize = 6;

/// The VCDIFF that makes `target` of `source`, or none if it would not be smaller than `target`.
///
/// Time and memory are linear in the lengths of both, which have to be below 4 GiB.
pub fn encode(source: &[u8], target: &[u8]) -> Option<Vec<u8>> {
    let mut window = Window::default();
    let seeds = Seeds::of(source);
    // Of the target: everything before `told` is in the window, `at` is looked at.
    let (mut told, mut at) = (0, 0);
    while at + SEED <= target.len() {
        let Some(copy) = seeds.find(source, target, told, at).filter(|copy| copy.length >= SHORTEST) else {
            at += 1;
            continue;
        };
        window.add(&target[told..copy.to]);
        window.copy(copy.length, copy.from);
        told = copy.to + copy.length;
        at = told;
    }
    window.add(&target[told..]);
    let delta = window.end(source.len(), target.len());
    (delta.len() < target.len()).then_some(delta)
}

/// Bytes that source and target have in common.
struct Copy {
    from: usize,
    to: usize,
    length: usize,
}

/// Where in the source [`SEED`] bytes stand, by their hash; of several places the last.
struct Seeds {
    places: Vec<u32>,
    shift: u32,
}

impl Seeds {
    const NOWHERE: u32 = u32::MAX;

    fn of(source: &[u8]) -> Self {
        let size = source.len().next_power_of_two().max(16);
        let mut seeds = Self { places: vec![Self::NOWHERE; size], shift: u32::BITS - size.trailing_zeros().min(31) };
        for (place, seed) in source.windows(SEED).enumerate() {
            let slot = seeds.slot(seed);
            seeds.places[slot] = u32::try_from(place).unwrap_or(Self::NOWHERE);
        }
        seeds
    }

    /// Multiplicative hashing: the upper bits of a product with 2³² divided by the golden ratio.
    fn slot(&self, seed: &[u8]) -> usize {
        let number = seed.iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
        (number.wrapping_mul(0x9e37_79b1) >> self.shift) as usize % self.places.len()
    }

    /// What the source has in common with the target around `at`, as far as it was not told before.
    fn find(&self, source: &[u8], target: &[u8], told: usize, at: usize) -> Option<Copy> {
        let place = self.places[self.slot(&target[at..at + SEED])];
        let from = usize::try_from(place).ok().filter(|_| place != Self::NOWHERE)?;
        let same = |(a, b): &(&u8, &u8)| a == b;
        let ahead = source[from..].iter().zip(&target[at..]).take_while(same).count();
        let behind = source[..from].iter().rev().zip(target[told..at].iter().rev()).take_while(same).count();
        (ahead >= SEED).then(|| Copy { from: from - behind, to: at - behind, length: ahead + behind })
    }
}

/// The three sections of a window (§4.3), with codes of the default table (§5.6).
#[derive(Default)]
struct Window {
    data: Vec<u8>,
    instructions: Vec<u8>,
    addresses: Vec<u8>,
}

impl Window {
    fn add(&mut self, bytes: &[u8]) {
        match bytes.len() {
            0 => return,
            size @ 1..=17 => self.instruction(1, size),
            size => {
                self.instructions.push(1);
                number(&mut self.instructions, size);
            }
        }
        self.data.extend_from_slice(bytes);
    }

    /// Address mode 0: the address itself.
    fn copy(&mut self, length: usize, from: usize) {
        match length {
            4..=18 => self.instruction(16, length),
            _ => {
                self.instructions.push(19);
                number(&mut self.instructions, length);
            }
        }
        number(&mut self.addresses, from);
    }

    /// One of the codes that say their size: consecutive ones for consecutive sizes.
    fn instruction(&mut self, zero: u8, size: usize) {
        self.instructions.push(zero.saturating_add(u8::try_from(size).unwrap_or(u8::MAX)));
    }

    fn end(self, source: usize, target: usize) -> Vec<u8> {
        let mut body = Vec::with_capacity(16 + self.data.len() + self.instructions.len() + self.addresses.len());
        number(&mut body, target);
        body.push(DELTA_INDICATOR);
        for section in [&self.data, &self.instructions, &self.addresses] {
            number(&mut body, section.len());
        }
        for section in [&self.data, &self.instructions, &self.addresses] {
            body.extend_from_slice(section);
        }
        let mut delta = Vec::with_capacity(HEADER.len() + 12 + body.len());
        delta.extend_from_slice(&HEADER);
        delta.push(VCD_SOURCE);
        number(&mut delta, source);
        number(&mut delta, 0);
        number(&mut delta, body.len());
        delta.extend_from_slice(&body);
        delta
    }
}

/// Seven bits a byte, the most significant first, all but the last with the upper bit set (§2).
fn number(into: &mut Vec<u8>, value: usize) {
    let digits = (usize::BITS - value.leading_zeros()).div_ceil(7).max(1);
    for digit in (0..digits).rev() {
        let more = if digit > 0 { 0x80 } else { 0 };
        into.push((value >> (7 * digit)).to_le_bytes()[0] & 0x7f | more);
    }
}

#[cfg(test)]
mod tests;
