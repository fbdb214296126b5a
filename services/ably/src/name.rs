//! Channel names as clients of this protocol write them: qualifiers, and the channel behind them.
//!
//! `[qualifier?params]name`: the text as written is the channel's identity for the client, and goes into every frame;
//! the base name is the channel for everything else. A metachannel's base name keeps its `[meta]`, which no other
//! channel's begins with.

use std::sync::Arc;

use channels::{ChannelName, InvalidChannelName};
use percent_encoding::percent_decode_str;

use crate::filter::{Filter, InvalidFilter};
use crate::meta::Metachannel;
use crate::{Code, ErrorInfo};

/// A channel as a client names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    written: Arc<str>,
    base: ChannelName,
    params: Vec<(String, String)>,
    filter: Option<Arc<Filter>>,
    meta: Option<Metachannel>,
}

/// Why a text names no channel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Nothing, or nothing behind the qualifier.
    #[error("a channel name must not be empty")]
    Empty,
    /// Too long, or with control characters.
    #[error("{0}")]
    Text(InvalidChannelName),
    /// Begins with what no name begins with.
    #[error("a channel name must not begin with {0}")]
    Start(char),
    /// A qualifier that nobody knows.
    #[error("unknown channel qualifier")]
    Qualifier,
    /// A metachannel that there is not.
    #[error("unknown metachannel")]
    Metachannel,
    /// A filter that is none.
    #[error("{0}")]
    Filter(InvalidFilter),
}

impl From<InvalidName> for ErrorInfo {
    fn from(invalid: InvalidName) -> Self {
        let code = match invalid {
            InvalidName::Filter(InvalidFilter::Base64) => Code::ChannelName,
            InvalidName::Filter(_) => Code::BadRequest,
            InvalidName::Empty
            | InvalidName::Text(_)
            | InvalidName::Start(_)
            | InvalidName::Qualifier
            | InvalidName::Metachannel => Code::ChannelName,
        };
        code.says(invalid.to_string())
    }
}

impl Name {
    /// Reads a name as it stands in a frame, or in a path once that is decoded.
    pub fn parse(written: &str) -> Result<Self, InvalidName> {
        let plain = |base, params| Self { written: written.into(), base, params, filter: None, meta: None };
        let Some(qualified) = written.strip_prefix('[') else {
            return Ok(plain(unqualified(written)?, Vec::new()));
        };
        let (qualifier, rest) = qualified.split_once(']').ok_or(InvalidName::Qualifier)?;
        let (kind, params) = qualifier.split_once('?').map_or((qualifier, None), |(kind, params)| (kind, Some(params)));
        let has_params = params.is_some();
        let params = params.map_or_else(Vec::new, read_params);
        if kind == "meta" {
            let meta = Metachannel::of(rest).ok_or(InvalidName::Metachannel)?;
            Ok(Self { meta: Some(meta), ..plain(meta.channel(), params) })
        } else if let Some(filter) = kind.strip_prefix("filter=") {
            let filter = Arc::new(Filter::from_base64(filter).map_err(InvalidName::Filter)?);
            Ok(Self { filter: Some(filter), ..plain(unqualified(rest)?, params) })
        } else if kind.is_empty() && has_params {
            Ok(plain(unqualified(rest)?, params))
        } else {
            Err(InvalidName::Qualifier)
        }
    }

    /// The name as the client wrote it, qualifiers included.
    pub fn written(&self) -> &Arc<str> {
        &self.written
    }

    /// The channel that it stands for.
    pub fn base(&self) -> &ChannelName {
        &self.base
    }

