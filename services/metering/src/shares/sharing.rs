//! What a control replica knows of the nodes' use, and how it divides the quotas when it leads.
//!
//! Every replica hears every node, so that one that begins to lead knows all there is to know.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use channels::{AppId, Quota, QuotaKind};

use super::fair::{MICRO, max_min, rates};
use super::gauge::{Granted, Use, divide};
use super::out::{Out, Traffic};
use crate::{AppReport, Expiries, Portion, Report, Share};

/// A live node that has not reported for this long is divided for as one that hears another leader, or none.
pub const SILENT_AFTER: Duration = Duration::from_secs(3);

/// A share is told again after this time even where it is the same, so that it does not end.
const REFRESH: Duration = Duration::from_secs(3);

/// An app of which no node says anything for this long needs no shares: its nodes' fallbacks are as good.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30);

/// A leader that has divided nothing for this long has not been leading, and what was delivered meanwhile is not its
/// debt to collect.
const PAUSED_AFTER: Duration = Duration::from_secs(5);

/// How many seconds of a node's writing its budget of stored bytes is to last: until the next share, with room.
const BUDGET_SECONDS: u64 = 3;

/// Whatever tells nodes apart, the same in reports and among the live.
pub type NodeId = Arc<str>;

/// A node that is live, whether or not it reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveNode {
    /// Its id.
    pub id: NodeId,
    /// Whether it serves clients and publishes.
    pub edge: bool,
    /// Whether it makes webhook requests.
    pub worker: bool,
}

/// Reports of all nodes, and what they were granted.
#[derive(Debug, Default)]
pub struct Sharing {
    /// When each node reported last.
    nodes: HashMap<NodeId, Instant>,
    apps: BTreeMap<AppId, AppView>,
    /// When shares were last divided.
    divided: Option<Instant>,
}

#[derive(Debug, Default)]
struct AppView {
    /// In order, as the nodes of a [`Role`] are.
    nodes: BTreeMap<NodeId, NodeView>,
    /// When a node last said anything of it.
    seen: Option<Instant>,
    /// Since shares were last divided.
    traffic: Traffic,
    out: Option<Out>,
    stored: Expiries,
}

/// One app on one node.
#[derive(Debug, Default)]
struct NodeView {
    said: Said,
    messages_in: Demand,
    /// The same, for the pace of publishes.
    paced: Demand,
    webhooks: Demand,
    /// Absent until the node was first divided for.
    connections: Option<Granted>,
    presence_members: Option<Granted>,
    /// What was told last, and when.
    told: Option<(Share, Instant)>,
}

/// The part of a report that is needed. Rates in millionths a second.
#[derive(Clone, Copy, Debug, Default)]
struct Said {
    messages_in: u64,
    webhooks: u64,
    history_bytes: u64,
    connections: Use,
    presence_members: Use,
}

/// A demand in millionths a second, smoothed downwards only: who asks for more gets it in the next round, and the gaps
/// of a demand that comes in bursts do not take its share away.
#[derive(Clone, Copy, Debug, Default)]
struct Demand(u64);

impl Demand {
    /// Takes what is asked for now, of `total`. More than all is as good as all, and not remembered for longer.
    fn observe(&mut self, now: u64, total: u64) -> u64 {
        self.0 = now.max(self.0 / 4).min(total);
        self.0
    }
}

impl Sharing {
    /// Takes a report of `node`.
    pub fn report(&mut self, node: &NodeId, report: &Report, now: Instant) {
        self.nodes.insert(Arc::clone(node), now);
        for view in self.apps.values_mut() {
            if let Some(view) = view.nodes.get_mut(node) {
                view.said = Said::default();
            }
        }
        for said in &report.apps {
            let view = self.apps.entry(said.app.clone()).or_default();
            view.seen = Some(now);
            view.traffic.delivered = view.traffic.delivered.saturating_add(said.counts.messages_out);
            view.traffic.published = view.traffic.published.saturating_add(said.counts.messages_in);
            said.history_bytes.iter().for_each(|(minute, bytes)| view.stored.add(*minute, *bytes));
            view.nodes.entry(Arc::clone(node)).or_default().said = Said::of(said, report.interval);
        }
    }

