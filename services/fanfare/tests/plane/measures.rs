//! Figures that are told rather than held to: run each with nothing else on the machine.
//!
//! `cargo test -p fanfare --test plane -- --ignored --nocapture in_figures`

use std::fs;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::iter;
use proto::control::{CreateAppRequest, Namespace, Quota, Tier};
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};

use crate::cluster::Cluster;
use crate::node::Node;
use crate::publisher::{Credentials, Publisher};

/// Messages per second that the app may publish.
const LIMIT: u64 = 1_000;
/// What is asked for in a second, all edges together.
const OFFERED: u64 = 10 * LIMIT;
/// Messages in a request: the rate of requests shall not be what is measured.
const BATCH: usize = 10;
/// How many publishers share the load of an edge, so that one slow answer does not hold it up.
const LANES: u64 = 4;
/// How many apps a large registry has.
const APPS: usize = 20_000;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn quotas_in_figures() {
    let mut cluster = Cluster::start().await;
    let quota = Quota { messages_in_per_second: Some(LIMIT), ..Quota::default() };
    // Not stored: the backbone shall not be what is measured either.
    let rule = Namespace { prefix: "t-".to_owned(), tier: Tier::Ephemeral.into(), ..Namespace::default() };
    let request = CreateAppRequest { quota: Some(quota), namespaces: vec![rule], ..CreateAppRequest::default() };
    let app = cluster.create_app(0, request).await;

    println!("| load | offered/s | admitted/s | of the limit |\n| --- | ---: | ---: | ---: |");
    // Fills the shares, and empties the buckets.
    offer(&cluster, &app, [70, 25, 5], 5).await;
    let seconds = 60;
    let steady = offer(&cluster, &app, [70, 25, 5], seconds).await;
    steady.tell("steady, 70 : 25 : 5 over three edges, 60 s", 0, seconds);
    let tens = (0..6).map(|ten| steady.admitted(ten * 10, ten * 10 + 10));
    let (least, most) = tens.fold((f64::MAX, 0.0_f64), |(least, most), rate| (least.min(rate), most.max(rate)));
    println!("| the least and the most of its 10 s | | {least:.0} and {most:.0} | |");
    for shift in 1..=5 {
        let mut parts = [0; 3];
        parts[shift % 3] = 100;
        let shifted = offer(&cluster, &app, parts, 10).await;
        for second in 0..3 {
            shifted.tell(&format!("all moved to another edge ({shift}), second {}", second + 1), second, second + 1);
        }
        shifted.tell(&format!("all moved to another edge ({shift}), seconds 4 to 10"), 3, 10);
    }
    cluster.finish();
}

/// What was sent and admitted in each second, in messages.
struct Seconds {
    sent: Vec<u64>,
    admitted: Vec<u64>,
}

impl Seconds {
    /// Messages admitted in a second, over the seconds in `from..to`.
    fn admitted(&self, from: u64, to: u64) -> f64 {
        mean(&self.admitted, from, to)
    }

    fn tell(&self, load: &str, from: u64, to: u64) {
        let (offered, admitted) = (mean(&self.sent, from, to), self.admitted(from, to));
        println!("| {load} | {offered:.0} | {admitted:.0} | {:.3} |", admitted / LIMIT as f64);
    }
}

fn mean(seconds: &[u64], from: u64, to: u64) -> f64 {
    let range = usize::try_from(from).unwrap()..usize::try_from(to).unwrap();
    seconds[range].iter().sum::<u64>() as f64 / (to - from) as f64
}

/// Publishes ten times the limit for some seconds, each edge its per cent of that.
async fn offer(cluster: &Cluster, app: &Credentials, per_cent: [u64; 3], seconds: u64) -> Seconds {
    let begin = Instant::now();
    let mut lanes = JoinSet::new();
    for (edge, per_cent) in per_cent.into_iter().enumerate().filter(|(_, per_cent)| *per_cent > 0) {
        let every = Duration::from_secs(1) * u32::try_from(BATCH as u64 * LANES * 100).unwrap()
            / u32::try_from(OFFERED * per_cent).unwrap();
        for lane in 0..LANES {
            let first = every * u32::try_from(lane).unwrap() / u32::try_from(LANES).unwrap();
            lanes.spawn(publish_steadily(cluster.publisher(edge, app), begin + first, every, seconds));
        }
    }
    let slots = usize::try_from(seconds).unwrap();
    let mut all = Seconds { sent: vec![0; slots], admitted: vec![0; slots] };
    while let Some(lane) = lanes.join_next().await {
        let lane = lane.unwrap();
        for second in 0..slots {
            all.sent[second] += lane.sent[second];
            all.admitted[second] += lane.admitted[second];
        }
    }
    all
}

