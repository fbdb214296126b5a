//! What is published, and how it is known again among what arrives.
//!
//! Data is `lt~SOURCE.NUMBER.LENGTH~xxx…;` with LENGTH counting all of it. No character of it needs an escape in JSON, so
//! that it is found by scanning, in whatever frame of whatever protocol it comes: a generator that builds a tree for
//! each delivery would measure itself. What the few frames of the Pusher protocol are called is here, too, since the
//! floor speaks them.

use std::borrow::Cow;

use memchr::memmem;
use serde::{Deserialize, Serialize};

/// First event on a connection.
pub(crate) const ESTABLISHED: &str = "pusher:connection_established";
/// Confirms a subscription.
pub(crate) const SUBSCRIBED: &str = "pusher_internal:subscription_succeeded";
/// The event that is published.
pub(crate) const EVENT: &str = "load";
/// Least bytes of data: all three numbers at their longest, and what is around them.
pub(crate) const LEAST_BYTES: u32 = 48;

const MARK: &[u8] = b"lt~";

/// Body of a publish, and what the floor server makes a frame of.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Publication<'a> {
    /// Name of the event.
    #[serde(rename(serialize = "event", deserialize = "name"))]
    pub(crate) name: Cow<'a, str>,
    /// Where to.
    pub(crate) channel: Cow<'a, str>,
    /// What.
    pub(crate) data: Cow<'a, str>,
}

/// Which message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Stamp {
    /// Who published it, of those whose order is kept.
    pub(crate) source: u32,
    /// Which of its messages, from 0 on.
    pub(crate) number: u64,
}

impl Stamp {
    /// The data of this message, `bytes` long.
    pub(crate) fn data(self, bytes: usize) -> String {
        let front = format!("lt~{}.{}.{bytes}~", self.source, self.number);
        let fill = bytes.saturating_sub(1);
        format!("{front:x<fill$};")
    }
}

/// The messages in `frame` in their order; none in the place of one that is damaged.
pub(crate) fn stamps(frame: &[u8]) -> impl Iterator<Item = Option<Stamp>> + '_ {
    memmem::find_iter(frame, MARK).map(|at| stamp(&frame[at..]))
}

/// The message that `data` begins with, if all of it is there and as it was sent.
fn stamp(data: &[u8]) -> Option<Stamp> {
    let mut at = MARK.len();
    let source = number(data, &mut at, b'.')?;
    let number_ = number(data, &mut at, b'.')?;
    let length = usize::try_from(number(data, &mut at, b'~')?).ok()?;
    let (end, fill) = data.get(at..length)?.split_last()?;
    let whole = *end == b';' && fill.iter().all(|byte| *byte == b'x');
    whole.then_some(Stamp { source: u32::try_from(source).ok()?, number: number_ })
}

/// The digits from `at` to `end`, leaving `at` behind that.
fn number(data: &[u8], at: &mut usize, end: u8) -> Option<u64> {
    let start = *at;
    let mut value = 0_u64;
    loop {
        let byte = *data.get(*at)?;
        *at += 1;
        match byte {
            b'0'..=b'9' => value = value.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?,
            _ if byte == end && *at > start + 1 => return Some(value),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Stamp = Stamp { source: u32::MAX, number: u64::MAX };

    #[test]
    fn a_message_is_known_again_in_any_frame() {
        for (stamp, bytes) in [(Stamp { source: 0, number: 0 }, 48), (LONGEST, 48), (LONGEST, 10_000)] {
            let data = stamp.data(bytes);
            assert_eq!(data.len(), bytes);
            let json = serde_json::json!({"event": EVENT, "data": data}).to_string();
            assert_eq!(stamps(json.as_bytes()).collect::<Vec<_>>(), [Some(stamp)], "{json}");
            let twice = [b"\xd9\x30", data.as_bytes(), b"\x00\x01", data.as_bytes()].concat();
            assert_eq!(stamps(&twice).collect::<Vec<_>>(), [Some(stamp); 2]);
        }
    }

    #[test]
    fn what_is_damaged_is_told_from_what_is_not_ours() {
        let whole = Stamp { source: 1, number: 2 }.data(48);
        let damaged =
            [&whole[..47], &whole.replace("xx;", "x;"), &whole.replace("xxx", "xyx"), "lt~1.x.9~;", "lt~1..7~;", "lt~"];
        for data in damaged {
            assert_eq!(stamps(data.as_bytes()).collect::<Vec<_>>(), [None], "{data}");
        }
        assert_eq!(stamps(b"{}").count(), 0);
    }
}
