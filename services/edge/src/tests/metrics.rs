//! What is counted when it happens to a whole node.

use super::*;
use crate::MemoryLimit;

impl Node {
    /// How many catch-ups have ended like this.
    pub(super) fn recoveries(&self, protocol: &str, result: &str, source: &str) -> f64 {
        let labels = format!("protocol=\"{protocol}\",result=\"{result}\",source=\"{source}\"");
        self.metric(&format!("fanfare_recoveries_total{{{labels}}}"))
    }

    /// How many have ended at all.
    pub(super) fn all_recoveries(&self) -> f64 {
        let text = self.metrics.render();
        let counts = text.lines().filter_map(|line| line.strip_prefix("fanfare_recoveries_total{")?.split_once("} "));
        counts.map(|(_, count)| count.parse::<f64>().unwrap()).sum()
    }
}

#[test]
fn the_peak_of_a_queue_is_told_at_its_end() {
    let node = Node::start(quick());
    let mut client = node.client();
    client.subscribe("room");
    node.publish("room", &"x".repeat(9000));
    assert_eq!(client.next()["data"].as_str().unwrap().len(), 9000);
    client.check();
    assert_eq!(node.metric("fanfare_send_queue_peak_bytes_count"), 0.0, "it may still grow");
    drop(client);
    node.await_metric("fanfare_send_queue_peak_bytes_count", 1.0);
    let up_to = |bound: &str| node.metric(&format!("fanfare_send_queue_peak_bytes_bucket{{le=\"{bound}\"}}"));
    assert_eq!((up_to("4096"), up_to("16384")), (0.0, 1.0));
}

#[test]
fn limits_are_shown() {
    let limited = Config { max_connections: 7, memory_limit: MemoryLimit::Bytes(1 << 30), ..quick() };
    let node = Node::start(limited);
    assert_eq!(node.metric("fanfare_connections_limit"), 7.0);
    assert_eq!(node.metric("fanfare_memory_limit_bytes"), f64::from(1 << 30));
    let node = Node::start(Config { memory_limit: MemoryLimit::Off, ..quick() });
    assert!(!node.metrics.render().contains("fanfare_memory_limit_bytes"), "there is none");
}

/// Whatever its task died of.
#[test]
fn a_connection_that_is_cut_off_is_not_counted_any_more() {
    let node = Node::start(quick());
    let (_pusher, _realtime, _events) =
        (node.client(), node.connected("key=app-key:app-secret"), node.attached("news", ""));
    let mut fallback = node.stream();
    fallback.greeting();
    let metrics = node.metrics.clone();
    let connections = || {
        let text = metrics.render();
        let counts = text.lines().filter(|line| line.starts_with("fanfare_connections{"));
        counts.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum::<f64>()
    };
    eventually(|| connections() == 4.0, || metrics.render());
    node.kill();
    eventually(|| connections() == 0.0, || metrics.render());
}
