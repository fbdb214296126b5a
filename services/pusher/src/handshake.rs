//! Before a session: the path and query of an upgrade request, and refusals of it.

use std::borrow::Cow;

use channels::KeyName;

use crate::{CloseCode, Output, frame};

/// A protocol version that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProtocolVersion {
    /// Version 4.
    V4,
    /// Version 5: the current Java and Android client.
    V5,
    /// Version 6.
    V6,
    /// Version 7: everybody else.
    V7,
}

impl ProtocolVersion {
    fn from_number(number: &str) -> Option<Self> {
        match number {
            "4" => Some(Self::V4),
            "5" => Some(Self::V5),
            "6" => Some(Self::V6),
            "7" => Some(Self::V7),
            _ => None,
        }
    }

    fn subprotocol(self) -> &'static str {
        match self {
            Self::V4 => "pusher-channels-protocol-4",
            Self::V5 => "pusher-channels-protocol-5",
            Self::V6 => "pusher-channels-protocol-6",
            Self::V7 => "pusher-channels-protocol-7",
        }
    }

    /// Up to version 5 a fatal error is reported by an event as well as by the close frame.
    pub(crate) fn reports_errors_by_event(self) -> bool {
        match self {
            Self::V4 | Self::V5 => true,
            Self::V6 | Self::V7 => false,
        }
    }
}

/// A well-formed request for a connection. Whether an app has the key is for the caller to find out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// The key it connects with.
    pub key: KeyName,
    /// The version it speaks.
    pub protocol: ProtocolVersion,
}

/// A request that cannot become a connection: what to close it with once the upgrade is done.
///
/// Never refuse at HTTP level: clients see that as code 1006, a passing trouble, and try again for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub code: CloseCode,
    /// The version, if it got that far.
    pub protocol: Option<ProtocolVersion>,
}

/// Reads the path and query (behind `?`, empty if there is none) of `[prefix]/app/{key}?protocol=N&…`.
///
/// All parameters but `protocol` are ignored, also malformed ones; without `protocol`, version 7 is assumed, since
/// hand-written clients forget it.
pub fn parse_handshake(path: &str, query: &str) -> Result<Handshake, Refused> {
    let refused = |code, protocol| Refused { code, protocol };
    let given = query.split('&').filter_map(|pair| pair.split_once('=')).find(|(name, _)| *name == "protocol");
    let protocol = match given {
        None => ProtocolVersion::V7,
        Some((_, number)) => {
            ProtocolVersion::from_number(number).ok_or(refused(CloseCode::UnsupportedProtocol, None))?
        }
    };
    let unknown_path = refused(CloseCode::UnknownPath, Some(protocol));
    let (_, key) = path.rsplit_once("/app/").ok_or(unknown_path)?;
    if key.is_empty() || key.contains('/') {
        return Err(unknown_path);
    }
    // A text that cannot be a key's name is nobody's key.
    let unknown_key = refused(CloseCode::UnknownKey, Some(protocol));
    let key = percent_encoding::percent_decode_str(key).decode_utf8().map_err(|_| unknown_key)?;
    let key = KeyName::new(&key).map_err(|_| unknown_key)?;
    Ok(Handshake { key, protocol })
}

/// Chooses from the offers of a `Sec-WebSocket-Protocol` header the first `pusher-channels-protocol-N` that is served.
/// `None`: send no such header; the Swift client offers one and browsers insist on an answer if they offer any.
pub fn select_subprotocol(offers: &str) -> Option<&'static str> {
    offers.split(',').find_map(|offer| {
        let number = offer.trim().strip_prefix("pusher-channels-protocol-")?;
        ProtocolVersion::from_number(number).map(ProtocolVersion::subprotocol)
    })
}

/// What to send on an upgraded connection that gets no session: the error as an event, if there is one, then the close.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    refused: Refused,
    reason: Cow<'static, str>,
}

impl From<Refused> for Rejection {
    fn from(refused: Refused) -> Self {
        Self { refused, reason: refused.code.reason().into() }
    }
}

impl Rejection {
    /// The same for a reason that says more: at most the 123 bytes that fit into a close frame.
    pub fn because(refused: Refused, reason: String) -> Self {
        debug_assert!(reason.len() <= 123, "{reason}");
        Self { refused, reason: reason.into() }
    }

    /// For versions 4 and 5: a text frame that says the same.
    pub fn error(&self) -> Option<String> {
        error_event(self.refused.code, &self.reason, self.refused.protocol)
    }

    /// The number in the close frame.
    pub fn code(&self) -> u16 {
        self.refused.code.number()
    }

