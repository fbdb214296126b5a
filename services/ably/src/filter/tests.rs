use base64::engine::general_purpose::STANDARD as STANDARD_BASE64;
use bytes::Bytes;
use channels::{ClientId, ConnectionId, RecordKind};
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn subject(name: Option<&str>, extras: Option<Value>) -> Subject {
    let extras = extras.map_or(Bytes::new(), |extras| extras.to_string().into());
    let message =
        Message { name: name.map(str::to_owned), extras, ..Message::text("", "data that no filter is to look at") };
    let record = Record {
        id: None,
        kind: RecordKind::Messages,
        connection: Some(ConnectionId::new("c0nn").unwrap()),
        client: Some(ClientId::new("bob").unwrap()),
        timestamp_ms: 1_700_000_000_000,
        messages: vec![message.clone()],
        traceparent: None,
    };
    Subject::of(&record, &message)
}

fn matches(expression: &str) -> bool {
    let headers = json!({ "number": 26095, "bool": true, "Company": "ACME", "tags": ["a", "b"], "other name": "x" });
    let extras = json!({ "headers": headers, "ref": { "type": "reply" }, "secret": 1 });
    Filter::new(expression).unwrap().matches(&subject(Some("filtered"), Some(extras)))
}

#[test]
fn what_filters_look_at() {
    for expression in [
        "name == `\"filtered\"` && headers.number == `26095`",
        "name == 'filtered'",
        "headers.number > `20000` && headers.bool",
        "!(name == 'other') && headers.number != `1`",
        "name == 'other' || headers.Company == 'ACME'",
        "headers.\"other name\" == 'x'",
        "contains(headers.tags, 'b') && headers.tags[0] == 'a' && headers.tags[-1] == 'b'",
        "starts_with(name, 'fil') && ends_with(name, 'red') && length(name) == `8`",
        "clientId == 'bob' && connectionId == 'c0nn' && timestamp == `1700000000000`",
        "ref.type == 'reply'",
        "headers.missing == `null`",
        "@.name | @ == 'filtered'",
        "type(headers.number) == 'number'",
        "starts_with(missing, 'a') || name == 'filtered'",
        "!contains(headers.missing, 'a')",
    ] {
        assert!(matches(expression), "{expression}");
    }
    for expression in [
        "name == 'other'",
        "headers.missing",
        "secret",
        "data",
        "headers.bool == `false`",
        "starts_with(missing, 'a')",
        "nonsense",
    ] {
        assert!(!matches(expression), "{expression}");
    }
}

#[test]
fn a_message_without_anything_has_no_fields() {
    let bare = subject(None, None);
    for (expression, expected) in [("name", false), ("headers", false), ("clientId == 'bob'", true), ("!headers", true)]
    {
        assert_eq!(Filter::new(expression).unwrap().matches(&bare), expected, "{expression}");
    }
}

#[test]
fn as_it_stands_in_a_name() {
    let text = STANDARD_BASE64.encode("name == 'a?b>c~~'");
    let filter = Filter::new("name == 'a?b>c~~'").unwrap();
    assert!(text.contains(['+', '/']) && text.ends_with('='), "{text}");
    for text in [text.clone(), text.replace('+', "-").replace('/', "_"), text.trim_end_matches('=').to_owned()] {
        assert_eq!(Filter::from_base64(&text), Ok(filter.clone()), "{text}");
    }
    for text in ["*", "/w==", "a"] {
        assert_eq!(Filter::from_base64(text), Err(InvalidFilter::Base64), "{text}");
    }
}

#[test]
fn what_is_refused() {
    for expression in ["", "==", "name ==", "name = 'a'", "(", "nam\u{e9}", "a[-2147483648]"] {
        assert!(matches!(Filter::new(expression), Err(InvalidFilter::Syntax(_))), "{expression}");
    }
    for expression in [
        "[@, @]",
        "{a: @}",
        "headers.tags[*]",
        "headers.*",
        "headers.tags[?@ == 'a']",
        "headers.tags[]",
        "headers.tags[0:1]",
        "map(&a, @)",
        "to_string(@)",
        "join('a', headers.tags)",
        "unknown(@)",
    ] {
        assert!(matches!(Filter::new(expression), Err(InvalidFilter::NotOffered(_))), "{expression}");
    }
    assert_eq!(Filter::new(&format!("name == '{}'", "x".repeat(1024))), Err(InvalidFilter::TooLong));
    for expression in
        ["!".repeat(120) + "a", "!".repeat(1000), "(".repeat(1000), "a.".repeat(500), "`1` == ".repeat(100) + "`1`"]
    {
        assert_eq!(Filter::new(&expression), Err(InvalidFilter::TooComplex));
    }
}

proptest! {
    #[test]
    fn any_text_is_answered(
        text in prop_oneof!["\\PC{0,60}", "([a-z]{1,3}|[.()!&|@<>=\\[\\]{}?*,:-]|`1`|'a'|\"b\"|[0-9]{1,11}|length|keys){0,40}"]
    ) {
        if let Ok(filter) = Filter::new(&text) {
            filter.matches(&subject(Some("n"), Some(json!({ "headers": { "a": [1, { "b": "c" }] } }))));
        }
    }
}
