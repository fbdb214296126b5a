use std::time::Instant;

use backbone::usage::decode_rows;
use backbone::{Config, NatsConfig, StartError};
use channels::{App, Limits, Namespaces, PusherSettings, Quota};
use metering::Live;
use metering::usage::{Counts, fold};
use testkit::{Nats, Signal, eventually, within};

use super::*;

fn app(id: &str) -> App {
    App {
        id: AppId::new(id).unwrap(),
        name: String::new(),
        enabled: true,
        keys: Vec::new(),
        pusher: PusherSettings::default(),
        limits: Limits::default(),
        quota: Quota::default(),
        namespaces: Namespaces::default(),
        webhooks: Vec::new(),
    }
}

async fn connect(nats: &Nats) -> Backbone {
    let config = Config { shards: 4, replicas: 1, webhook_queue_bytes: 128 << 10, ..Config::default() };
    let urls = NatsConfig { urls: vec![nats.url()], ..NatsConfig::default() };
    eventually("the backbone to start", || async {
        match Backbone::connect(&config, &urls).await {
            Ok(backbone) => Some(backbone),
            Err(StartError::Unreachable(_)) => None,
            Err(StartError::Refused(sentence)) => panic!("refused: {sentence}"),
        }
    })
    .await
}

/// A process's meters at a time of their own.
struct Counting {
    meters: Arc<Meters>,
    start: Instant,
    seconds: u64,
}

/// The minute in which counting begins.
const FIRST: u64 = 29_000_000;

impl Counting {
    fn new() -> Self {
        let start = Instant::now();
        let counting = Self { meters: Arc::new(Meters::new(start)), start, seconds: 0 };
        counting.tick();
        counting
    }

    fn tick(&self) {
        let unix_ms = (FIRST * 60 + self.seconds) * 1000;
        self.meters.tick(self.start + Duration::from_secs(self.seconds), unix_ms, Live::default());
    }

    fn pass(&mut self, seconds: u64) {
        self.seconds += seconds;
        self.tick();
    }

    fn publish(&self, app: &App, messages: u64) {
        let now = self.start + Duration::from_secs(self.seconds);
        self.meters.meter(app).publish(messages, 10 * messages, None, now).unwrap();
    }
}

/// What is written of each minute, put together from all nodes.
async fn written(kv: &Kv) -> BTreeMap<(u64, AppId), Counts> {
    let mut rows: BTreeMap<(u64, AppId), Vec<AppMinute>> = BTreeMap::new();
    let entries = eventually("the rows", || async { kv.entries().await.ok() }).await;
    for entry in entries {
        let key = RawKey::parse(&entry.key).unwrap();
        for (app, row) in decode_rows(entry.value).unwrap().1 {
            rows.entry((key.minute, app)).or_default().push(row);
        }
    }
    rows.into_iter().map(|(key, rows)| (key, fold(&rows))).collect()
}

fn messages(written: &BTreeMap<(u64, AppId), Counts>, minute: u64, app: &App) -> u64 {
    written.get(&(minute, app.id.clone())).map_or(0, |counts| counts.messages_in)
}