    /// `node` has gone, or reports no more.
    pub fn gone(&mut self, node: &NodeId) {
        self.nodes.remove(node);
    }

    /// Stored bytes of each app that has any, by expiry.
    pub fn stored(&self) -> impl Iterator<Item = (&AppId, &Expiries)> {
        self.apps.iter().map(|(app, view)| (app, &view.stored)).filter(|(_, stored)| !stored.is_empty())
    }

    /// Takes in what another replica, or this one in another life, counted as stored; see [`Expiries::merge`].
    pub fn restore(&mut self, app: &AppId, stored: &Expiries) {
        self.apps.entry(app.clone()).or_default().stored.merge(stored);
    }

    /// Forgets apps that are not in use and have nothing stored. [`Self::divide`] does so, too; a replica that does not
    /// lead calls this now and then.
    pub fn forget_idle(&mut self, now: Instant, unix_ms: u64) {
        self.apps.retain(|_, view| {
            let stored = view.stored.live(unix_ms);
            if view.in_use(now) {
                return true;
            }
            view.nodes.clear();
            view.traffic = Traffic::default();
            view.out = None;
            stored > 0
        });
    }

    /// Divides the quotas of all apps that are in use among the `live` nodes, for the leader to call once a second.
    /// `quota` says what an app may, nothing for one that is no more. Returns what each reporting node is to be told:
    /// shares that changed or have to be told again.
    pub fn divide(
        &mut self,
        live: &[LiveNode],
        quota: impl Fn(&AppId) -> Option<Quota>,
        now: Instant,
        unix_ms: u64,
    ) -> HashMap<NodeId, Vec<(AppId, Share)>> {
        let paused = self.divided.is_none_or(|before| now.saturating_duration_since(before) >= PAUSED_AFTER);
        self.divided = Some(now);
        let ids: HashSet<&NodeId> = live.iter().map(|node| &node.id).collect();
        self.nodes.retain(|node, _| ids.contains(node));
        let cluster = Cluster {
            edges: Role::new(live.iter().filter(|node| node.edge), &self.nodes, now),
            workers: Role::new(live.iter().filter(|node| node.worker), &self.nodes, now),
        };
        self.forget_idle(now, unix_ms);
        let mut orders: HashMap<NodeId, Vec<(AppId, Share)>> = HashMap::new();
        for (app, view) in &mut self.apps {
            if paused {
                view.traffic = Traffic::default();
            }
            let quota = quota(app).unwrap_or_default();
            if !view.in_use(now) || quota == Quota::default() {
                view.traffic = Traffic::default();
                continue;
            }
            for (node, share) in view.divide(&quota, &cluster, now, unix_ms) {
                orders.entry(node).or_default().push((app.clone(), share));
            }
        }
        orders
    }
}

/// Who is there in this round.
struct Cluster {
    edges: Role,
    workers: Role,
}

/// Nodes that do one thing.
struct Role {
    /// Those that report, with the time of their last report.
    reporting: BTreeMap<NodeId, Instant>,
    /// Those that are live all the same.
    silent: Vec<NodeId>,
}

impl Role {
    fn new<'a>(live: impl Iterator<Item = &'a LiveNode>, reported: &HashMap<NodeId, Instant>, now: Instant) -> Self {
        let mut role = Self { reporting: BTreeMap::new(), silent: Vec::new() };
        for node in live {
            match reported.get(&node.id) {
                Some(at) if now.saturating_duration_since(*at) < SILENT_AFTER => {
                    role.reporting.insert(Arc::clone(&node.id), *at);
                }
                Some(_) | None => role.silent.push(Arc::clone(&node.id)),
            }
        }
        role
    }

    /// How many are live.
    fn live(&self) -> u64 {
        (self.reporting.len() + self.silent.len()) as u64
    }

    /// The part of `total` for those that report, if the silent ones keep to theirs.
    fn part(&self, total: u64) -> u64 {
        let part = u128::from(total) * self.reporting.len() as u128 / u128::from(self.live().max(1));
        u64::try_from(part).unwrap_or(u64::MAX)
    }
}

