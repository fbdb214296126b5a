use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::vectors::{KEY, NOW, REQUESTS, Request, app, signer};

const PATH: &str = "/apps/3301/events";

fn check(method: &str, path: &str, query: &str, body: &str, now: u64) -> Result<(), InvalidRequest> {
    let query = Query::parse(query).unwrap();
    check_request(&app(), &SignedRequest { method, path, query: &query }, now)?;
    check_body(&query, body.as_bytes())
}

fn signed(body: &str) -> String {
    signer().request("POST", PATH, &[], body.as_bytes(), NOW)
}

/// Spec §18, 27.
#[test]
fn a_prefix_is_not_signed() {
    assert_eq!(check("POST", "/pusher/v1/apps/3301/events", &signed("{}"), "{}", NOW), Ok(()));
    assert_eq!(check("POST", "/events", &signed("{}"), "{}", NOW), Err(InvalidRequest::Path));
    assert_eq!(signed_path("/apps/apps/events"), Some("/apps/apps/events"), "an app called apps");
}

/// As the Python library calls it.
#[test]
fn terminating_needs_no_app_in_the_path() {
    for (path, expected) in [
        ("/users/u/terminate_connections", "/users/u/terminate_connections"),
        ("/prefix/users/u/terminate_connections", "/users/u/terminate_connections"),
        ("/users/apps/terminate_connections", "/users/apps/terminate_connections"),
        ("/users/apps/1/users/u/terminate_connections", "/apps/1/users/u/terminate_connections"),
        ("/apps/users/users/users/terminate_connections", "/apps/users/users/users/terminate_connections"),
    ] {
        assert_eq!(signed_path(path), Some(expected), "{path}");
    }
    for path in
        ["/users/u", "/users/u/terminate_connections/", "/terminate_connections", "/user/u/terminate_connections"]
    {
        assert_eq!(signed_path(path), None, "{path}");
    }
    let path = "/users/u/terminate_connections";
    let query = signer().request("POST", path, &[], b"{}", NOW);
    assert_eq!(check("POST", path, &query, "{}", NOW), Ok(()));
    assert_eq!(check("POST", &format!("/prefix{path}"), &query, "{}", NOW), Ok(()));
    assert_eq!(check("POST", &format!("/apps/3301{path}"), &query, "{}", NOW), Err(InvalidRequest::BadSignature));
}

/// Spec §12, 3: as the PHP library sends and signs it.
#[test]
fn an_array_is_signed_joined() {
    let query = signer().request("GET", PATH, &[("info", "user_count,subscription_count")], b"", NOW);
    let array =
        query.replace("info=user_count%2Csubscription_count", "info%5B0%5D=user_count&info%5B1%5D=subscription_count");
    assert_ne!(array, query);
    assert_eq!(check("GET", PATH, &array, "", NOW), Ok(()));
}

/// Spec §18, 26.
#[test]
fn order_case_and_encoding_on_the_wire_do_not_matter() {
    let query = signer().request("GET", PATH, &[("info", "user_count,subscription_count")], b"", NOW);
    assert!(query.contains("%2C"));
    assert_eq!(check("GET", PATH, &query, "", NOW), Ok(()));
    assert_eq!(check("get", PATH, &query.replace("%2C", ",").replace("info=", "Info="), "", NOW), Ok(()));
    let reversed: Vec<_> = query.split('&').rev().collect();
    assert_eq!(check("GET", PATH, &reversed.join("&"), "", NOW), Ok(()));
}

#[test]
fn a_plus_is_a_space() {
    let query = signer().request("GET", PATH, &[("filter_by_prefix", "a b")], b"", NOW);
    assert_eq!(check("GET", PATH, &query.replace("%20", "+"), "", NOW), Ok(()));
}

#[test]
fn the_window_is_the_apps_both_ways() {
    let query = signed("{}");
    let query = Query::parse(&query).unwrap();
    let request = SignedRequest { method: "POST", path: PATH, query: &query };
    for (window, near, far) in
        [(600, [NOW - 600, NOW + 600], [NOW - 601, NOW + 601]), (5, [NOW - 5, NOW + 5], [NOW - 6, u64::MAX])]
    {
        let mut app = app();
        app.limits.auth_timestamp_window = Duration::from_secs(window);
        for now in near {
            assert!(check_request(&app, &request, now).is_ok(), "{now}");
        }
        for now in far {
            let expired = InvalidRequest::Expired { window_seconds: window };
            assert_eq!(check_request(&app, &request, now).map(|_| ()), Err(expired), "{now}");
        }
    }
}

#[test]
fn a_rotated_secret_signs_until_its_end() {
    let query = signed("{}");
    let query = Query::parse(&query).unwrap();
    let request = SignedRequest { method: "POST", path: PATH, query: &query };
    let mut app = app();
    let secret = std::mem::replace(&mut app.keys[0].secret, channels::Secret::new("the new secret").unwrap());
    let checked = |app: &App| check_request(app, &request, NOW).map(|_| ());
    assert_eq!(checked(&app), Err(InvalidRequest::BadSignature));
    for (until_ms, expected) in [(NOW * 1000 + 1, Ok(())), (NOW * 1000, Err(InvalidRequest::BadSignature))] {
        app.keys[0].previous = Some(channels::PreviousSecret { secret: secret.clone(), until_ms });
        assert_eq!(checked(&app), expected, "{until_ms}");
    }
}

