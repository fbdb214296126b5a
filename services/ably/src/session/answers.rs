//! ACK and NACK: one answer to each frame that has a msgSerial, in the order of those, whatever order results come in.

use std::collections::VecDeque;

use bytes::Bytes;
use channels::Position;

use crate::encode::{self, Acknowledged};
use crate::wire::Format;
use crate::{ErrorInfo, Serial};

/// Most serials of messages in one ACK: what one publish may have, so that no ACK is larger than one for that.
const MAX_SERIALS: usize = 1000;

/// Frames that are not answered yet, oldest first.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// The serial after the last one taken.
    next: u64,
    begun: bool,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    serial: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    /// A publish of these messages is under way.
    Publishing(Publishing),
    /// A change of presence is.
    Entering,
    Published(Acknowledged),
    Entered,
    Refused(ErrorInfo),
}

/// What its messages' serials will be made of.
#[derive(Debug)]
pub(super) struct Publishing {
    pub(super) messages: usize,
    /// The record's.
    pub(super) id: Box<str>,
    pub(super) timestamp_ms: u64,
}

impl Answers {
    /// The serial of a frame that says it has `given`; after a resume the first one may be any. `None` if that was had
    /// before: it has its answer, or will get it. Who says nothing has the next one.
    pub(super) fn serial(&mut self, given: Option<u64>) -> Option<u64> {
        // msgSerial is an int64.
        let given = given.filter(|given| i64::try_from(*given).is_ok());
        let serial = given.unwrap_or(self.next);
        if self.begun && serial < self.next {
            return None;
        }
        self.begun = true;
        self.next = serial + 1;
        Some(serial)
    }

    /// How many frames have no answer yet.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn publishing(&mut self, serial: u64, publishing: Publishing) {
        self.waiting.push_back(Waiting { serial, state: State::Publishing(publishing) });
    }

    pub(super) fn entering(&mut self, serial: u64) {
        self.waiting.push_back(Waiting { serial, state: State::Entering });
    }

    /// Nothing had to be done for it.
    pub(super) fn done(&mut self, serial: u64) {
        self.waiting.push_back(Waiting { serial, state: State::Entered });
    }

    pub(super) fn refused(&mut self, serial: u64, error: ErrorInfo) {
        self.waiting.push_back(Waiting { serial, state: State::Refused(error) });
    }

    /// The publish `serial` is stored at a position, or was refused. Whether it was waited for.
    pub(super) fn published(&mut self, serial: u64, result: Result<Option<Position>, ErrorInfo>) -> bool {
        let Some(state) = self.state(serial) else { return false };
        let State::Publishing(Publishing { messages, id, timestamp_ms }) = state else { return false };
        *state = match result {
            Ok(at) => {
                let serial = |index| Serial::new(at, Some(id), *timestamp_ms, index).map(|serial| serial.to_string());
                State::Published(Acknowledged { serials: (0..*messages).map(serial).collect() })
            }
            Err(error) => State::Refused(error),
        };
        true
    }

    /// The change of presence `serial` is told, or was refused. Whether it was waited for.
    pub(super) fn entered(&mut self, serial: u64, result: Result<(), ErrorInfo>) -> bool {
        let Some(state) = self.state(serial) else { return false };
        let State::Entering = state else { return false };
        *state = result.map_or_else(State::Refused, |()| State::Entered);
        true
    }

    fn state(&mut self, serial: u64) -> Option<&mut State> {
        let at = self.waiting.binary_search_by_key(&serial, |waiting| waiting.serial).ok()?;
        Some(&mut self.waiting[at].state)
    }

    /// The next frame that can be sent: as many answers of one kind as there are in a row.
    pub(super) fn next_frame(&mut self, format: Format) -> Option<Bytes> {
        let first = self.waiting.front()?.serial;
        let (mut count, mut res, mut serials) = (0, Vec::new(), 0);
        let mut kind = None;
        while let Some(next) = self.waiting.front() {
            let same = match (&kind, &next.state) {
                (_, State::Publishing(_) | State::Entering) => false,
                (None, State::Published(_) | State::Entered | State::Refused(_)) => true,
                (Some(Kind::Published), State::Published(next)) => serials + next.serials.len() <= MAX_SERIALS,
                (Some(Kind::Entered), State::Entered) => true,
                (Some(Kind::Refused(error)), State::Refused(next)) => error == next,
                (Some(Kind::Published | Kind::Entered | Kind::Refused(_)), _) => false,
            };
            if !same || next.serial != first + count {
                break;
            }
            kind = match self.waiting.pop_front()?.state {
                State::Published(acknowledged) => {
                    serials += acknowledged.serials.len();
                    res.push(acknowledged);
                    Some(Kind::Published)
                }
                State::Refused(error) => Some(Kind::Refused(error)),
                State::Publishing(_) | State::Entering | State::Entered => Some(Kind::Entered),
            };
            count += 1;
        }
        // A burst should not be paid for in silence.
        if self.waiting.is_empty() && self.waiting.capacity() > 16 {
            self.waiting = VecDeque::new();
        }
        Some(match kind? {
            Kind::Published | Kind::Entered => encode::ack(format, first, count, &res),
            Kind::Refused(error) => encode::nack(format, first, count, &error),
        })
    }
}

