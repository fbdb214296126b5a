//! Methods and paths.

use channels::AppId;

use super::ApiError;

/// What a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The app. `None`: the one that `auth_key` is of, which is how the Python library asks to terminate connections.
    pub app: Option<AppId>,
    /// What is wanted of it.
    pub action: Action,
}

/// What is wanted of an app. Names and ids are decoded but not checked: that takes the app's limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// `POST /apps/{app}/events`.
    Events,
    /// `POST /apps/{app}/batch_events`.
    BatchEvents,
    /// `POST /apps/{app}/channels/{channel}/events`: deprecated, one event whose data is the whole body.
    ChannelEvent {
        /// The channel's name.
        channel: String,
    },
    /// `GET /apps/{app}/channels/{channel}/events`: what the channel has held. Not a Pusher route.
    History {
        /// The channel's name.
        channel: String,
    },
    /// `GET /apps/{app}/channels`.
    Channels,
    /// `GET /apps/{app}/channels/{channel}`, also with the deprecated `/stats` behind it.
    Channel {
        /// The channel's name.
        channel: String,
    },
    /// `GET /apps/{app}/channels/{channel}/users`.
    Users {
        /// The channel's name.
        channel: String,
    },
    /// `POST /apps/{app}/users/{user}/terminate_connections`, also without `/apps/{app}`.
    Terminate {
        /// The user's id.
        user: String,
    },
}

/// Finds the route of a request line's method and path (not decoded, without the query). A prefix in front of `/apps/`
/// is skipped, as it is for the signature.
pub fn route(method: &str, path: &str) -> Result<Route, ApiError> {
    let path = auth::signed_path(path).ok_or(ApiError::NotFound)?;
    // The first segment is empty.
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let (app, rest) = match segments.as_slice() {
        ["apps", app, rest @ ..] => (Some(AppId::new(&decode(app)?).map_err(|_| ApiError::UnknownApp)?), rest),
        rest => (None, rest),
    };
    // What GET and POST are for.
    let (get, post) = match rest {
        ["events"] => (None, Some(Action::Events)),
        ["batch_events"] => (None, Some(Action::BatchEvents)),
        ["channels"] => (Some(Action::Channels), None),
        ["channels", name] | ["channels", name, "stats"] => (Some(Action::Channel { channel: decode(name)? }), None),
        ["channels", name, "users"] => (Some(Action::Users { channel: decode(name)? }), None),
        ["channels", name, "events"] => {
            let channel = decode(name)?;
            (Some(Action::History { channel: channel.clone() }), Some(Action::ChannelEvent { channel }))
        }
        ["users", id, "terminate_connections"] => (None, Some(Action::Terminate { user: decode(id)? })),
        _ => return Err(ApiError::NotFound),
    };
    match (method, get, post) {
        ("GET", Some(action), _) | ("POST", _, Some(action)) => Ok(Route { app, action }),
        (_, Some(_), Some(_)) => Err(ApiError::MethodNotAllowed { allowed: "GET, POST" }),
        (_, Some(_), None) => Err(ApiError::MethodNotAllowed { allowed: "GET" }),
        (_, None, _) => Err(ApiError::MethodNotAllowed { allowed: "POST" }),
    }
}

fn decode(segment: &str) -> Result<String, ApiError> {
    let decoded = percent_encoding::percent_decode_str(segment).decode_utf8().map_err(|_| ApiError::NotFound)?;
    Ok(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(method: &str, path: &str, expected: Action) {
        let app = Some(AppId::new("3301").unwrap());
        assert_eq!(route(method, path), Ok(Route { app, action: expected }), "{method} {path}");
    }

    fn check_refused(method: &str, path: &str, expected: ApiError) {
        assert_eq!(route(method, path), Err(expected), "{method} {path}");
    }

    #[test]
    fn routes() {
        check("POST", "/apps/3301/events", Action::Events);
        check("POST", "/prefix/apps/3301/events", Action::Events);
        check("POST", "/apps/3301/batch_events", Action::BatchEvents);
        check("GET", "/apps/3301/channels", Action::Channels);
        for path in ["/apps/3301/channels/a@b,c;d=e._-", "/apps/3301/channels/a%40b%2Cc%3bd%3De._-"] {
            check("GET", path, Action::Channel { channel: "a@b,c;d=e._-".to_owned() });
            check("GET", &format!("{path}/stats"), Action::Channel { channel: "a@b,c;d=e._-".to_owned() });
            check("GET", &format!("{path}/users"), Action::Users { channel: "a@b,c;d=e._-".to_owned() });
            check("GET", &format!("{path}/events"), Action::History { channel: "a@b,c;d=e._-".to_owned() });
            check("POST", &format!("{path}/events"), Action::ChannelEvent { channel: "a@b,c;d=e._-".to_owned() });
        }
        check("GET", "/apps/3301/channels/a+b", Action::Channel { channel: "a+b".to_owned() });
        check("GET", "/apps/3301/channels/users", Action::Channel { channel: "users".to_owned() });
        check(
            "POST",
            "/apps/3301/users/u%20%2f+1/terminate_connections",
            Action::Terminate { user: "u /+1".to_owned() },
        );
    }

    /// Spec §11: as the Python library calls it.
    #[test]
    fn terminating_without_an_app() {
        for path in ["/users/u-42/terminate_connections", "/prefix/users/u-42/terminate_connections"] {
            let action = Action::Terminate { user: "u-42".to_owned() };
            assert_eq!(route("POST", path), Ok(Route { app: None, action }), "{path}");
            check_refused("GET", path, ApiError::MethodNotAllowed { allowed: "POST" });
        }
    }

    #[test]
    fn what_is_not_there() {
        for path in [
            "",
            "/",
            "/apps",
            "/apps/3301",
            "/apps/3301/",
            "/apps/3301/nothing",
            "/apps/3301/events/",
            "/apps/3301/channels/a/b",
            "/apps/3301/channels/a/users/b",
            "/apps/3301/channels/a/events/",
            "/apps/3301/channels/%ff",
            "/apps/3301/users/u",
            "/users/u",
            "/users/u/v/terminate_connections",
            "/app/key",
        ] {
            check_refused("GET", path, ApiError::NotFound);
        }
        for path in ["/apps//events", "/apps/a.b/events", "/apps/%2a/channels"] {
            check_refused("GET", path, ApiError::UnknownApp);
        }
        check_refused("GET", "/apps/3301/events", ApiError::MethodNotAllowed { allowed: "POST" });
        check_refused("post", "/apps/3301/events", ApiError::MethodNotAllowed { allowed: "POST" });
        check_refused("POST", "/apps/3301/channels", ApiError::MethodNotAllowed { allowed: "GET" });
        check_refused("PUT", "/apps/3301/channels/a/events", ApiError::MethodNotAllowed { allowed: "GET, POST" });
    }

    proptest! {
        #[test]
        fn any_request_line_is_answered(
            method in "GET|POST|\\PC{0,5}",
            path in prop_oneof!["\\PC{0,40}", "(/apps/[0-9a%.]{0,4})?(/(events|channels|users|terminate_connections|[a%f]{0,4})){0,4}"],
        ) {
            if let Err(error) = route(&method, &path) {
                prop_assert!(matches!(error.status(), 404 | 405));
            }
        }
    }
}
