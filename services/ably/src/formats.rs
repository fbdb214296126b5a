//! What clients are given and come back with, held against what releases gave them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use channels::{AppId, Epoch, EventPosition, KeyName, Position, Secret};
use testkit::Formats;

use crate::Serial;
use crate::credentials::{Opaque, TokenClaims};
use crate::rest::Cursor;
use crate::serial::{client_key, connection_key, parse_channel_serial};
use crate::sse::{EventId, Positions};

/// Where the flags of the token below stand in its contents: behind version, salt, and two numbers of six and four bytes.
const FLAGS: usize = 1 + 4 + 6 + 4;

#[test]
fn what_releases_wrote_is_read_and_still_written() {
    let mut formats = Formats::of(env!("CARGO_MANIFEST_DIR"), env!("CARGO_PKG_VERSION"));
    tokens(&mut formats);
    let position = Position { epoch: Epoch::new(0xf1_e2d3_c4b5_a697), sequence: 42 };
    let read = |old: &[u8]| parse_channel_serial(std::str::from_utf8(old).ok()?).ok();
    formats.whole("channel_serial", &position, || position.to_string(), read, &[b"v2-00f1e2d3c4b5a697-42"]);
    let (stored, passing) = (Serial::new(Some(position), None, 7, 1), Serial::new(None, Some("c0nn:5"), 7, 1));
    formats.text("serial.stored", stored.unwrap().to_string());
    formats.text("serial.passing", passing.unwrap().to_string());
    formats.text("idempotency", format!("{} {}", client_key("mine"), connection_key("c0nn", 5)));
    let cursor = Cursor { position, index: 3 };
    let read = |old: &[u8]| std::str::from_utf8(old).ok()?.parse().ok();
    formats.whole("cursor", &cursor, || cursor.to_string(), read, &[b"00f1e2d3c4b5a697-42.3.1"]);

    let mut positions = Positions::default();
    for (channel, sequence) in [("news", 42), ("räume", 7)] {
        positions.set(channel, EventPosition { position: Position { sequence, ..position }, skip: 2 });
    }
    let id = EventId { connection: "c0nn".to_owned(), positions };
    let read = |old: &[u8]| std::str::from_utf8(old).ok()?.parse().ok();
    let later = altered(&id.to_string(), '@', |bytes| bytes[0] = 2);
    formats.whole("event_id", &id, || id.to_string(), read, &[later.as_bytes()]);
    formats.check();
}

fn tokens(formats: &mut Formats) {
    let (app, secret) = (AppId::new("1001").unwrap(), Secret::new("a secret").unwrap());
    let claims = TokenClaims {
        salt: 0x0102_0304,
        issued_ms: 1_795_356_300_123,
        ttl_ms: 3_600_000,
        key: KeyName::new("1001.key").unwrap(),
        client_id: Some("Jürgen ☃".to_owned()),
        capability: Some(r#"{"chat:*":["publish"]}"#.to_owned()),
    };
    let read = |old: &[u8]| {
        let token = Opaque::parse(std::str::from_utf8(old).ok()?).ok()?;
        token.is_signed_by(&secret).then(|| (token.app().clone(), token.claims().clone()))
    };
    let bare = TokenClaims { key: KeyName::new("other").unwrap(), client_id: None, capability: None, ..claims.clone() };
    for (name, claims) in [("token", claims), ("token.bare", bare)] {
        let write = || claims.sign(&app, &secret);
        // Refused before anybody looks at the signature.
        let parsed = |text: &str| Opaque::parse(text).is_ok();
        let newer = altered(&write(), '.', |bytes| bytes[0] = 2);
        let flagged = altered(&write(), '.', |bytes| bytes[FLAGS] |= 8);
        assert!(parsed(&write()) && !parsed(&newer) && !parsed(&flagged), "a later token is refused");
        formats.whole(name, &(app.clone(), claims.clone()), write, read, &[newer.as_bytes(), flagged.as_bytes()]);
    }
}

/// `text` with something else in the bytes behind `mark`.
fn altered(text: &str, mark: char, alter: impl Fn(&mut Vec<u8>)) -> String {
    let (before, bytes) = text.split_once(mark).unwrap();
    let mut bytes = URL_SAFE_NO_PAD.decode(bytes).unwrap();
    alter(&mut bytes);
    format!("{before}{mark}{}", URL_SAFE_NO_PAD.encode(bytes))
}
