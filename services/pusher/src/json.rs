//! The little JSON this protocol needs: objects read by borrowing, strings and events written by hand. Payloads are
//! never parsed into values and written again, since that would change bytes which users hash and encrypt.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;

/// A JSON string that is borrowed wherever it holds no escape. Unlike `Cow`, it also borrows inside `Option` and `Vec`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text<'a>(pub(crate) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
            fn visit_string<E>(self, text: String) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text)))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

/// Characters that were signed: those of a JSON string, or any other JSON as its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Signed<'a>(pub(crate) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Signed<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = <&'de RawValue>::deserialize(deserializer)?.get();
        if !json.starts_with('"') {
            return Ok(Self(Cow::Borrowed(json)));
        }
        serde_json::from_str::<Text<'de>>(json).map(|text| Self(text.0)).map_err(de::Error::custom)
    }
}

/// Why a text could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// Not JSON.
    Syntax,
    /// JSON of another shape.
    Shape,
}

/// Reads a JSON object. (Plain serde would also take an array for a struct.)
pub(crate) fn object<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Unreadable> {
    let starts_object = text.trim_start_matches([' ', '\t', '\n', '\r']).starts_with('{');
    match serde_json::from_str(text) {
        Ok(value) if starts_object => Ok(value),
        Ok(_) => Err(Unreadable::Shape),
        Err(error) => match error.classify() {
            serde_json::error::Category::Data => Err(Unreadable::Shape),
            serde_json::error::Category::Syntax
            | serde_json::error::Category::Eof
            | serde_json::error::Category::Io => Err(Unreadable::Syntax),
        },
    }
}

/// Appends `text` as a JSON string. Escapes only what JSON demands: everything else arrives as it was sent.
pub(crate) fn push_string(out: &mut String, text: &str) {
    out.push('"');
    let mut copied = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0..=0x1f => "",
            _ => continue,
        };
        out.push_str(&text[copied..at]);
        if escape.is_empty() {
            let hex = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
            out.push_str("\\u00");
            out.push(hex(byte >> 4));
            out.push(hex(byte & 0x0f));
        } else {
            out.push_str(escape);
        }
        copied = at + 1;
    }
    out.push_str(&text[copied..]);
    out.push('"');
}

/// The JSON string of `text`.
pub(crate) fn string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    push_string(&mut out, text);
    out
}

/// JSON text without the white space between its tokens; numbers, escapes and the order of members stay as written.
pub(crate) fn compact(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let (mut in_string, mut escaped) = (false, false);
    for c in json.chars() {
        if in_string {
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else if matches!(c, ' ' | '\t' | '\n' | '\r') {
            continue;
        } else {
            in_string = c == '"';
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Example<'a> {
        #[serde(borrow)]
        a: Option<Text<'a>>,
    }

    #[test]
    fn borrows_unless_escaped() {
        let example: Example<'_> = object(r#" {"a":"plain é"}"#).unwrap();
        assert!(matches!(example.a, Some(Text(Cow::Borrowed("plain é")))));
        let example: Example<'_> = object(r#"{"a":"\u00e9\n"}"#).unwrap();
        assert_eq!(example.a.unwrap().0, "é\n");
    }

    #[test]
    fn signed_characters() {
        for (json, expected) in [
            (r#""a\u00e9\n""#, "aé\n"),
            (r#""{\"a\":1}""#, r#"{"a":1}"#),
            (r#" { "a" : 1e400 } "#, r#"{ "a" : 1e400 }"#),
            ("[ ]", "[ ]"),
            ("-0.0", "-0.0"),
        ] {
            assert_eq!(serde_json::from_str::<Signed<'_>>(json).unwrap().0, expected);
        }
        assert!(serde_json::from_str::<Signed<'_>>(r#""\ud800""#).is_err());
    }

    #[test]
    fn tells_syntax_from_shape() {
        for (text, expected) in [
            ("", Unreadable::Syntax),
            ("{", Unreadable::Syntax),
            ("{}x", Unreadable::Syntax),
            ("nonsense", Unreadable::Syntax),
            (r#"["x"]"#, Unreadable::Shape),
            ("null", Unreadable::Shape),
            (r#"{"a":1}"#, Unreadable::Shape),
            (r#"{"a":"1","a":"2"}"#, Unreadable::Shape),
        ] {
            assert_eq!(object::<Example<'_>>(text).map(|_| ()), Err(expected), "{text}");
        }
    }

    #[test]
    fn compacts_outside_strings_only() {
        let raw = "{ \"a b\" : [ 1e400 ,\n\t\"x \\\" y\\\\\" , \"\\u00e9 \" ] }";
        assert_eq!(compact(raw), r#"{"a b":[1e400,"x \" y\\","\u00e9 "]}"#);
    }

    proptest! {
        #[test]
        fn strings_read_back(text in any::<String>()) {
            prop_assert_eq!(serde_json::from_str::<String>(&string(&text)).unwrap(), text);
        }

        #[test]
        fn compact_keeps_the_value(parts in proptest::collection::vec("[a-z \\\\\"\u{1}é]{0,6}", 0..5)) {
            let raw = serde_json::to_string_pretty(&parts).unwrap();
            let small = compact(&raw);
            prop_assert_eq!(&small, &serde_json::to_string(&parts).unwrap());
            prop_assert!(serde_json::from_str::<&RawValue>(&small).is_ok());
        }
    }
}
