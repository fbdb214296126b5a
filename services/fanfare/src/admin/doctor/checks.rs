//! What is right and wrong with a cluster, from facts that are at hand.

use std::collections::BTreeSet;
use std::time::Duration;

use proto::control as wire;

use super::facts::{COUNTED, Facts};
use crate::admin::moment;

/// How far clocks may be apart. Signed requests are refused beyond ten minutes; shares and leases do not care.
const CLOCK_WARN: Duration = Duration::from_secs(2);
const CLOCK_FAIL: Duration = Duration::from_secs(60);

/// How old an edge's copy of the apps may be. It is renewed all the time; the alert fires at five minutes.
const SNAPSHOT_WARN: Duration = Duration::from_secs(60);
const SNAPSHOT_FAIL: Duration = Duration::from_secs(300);

/// From which part of its connections a node is near its limit, in per cent.
const NEARLY_FULL: u64 = 85;

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Ok,
    Warn,
    Fail,
}

impl Level {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) check: &'static str,
    pub(super) level: Level,
    /// What is the case.
    pub(super) what: String,
    /// What to do about it; empty if nothing.
    pub(super) to_do: String,
}

/// Findings of one check.
struct Check {
    name: &'static str,
    findings: Vec<Finding>,
}

impl Check {
    fn new(name: &'static str) -> Self {
        Self { name, findings: Vec::new() }
    }

    fn add(&mut self, level: Level, what: String, to_do: &str) {
        self.findings.push(Finding { check: self.name, level, what, to_do: to_do.to_owned() });
    }

    fn warn(&mut self, what: String, to_do: &str) {
        self.add(Level::Warn, what, to_do);
    }

    fn fail(&mut self, what: String, to_do: &str) {
        self.add(Level::Fail, what, to_do);
    }

    /// What was found, or that all is well.
    fn or_ok(mut self, what: impl FnOnce() -> String) -> Vec<Finding> {
        if self.findings.is_empty() {
            self.add(Level::Ok, what(), "");
        }
        self.findings
    }
}

/// Everything, in the order in which one would look.
pub(super) fn all(facts: &Facts) -> Vec<Finding> {
    let checks = [
        reachability,
        access,
        leader,
        edges,
        nodes,
        versions,
        clocks,
        snapshots,
        connections,
        apps,
        cluster_keys,
        dead_letters,
    ];
    // Who may see nothing finds nothing.
    let most = if facts.refused.is_some() { 2 } else { checks.len() };
    checks.iter().take(most).flat_map(|check| check(facts)).collect()
}

fn reachability(facts: &Facts) -> Vec<Finding> {
    let mut check = Check::new("control plane");
    if !facts.is_serving {
        check.fail(
            format!("{} answers, and says that it does not serve", facts.address),
            "it is stopping, or cannot reach what is behind it: look at its log and at /readyz",
        );
    }
    if facts.is_open_to_readers {
        check.warn(
            format!("{} is on another machine and without TLS: the token can be read on the way", facts.address),
            "set control.tls.cert_file and control.tls.key_file, and use https and --ca-file",
        );
    }
    check.or_ok(|| format!("{} serves", facts.address))
}

fn access(facts: &Facts) -> Vec<Finding> {
    let mut check = Check::new("token");
    if let Some(reason) = &facts.refused {
        check.fail(
            format!("may not see the cluster: {reason}"),
            "the doctor needs a token of the cluster, not of one app: fanfare admin token create --role reader",
        );
    }
    check.or_ok(|| "may see the cluster".to_owned())
}

fn leader(facts: &Facts) -> Vec<Finding> {
    let mut check = Check::new("leader");
    let cluster = &facts.cluster;
    if cluster.leader.is_empty() {
        check.fail(
            "no control replica leads: shares of quotas stay as they were, and usage is not added up".to_owned(),
            "if it lasts longer than half a minute, look at the logs of the control replicas, and whether NATS has a \
             leader for its buckets",
        );
    } else if !cluster.replicas.is_empty() && !cluster.replicas.contains(&cluster.leader) {
        check.warn(
            format!("{} leads, and holds no lease as a replica", cluster.leader),
            "it has just gone, and another will lead within half a minute: look again",
        );
    }
    check.or_ok(|| format!("{} of {} control replicas leads", cluster.leader, cluster.replicas.len()))
}