#[derive(Debug)]
enum Kind {
    Published,
    Entered,
    Refused(ErrorInfo),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::Code;

    fn publishing() -> Publishing {
        Publishing { messages: 1, id: "c:0".into(), timestamp_ms: 5 }
    }

    #[test]
    fn serials_are_taken_once() {
        let mut answers = Answers::default();
        let taken: Vec<_> = [Some(7), Some(8), Some(8), Some(3), None, Some(20), Some(u64::MAX)]
            .map(|given| answers.serial(given))
            .into();
        assert_eq!(taken, [Some(7), Some(8), None, None, Some(9), Some(20), Some(21)]);
        assert_eq!(Answers::default().serial(None), Some(0));
    }

    #[test]
    fn an_answer_is_no_larger_than_one_for_the_largest_publish() {
        let mut answers = Answers::default();
        for serial in 0..3 {
            answers.publishing(serial, Publishing { messages: 600, ..publishing() });
            assert!(answers.published(serial, Ok(None)));
        }
        assert_eq!(std::iter::from_fn(|| answers.next_frame(Format::Json)).count(), 3);
    }

    proptest! {
        /// However results come in: every serial is answered once, in order, with what it was.
        #[test]
        fn answers_are_contiguous_and_in_order(kinds in proptest::collection::vec(0..4_u8, 1..40), order in any::<u64>(), skip in 0..5_u64) {
            let mut answers = Answers::default();
            let (mut open, mut frames) = (Vec::new(), Vec::new());
            for (serial, kind) in (skip..).zip(&kinds) {
                prop_assert_eq!(answers.serial(Some(serial)), Some(serial));
                match kind {
                    0 => answers.publishing(serial, publishing()),
                    1 => answers.entering(serial),
                    2 => answers.refused(serial, Code::Data.info()),
                    _ => answers.done(serial),
                }
                if *kind < 2 {
                    open.push((serial, *kind));
                }
                frames.extend(std::iter::from_fn(|| answers.next_frame(Format::Json)));
            }
            let mut random = order;
            while !open.is_empty() {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let (serial, kind) = open.swap_remove(usize::try_from(random >> 33).unwrap() % open.len());
                let known = if kind == 0 { answers.published(serial, Ok(None)) } else { answers.entered(serial, Ok(())) };
                prop_assert!(known && !answers.entered(serial, Ok(())));
                frames.extend(std::iter::from_fn(|| answers.next_frame(Format::Json)));
            }
            let mut next = skip;
            for frame in frames {
                let frame: Value = serde_json::from_slice(&frame).unwrap();
                prop_assert_eq!(&frame["msgSerial"], next);
                let count = frame["count"].as_u64().unwrap();
                for at in 0..count {
                    let kind = kinds[usize::try_from(next - skip + at).unwrap()];
                    prop_assert_eq!(frame["action"] == 2, kind == 2);
                    prop_assert_eq!(frame.get("res").is_some(), kind == 0);
                }
                if let Some(res) = frame["res"].as_array() {
                    prop_assert_eq!(res.len() as u64, count);
                }
                next += count;
            }
            prop_assert_eq!(next, skip + kinds.len() as u64);
            prop_assert_eq!(answers.len(), 0);
        }
    }
}