/// One request after the other, each when it is due or as soon as the one before is answered.
async fn publish_steadily(mut publisher: Publisher, begin: Instant, every: Duration, seconds: u64) -> Seconds {
    let slots = usize::try_from(seconds).unwrap();
    let mut counts = Seconds { sent: vec![0; slots], admitted: vec![0; slots] };
    let batch = ["x"; BATCH];
    let mut due = begin;
    loop {
        sleep_until(due.into()).await;
        let answer = publisher.publish_batch("t-c", &batch).await.unwrap();
        let slot = usize::try_from(begin.elapsed().as_secs()).unwrap();
        if slot >= slots {
            return counts;
        }
        counts.sent[slot] += BATCH as u64;
        match answer.status {
            200 => counts.admitted[slot] += BATCH as u64,
            429 => {}
            _ => panic!("{answer:?}"),
        }
        // A load that cannot be kept up is lessened, not saved up.
        due = (due + every).max(Instant::now() - Duration::from_millis(200));
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn many_apps_in_figures() {
    let mut cluster = Cluster::start().await;
    sleep(Duration::from_secs(2)).await;
    println!("| figure | |\n| --- | ---: |");
    println!("| memory of an edge without apps | {} MiB |", memory(&cluster.edges[0]));
    start_of_an_edge(&mut cluster, "without apps").await;
    cluster.ready().await;
    let replicas = [0, 1, 2].map(|replica| cluster.admin(replica));
    let begin = Instant::now();
    let calls = iter(0..APPS).map(|number| {
        let admin = replicas[number % 3].clone();
        let request = CreateAppRequest { name: format!("app {number}"), ..CreateAppRequest::default() };
        async move { admin.apps().create_app(request).await.unwrap().into_inner() }
    });
    let made: Vec<_> = calls.buffer_unordered(32).collect().await;
    println!("| creating {APPS} apps, 32 calls at a time | {:.1} s |", begin.elapsed().as_secs_f64());
    let credentials = |index: usize| {
        let made = &made[index];
        let key = made.key.clone().unwrap();
        Credentials { app: made.app.clone().unwrap().id, key: key.key.unwrap().name, secret: key.secret }
    };
    for edge in &cluster.edges {
        cluster.serves(edge, &credentials(APPS - 1)).await;
    }
    println!("| memory of an edge that was there all along | {} MiB |", memory(&cluster.edges[0]));
    start_of_an_edge(&mut cluster, &format!("with {APPS} apps")).await;
    let answer = cluster.publisher(0, &credentials(0)).publish("c", "x").await.unwrap();
    assert_eq!(answer.status, 200, "ready means that apps are known");
    sleep(Duration::from_secs(2)).await;
    println!("| memory of an edge then | {} MiB |", memory(&cluster.edges[0]));
    println!("| memory of a control replica | {} MiB |", memory(&cluster.control[0]));
    cluster.keep_secret(&credentials(0).secret);
    cluster.finish();
}

/// Tells how long the first edge takes from its start until it is ready.
async fn start_of_an_edge(cluster: &mut Cluster, registry: &str) {
    let mut times = Vec::new();
    for _ in 0..5 {
        cluster.edges[0].stop().await;
        let begin = Instant::now();
        cluster.edges[0].start();
        cluster.edges[0].ready().await;
        times.push(begin.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    println!(
        "| start of an edge until it is ready, {registry}, median and worst of 5 | {:.2} s, {:.2} s |",
        times[2], times[4]
    );
}

/// Resident memory, in MiB.
fn memory(node: &Node) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", node.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() / 1024
}