impl Said {
    fn of(report: &AppReport, interval: Duration) -> Self {
        let micros = u64::try_from(interval.as_micros()).unwrap_or(u64::MAX).max(1);
        let a_second = |count: u64, unit: u64| {
            let rate = u128::from(count) * u128::from(unit) * 1_000_000 / u128::from(micros);
            u64::try_from(rate).unwrap_or(u64::MAX)
        };
        let refused = &report.counts.refused;
        Self {
            messages_in: a_second(report.messages_in_wanted, MICRO),
            webhooks: a_second(report.webhooks_wanted, MICRO),
            history_bytes: a_second(report.history_bytes_wanted, 1),
            connections: Use { used: report.connections, refused: refused.get(QuotaKind::Connections) },
            presence_members: Use { used: report.presence_members, refused: refused.get(QuotaKind::PresenceMembers) },
        }
    }
}

impl AppView {
    fn in_use(&self, now: Instant) -> bool {
        self.seen.is_some_and(|seen| now.saturating_duration_since(seen) < FORGOTTEN_AFTER)
    }

    /// The shares that are to be told.
    fn divide(&mut self, quota: &Quota, cluster: &Cluster, now: Instant, unix_ms: u64) -> Vec<(NodeId, Share)> {
        let Cluster { edges, workers } = cluster;
        self.nodes.retain(|node, _| {
            edges.reporting.contains_key(node) || workers.reporting.contains_key(node) || edges.silent.contains(node)
        });
        let mut shares: BTreeMap<&NodeId, Share> = BTreeMap::new();
        for node in edges.reporting.keys().chain(workers.reporting.keys()) {
            self.nodes.entry(Arc::clone(node)).or_default();
            shares.entry(node).or_default();
        }
        let mut grant = |role: &Role, to: &mut dyn FnMut(usize, &mut Share)| {
            let of_role = shares.iter_mut().filter(|(node, _)| role.reporting.contains_key(**node));
            of_role.enumerate().for_each(|(index, (_, share))| to(index, share));
        };

        if let Some(limit) = quota.messages_in_per_second {
            let total = edges.part(limit.saturating_mul(MICRO));
            let parts = rates(total, &self.each(edges, |view| view.messages_in.observe(view.said.messages_in, total)));
            grant(edges, &mut |index, share| share.messages_in_per_second = Some(a_second(parts[index])));
        }
        if let Some(limit) = quota.webhooks_per_second {
            let total = workers.part(limit.saturating_mul(MICRO));
            let parts = rates(total, &self.each(workers, |view| view.webhooks.observe(view.said.webhooks, total)));
            grant(workers, &mut |index, share| share.webhooks_per_second = Some(a_second(parts[index])));
        }
        let wanted = self.each(edges, |view| view.said.messages_in).iter().sum();
        let traffic = Traffic { wanted, ..std::mem::take(&mut self.traffic) };
        if let Some(limit) = quota.messages_out_per_second {
            let total = edges.part(limit.saturating_mul(MICRO));
            let out = self.out.get_or_insert_with(|| Out::new(a_second(total), now));
            let hold = out.round(total, traffic, now);
            let paces = hold
                .pace
                .map(|pace| rates(pace, &self.each(edges, |view| view.paced.observe(view.said.messages_in, pace))));
            // A node alone may deliver all of it: who delivers is not who publishes, so that what a node delivers says
            // nothing of what it needs. It is the sum that counts, and the node's own rate only stops it sooner.
            grant(edges, &mut |index, share| {
                share.messages_out_per_second = Some(a_second(total));
                share.paced_messages_in_per_second = paces.as_ref().map(|paces| a_second(paces[index]));
                share.out_blocked_for = hold.blocked_for;
            });
        } else {
            self.out = None;
        }
        if let Some(limit) = quota.history_bytes {
            let free = limit.saturating_sub(self.stored.live(unix_ms));
            let wants = self.each(edges, |view| view.said.history_bytes.saturating_mul(BUDGET_SECONDS));
            let total = edges.part(free);
            let parts = max_min(total, &wants);
            let rest = (total - parts.iter().sum::<u64>()) / (parts.len() as u64).max(1);
            grant(edges, &mut |index, share| {
                share.history_bytes = Some(Portion { share: parts[index] + rest, free });
            });
        }
        if let Some(limit) = quota.connections {
            let portions = self.gauge(limit, edges, now, |view| (&mut view.connections, view.said.connections));
            grant(edges, &mut |index, share| share.connections = Some(portions[index]));
        }
        if let Some(limit) = quota.presence_members {
            let portions =
                self.gauge(limit, edges, now, |view| (&mut view.presence_members, view.said.presence_members));
            grant(edges, &mut |index, share| share.presence_members = Some(portions[index]));
        }
        let told = shares.into_iter().filter(|(node, share)| self.is_news(node, share, now));
        told.map(|(node, share)| (Arc::clone(node), share)).collect()
    }

