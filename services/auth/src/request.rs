//! Signed HTTP requests.
//!
//! ```text
//! string to sign = METHOD "\n" PATH "\n" name "=" value "&" name "=" value …
//! ```
//!
//! METHOD in upper case; PATH as in the request line, from `/apps/` on (see [`signed_path`]) and without the query; every
//! query parameter but `auth_signature`, names in lower case and sorted, values decoded. The body takes part through
//! `body_md5`.

use channels::{App, Key};
use md5::{Digest as _, Md5};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::mac::{Signature, is_signed};
use crate::{Query, Signer, hex};

/// The only value of `auth_version` there is.
const AUTH_VERSION: &str = "1.0";

/// What is left as it is when a value is put into a URL: the unreserved characters of RFC 3986.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A request as received, but for its body, which [`check_body`] takes when it has come.
#[derive(Clone, Copy, Debug)]
pub struct SignedRequest<'a> {
    /// The method.
    pub method: &'a str,
    /// The path of the request line, not decoded, without the query; a proxy's prefix may still be in front.
    pub path: &'a str,
    /// The query.
    pub query: &'a Query<'a>,
}

/// Why a request was refused. The texts tell an outsider nothing about the secret or the right signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRequest {
    /// The path has no part that is signed.
    #[error("path is not below /apps/")]
    Path,
    /// A parameter that must be there is not.
    #[error("query parameter {0} is missing")]
    MissingParameter(&'static str),
    /// `auth_version` is not `1.0`.
    #[error("auth_version must be {AUTH_VERSION}")]
    UnsupportedVersion,
    /// `auth_key` is not an active key of the app in the path.
    #[error("auth_key is not an active key of this app")]
    UnknownKey,
    /// `auth_timestamp` is not a whole number.
    #[error("auth_timestamp must be whole seconds since 1970")]
    MalformedTimestamp,
    /// `auth_timestamp` is too far from now.
    #[error("auth_timestamp is more than {window_seconds} s from this server's clock")]
    Expired {
        /// How far it may be, either way.
        window_seconds: u64,
    },
    /// The signature is not that of the key over this request.
    #[error(
        "invalid signature: expected the HMAC-SHA256 in lower-case hex of METHOD, path from /apps/ on and sorted query"
    )]
    BadSignature,
    /// `body_md5` is not the MD5 of the body.
    #[error("body_md5 is not the MD5 of the body received")]
    BodyDigestMismatch,
}

/// The part of `path` that is signed, and by which a request is routed: from the first `/apps/` on, so that a prefix
/// which a proxy or a library's path option puts in front is not part of it. Also `/users/ID/terminate_connections`
/// without an app, which the Python library calls and signs.
pub fn signed_path(path: &str) -> Option<&str> {
    // Without a search for what nearly every request begins with.
    if path.starts_with("/apps/") && !path.ends_with("/terminate_connections") {
        return Some(path);
    }
    let app = path.find("/apps/");
    let user = path.strip_suffix("/terminate_connections").and_then(|rest| rest.rsplit_once('/'));
    let start = match user.and_then(|(front, _)| front.strip_suffix("/users")) {
        Some(prefix) if !prefix.contains("/apps/") => prefix.len(),
        Some(_) | None => app?,
    };
    Some(&path[start..])
}

/// Checks that an active key of `app` signed `request`, with a secret that is still good, within the app's `auth_timestamp_window` of `now_seconds` (since
/// the Unix epoch): it bounds how long a captured request can be replayed, and forgives the clocks of ordinary servers.
/// Answers that key. What is signed of the body is its digest: [`check_body`] compares it.
pub fn check_request<'a>(
    app: &'a App,
    request: &SignedRequest<'_>,
    now_seconds: u64,
) -> Result<&'a Key, InvalidRequest> {
    let required = |name| request.query.get(name).ok_or(InvalidRequest::MissingParameter(name));
    let path = signed_path(request.path).ok_or(InvalidRequest::Path)?;
    let key = required("auth_key")?;
    let timestamp = required("auth_timestamp")?;
    let version = required("auth_version")?;
    let signature = required("auth_signature")?;
    if version != AUTH_VERSION {
        return Err(InvalidRequest::UnsupportedVersion);
    }
    let key = app.key(key).ok_or(InvalidRequest::UnknownKey)?;
    let digits = timestamp.bytes().all(|b| b.is_ascii_digit());
    let timestamp: u64 = timestamp.parse().ok().filter(|_| digits).ok_or(InvalidRequest::MalformedTimestamp)?;
    let window_seconds = app.limits.auth_timestamp_window.as_secs();
    if now_seconds.abs_diff(timestamp) > window_seconds {
        return Err(InvalidRequest::Expired { window_seconds });
    }
    let to_sign = string_to_sign(request.method, path, request.query.iter());
    if !is_signed(key, &[&to_sign], signature, now_seconds.saturating_mul(1000)) {
        return Err(InvalidRequest::BadSignature);
    }
    Ok(key)
}

/// Checks the body of a request whose signature is good. An empty one may come with or without its MD5 (the Python
/// library sends it on every GET); any other must have it.
///
/// A check of its own, so that an outsider gets us neither to read nor to hash a body.
pub fn check_body(query: &Query<'_>, body: &[u8]) -> Result<(), InvalidRequest> {
    match query.get("body_md5") {
        None if body.is_empty() => Ok(()),
        None => Err(InvalidRequest::MissingParameter("body_md5")),
        Some(given) if given.as_bytes() == hex_md5(body) => Ok(()),
        Some(_) => Err(InvalidRequest::BodyDigestMismatch),
    }
}

/// What `body_md5` has to be for `body`.
pub fn body_md5(body: &[u8]) -> String {
    hex_md5(body).map(char::from).iter().collect()
}

fn hex_md5(body: &[u8]) -> [u8; 32] {
    let mut hex = [0; 32];
    hex::encode_into(&Md5::digest(body), &mut hex);
    hex
}

/// What a request's signature is over: method, path as in [`signed_path`], and parameters sorted by name.
pub fn string_to_sign<'a>(method: &str, path: &str, parameters: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    // Room for what a publish signs.
    let mut text = String::with_capacity(256);
    text.push_str(method);
    text.make_ascii_uppercase();
    for part in ["\n", path, "\n"] {
        text.push_str(part);
    }
    let mut separator = "";
    for (name, value) in parameters.filter(|(name, _)| *name != "auth_signature") {
        for part in [separator, name, "=", value] {
            text.push_str(part);
        }
        separator = "&";
    }
    text
}

impl Signer {
    /// Signs a request as the server libraries do: answers the query string to put behind `?`, which holds `parameters`
    /// (names in lower case) and what the signature needs.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        parameters: &[(&str, &str)],
        body: &[u8],
        now_seconds: u64,
    ) -> String {
        let timestamp = now_seconds.to_string();
        let digest = body_md5(body);
        let mut all = parameters.to_vec();
        all.extend([("auth_key", self.name.as_str()), ("auth_timestamp", &timestamp), ("auth_version", AUTH_VERSION)]);
        if !body.is_empty() {
            all.push(("body_md5", &digest));
        }
        all.sort_unstable();
        let to_sign = string_to_sign(method, signed_path(path).unwrap_or(path), all.iter().copied());
        let signature = Signature::of(&self.secret, &[&to_sign]);
        all.push(("auth_signature", signature.text()));
        let encode = |text| utf8_percent_encode(text, UNRESERVED);
        let pairs: Vec<_> = all.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
        pairs.join("&")
    }
}

#[cfg(test)]
mod tests;
