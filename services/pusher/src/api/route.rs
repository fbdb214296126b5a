//! Methods and paths.

use channels::AppId;

use super::ApiError;

/// What a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// `POST /apps/{app}/events`.
    Events {
        /// The app.
        app: AppId,
    },
    /// `POST /apps/{app}/batch_events`.
    BatchEvents {
        /// The app.
        app: AppId,
    },
    /// `GET /apps/{app}/channels`.
    Channels {
        /// The app.
        app: AppId,
    },
    /// `GET /apps/{app}/channels/{name}`.
    Channel {
        /// The app.
        app: AppId,
        /// The channel's name, decoded but not checked: that takes the app's limits.
        name: String,
    },
}

impl Route {
    /// The app it is about.
    pub fn app(&self) -> &AppId {
        match self {
            Self::Events { app } | Self::BatchEvents { app } | Self::Channels { app } | Self::Channel { app, .. } => {
                app
            }
        }
    }
}

/// Finds the route of a request line's method and path (not decoded, without the query). A prefix in front of `/apps/`
/// is skipped, as it is for the signature.
pub fn route(method: &str, path: &str) -> Result<Route, ApiError> {
    let path = auth::signed_path(path).ok_or(ApiError::NotFound)?;
    // The first segment is empty and the second is "apps".
    let mut segments = path.split('/').skip(2);
    let app = segments.next().ok_or(ApiError::NotFound)?;
    let rest = [segments.next(), segments.next(), segments.next()];
    let app = AppId::new(&decode(app)?).map_err(|_| ApiError::UnknownApp)?;
    let (allowed, route) = match rest {
        [Some("events"), None, None] => ("POST", Route::Events { app }),
        [Some("batch_events"), None, None] => ("POST", Route::BatchEvents { app }),
        [Some("channels"), None, None] => ("GET", Route::Channels { app }),
        [Some("channels"), Some(name), None] if !name.is_empty() => {
            ("GET", Route::Channel { app, name: decode(name)? })
        }
        _ => return Err(ApiError::NotFound),
    };
    if method == allowed { Ok(route) } else { Err(ApiError::MethodNotAllowed { allowed }) }
}

fn decode(segment: &str) -> Result<String, ApiError> {
    let decoded = percent_encoding::percent_decode_str(segment).decode_utf8().map_err(|_| ApiError::NotFound)?;
    Ok(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(method: &str, path: &str, expected: Result<Route, ApiError>) {
        assert_eq!(route(method, path), expected, "{method} {path}");
    }

    #[test]
    fn routes() {
        let app = AppId::new("3301").unwrap();
        check("POST", "/apps/3301/events", Ok(Route::Events { app: app.clone() }));
        check("POST", "/prefix/apps/3301/events", Ok(Route::Events { app: app.clone() }));
        check("POST", "/apps/3301/batch_events", Ok(Route::BatchEvents { app: app.clone() }));
        check("GET", "/apps/3301/channels", Ok(Route::Channels { app: app.clone() }));
        for path in ["/apps/3301/channels/a@b,c;d=e._-", "/apps/3301/channels/a%40b%2Cc%3bd%3De._-"] {
            check("GET", path, Ok(Route::Channel { app: app.clone(), name: "a@b,c;d=e._-".to_owned() }));
        }
        check("GET", "/apps/3301/channels/a+b", Ok(Route::Channel { app: app.clone(), name: "a+b".to_owned() }));
        assert_eq!(route("POST", "/apps/3301/events").unwrap().app(), &app);
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
            "/apps/3301/channels/",
            "/apps/3301/channels/a/users",
            "/apps/3301/channels/a/users/b",
            "/apps/3301/channels/%ff",
            "/app/key",
        ] {
            check("GET", path, Err(ApiError::NotFound));
        }
        for path in ["/apps//events", "/apps/a.b/events", "/apps/%2a/channels"] {
            check("GET", path, Err(ApiError::UnknownApp));
        }
        check("GET", "/apps/3301/events", Err(ApiError::MethodNotAllowed { allowed: "POST" }));
        check("post", "/apps/3301/events", Err(ApiError::MethodNotAllowed { allowed: "POST" }));
        check("POST", "/apps/3301/channels", Err(ApiError::MethodNotAllowed { allowed: "GET" }));
    }

    proptest! {
        #[test]
        fn any_request_line_is_answered(
            method in "GET|POST|\\PC{0,5}",
            path in prop_oneof!["\\PC{0,40}", "/apps/[0-9a%.]{0,4}(/(events|channels|[a%f]{0,4})){0,3}"],
        ) {
            if let Err(error) = route(&method, &path) {
                prop_assert!(matches!(error.status(), 404 | 405));
            }
        }
    }
}