    /// The params of the qualifier, in the order written.
    pub fn params(&self) -> impl Iterator<Item = (&str, &str)> {
        self.params.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// What says which messages a subscriber of this name gets; none for all of them.
    pub fn filter(&self) -> Option<&Arc<Filter>> {
        self.filter.as_ref()
    }

    /// The metachannel it names, if it does.
    pub fn meta(&self) -> Option<Metachannel> {
        self.meta
    }

    /// Whether a client may publish or be present there at all: not on a filtered view, nor where the server speaks.
    pub fn takes_publishes(&self) -> bool {
        self.filter.is_none() && self.meta.is_none()
    }
}

fn unqualified(name: &str) -> Result<ChannelName, InvalidName> {
    match name.chars().next() {
        None => Err(InvalidName::Empty),
        // `#` begins the names of channels that the server uses itself; `[` here would be a second qualifier.
        Some(start @ (':' | '#' | '[')) => Err(InvalidName::Start(start)),
        Some(_) => ChannelName::new(name).map_err(InvalidName::Text),
    }
}

fn read_params(params: &str) -> Vec<(String, String)> {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let pairs = params.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.map(|(key, value)| (decoded(key), decoded(value))).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(written: &str) -> Name {
        Name::parse(written).unwrap()
    }

    #[test]
    fn plain_names_are_their_own_base() {
        for written in ["a", "room:1/b?c=d", "private-x", "名前 ☃", "a[b]", "a:b", " ", "?x"] {
            let name = parsed(written);
            assert_eq!((name.base().as_str(), &**name.written()), (written, written));
            assert!(name.params().next().is_none() && name.filter().is_none() && name.takes_publishes());
        }
    }

    #[test]
    fn qualifiers_are_not_part_of_the_channel() {
        let name = parsed("[?rewind=1&delta=vcdiff&x=%26%3D&flag]room:1");
        assert_eq!((name.base().as_str(), name.takes_publishes()), ("room:1", true));
        let expected = [("rewind", "1"), ("delta", "vcdiff"), ("x", "&="), ("flag", "")];
        assert_eq!(name.params().collect::<Vec<_>>(), expected);

        // `name == 'x'`
        let derived = parsed("[filter=bmFtZSA9PSAneCc=?rewind=2]room");
        assert_eq!((derived.base().as_str(), derived.takes_publishes()), ("room", false));
        assert_eq!(derived.filter().map(|filter| (**filter).clone()), Filter::new("name == 'x'").ok());
        assert_eq!(derived.params().collect::<Vec<_>>(), [("rewind", "2")]);

        let meta = parsed("[meta?rewind=1]connection.lifecycle");
        assert_eq!(meta.base().as_str(), "[meta]connection.lifecycle");
        assert_eq!((meta.meta(), meta.takes_publishes()), (Some(Metachannel::ConnectionLifecycle), false));
        assert_eq!(parsed("[meta]connection.lifecycle").base(), meta.base());
    }

    #[test]
    fn what_is_no_name() {
        let code = |written: &str| ErrorInfo::from(Name::parse(written).unwrap_err()).code;
        for written in [
            "",
            ":hell",
            "[invalid",
            "[invalid]a",
            "[]a",
            "[queue]a",
            "#server-to-user-1",
            "[?rewind=1]",
            "[?a=b]:c",
            "[?a=b]#server-to-user-1",
            "[?a=b][?c=d]e",
            "[meta]nothing",
            "[meta]",
            "[filter=*]a",
            "a\nb",
            "a\0",
        ] {
            assert_eq!(code(written), 40010, "{written:?}");
        }
        assert_eq!(code(&"x".repeat(1025)), 40010);
        // `==`
        assert_eq!(code("[filter=PT0=]a"), 40000);
    }

    proptest! {
        #[test]
        fn any_text_is_answered(written in prop_oneof!["\\PC{0,40}", "[\\[\\]?=&#:%a-cmet0-9]{0,30}"]) {
            if let Ok(name) = Name::parse(&written) {
                prop_assert_eq!(&**name.written(), &written);
                prop_assert_eq!(name.base().as_str().starts_with('['), name.meta().is_some());
                prop_assert!(!name.base().as_str().starts_with(['#', ':']));
            }
        }
    }
}