fn edges(facts: &Facts) -> Vec<Finding> {
    let mut check = Check::new("edges");
    let edges = facts.nodes.iter().filter(|node| node.roles.iter().any(|role| role == "edge")).count();
    if facts.cluster.edges.is_empty() {
        check.fail("there is no edge: no client can connect".to_owned(), "start a process with the edge role");
    } else if facts.cluster.edges.len() > edges {
        check.fail(
            format!("{} edges hold a lease, {edges} are known as nodes", facts.cluster.edges.len()),
            "an edge does not report: it keeps serving, within its last share of quotas. It must reach every control \
             replica at its control.advertise, and trust its certificate (control.ca_file)",
        );
    }
    check.or_ok(|| format!("{} hold a lease and report", facts.cluster.edges.len()))
}

fn nodes(facts: &Facts) -> Vec<Finding> {
    let mut check = Check::new("nodes");
    for node in &facts.nodes {
        match node.state() {
            wire::NodeState::Silent => check.fail(
                format!("{} does not report to {}", called(node), facts.cluster.replica),
                "it lives, since it holds a lease: look in its log for why it cannot reach this control replica",
            ),
            wire::NodeState::Draining => check.warn(
                format!("{} drains", called(node)),
                "nothing, if somebody ended it; it is gone when its clients are",
            ),
            wire::NodeState::Serving | wire::NodeState::Unspecified => {}
        }
    }
    check.or_ok(|| format!("{} report", facts.nodes.len()))
}

fn versions(facts: &Facts) -> Vec<Finding> {
    let mut check = Check::new("versions");
    let versions: BTreeSet<&str> = facts
        .nodes
        .iter()
        .map(|node| node.version.as_str())
        .chain([facts.cluster.version.as_str()])
        .filter(|version| !version.is_empty())
        .collect();
    if versions.len() > 1 {
        let versions: Vec<_> = versions.iter().copied().collect();
        check.warn(
            format!("nodes run {}", versions.join(" and ")),
            "finish the rollout: neighbouring versions work together, others are not tried",
        );
    }
    if !versions.contains(facts.our_version.as_str()) && !versions.is_empty() {
        check.warn(
            format!("this program is {}", facts.our_version),
            "use the cluster's own version of it, so that it knows what there is to know",
        );
    }
    check.or_ok(|| format!("all run {}", facts.our_version))
}

fn clocks(facts: &Facts) -> Vec<Finding> {
    let mut check = Check::new("clocks");
    let mut compare = |whose: String, theirs_ms: u64, ours_ms: u64, doubt: Duration| {
        let apart = Duration::from_millis(theirs_ms.abs_diff(ours_ms)).saturating_sub(doubt);
        let order = if theirs_ms > ours_ms { "ahead" } else { "behind" };
        let what = format!("{whose} is {} {order}", moment::show_age(clock::millis(apart)));
        let to_do = "synchronise clocks (NTP): signed requests are refused when they are ten minutes off, tokens and \
                     old secrets end by the clock";
        if apart >= CLOCK_FAIL {
            check.fail(what, to_do);
        } else if apart >= CLOCK_WARN {
            check.warn(what, to_do);
        }
    };
    let cluster = &facts.cluster;
    compare(
        format!("the clock of {} against this machine's", cluster.replica),
        cluster.time_ms,
        facts.our_time_ms,
        facts.round_trip,
    );
    for node in &facts.nodes {
        let Some(load) = node.load.filter(|load| load.time_ms > 0) else { continue };
        // What it said then, brought to when it was asked for, which is not when the replica told its own time.
        let now_ms = load.time_ms + node.age_ms;
        compare(
            format!("the clock of {} against {}'s", called(node), cluster.replica),
            now_ms,
            cluster.time_ms,
            facts.asking,
        );
    }
    check.or_ok(|| "agree".to_owned())
}

fn snapshots(facts: &Facts) -> Vec<Finding> {
    let mut check = Check::new("copies of the apps");
    for node in &facts.nodes {
        let age = Duration::from_millis(node.load.unwrap_or_default().snapshot_age_ms);
        let what = || format!("{} has one that is {} old", called(node), moment::show_age(clock::millis(age)));
        let to_do = "it serves what it knows, and does not see changes: look in its log whether it reaches NATS";
        if age >= SNAPSHOT_FAIL {
            check.fail(what(), to_do);
        } else if age >= SNAPSHOT_WARN {
            check.warn(what(), to_do);
        }
    }
    check.or_ok(|| "are fresh on every node".to_owned())
}

fn connections(facts: &Facts) -> Vec<Finding> {
    let mut check = Check::new("connections");
    for node in &facts.nodes {
        let load = node.load.unwrap_or_default();
        let what = || format!("{} has {} of {}", called(node), load.connections, load.max_connections);
        if load.max_connections == 0 {
            continue;
        } else if load.connections >= load.max_connections {
            check.fail(what(), "it refuses clients: add edges, or raise edge.max_connections if memory allows");
        } else if load.connections * 100 >= load.max_connections * NEARLY_FULL {
            check.warn(what(), "add edges, or raise edge.max_connections if memory allows");
        }
    }
    check.or_ok(|| "no node is near its limit".to_owned())
}

