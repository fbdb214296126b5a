//! Pages: how many items, and the links to other pages.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::query::Query;
use crate::{Code, ErrorInfo};

/// Items on a page if nothing is said.
pub(super) const DEFAULT_LIMIT: usize = 100;

/// Most items on a page.
pub(super) const MAX_LIMIT: usize = 1_000;

/// What is left as it is in a query: the unreserved characters of RFC 3986.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// `limit`, from 1 to 1000 (40003).
pub(super) fn limit(query: &Query<'_>) -> Result<usize, ErrorInfo> {
    let Some(text) = query.get("limit") else { return Ok(DEFAULT_LIMIT) };
    let limit = if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None };
    limit
        .filter(|limit| (1..=MAX_LIMIT).contains(limit))
        .ok_or_else(|| Code::BadParam.says(format!("limit must be a number from 1 to {MAX_LIMIT}")))
}

/// A time in milliseconds since the Unix epoch (40003).
pub(super) fn time(query: &Query<'_>, name: &str) -> Result<Option<u64>, ErrorInfo> {
    let parse = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    let invalid = || Code::BadParam.says(format!("{name} must be a time in milliseconds since 1970"));
    query.get(name).map(|text| parse(text).ok_or_else(invalid)).transpose()
}

/// What the links of a page say: every filter, and what was taken where nothing was said.
pub(super) struct Links<'a> {
    /// The last segment of the path. SDKs ask the path of the first request again, with the link's query; one that is
    /// relative to it (`./messages?…`, one segment) is the only form that they take.
    pub(super) segment: &'static str,
    pub(super) params: Vec<(&'static str, Cow<'a, str>)>,
}

impl Links<'_> {
    /// The values of the `Link` headers: to the first page, to this one, which begins at `cursor`, and to the next one, if
    /// there is any.
    pub(super) fn values(&self, cursor: Option<&str>, next: Option<&str>) -> Vec<String> {
        let mut links = vec![self.first(), self.link("current", cursor)];
        links.extend(next.map(|next| self.link("next", Some(next))));
        links
    }

    /// The one to the first page.
    pub(super) fn first(&self) -> String {
        self.link("first", None)
    }

    fn link(&self, rel: &str, cursor: Option<&str>) -> String {
        let cursor = cursor.map(|cursor| ("cursor", Cow::Borrowed(cursor)));
        let pair = |(name, value): (&str, Cow<'_, str>)| format!("{name}={}", utf8_percent_encode(&value, UNRESERVED));
        let pairs: Vec<_> = self.params.iter().cloned().chain(cursor).map(pair).collect();
        format!("<./{}?{}>; rel=\"{rel}\"", self.segment, pairs.join("&"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits() {
        let limit = |text: &str| limit(&Query::parse(text).unwrap()).map_err(|error| error.code);
        assert_eq!((limit(""), limit("limit=1"), limit("limit=1000")), (Ok(100), Ok(1), Ok(1000)));
        for text in
            ["limit=0", "limit=1001", "limit=-1", "limit=", "limit=ten", "limit=1.5", "limit=99999999999999999999"]
        {
            assert_eq!(limit(text), Err(40003), "{text}");
        }
    }

    #[test]
    fn links_are_as_sdks_take_them() {
        let links = Links { segment: "messages", params: vec![("limit", "2".into()), ("prefix", "a b&c/é".into())] };
        let base = "<./messages?limit=2&prefix=a%20b%26c%2F%C3%A9";
        assert_eq!(
            links.values(Some("x:1"), Some("x:3")),
            [
                format!(r#"{base}>; rel="first""#),
                format!(r#"{base}&cursor=x%3A1>; rel="current""#),
                format!(r#"{base}&cursor=x%3A3>; rel="next""#),
            ]
        );
        assert_eq!(links.values(None, None).len(), 2);
    }
}