#[test]
fn every_parameter_is_needed() {
    for name in ["auth_key", "auth_timestamp", "auth_version", "auth_signature"] {
        let query = signed("{}");
        let without: Vec<_> = query.split('&').filter(|pair| !pair.starts_with(name)).collect();
        assert_eq!(check("POST", PATH, &without.join("&"), "{}", NOW), Err(InvalidRequest::MissingParameter(name)));
    }
}

#[test]
fn odd_values_are_told_apart() {
    for (from, to, expected) in [
        ("auth_version=1.0", "auth_version=2.0", InvalidRequest::UnsupportedVersion),
        (KEY, "another", InvalidRequest::UnknownKey),
        ("auth_timestamp=1", "auth_timestamp=%2B1", InvalidRequest::MalformedTimestamp),
        ("auth_timestamp=1", "auth_timestamp=-1", InvalidRequest::MalformedTimestamp),
        ("auth_timestamp=1", "auth_timestamp=99999999999999999", InvalidRequest::MalformedTimestamp),
        ("auth_timestamp=1730000000", "auth_timestamp=", InvalidRequest::MalformedTimestamp),
        ("auth_signature=", "auth_signature=0", InvalidRequest::BadSignature),
    ] {
        assert_eq!(check("POST", PATH, &signed("{}").replace(from, to), "{}", NOW), Err(expected), "{to}");
    }
}

#[test]
fn the_body_is_covered() {
    assert_eq!(check("POST", PATH, &signed("{}"), "{ }", NOW), Err(InvalidRequest::BodyDigestMismatch));
    assert_eq!(check("POST", PATH, &signed("{}"), "", NOW), Err(InvalidRequest::BodyDigestMismatch));
    let unsigned_body = signer().request("POST", PATH, &[], b"", NOW);
    let missing = Err(InvalidRequest::MissingParameter("body_md5"));
    assert_eq!(check("POST", PATH, &unsigned_body, "{}", NOW), missing);
    assert_eq!(check("POST", PATH, &unsigned_body, "", NOW), Ok(()));
}

/// Spec §18, 25.
#[test]
fn an_empty_body_may_have_its_md5() {
    let python: &Request = &REQUESTS[4];
    assert_eq!(check(python.method, python.path, &python.wire_query(), "", NOW), Ok(()));
    let dropped = python.wire_query().replace("body_md5=d41d8cd98f00b204e9800998ecf8427e&", "");
    assert_eq!(check(python.method, python.path, &dropped, "", NOW), Err(InvalidRequest::BadSignature));
}

#[test]
fn refusals_reveal_nothing() {
    let secret = crate::vectors::SECRET;
    let query = signed("{}");
    let (_, signature) = query.split_once("auth_signature=").unwrap();
    let refusal = check("POST", "/apps/3302/events", &query, "{}", NOW).unwrap_err().to_string();
    assert!(!refusal.contains(secret) && !refusal.contains(signature), "{refusal}");
}

proptest! {
    #[test]
    fn any_changed_byte_of_the_query_is_refused(at in 0_usize..200, new in "[a-z0-9&=%.]") {
        let query = signer().request("GET", PATH, &[("info", "subscription_count")], b"", NOW);
        let at = at % query.len();
        let tampered = format!("{}{}{}", &query[..at], new, &query[at + 1..]);
        prop_assume!(tampered != query);
        if let Ok(parsed) = Query::parse(&tampered) {
            // Another spelling of the same request is the same request.
            prop_assume!(parsed != Query::parse(&query).unwrap());
            prop_assert!(check("GET", PATH, &tampered, "", NOW).is_err(), "{}", tampered);
        }
    }

    #[test]
    fn any_changed_byte_of_path_method_or_body_is_refused(at in any::<usize>(), new in "[a-zA-Z0-9/ -~]") {
        let body = r#"{"name":"a","channel":"c","data":"1"}"#;
        let query = signed(body);
        let change = |text: &str| {
            let at = at % text.len();
            format!("{}{}{}", &text[..at], new, &text[at + 1..])
        };
        let (path, method, other) = (change(PATH), change("POST"), change(body));
        prop_assert_eq!(check("POST", &path, &query, body, NOW).is_ok(), path == PATH);
        prop_assert_eq!(check(&method, PATH, &query, body, NOW).is_ok(), method.eq_ignore_ascii_case("POST"));
        prop_assert_eq!(check("POST", PATH, &query, &other, NOW).is_ok(), other == body);
    }

    #[test]
    fn what_is_signed_is_accepted(value in "[^&\r\n]{0,20}", body in "\\PC{0,20}") {
        let query = signer().request("PUT", PATH, &[("info", &value)], body.as_bytes(), NOW);
        prop_assert_eq!(check("PUT", PATH, &query, &body, NOW), Ok(()));
    }

    #[test]
    fn any_request_is_answered(path in "\\PC{0,30}", query in "\\PC{0,60}", body in "\\PC{0,10}") {
        if let Ok(parsed) = Query::parse(&query) {
            let request = SignedRequest { method: "GET", path: &path, query: &parsed };
            prop_assert!(check_request(&app(), &request, NOW).is_err());
            let _answer = check_body(&parsed, body.as_bytes());
        }
    }
}