fn apps(facts: &Facts) -> Vec<Finding> {
    let mut check = Check::new("apps");
    for app in &facts.cluster.unreadable {
        check.fail(
            format!("{} cannot be read: {}", app.id, app.reason),
            "edges keep the last form of it that they could read. If its seal is of an unknown cluster key, give that \
             key to every process; else restore the app from a backup",
        );
    }
    check.or_ok(|| format!("all {} can be read", facts.cluster.apps))
}

fn cluster_keys(facts: &Facts) -> Vec<Finding> {
    let mut check = Check::new("cluster keys");
    let keys = &facts.cluster.key_ids;
    let mut sealed: Vec<_> = facts.cluster.sealed_by.iter().filter(|(_, count)| **count > 0).collect();
    sealed.sort();
    for (id, count) in sealed {
        if !keys.contains(id) {
            check.fail(
                format!("{count} entries are sealed with key {id}, which {} does not have", facts.cluster.replica),
                "put it back into cluster.key of every process, behind the first; then run fanfare admin reseal",
            );
        } else if keys.first() != Some(id) {
            check.warn(
                format!("{count} entries are sealed with key {id}, which is no longer the first"),
                "run fanfare admin reseal; after that the old key can be taken out",
            );
        }
    }
    if check.findings.is_empty() && keys.len() > 1 {
        check.warn(
            format!("nothing is sealed with {} any more", keys[1..].join(", ")),
            "take it out of cluster.key, once every backup under it is too old to be wanted",
        );
    }
    check.or_ok(|| "everything is sealed with the first key".to_owned())
}

fn dead_letters(facts: &Facts) -> Vec<Finding> {
    let mut check = Check::new("dead letters");
    for (app, count) in &facts.dead_letters {
        let at_least = if *count >= COUNTED as usize { "at least " } else { "" };
        check.warn(
            format!("{at_least}{count} webhook events of app {app} could not be delivered"),
            &format!(
                "see why with fanfare admin webhook dead-letters {app}, and try again with webhook replay {app} --all"
            ),
        );
    }
    if facts.apps_not_looked_at > 0 {
        check.warn(format!("up to {} apps were not looked at", facts.apps_not_looked_at), "look at more with --apps");
    }
    check.or_ok(|| "there are none".to_owned())
}

