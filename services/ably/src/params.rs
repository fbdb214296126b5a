//! Channel params: how a subscriber wants a channel told (`rewind`, `delta`, `occupancy`, `echo`, `modes`).
//!
//! They come with ATTACH, in a name's qualifier or in the query of an event stream, and mean the same everywhere. Those
//! that we know are told back as written, since SDKs compare them with what they asked for; unknown ones are ignored.

use std::time::Duration;

use crate::occupancy::Selection;
use crate::{Code, ErrorInfo, Modes, delta};

/// Most messages that a rewind goes back (spec §11).
pub const MOST_REWOUND: usize = 100;

/// The params of one attachment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelParams {
    rewind: Option<Back>,
    rewind_limit: Option<usize>,
    delta: bool,
    occupancy: Option<Selection>,
    echo: Option<bool>,
    modes: Option<Modes>,
    echoed: Vec<(String, String)>,
}

/// How far back a fresh attachment begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Back {
    /// So many messages.
    Messages(usize),
    /// What was published in so long.
    Time(Duration),
}

/// What a fresh attachment is sent before live messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewind {
    /// Where it begins.
    pub back: Back,
    /// At most so many messages, the newest; not more than [`MOST_REWOUND`].
    pub limit: usize,
}

impl ChannelParams {
    /// Reads params, `qualifier`'s being overridden by those of `frame`. 40000 for one that we know with a value that
    /// makes no sense.
    pub fn parse<'a>(
        qualifier: impl IntoIterator<Item = (&'a str, &'a str)>,
        frame: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, ErrorInfo> {
        let mut params = Self::default();
        for (key, value) in qualifier.into_iter().chain(frame) {
            if params.set(key, value)? {
                params.echoed.retain(|(known, _)| known != key);
                params.echoed.push((key.to_owned(), value.to_owned()));
            }
        }
        Ok(params)
    }

    /// Whether `key` is one that we know.
    fn set(&mut self, key: &str, value: &str) -> Result<bool, ErrorInfo> {
        let bad = || Code::BadRequest.says(format!("invalid value for the channel param {key}: {value:?}"));
        match key {
            "rewind" => self.rewind = Some(back(value).ok_or_else(bad)?),
            "rewindLimit" => self.rewind_limit = Some(count(value).filter(|limit| *limit > 0).ok_or_else(bad)?),
            "delta" if value == delta::FORMAT => self.delta = true,
            "delta" => return Err(bad()),
            "occupancy" => self.occupancy = Some(Selection::parse(value)?),
            "echo" => self.echo = Some(value.parse().map_err(|_| bad())?),
            "modes" => self.modes = Some(Modes::parse(value)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// What to begin with, unless the client goes on from a position.
    pub fn rewind(&self) -> Option<Rewind> {
        let limit = self.rewind_limit.unwrap_or(MOST_REWOUND).min(MOST_REWOUND);
        match self.rewind? {
            Back::Messages(0) => None,
            back @ Back::Messages(count) => Some(Rewind { back, limit: limit.min(count) }),
            back @ Back::Time(_) => Some(Rewind { back, limit }),
        }
    }

    /// Whether messages may be told as deltas.
    pub fn delta(&self) -> bool {
        self.delta
    }

    /// Which counts it wants to be told.
    pub fn occupancy(&self) -> Option<Selection> {
        self.occupancy
    }

    /// Whether it gets its own connection's messages; none: as the connection has it.
    pub fn echo(&self) -> Option<bool> {
        self.echo
    }

    /// The modes asked for, which count in place of the flags.
    pub fn modes(&self) -> Option<Modes> {
        self.modes
    }

    /// The known ones, as written, for ATTACHED.
    pub fn echoed(&self) -> impl Iterator<Item = (&str, &str)> {
        self.echoed.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

/// `N`, `Ns` or `Nm`.
fn back(text: &str) -> Option<Back> {
    let seconds =
        |number: &str, each: u64| count(number)?.try_into().ok().and_then(|count: u64| count.checked_mul(each));
    if let Some(number) = text.strip_suffix('s') {
        return seconds(number, 1).map(Duration::from_secs).map(Back::Time);
    }
    if let Some(number) = text.strip_suffix('m') {
        return seconds(number, 60).map(Duration::from_secs).map(Back::Time);
    }
    count(text).map(Back::Messages)
}

fn count(digits: &str) -> Option<usize> {
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(params: &[(&str, &str)]) -> ChannelParams {
        ChannelParams::parse([], params.iter().copied()).unwrap()
    }

    fn rewind(value: &str, limit: Option<&str>) -> Option<Rewind> {
        let limit = limit.map(|limit| ("rewindLimit", limit));
        parsed(&[("rewind", value)].into_iter().chain(limit).collect::<Vec<_>>()).rewind()
    }

    #[test]
    fn rewinds() {
        let messages = |count, limit| Some(Rewind { back: Back::Messages(count), limit });
        let time = |seconds, limit| Some(Rewind { back: Back::Time(Duration::from_secs(seconds)), limit });
        assert_eq!(rewind("1", None), messages(1, 1));
        assert_eq!(rewind("0", None), None);
        assert_eq!(rewind("1000", None), messages(1000, 100));
        assert_eq!(rewind("50", Some("10")), messages(50, 10));
        assert_eq!(rewind("10s", None), time(10, 100));
        assert_eq!(rewind("5m", Some("7")), time(300, 7));
        assert_eq!(rewind("5m", Some("700")), time(300, 100));
        assert_eq!(parsed(&[("rewindLimit", "5")]).rewind(), None);
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for (key, value) in [
            ("rewind", ""),
            ("rewind", "-1"),
            ("rewind", "+1"),
            ("rewind", "1h"),
            ("rewind", "s"),
            ("rewind", "1.5s"),
            ("rewind", "99999999999999999999"),
            ("rewind", "18446744073709551615m"),
            ("rewindLimit", "0"),
            ("rewindLimit", "x"),
            ("delta", "xdelta"),
            ("occupancy", "none"),
            ("echo", "1"),
            ("modes", "fly"),
        ] {
            let error = ChannelParams::parse([], [(key, value)]).unwrap_err();
            assert_eq!((error.code, error.status), (40000, 400), "{key}={value}");
        }
    }

    #[test]
    fn known_ones_are_told_back_as_written() {
        let params =
            parsed(&[("modes", "subscribe,Presence"), ("agent", "x"), ("delta", "vcdiff"), ("occupancy", "metrics")]);
        let echoed: Vec<_> = params.echoed().collect();
        assert_eq!(echoed, [("modes", "subscribe,Presence"), ("delta", "vcdiff"), ("occupancy", "metrics")]);
        assert_eq!(params.modes(), Some(Modes::SUBSCRIBE | Modes::PRESENCE));
        assert!(params.delta() && params.echo().is_none() && params.occupancy() == Some(Selection::All));
    }

    #[test]
    fn a_frame_overrides_the_qualifier() {
        let params = ChannelParams::parse([("rewind", "1"), ("echo", "false")], [("rewind", "2")]).unwrap();
        assert_eq!(params.rewind().unwrap().limit, 2);
        assert_eq!(params.echo(), Some(false));
        assert_eq!(params.echoed().collect::<Vec<_>>(), [("echo", "false"), ("rewind", "2")]);
    }
}
