//! Capabilities as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use channels::Capability;

use crate::{Code, ErrorInfo};

/// Reads a capability as tokens and token requests hold it: the text of a JSON object with lists of operations. 40000 if it
/// is none.
pub fn parse_capability(text: &str) -> Result<Capability, ErrorInfo> {
    const SHAPE: &str = "a capability is a JSON object of channels, each with a list of operations";
    let map: BTreeMap<String, Vec<String>> = serde_json::from_str(text).map_err(|_| Code::BadRequest.says(SHAPE))?;
    Capability::new(map).map_err(|invalid| Code::BadRequest.says(invalid.to_string()))
}

/// The canonical text: without white space, resources and operations sorted.
pub fn capability_text(capability: &Capability) -> String {
    let mut text = String::from("{");
    for (index, (resource, words)) in capability.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let resource = serde_json::Value::from(resource);
        let words: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
        write!(text, "{comma}{resource}:[{}]", words.join(",")).expect("a string takes all text");
    }
    text.push('}');
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_text_is_canonical() {
        for (given, canonical) in [
            (r#"{"*":["*"]}"#, r#"{"*":["*"]}"#),
            (
                r#" { "news" : ["subscribe", "history"], "chat:*":["publish","presence","subscribe"] } "#,
                r#"{"chat:*":["presence","publish","subscribe"],"news":["history","subscribe"]}"#,
            ),
            (r#"{"a\"b":["publish","publish"]}"#, r#"{"a\"b":["publish"]}"#),
            ("{}", "{}"),
        ] {
            assert_eq!(capability_text(&parse_capability(given).unwrap()), canonical);
        }
    }

    #[test]
    fn malformed_ones_are_bad_requests() {
        for text in [
            "",
            "[]",
            "null",
            "{",
            r#"{"a":"publish"}"#,
            r#"{"a":[1]}"#,
            r#"{"a":[]}"#,
            r#"{"a":["*","publish"]}"#,
            r#"{"a":["publish_"]}"#,
            r#"{"":["publish"]}"#,
        ] {
            assert_eq!(parse_capability(text).map_err(|error| error.code), Err(40000), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "\\PC{0,40}|\\{\"[a:*]{1,4}\":\\[\"(publish|subscribe|\\*)\"(,\"history\")?\\]\\}") {
            if let Ok(capability) = parse_capability(&text) {
                let canonical = capability_text(&capability);
                prop_assert_eq!(parse_capability(&canonical), Ok(capability));
            }
        }
    }
}
