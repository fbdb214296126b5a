//! Query strings, decoded as the signature rules want them.

use std::borrow::Cow;

/// A decoded query string: names in lower case, sorted, each once.
///
/// A parameter that is given several times, plainly or as PHP writes the elements of an array (`name[]`, `name[0]`), has
/// its values joined with commas in the order given, which is how the PHP library signs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

/// Why a query string was refused.
///
/// The string that is signed joins **decoded** names and values with `=` and `&`, so it cannot tell `a=1%26b=2` from
/// `a=1&b=2`. Someone who saw a signed request could move such a border and keep the signature. No parameter of the API
/// needs these characters; refusing them makes the signed string say one thing only.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedQuery {
    /// Percent-encoded bytes that are not UTF-8.
    #[error("query is not UTF-8")]
    NotUtf8,
    /// A decoded `&` or line break, or a decoded `=` in a name.
    #[error("query holds an encoded '&', '=' or line break where it would change its meaning")]
    Ambiguous,
}

impl<'a> Query<'a> {
    /// Decodes the part of a URL after `?`; `+` is a space. A parameter without `=` has an empty value.
    pub fn parse(text: &'a str) -> Result<Self, MalformedQuery> {
        // As many as a publish has.
        let mut pairs: Vec<(Cow<'a, str>, Cow<'a, str>)> = Vec::with_capacity(5);
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (mut name, value) = if is_plain(pair) {
                (Cow::Borrowed(name), Cow::Borrowed(value))
            } else {
                let (name, value) = (decode(name)?, decode(value)?);
                let breaks = |text: &str| text.contains(['&', '\n', '\r']);
                if breaks(&name) || breaks(&value) || name.contains('=') {
                    return Err(MalformedQuery::Ambiguous);
                }
                (name, value)
            };
            let plain = without_index(&name).len();
            if plain < name.len() {
                name.to_mut().truncate(plain);
            }
            if name.bytes().any(|b| b.is_ascii_uppercase()) {
                name.to_mut().make_ascii_lowercase();
            }
            pairs.push((name, value));
        }
        // Stable: the values of one name stay in the order given.
        pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
        pairs.dedup_by(|(name, value), (kept_name, kept)| {
            let same = name == kept_name;
            if same {
                let kept = kept.to_mut();
                kept.push(',');
                kept.push_str(value);
            }
            same
        });
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

/// Whether a pair means what it says: nothing in it is encoded, and nothing breaks a line. Looks at every byte without a
/// branch, which the compiler makes a few vector instructions of.
fn is_plain(pair: &str) -> bool {
    pair.bytes().fold(true, |plain, byte| plain & !matches!(byte, b'%' | b'+' | b'\n' | b'\r'))
}

/// `name` without the `[]` or `[0]` of an array's element.
fn without_index(name: &str) -> &str {
    let array = name.strip_suffix(']').and_then(|rest| rest.rsplit_once('['));
    match array {
        Some((array, index)) if index.bytes().all(|b| b.is_ascii_digit()) => array,
        Some(_) | None => name,
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
        assert_eq!(Query::parse("a=%ff"), Err(MalformedQuery::NotUtf8));
    }

    #[test]
    fn arrays_are_joined_with_commas() {
        for text in ["b=2&a=x&a=y", "a[]=x&b=2&a[]=y", "a%5B0%5D=x&A[1]=y&b[7]=2", "b=2&a=x%2Cy"] {
            let query = Query::parse(text).unwrap();
            assert_eq!(query.iter().collect::<Vec<_>>(), [("a", "x,y"), ("b", "2")], "{text}");
        }
        assert_eq!(Query::parse("a[b]=1&a]=2&a[=3").unwrap().iter().count(), 3, "no arrays");
        assert_eq!(Query::parse("a=2&a=1").unwrap().get("a"), Some("2,1"), "in the order given");
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in prop_oneof!["\\PC*", "[a-cA%26+=&\\[\\]\u{e9}]{0,24}"]) {
            if let Ok(query) = Query::parse(&text) {
                let names: Vec<_> = query.iter().map(|(name, _)| name).collect();
                prop_assert!(names.windows(2).all(|two| two[0] < two[1]));
                prop_assert!(names.iter().all(|name| query.get(name).is_some()));
            }
        }
    }
}
