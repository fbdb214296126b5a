//! Query strings, and form bodies, which are written alike.

use std::borrow::Cow;

use crate::{Code, ErrorInfo};

/// A decoded query string. Names are compared as they are written, as this protocol's are all in mixed case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Query<'a> {
    /// Decodes the part of a URL after `?`; `+` is a space. A parameter without `=` has an empty value.
    ///
    /// 40000 if what is encoded is not UTF-8.
    pub fn parse(text: &'a str) -> Result<Self, ErrorInfo> {
        let pair = |pair: &'a str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name)?, decode(value)?))
        };
        text.split('&').filter(|pair| !pair.is_empty()).map(pair).collect::<Result<_, _>>().map(Self)
    }

    /// The value of the parameter called `name`; of several, the first.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(candidate, _)| *candidate == name).map(|(_, value)| value)
    }

    /// The value of the first of `names` that is there: some parameters go by two.
    pub fn any(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.get(name))
    }

    /// Whether the parameter called `name` is there and true: `true`, `1` or nothing but its name.
    pub fn flag(&self, name: &str) -> bool {
        matches!(self.get(name), Some("true" | "1" | ""))
    }

    /// All parameters, in the order given.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value.as_ref()))
    }
}

fn decode(text: &str) -> Result<Cow<'_, str>, ErrorInfo> {
    let not_text = |_| Code::BadRequest.says("the query is not UTF-8");
    let percent = |text| percent_encoding::percent_decode_str(text).decode_utf8();
    if !text.contains('+') {
        return percent(text).map_err(not_text);
    }
    let spaced = text.replace('+', " ");
    let text = percent_encoding::percent_decode_str(&spaced).decode_utf8().map_err(not_text)?;
    Ok(Cow::Owned(text.into_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decodes_once_and_keeps_the_order() {
        let query = Query::parse("b=2&a=x%252By+z&flag&a=second&=v&&clientId=J%C3%BCrgen&e%3Df=%26").unwrap();
        let pairs: Vec<_> = query.iter().collect();
        assert_eq!(
            pairs,
            [
                ("b", "2"),
                ("a", "x%2By z"),
                ("flag", ""),
                ("a", "second"),
                ("", "v"),
                ("clientId", "Jürgen"),
                ("e=f", "&")
            ]
        );
        assert_eq!(query.get("a"), Some("x%2By z"));
        assert_eq!((query.any(&["z", "b"]), query.any(&["z"])), (Some("2"), None));
        assert_eq!((query.flag("flag"), query.flag("a"), query.flag("z")), (true, false, false));
        assert_eq!(Query::parse("a=%ff").map_err(|error| error.code), Err(40000));
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "\\PC*") {
            if let Ok(query) = Query::parse(&text) {
                prop_assert!(query.iter().all(|(name, _)| query.get(name).is_some()));
            }
        }
    }
}
