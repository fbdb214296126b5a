//! Methods and paths.

use crate::{Code, ErrorInfo};

/// What a request wants. Names are decoded, once, and not looked at: a channel's is for [`crate::Name::parse`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// `GET /time`: needs no credentials.
    Time,
    /// `POST /channels/{channel}/messages`.
    Publish {
        /// The channel's name.
        channel: String,
    },
    /// `GET /channels/{channel}/messages`.
    History {
        /// The channel's name.
        channel: String,
    },
    /// `GET /channels/{channel}/presence`.
    Presence {
        /// The channel's name.
        channel: String,
    },
    /// `GET /channels/{channel}/presence/history`.
    PresenceHistory {
        /// The channel's name.
        channel: String,
    },
    /// `GET /channels/{channel}`.
    Channel {
        /// The channel's name.
        channel: String,
    },
    /// `GET /channels`.
    Channels,
    /// `POST /messages`.
    BatchPublish,
    /// `GET /presence`.
    BatchPresence,
    /// `GET /stats`.
    Stats,
    /// `POST /keys/{key}/requestToken`.
    RequestToken {
        /// The key's name.
        key: String,
    },
    /// `POST /keys/{key}/revokeTokens`.
    RevokeTokens {
        /// The key's name.
        key: String,
    },
}

/// What GET and POST of a path are for.
struct Methods {
    get: Option<Route>,
    post: Option<Route>,
}

/// Finds the route of a request line's method and path (not decoded, without the query).
///
/// 40400 if there is none, 40500 if there is one for other methods (see [`allowed`]), and for what this server does not
/// do (changing messages, annotations, LiveObjects, push) the code that says so.
pub fn route(method: &str, path: &str) -> Result<Route, ErrorInfo> {
    let methods = methods(path)?;
    let found = match method {
        "GET" => methods.get,
        "POST" => methods.post,
        _ => None,
    };
    found.ok_or_else(|| Code::Method.says(format!("method not allowed, use {}", allowed(path))))
}

/// The methods that a path takes, as an `Allow` header says it; empty if there is no such path.
pub fn allowed(path: &str) -> &'static str {
    match methods(path) {
        Ok(Methods { get: Some(_), post: Some(_) }) => "GET, POST",
        Ok(Methods { get: Some(_), post: None }) => "GET",
        Ok(Methods { get: None, post: Some(_) }) => "POST",
        Ok(Methods { get: None, post: None }) | Err(_) => "",
    }
}

fn methods(path: &str) -> Result<Methods, ErrorInfo> {
    let get = |route| Ok(Methods { get: Some(route), post: None });
    let post = |route| Ok(Methods { get: None, post: Some(route) });
    // The first segment is empty.
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    match segments.as_slice() {
        ["time"] => get(Route::Time),
        ["channels"] => get(Route::Channels),
        ["channels", name] => get(Route::Channel { channel: decode(name)? }),
        ["channels", name, "messages"] => {
            let channel = decode(name)?;
            Ok(Methods {
                get: Some(Route::History { channel: channel.clone() }),
                post: Some(Route::Publish { channel }),
            })
        }
        ["channels", name, "presence"] => get(Route::Presence { channel: decode(name)? }),
        // As ably-java calls it.
        ["channels", name, "history"] => get(Route::History { channel: decode(name)? }),
        ["channels", name, "presence", "history"] => get(Route::PresenceHistory { channel: decode(name)? }),
        ["channels", _, "messages", serial]
        | ["channels", _, "messages", serial, "versions" | "annotations" | "client-summary"]
            if !serial.is_empty() =>
        {
            Err(Code::NotMutable.info())
        }
        ["channels", _, "objects" | "object", ..] => Err(Code::Objects.info()),
        ["messages"] => post(Route::BatchPublish),
        ["presence"] => get(Route::BatchPresence),
        ["stats"] => get(Route::Stats),
        ["keys", key, "requestToken"] => post(Route::RequestToken { key: decode(key)? }),
        ["keys", key, "revokeTokens"] => post(Route::RevokeTokens { key: decode(key)? }),
        ["push", ..] => Err(Code::NotFound.says("push notifications are not available on this server")),
        _ => Err(Code::NotFound.says("no such path")),
    }
}

