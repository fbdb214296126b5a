//! Query strings, decoded as the signature rules want them.

use std::borrow::Cow;

/// A decoded query string: names in lower case, sorted, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

/// Why a query string was refused.
///
/// The string that is signed joins **decoded** names and values with `=` and `&`, so it cannot tell `a=1%26b=2` from
/// `a=1&b=2`. Someone who saw a signed request could move such a border and keep the signature. No parameter of the API
/// needs these characters or a name twice; refusing them makes the signed string say one thing only.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedQuery {
    /// Percent-encoded bytes that are not UTF-8.
    #[error("query is not UTF-8")]
    NotUtf8,
    /// A decoded `&` or line break, or a decoded `=` in a name.
    #[error("query holds an encoded '&', '=' or line break where it would change its meaning")]
    Ambiguous,
    /// A parameter given twice.
    #[error("query gives a parameter twice")]
    Repeated,
}

impl<'a> Query<'a> {
    /// Decodes the part of a URL after `?`; `+` is a space. A parameter without `=` has an empty value.
    pub fn parse(text: &'a str) -> Result<Self, MalformedQuery> {
        let mut pairs = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (mut name, value) = (decode(name)?, decode(value)?);
            let breaks = |text: &str| text.contains(['&', '\n', '\r']);
            if breaks(&name) || breaks(&value) || name.contains('=') {
                return Err(MalformedQuery::Ambiguous);
            }
            if name.bytes().any(|b| b.is_ascii_uppercase()) {
                name.to_mut().make_ascii_lowercase();
            }
            pairs.push((name, value));
        }
        pairs.sort_unstable();
        if pairs.windows(2).any(|two| two[0].0 == two[1].0) {
            return Err(MalformedQuery::Repeated);
        }
        Ok(Self(pairs))
    }

    /// The value of the parameter `name` (lower case).
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.binary_search_by(|(candidate, _)| candidate.as_ref().cmp(name)).ok()?;
        Some(&self.0[found].1)
    }

    /// All parameters, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value.as_ref()))
    }
}

fn decode(text: &str) -> Result<Cow<'_, str>, MalformedQuery> {
    if text.contains('+') {
        let spaced = text.replace('+', " ");
        return Ok(Cow::Owned(decode_percent(&spaced)?.into_owned()));
    }
    decode_percent(text)
}

fn decode_percent(text: &str) -> Result<Cow<'_, str>, MalformedQuery> {
    percent_encoding::percent_decode_str(text).decode_utf8().map_err(|_| MalformedQuery::NotUtf8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decodes_lowers_and_sorts() {
        let query = Query::parse("info=user_count%2Csubscription_count&Filter_By_Prefix=a+b%2Bc&flag&=x&&e=").unwrap();
        let pairs: Vec<_> = query.iter().collect();
        assert_eq!(
            pairs,
            [
                ("", "x"),
                ("e", ""),
                ("filter_by_prefix", "a b+c"),
                ("flag", ""),
                ("info", "user_count,subscription_count")
            ]
        );
        assert_eq!(query.get("flag"), Some(""));
        assert_eq!(query.get("absent"), None);
    }

    #[test]
    fn values_may_hold_an_equals_sign() {
        assert_eq!(Query::parse("a=b=c%3Dd").unwrap().get("a"), Some("b=c=d"));
    }

    #[test]
    fn refuses_what_could_be_read_in_two_ways() {
        for text in ["a=1%26b=2", "a%3Db=c", "a=1%0A", "a%0d=1"] {
            assert_eq!(Query::parse(text), Err(MalformedQuery::Ambiguous), "{text}");
        }
        assert_eq!(Query::parse("a=1&A=2"), Err(MalformedQuery::Repeated));
        assert_eq!(Query::parse("a=%ff"), Err(MalformedQuery::NotUtf8));
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in prop_oneof!["\\PC*", "[a-cA%26+=&\u{e9}]{0,24}"]) {
            if let Ok(query) = Query::parse(&text) {
                let names: Vec<_> = query.iter().map(|(name, _)| name).collect();
                prop_assert!(names.windows(2).all(|two| two[0] < two[1]));
                prop_assert!(names.iter().all(|name| query.get(name).is_some()));
            }
        }
    }
}
