use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::*;

/// A decoder of what the encoder may write.
fn decode(source: &[u8], delta: &[u8]) -> Vec<u8> {
    struct Reader<'a>(&'a [u8]);
    impl<'a> Reader<'a> {
        fn byte(&mut self) -> u8 {
            self.take(1)[0]
        }
        fn take(&mut self, count: usize) -> &'a [u8] {
            let (taken, rest) = self.0.split_at(count);
            self.0 = rest;
            taken
        }
        fn number(&mut self) -> usize {
            let mut value = 0;
            loop {
                let byte = self.byte();
                value = value << 7 | usize::from(byte & 0x7f);
                if byte & 0x80 == 0 {
                    return value;
                }
            }
        }
    }
    let mut all = Reader(delta);
    assert_eq!(all.take(6), [0xd6, 0xc3, 0xc4, 0, 0, 1]);
    assert_eq!((all.number(), all.number()), (source.len(), 0));
    assert_eq!(all.number(), all.0.len());
    let (target_length, indicator) = (all.number(), all.byte());
    assert_eq!(indicator, 0);
    let lengths = [all.number(), all.number(), all.number()];
    let [mut data, mut instructions, mut addresses] = lengths.map(|length| Reader(all.take(length)));
    assert!(all.0.is_empty());
    let mut target = Vec::new();
    while !instructions.0.is_empty() {
        let code = instructions.byte();
        let size = match code {
            1 | 19 => instructions.number(),
            2..=18 => usize::from(code - 1),
            20..=34 => usize::from(code - 16),
            _ => panic!("code {code}"),
        };
        match code {
            1..=18 => target.extend_from_slice(data.take(size)),
            _ => {
                let from = addresses.number();
                target.extend_from_slice(&source[from..from + size]);
            }
        }
    }
    assert!(data.0.is_empty() && addresses.0.is_empty());
    assert_eq!(target.len(), target_length);
    target
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Appendix C, one instruction of which is shared between encoders: its delta is longer than its target.
#[test]
fn the_vector() {
    let (source, target) = (b"hello brave new world", b"hello brave old world");
    let mut window = Window::default();
    window.copy(12, 0);
    window.add(b"old");
    window.copy(6, 15);
    let expected = "d6c3c400000115000d15000303026f6c641c0416000f";
    assert_eq!(hex(&window.end(source.len(), target.len())), expected);
    assert_eq!(encode(source, target), None, "22 bytes in place of 21");
    let (longer_source, longer_target) = ([&source[..], &[b'.'; 9]].concat(), [&target[..], &[b'.'; 9]].concat());
    let delta = encode(&longer_source, &longer_target).unwrap();
    assert_eq!(hex(&delta), "d6c3c40000011e000d1e000303026f6c641c041f000f");
    assert_eq!(decode(&longer_source, &delta), longer_target);
}

#[test]
fn numbers_have_their_most_significant_group_first() {
    for (value, expected) in [(0, "00"), (127, "7f"), (128, "8100"), (123_456_789, "baef9a15")] {
        let mut bytes = Vec::new();
        number(&mut bytes, value);
        assert_eq!(hex(&bytes), expected);
    }
}

#[test]
fn small_changes_of_large_payloads_are_small() {
    let source: String = (0..3000).map(|i| format!("{{\"k{i}\":{}}},", i * 7919 % 1000)).collect();
    let target = source.replace("\"k1500\"", "\"changed\"");
    let delta = encode(source.as_bytes(), target.as_bytes()).unwrap();
    assert!(delta.len() < 60, "{} bytes", delta.len());
    assert_eq!(decode(source.as_bytes(), &delta), target.as_bytes());
    assert_eq!(encode(b"", target.as_bytes()), None);
    assert_eq!(encode(source.as_bytes(), b""), None);
    let same = [b'a'; 65_536];
    assert_eq!(decode(&same, &encode(&same, &same).unwrap()), same);
}