fn called(node: &wire::Node) -> String {
    if node.name.is_empty() { node.id.clone() } else { format!("{} ({})", node.name, node.id) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, change: impl FnOnce(&mut wire::Node, &mut wire::NodeLoad)) -> wire::Node {
        let mut load = wire::NodeLoad { max_connections: 100, time_ms: 1_000_000, ..wire::NodeLoad::default() };
        let mut node = wire::Node {
            id: format!("{name}-id"),
            name: name.to_owned(),
            roles: vec!["edge".to_owned()],
            version: "1.0.0".to_owned(),
            state: wire::NodeState::Serving.into(),
            ..wire::Node::default()
        };
        change(&mut node, &mut load);
        wire::Node { load: Some(load), ..node }
    }

    fn healthy() -> Facts {
        Facts {
            address: "http://127.0.0.1:6002".to_owned(),
            is_serving: true,
            cluster: wire::Cluster {
                replica: "c1".to_owned(),
                leader: "c1".to_owned(),
                replicas: vec!["c1".to_owned()],
                edges: vec!["e".to_owned()],
                key_ids: vec!["aaaaaaaa".to_owned()],
                sealed_by: [("aaaaaaaa".to_owned(), 7)].into(),
                version: "1.0.0".to_owned(),
                time_ms: 1_000_000,
                ..wire::Cluster::default()
            },
            nodes: vec![node("edge-1", |_, _| {})],
            our_time_ms: 1_000_000,
            our_version: "1.0.0".to_owned(),
            ..Facts::default()
        }
    }

    /// Findings that are not ok.
    fn wrong(facts: &Facts) -> Vec<(&'static str, Level, String)> {
        let findings = all(facts).into_iter().filter(|finding| finding.level != Level::Ok);
        findings.map(|finding| (finding.check, finding.level, format!("{} {}", finding.what, finding.to_do))).collect()
    }

    #[track_caller]
    fn finds(check: &str, level: Level, words: &str, change: impl FnOnce(&mut Facts)) {
        let mut facts = healthy();
        change(&mut facts);
        let wrong = wrong(&facts);
        let found = wrong.iter().any(|(name, how, text)| *name == check && *how == level && text.contains(words));
        assert!(found, "{check} with {words:?} in {wrong:?}");
    }

    #[test]
    fn a_healthy_cluster_has_nothing_wrong() {
        assert_eq!(wrong(&healthy()), []);
        assert_eq!(all(&healthy()).len(), 12);
    }

    #[test]
    fn what_is_wrong_is_found_and_explained() {
        finds("control plane", Level::Fail, "does not serve", |facts| facts.is_serving = false);
        finds("control plane", Level::Warn, "can be read on the way", |facts| facts.is_open_to_readers = true);
        finds("token", Level::Fail, "--role reader", |facts| facts.refused = Some("app 1 only".to_owned()));
        finds("leader", Level::Fail, "no control replica leads", |facts| facts.cluster.leader.clear());
        finds("leader", Level::Warn, "c2 leads", |facts| facts.cluster.leader = "c2".to_owned());
        finds("edges", Level::Fail, "there is no edge", |facts| facts.cluster.edges.clear());
        finds("edges", Level::Fail, "2 edges hold a lease, 1 are known", |facts| {
            facts.cluster.edges.push("f".to_owned());
        });
        let silent = |node: &mut wire::Node, _: &mut wire::NodeLoad| node.set_state(wire::NodeState::Silent);
        finds("nodes", Level::Fail, "e (e-id) does not report to c1", |facts| facts.nodes.push(node("e", silent)));
        let draining = |node: &mut wire::Node, _: &mut wire::NodeLoad| node.set_state(wire::NodeState::Draining);
        finds("nodes", Level::Warn, "drains", |facts| facts.nodes.push(node("e", draining)));
        finds("versions", Level::Warn, "nodes run 0.9.0 and 1.0.0", |facts| {
            facts.nodes.push(node("old", |node, _| node.version = "0.9.0".to_owned()));
        });
        finds("versions", Level::Warn, "this program is 2.0.0", |facts| facts.our_version = "2.0.0".to_owned());
        finds("copies of the apps", Level::Fail, "5m0s old", |facts| {
            facts.nodes.push(node("e", |_, load| load.snapshot_age_ms = 300_000));
        });
        finds("copies of the apps", Level::Warn, "1m0s old", |facts| {
            facts.nodes.push(node("e", |_, load| load.snapshot_age_ms = 60_000));
        });
        finds("connections", Level::Fail, "100 of 100", |facts| {
            facts.nodes.push(node("e", |_, load| load.connections = 100));
        });
        finds("connections", Level::Warn, "85 of 100", |facts| {
            facts.nodes.push(node("e", |_, load| load.connections = 85));
        });
        finds("apps", Level::Fail, "7 cannot be read: broken", |facts| {
            facts.cluster.unreadable.push(wire::UnreadableApp { id: "7".to_owned(), reason: "broken".to_owned() });
        });
        finds("dead letters", Level::Warn, "3 webhook events of app 7", |facts| {
            facts.dead_letters.push(("7".to_owned(), 3));
        });
        finds("dead letters", Level::Warn, "up to 5 apps", |facts| facts.apps_not_looked_at = 5);
    }

    #[test]
    fn clocks_are_compared_with_the_doubt_there_is() {
        finds("clocks", Level::Warn, "against this machine's is 5s behind", |facts| facts.our_time_ms += 5_000);
        finds("clocks", Level::Fail, "is 1m1s ahead", |facts| facts.our_time_ms -= 61_000);
        finds("clocks", Level::Fail, "the clock of e (e-id) against c1's is 1m0s behind", |facts| {
            facts.nodes.push(node("e", |node, load| (node.age_ms, load.time_ms) = (500, 939_500)));
        });
        let mut facts = healthy();
        facts.our_time_ms += 5_000;
        facts.round_trip = Duration::from_secs(4);
        assert_eq!(wrong(&facts), [], "a slow answer says little about clocks");
        let mut facts = healthy();
        facts.nodes.push(node("e", |node, load| (node.age_ms, load.time_ms) = (500, 1_004_500)));
        facts.asking = Duration::from_secs(4);
        assert_eq!(wrong(&facts), [], "nor do questions that lie far apart");
    }

    #[test]
    fn keys_are_told_apart() {
        finds("cluster keys", Level::Fail, "4 entries are sealed with key bbbbbbbb", |facts| {
            facts.cluster.sealed_by.insert("bbbbbbbb".to_owned(), 4);
        });
        finds("cluster keys", Level::Warn, "7 entries are sealed with key aaaaaaaa, which is no longer", |facts| {
            facts.cluster.key_ids.insert(0, "cccccccc".to_owned());
        });
        finds("cluster keys", Level::Warn, "nothing is sealed with dddddddd any more", |facts| {
            facts.cluster.key_ids.push("dddddddd".to_owned());
        });
    }
}
