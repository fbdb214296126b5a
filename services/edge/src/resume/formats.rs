//! Connection keys, and the names under which users are counted, held against what releases wrote.

use ably::Identity;
use backbone::sealing::ClusterKeys;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use channels::{AppId, ClientId, ConnectionId};
use testkit::Formats;

use super::key::{ConnectionKey, authenticated};

#[test]
fn what_releases_wrote_is_read_and_still_written() {
    let mut formats = Formats::of(env!("CARGO_MANIFEST_DIR"), env!("CARGO_PKG_VERSION"));
    let keys: ClusterKeys = "ab".repeat(32).parse().unwrap();
    let client = ClientId::new("Jürgen ☃").unwrap();
    for (name, identity) in
        [("nobody", Identity::Anonymous), ("anybody", Identity::Any), ("somebody", Identity::Is(client))]
    {
        let key = ConnectionKey {
            connection: ConnectionId::new("aB3_-xYz01Qw").unwrap(),
            app: AppId::new("1001").unwrap(),
            identity,
            generation: 3,
            issued_ms: 1_795_356_300_123,
        };
        let read = |old: &[u8]| ConnectionKey::read(&keys, std::str::from_utf8(old).ok()?);
        let later = later(&keys, &key);
        formats.whole(&format!("connection_key.{name}"), &key, || key.sign(&keys), read, &[later.as_bytes()]);
    }
    formats.text("counted_as", crate::users::COUNTED_AS);
    formats.check();
}

/// The key as a later version might write it: one format higher, and signed by the cluster.
fn later(keys: &ClusterKeys, key: &ConnectionKey) -> String {
    let text = key.sign(keys);
    let (connection, said) = text.split_once('!').unwrap();
    let mut said = URL_SAFE_NO_PAD.decode(said).unwrap();
    said.truncate(said.len() - backbone::sealing::CONNECTION_CODE_BYTES);
    said[0] += 1;
    let code = keys.authenticate_connection(&authenticated(&key.connection, &said));
    format!("{connection}!{}", URL_SAFE_NO_PAD.encode([said.as_slice(), &code].concat()))
}
