//! What is counted of followers that come back.

use super::*;
use crate::hub::Channel;

/// What the hubs count that are made while it is there, on this thread.
struct Counted {
    exporter: telemetry::Exporter,
    _recording: ::metrics::LocalRecorderGuard<'static>,
}

impl Counted {
    fn begin() -> Self {
        let (recorder, exporter) = telemetry::Exporter::build().unwrap();
        // One for each test.
        Self { exporter, _recording: ::metrics::set_default_local_recorder(Box::leak(Box::new(recorder))) }
    }

    fn metric(&self, series: &str) -> u64 {
        let text = self.exporter.render();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.expect("a series of this name").parse().unwrap()
    }

    /// What has ended, by result and source, for those who ask in this way.
    fn ended(&self, protocol: &str) -> Vec<(String, u64)> {
        let text = self.exporter.render();
        let begin = format!("fanfare_recoveries_total{{protocol=\"{protocol}\",result=\"");
        let counts = text.lines().filter_map(|line| {
            let (labels, count) = line.strip_prefix(&begin)?.split_once("\"} ")?;
            Some((labels.replace("\",source=\"", " from "), count.parse().unwrap()))
        });
        let mut counts: Vec<_> = counts.filter(|(_, count)| *count > 0).collect();
        counts.sort();
        counts
    }

    /// Waits until exactly this has ended.
    async fn await_ended(&self, protocol: &str, expected: &[(&str, u64)]) {
        let expected: Vec<_> = expected.iter().map(|(labels, count)| ((*labels).to_owned(), *count)).collect();
        let shown = async {
            while self.ended(protocol) != expected {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, shown).await;
        assert!(in_time.is_ok(), "{protocol}: {:?}, and not {expected:?}", self.ended(protocol));
    }

    /// How many were brought messages, and how many messages.
    fn brought(&self, protocol: &str) -> (u64, u64) {
        let of = |part| self.metric(&format!("fanfare_recovered_messages_{part}{{protocol=\"{protocol}\"}}"));
        (of("count"), of("sum"))
    }
}

/// The media, and how their clients ask.
const ASKING: [(Medium, &str); 2] = [(JSON, "ably"), (Medium::Events, "sse")];

/// A channel's newest position.
async fn head(f: &Fixture, channel: &str) -> Position {
    f.world.backbone.head(&fixtures::app().id, &name(channel), Tier::Recoverable).await.unwrap()
}

fn from(channel: &str, medium: Medium, place: Position) -> Attach {
    Attach { from: From::After(place.into()), ..plain(channel, medium) }
}

#[tokio::test]
async fn who_gets_everything_is_counted_by_where_it_came_from() {
    for (medium, protocol) in ASKING {
        let counted = Counted::begin();
        let f = Fixture::new().await;
        // Somebody stays, and the node's memory reaches back.
        let mut stays = Reader::of(&f, "stays", plain("warm", medium));
        stays.attached().await;
        let place = head(&f, "warm").await;
        for data in ["1", "2", "3"] {
            f.publish("warm", data, None).await;
        }
        stays.messages(3).await;
        let mut back = Reader::of(&f, "back", from("warm", medium, place));
        back.attached().await;
        assert_eq!(back.messages(3).await.len(), 3);
        counted.await_ended(protocol, &[("recovered from memory", 1)]).await;
        assert_eq!(counted.brought(protocol), (1, 3));
        // Nobody was here.
        let place = head(&f, "cold").await;
        for data in ["1", "2"] {
            f.publish("cold", data, None).await;
        }
        let mut back = Reader::of(&f, "back", from("cold", medium, place));
        back.attached().await;
        assert_eq!(back.messages(2).await.len(), 2);
        counted.await_ended(protocol, &[("recovered from memory", 1), ("recovered from stream", 1)]).await;
        assert_eq!(counted.brought(protocol), (2, 5));
        // It goes on where it is, on the same transport: it was never away.
        back.subscription().reattach(from("cold", medium, head(&f, "cold").await));
        back.attached().await;
        // Nor does a rewind bring what was missed.
        let mut rewinds = Reader::of(&f, "rewinds", with("cold", medium, &[("rewind", "2")]));
        rewinds.attached().await;
        rewinds.messages(2).await;
        drop((stays, back, rewinds));
        counted.await_ended(protocol, &[("recovered from memory", 1), ("recovered from stream", 1)]).await;
    }
}

#[tokio::test]
async fn who_does_not_is_counted_by_why() {
    for (medium, protocol) in ASKING {
        let counted = Counted::begin();
        let config = backbone::Config { recoverable_messages: 3, ..backbone::Config::default() };
        let f = Fixture::over(&config).await;
        let place = head(&f, "a").await;
        for number in 0..10 {
            f.publish("a", &number.to_string(), None).await;
        }
        let mut late = Reader::of(&f, "late", from("a", medium, place));
        late.attached().await;
        assert_eq!(late.messages(3).await.len(), 3, "the rest");
        counted.await_ended(protocol, &[("expired from stream", 1)]).await;
        assert_eq!(counted.brought(protocol), (1, 3));

        let elsewhere = Position { epoch: Epoch::new(7), sequence: 1 };
        Reader::of(&f, "foreign", from("a", medium, elsewhere)).attached().await;
        Reader::of(&f, "ephemeral", from("tick-a", medium, place)).attached().await;
        // Gone before the channel is there.
        drop(Reader::of(&f, "hasty", from("b", medium, place)));
        let waits = Reader::of(&f, "waits", from("c", medium, place));
        let app = fixtures::app().id;
        let c = f.hub.find(&app, &name("c")).unwrap();
        assert!(f.hub.remove(&c, |channel: &Channel| channel.fail(&f.hub)));
        drop(waits);
        let expected = [
            ("abandoned from none", 1),
            ("expired from stream", 1),
            ("not_stored from none", 1),
            ("other_epoch from none", 1),
            ("unavailable from none", 1),
        ];
        counted.await_ended(protocol, &expected).await;
        assert_eq!(counted.brought(protocol), (1, 3), "nobody else was brought anything");
    }
}

#[tokio::test]
async fn a_serial_that_cannot_be_read_is_counted_once() {
    let counted = Counted::begin();
    let f = Fixture::new().await;
    let unreadable = || Attach { from: From::Unreadable, ..plain("a", JSON) };
    let mut reader = Reader::of(&f, "r", unreadable());
    reader.attached().await;
    counted.await_ended("ably", &[("invalid from none", 1)]).await;
    reader.subscription().reattach(unreadable());
    reader.attached().await;
    drop(reader);
    counted.await_ended("ably", &[("invalid from none", 2)]).await;
}
