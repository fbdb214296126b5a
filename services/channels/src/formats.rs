//! Names and places that outlive a process, held against what releases made of the same.

use testkit::Formats;

use crate::{AppId, ChannelName, ClientId, Epoch, EventPosition, Position, ShardCount, Webhook};

#[test]
fn what_releases_wrote_is_read_and_still_written() {
    let mut formats = Formats::of(env!("CARGO_MANIFEST_DIR"), env!("CARGO_PKG_VERSION"));
    let (long, app) = ("räume/".repeat(40), AppId::new("1001").unwrap());
    let names = ["a", "presence-räume.1", "A-Z_a-z/0-9=*>.", &long];
    for (index, name) in names.into_iter().enumerate() {
        let channel = ChannelName::new(name).unwrap();
        formats.text(&format!("token.{index}"), channel.token().as_str());
        let shards = [1, 16, 256].map(|count| ShardCount::new(count).unwrap().shard_of(&app, &channel).to_string());
        formats.text(&format!("shards.{index}"), shards.join(" "));
    }
    formats.text("token.client", ClientId::new("Jürgen ☃").unwrap().token().as_str());
    formats.text("webhook_id", Webhook::made_up_id("https://example.com/hook", "presence-"));

    let position = Position { epoch: Epoch::new(0xf1_e2d3_c4b5_a697), sequence: 42 };
    let later: &[&[u8]] = &[b"2:00f1e2d3c4b5a697-42", b"00f1e2d3c4b5a697-42-1", b"00f1e2d3c4b5a697-42;x"];
    formats.whole("position", &position, || position.to_string(), parse, later);
    let event = EventPosition { position, skip: 3 };
    formats.whole("event_position", &event, || event.to_string(), parse, &[b"00f1e2d3c4b5a697-42.3.1"]);
    formats.check();
}

fn parse<T: std::str::FromStr>(bytes: &[u8]) -> Option<T> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}