    /// What `of` says of each reporting node of `role`, in order.
    fn each(&mut self, role: &Role, mut of: impl FnMut(&mut NodeView) -> u64) -> Vec<u64> {
        let nodes = self.nodes.iter_mut().filter(|(node, _)| role.reporting.contains_key(*node));
        nodes.map(|(_, view)| of(view)).collect()
    }

    /// Divides `limit` of what is used and given back among the reporting edges.
    fn gauge(
        &mut self,
        limit: u64,
        edges: &Role,
        now: Instant,
        of: impl Fn(&mut NodeView) -> (&mut Option<Granted>, Use),
    ) -> Vec<Portion> {
        // What a node goes by that hears nobody.
        let own = limit.div_ceil(edges.live().max(1));
        let (mut used, mut reserved) = (0, 0);
        for node in &edges.silent {
            let (granted, said) = of(self.nodes.entry(Arc::clone(node)).or_default());
            used += said.used;
            reserved += own.max(said.used);
            // When it is heard again, that is what it goes by.
            *granted = Some(Granted::new(own.max(said.used), now));
        }
        let mut nodes = Vec::with_capacity(edges.reporting.len());
        for (node, view) in &mut self.nodes {
            if let Some(reported) = edges.reporting.get(node) {
                let (granted, said) = of(view);
                let granted = granted.get_or_insert_with(|| Granted::new(own, now));
                granted.observe(said, now);
                used += said.used;
                nodes.push((granted, *reported));
            }
        }
        let free = limit.saturating_sub(used);
        let shares = divide(limit.saturating_sub(reserved), &mut nodes, now);
        shares.into_iter().map(|share| Portion { share, free }).collect()
    }

    /// Whether `node` has to be told, and remembers that it is.
    fn is_news(&mut self, node: &NodeId, share: &Share, now: Instant) -> bool {
        let view = self.nodes.entry(Arc::clone(node)).or_default();
        let known = match view.told {
            Some((told, at)) => told == *share && now.saturating_duration_since(at) < REFRESH,
            // A worker of an app whose webhooks are not limited.
            None => *share == Share::default(),
        };
        // A time to wait runs from when it is told.
        if known && share.out_blocked_for.is_zero() {
            return false;
        }
        view.told = Some((*share, now));
        true
    }
}

fn a_second(micros: u64) -> f64 {
    micros as f64 / MICRO as f64
}