    /// The text in the close frame.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

fn error_event(code: CloseCode, reason: &str, protocol: Option<ProtocolVersion>) -> Option<String> {
    let tells = protocol.is_some_and(ProtocolVersion::reports_errors_by_event);
    tells.then(|| frame::error(Some(code.number()), reason))
}

pub(crate) fn push_close(code: CloseCode, protocol: Option<ProtocolVersion>, out: &mut Vec<Output>) {
    out.extend(error_event(code, code.reason(), protocol).map(Output::Send));
    out.push(Output::Close(code));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(path: &str, query: &str, expected: Result<(&str, ProtocolVersion), CloseCode>) {
        let got = parse_handshake(path, query);
        let got = got.as_ref().map(|h| (h.key.as_str(), h.protocol)).map_err(|refused| refused.code);
        assert_eq!(got, expected, "{path}?{query}");
    }

    #[test]
    fn real_clients() {
        use ProtocolVersion::*;
        check("/app/app-key", "protocol=7&client=js&version=8.6.0&flash=false", Ok(("app-key", V7)));
        check("/app/app-key", "client=java-client&protocol=5&version=2.4.4", Ok(("app-key", V5)));
        check("/app/app-key", "protocol=7&client=pusher-websocket-swift&version=10.1.5", Ok(("app-key", V7)));
        check("/ws/prefix/app/app-key", "protocol=4", Ok(("app-key", V4)));
        check("/app/1001.k%31", "protocol=6", Ok(("1001.k1", V6)));
    }

    #[test]
    fn only_protocol_counts() {
        use ProtocolVersion::V7;
        for query in ["", "a", "protocol", "x=%ff&=&&a=1&a=2", "version=nonsense&protocol=7", "protocol=7&protocol=1"] {
            check("/app/k", query, Ok(("k", V7)));
        }
    }

    #[test]
    fn refusals() {
        for number in ["1", "3", "8", "", "7.0", "-7", "07", "seven"] {
            check("/app/k", &format!("protocol={number}"), Err(CloseCode::UnsupportedProtocol));
        }
        for path in ["", "/", "/app", "/app/", "/apps/k", "/app/k/more", "/app/k/", "/application/k"] {
            check(path, "protocol=7", Err(CloseCode::UnknownPath));
        }
        for key in ["a:b", "%ff", "a%20b", "%00", "%2f"] {
            check(&format!("/app/{key}"), "", Err(CloseCode::UnknownKey));
        }
    }

    /// Spec §18, 3: an unknown key is a close code, which only an upgraded connection can carry.
    #[test]
    fn old_versions_are_told_by_an_event_too() {
        let error = r#"{"event":"pusher:error","data":{"code":4001,"message":"No app has this key"}}"#.to_owned();
        let reject = |protocol| Rejection::from(Refused { code: CloseCode::UnknownKey, protocol });
        for version in [ProtocolVersion::V4, ProtocolVersion::V5] {
            assert_eq!(reject(Some(version)).error().as_ref(), Some(&error));
        }
        for version in [Some(ProtocolVersion::V6), Some(ProtocolVersion::V7), None] {
            let rejection = reject(version);
            assert_eq!(rejection.error(), None);
            assert_eq!((rejection.code(), rejection.reason()), (4001, "No app has this key"));
        }
    }

    #[test]
    fn a_rejection_may_say_more() {
        let refused = Refused { code: CloseCode::OverQuota, protocol: Some(ProtocolVersion::V5) };
        let rejection = Rejection::because(refused, "quota connections exceeded".to_owned());
        assert_eq!((rejection.code(), rejection.reason()), (4004, "quota connections exceeded"));
        let error = r#"{"event":"pusher:error","data":{"code":4004,"message":"quota connections exceeded"}}"#;
        assert_eq!(rejection.error().as_deref(), Some(error));
    }

    #[test]
    fn subprotocols() {
        assert_eq!(select_subprotocol("pusher-channels-protocol-7"), Some("pusher-channels-protocol-7"));
        assert_eq!(select_subprotocol("chat, pusher-channels-protocol-5 ,x"), Some("pusher-channels-protocol-5"));
        assert_eq!(select_subprotocol("pusher-channels-protocol-8"), None);
        assert_eq!(select_subprotocol(""), None);
    }

    proptest! {
        #[test]
        fn any_request_is_answered(path in "(/app/)?\\PC{0,20}", query in "(protocol=)?\\PC{0,20}", offers in "\\PC{0,40}") {
            if let Ok(handshake) = parse_handshake(&path, &query) {
                prop_assert!(!handshake.key.as_str().is_empty());
            }
            prop_assert!(select_subprotocol(&offers).is_none());
        }
    }
}