proptest! {
    #[test]
    fn what_was_encoded_comes_back(
        source in "[ab]{0,40}[a-z]{0,300}",
        pieces in proptest::collection::vec((any::<prop::sample::Index>(), 0..120_usize, "[a-c]{0,20}"), 0..6),
    ) {
        let mut target = String::new();
        for (from, length, new) in pieces {
            let from = if source.is_empty() { 0 } else { from.index(source.len()) };
            target.push_str(&source[from..source.len().min(from + length)]);
            target.push_str(&new);
        }
        if let Some(delta) = encode(source.as_bytes(), target.as_bytes()) {
            prop_assert!(delta.len() < target.len());
            prop_assert_eq!(decode(source.as_bytes(), &delta), target.as_bytes());
        }
    }

    #[test]
    fn any_bytes_will_do(source: Vec<u8>, start: Vec<u8>, end: Vec<u8>) {
        let target = [&start, &source[source.len() / 3..], &end].concat();
        if let Some(delta) = encode(&source, &target) {
            prop_assert_eq!(decode(&source, &delta), target);
        }
    }
}

fn message(data: impl Into<Bytes>, encoding: &str, extras: &'static str) -> Message {
    let extras = Bytes::from_static(extras.as_bytes());
    Message { encoding: encoding.to_owned(), extras, ..Message::text("n", data) }
}

fn long(end: &str) -> String {
    format!("{}{end}", "0123456789".repeat(20))
}

#[test]
fn a_chain_goes_from_message_to_message() {
    let mut chain = Chain::default();
    assert_eq!(chain.next(Some("a:0"), &message(long("one"), "", "")), None);
    let delta = chain.next(Some("a:1"), &message(long("two"), "", r#"{"headers":{"h":1}}"#)).unwrap();
    assert_eq!(decode(long("one").as_bytes(), &delta.data), long("two").as_bytes());
    assert_eq!(delta.encoding, "utf-8/vcdiff");
    let extras: Value = serde_json::from_slice(&delta.extras).unwrap();
    assert_eq!(extras, json!({ "headers": { "h": 1 }, "delta": { "format": "vcdiff", "from": "a:0" } }));
    assert_eq!(chain.base(), Some("a:1"));
    let json = chain.next(Some("a:2"), &message(format!("\"{}\"", long("three")), "json", "")).unwrap();
    assert_eq!(json.encoding, "json/utf-8/vcdiff");
    chain.forget();
    assert_eq!(chain.next(Some("a:3"), &message(long("four"), "", "")), None);
    assert_eq!(chain.next(None, &message(long("five"), "", "")), None);
    assert_eq!(chain.next(Some("a:5"), &message(long("six"), "", "")), None, "nobody can refer to what has no id");
    assert_eq!(chain.next(Some("a:6"), &message("short", "", "")), None, "longer than the message");
    assert_eq!(chain.base(), Some("a:6"));
}

/// The base of a ciphertext is the ciphertext, of which only base64 is undone.
#[test]
fn bytes_stay_bytes() {
    let (one, two) = ([b"\xff", long("one").as_bytes()].concat(), [b"\xff", long("two").as_bytes()].concat());
    let cipher = "json/utf-8/cipher+aes-128-cbc/base64";
    let mut chain = Chain::default();
    chain.next(Some("1"), &message(STANDARD.encode(&one), cipher, ""));
    let delta = chain.next(Some("2"), &message(STANDARD.encode(&two), cipher, "")).unwrap();
    assert_eq!(delta.encoding, "json/utf-8/cipher+aes-128-cbc/vcdiff");
    assert_eq!(decode(&one, &delta.data), two);
    let plain = chain.next(Some("3"), &message(STANDARD.encode(&one), "base64", "")).unwrap();
    assert_eq!((plain.encoding.as_str(), decode(&two, &plain.data)), ("vcdiff", one));
    assert_eq!(chain.base(), Some("3"));
}

/// SDKs keep no base of what they cannot decode, but count it as the last message.
#[test]
fn what_cannot_be_decoded_ends_the_chain() {
    for (data, encoding) in [
        (String::new(), data::ABSENT),
        (long("?"), "base64"),
        (long("{"), "json"),
        (long(""), "nonsense"),
        (long(""), "json/utf-8"),
        (long(""), "utf-8"),
    ] {
        let mut chain = Chain::default();
        chain.next(Some("1"), &message(long("one"), "", ""));
        assert_eq!(chain.next(Some("2"), &message(data, encoding, "")), None, "{encoding}");
        assert_eq!(chain.base(), None, "{encoding}");
        assert_eq!(chain.next(Some("3"), &message(long("two"), "", "")), None, "{encoding}");
        assert!(chain.next(Some("4"), &message(long("three"), "", "")).is_some());
    }
}
