//! Taking reports and telling shares.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use channels::AppId;
use clock::unix_ms;
use metering::{NodeId, Share};
use proto::control::LiveUsage;
use proto::control::node_message::Report;
use proto::control::node_order::{Order, Shares};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::node::{Node, Unreached};
use super::{Link, wire};

/// How often quotas are divided.
const INTERVAL: Duration = Duration::from_secs(1);

/// How soon after the last time they are divided again because a node has too little.
const SOONEST: Duration = Duration::from_millis(100);

/// Most shares in one order.
const BATCH: usize = 1000;

impl Link {
    /// Takes a report of `node`.
    pub(super) fn reported(&self, node: &Node, report: Report) {
        let (read, is_urgent) = (wire::report(&report), wire::is_urgent(&report));
        let former = node.take(report);
        let mut sharing = self.shared.sharing.lock();
        if let Some(former) = former {
            sharing.gone(&former);
        }
        sharing.report(&node.sharer(), &read, Instant::now().into_std());
        drop(sharing);
        if is_urgent {
            self.shared.urgent.notify_one();
        }
    }

    /// What an app uses at this moment.
    pub(crate) fn live_usage(&self, app: &AppId) -> LiveUsage {
        let sharing = self.shared.sharing.lock();
        let stored = sharing.stored().find(|(stored, _)| *stored == app);
        let history_bytes = stored.map_or(0, |(_, expiries)| expiries.iter().map(|(_, bytes)| bytes).sum());
        drop(sharing);
        LiveUsage { history_bytes, ..self.nodes().live_usage(app.as_str()) }
    }

    /// Divides the quotas once a second, and sooner where a node has too little, whenever this replica leads.
    pub(super) async fn divide(&self) -> Infallible {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.shared.urgent.notified() => {}
            }
            match self.term() {
                Some(_) => self.tell_shares(),
                None => self.shared.sharing.lock().forget_idle(Instant::now().into_std(), unix_ms()),
            }
            sleep(SOONEST).await;
        }
    }

    fn tell_shares(&self) {
        let live = self.nodes().live();
        let quota = |app: &AppId| self.shared.apps.get(app).map(|app| app.quota.clone());
        let shares = self.shared.sharing.lock().divide(&live, quota, Instant::now().into_std(), unix_ms());
        // However long that took: not a share from a replica that may have been replaced.
        let Some(term) = self.term() else { return };
        let nodes: HashMap<NodeId, Arc<Node>> =
            self.nodes().attached().into_iter().map(|node| (node.sharer(), node)).collect();
        for (id, shares) in shares {
            if let Some(node) = nodes.get(&id) {
                tell(node, term, &shares);
            }
        }
    }
}

fn tell(node: &Node, term: u64, shares: &[(AppId, Share)]) {
    for shares in shares.chunks(BATCH) {
        let shares = shares.iter().map(|(app, share)| wire::share(app, share)).collect();
        if node.tell(Order::Shares(Shares { term, shares })) == Err(Unreached) {
            // Its shares end, and it divides by the live edges.
            tracing::warn!(node = node.hello.id, "a node takes no shares");
            return;
        }
    }
}