#[tokio::test]
async fn what_is_written_again_and_again_counts_once() {
    let backbone = Backbone::memory(&Config::default());
    let kv = backbone.kv(Bucket::Usage);
    let mut counting = Counting::new();
    let mut writer = Writer::new(&backbone, "a1", Arc::clone(&counting.meters));
    let (x, y) = (app("x"), app("y"));
    counting.publish(&x, 3);
    writer.write(false).await;
    writer.write(false).await;
    counting.publish(&x, 4);
    counting.publish(&y, 1);
    counting.pass(10);
    writer.write(false).await;
    let seen = written(&kv).await;
    assert_eq!((messages(&seen, FIRST, &x), messages(&seen, FIRST, &y)), (7, 1));

    counting.publish(&x, 5);
    counting.pass(50);
    counting.publish(&x, 2);
    writer.write(false).await;
    let seen = written(&kv).await;
    assert_eq!((messages(&seen, FIRST, &x), messages(&seen, FIRST + 1, &x)), (12, 2));
    let entries = kv.entries().await.unwrap();
    let over = |minute: u64| {
        let entries = entries.iter().filter(move |entry| RawKey::parse(&entry.key).unwrap().minute == minute);
        entries.map(|entry| decode_rows(entry.value.clone()).unwrap().0).collect::<Vec<_>>()
    };
    assert_eq!((over(FIRST), over(FIRST + 1)), (vec![true], vec![false]));
    let closed: Vec<_> = counting.meters.minutes().iter().map(|minute| minute.minute).collect();
    assert_eq!(closed, [FIRST + 1], "what is over and written is done");
    assert!(writer.layouts.keys().all(|minute| *minute == FIRST + 1));
}

#[tokio::test]
async fn nodes_and_lives_of_a_node_add_up() {
    let backbone = Backbone::memory(&Config::default());
    let x = app("x");
    for node in ["a1", "a2", "b1"] {
        let counting = Counting::new();
        counting.publish(&x, 5);
        Writer::new(&backbone, node, Arc::clone(&counting.meters)).write(true).await;
    }
    let kv = backbone.kv(Bucket::Usage);
    assert_eq!(messages(&written(&kv).await, FIRST, &x), 15);
    let entries = kv.entries().await.unwrap();
    assert!(entries.into_iter().all(|entry| decode_rows(entry.value).unwrap().0), "nothing comes after the end");
}

#[tokio::test]
async fn many_apps_are_written_in_parts_that_stay() {
    let backbone = Backbone::memory(&Config::default());
    let kv = backbone.kv(Bucket::Usage);
    let mut counting = Counting::new();
    let mut writer = Writer::new(&backbone, "a1", Arc::clone(&counting.meters));
    let apps: Vec<App> = (0..20_000).map(|n| app(&format!("app-{n:05}"))).collect();
    // Every other one first, so that the others come in between.
    for half in [0, 1] {
        apps.iter().skip(half).step_by(2).for_each(|app| counting.publish(app, 1));
        counting.pass(10);
        writer.write(false).await;
    }
    apps.iter().for_each(|app| counting.publish(app, 1_000_000_000));
    writer.write(false).await;
    let entries = kv.entries().await.unwrap();
    assert!(entries.len() > 2, "{}", entries.len());
    let largest = entries.iter().map(|entry| entry.value.len()).max().unwrap();
    assert!(largest <= 256 << 10, "{largest}");
    let seen = written(&kv).await;
    assert_eq!(seen.len(), apps.len());
    assert!(seen.values().all(|counts| counts.messages_in == 1_000_000_001));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_nats_costs_nothing() {
    let mut nats = Nats::start().await;
    let backbone = connect(&nats).await;
    let kv = backbone.kv(Bucket::Usage);
    let mut counting = Counting::new();
    let mut writer = Writer::new(&backbone, "a1", Arc::clone(&counting.meters));
    let x = app("x");
    counting.publish(&x, 1);
    writer.write(false).await;

    nats.stop(Signal::Kill).await;
    for minute in 0..3 {
        counting.publish(&x, 10 + minute);
        counting.pass(60);
        within("the attempt to end", writer.write(false)).await;
    }
    counting.publish(&x, 100);
    nats.restart().await;
    // What a write that seemed to fail has left there is written over.
    let all = async {
        while counting.meters.minutes().len() > 1 || messages(&written(&kv).await, FIRST + 3, &x) < 100 {
            writer.write(false).await;
        }
    };
    within("everything to be written", all).await;
    let seen = written(&kv).await;
    let each: Vec<u64> = (0..4).map(|minute| messages(&seen, FIRST + minute, &x)).collect();
    assert_eq!(each, [11, 11, 12, 100]);
}