fn decode(segment: &str) -> Result<String, ErrorInfo> {
    let decoded = percent_encoding::percent_decode_str(segment).decode_utf8();
    decoded.map(|text| text.into_owned()).map_err(|_| Code::ChannelName.says("the path is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn code(method: &str, path: &str) -> Result<Route, (u32, u16)> {
        route(method, path).map_err(|error| (error.code, error.status))
    }

    #[test]
    fn routes() {
        let channel = || "a/b c%41".to_owned();
        let key = || "app.key".to_owned();
        for (line, expected) in [
            ("GET /time", Route::Time),
            ("GET /channels", Route::Channels),
            ("GET /channels/a%2Fb%20c%2541", Route::Channel { channel: channel() }),
            ("GET /channels/a%2Fb%20c%2541/messages", Route::History { channel: channel() }),
            ("POST /channels/a%2fb%20c%2541/messages", Route::Publish { channel: channel() }),
            ("GET /channels/a%2Fb%20c%2541/presence", Route::Presence { channel: channel() }),
            ("GET /channels/a%2Fb%20c%2541/history", Route::History { channel: channel() }),
            ("GET /channels/a%2Fb%20c%2541/presence/history", Route::PresenceHistory { channel: channel() }),
            ("GET /channels/a+b", Route::Channel { channel: "a+b".to_owned() }),
            ("GET /channels/%5Bmeta%5Dlog/messages", Route::History { channel: "[meta]log".to_owned() }),
            ("POST /channels//messages", Route::Publish { channel: String::new() }),
            ("POST /messages", Route::BatchPublish),
            ("GET /presence", Route::BatchPresence),
            ("GET /stats", Route::Stats),
            ("POST /keys/app.key/requestToken", Route::RequestToken { key: key() }),
            ("POST /keys/app%2Ekey/revokeTokens", Route::RevokeTokens { key: key() }),
        ] {
            let (method, path) = line.split_once(' ').unwrap();
            assert_eq!(route(method, path), Ok(expected), "{line}");
        }
    }

    #[test]
    fn what_is_not_there() {
        for path in [
            "",
            "/",
            "/nothing",
            "/channels/a/nothing",
            "/channels/a/messages/",
            "/keys/k",
            "/push/deviceRegistrations",
            "/time/",
        ] {
            assert_eq!(code("GET", path), Err((40400, 404)), "{path}");
        }
        for (line, allow) in [
            ("POST /time", "GET"),
            ("DELETE /channels/a/messages", "GET, POST"),
            ("GET /messages", "POST"),
            ("GET /keys/k/requestToken", "POST"),
            ("get /time", "GET"),
        ] {
            let (method, path) = line.split_once(' ').unwrap();
            assert_eq!(code(method, path), Err((40500, 405)), "{line}");
            assert_eq!(allowed(path), allow);
        }
        assert_eq!(allowed("/nothing"), "");
        assert_eq!(code("GET", "/channels/%ff/messages"), Err((40010, 400)));
    }

    /// The reference's third tier.
    #[test]
    fn what_is_not_done_here() {
        for line in [
            "GET /channels/a/messages/s",
            "PATCH /channels/a/messages/s",
            "GET /channels/a/messages/s/versions",
            "POST /channels/a/messages/s/annotations",
            "GET /channels/a/messages/s/client-summary",
        ] {
            let (method, path) = line.split_once(' ').unwrap();
            assert_eq!(code(method, path), Err((93002, 400)), "{line}");
        }
        assert_eq!(code("GET", "/channels/a/objects/root"), Err((92000, 400)));
    }

    proptest! {
        #[test]
        fn any_request_line_is_answered(
            method in "GET|POST|\\PC{0,5}",
            path in prop_oneof!["\\PC{0,40}", "(/(channels|keys|messages|presence|history|[a%f2]{0,4})){0,5}"],
        ) {
            if let Err(error) = route(&method, &path) {
                prop_assert!(matches!(error.status, 400 | 404 | 405));
            }
        }
    }
}
