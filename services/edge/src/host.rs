//! What the control plane may ask of this node: how busy it is, who is connected and to what, to close a connection, and
//! to be told what happens.
//!
//! Owns the walk over what the node holds in memory and its translation into the words of the wire. Knows nothing of who
//! asks, or how.

use std::collections::HashSet;
use std::sync::Arc;

use agent::{Page, Tap};
use channels::{App, AppId, ChannelName, ClientId, ConnectionId, Tier};
use proto::control::node_order::{ListChannels, ListConnections};
use proto::control::{self as wire, NodeLoad};

use crate::connections::Peer;
use crate::queue::Ending;
use crate::server::Shared;

/// Most channels that are told of one connection.
const MAX_CHANNELS: usize = 1000;

impl agent::Host for Shared {
    fn load(&self) -> NodeLoad {
        let (channels, subscriptions) = self.hub.totals();
        NodeLoad {
            connections: self.connections.len() as u64,
            max_connections: self.config.max_connections as u64,
            channels,
            subscriptions,
            snapshot_age_ms: self.apps.age().map_or(u64::MAX, clock::millis),
            ..NodeLoad::default()
        }
    }

    fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    fn edge_id(&self) -> String {
        self.membership.me().to_string()
    }

    fn connections(&self, order: &ListConnections) -> Page<wire::Connection> {
        let Ok(app) = AppId::new(&order.app_id) else { return Page::default() };
        let mut peers = self.peers(&app, order);
        let most = order.most as usize;
        peers.sort_unstable_by(|a, b| a.id.as_str().cmp(b.id.as_str()));
        let more = peers.len() > most;
        let items = peers.iter().take(most).map(|peer| {
            let channels = if order.connection.is_empty() { Vec::new() } else { self.hub.channels_of(peer) };
            shown(peer, channels)
        });
        Page { items: items.collect(), more }
    }

    fn close_connection(&self, app: &str, connection: &str, is_final: bool) -> bool {
        let (Ok(app), Ok(id)) = (AppId::new(app), ConnectionId::new(connection)) else { return false };
        let peer = self.connections.find(&app, &id);
        if let Some(peer) = &peer {
            peer.queue.end(Ending::Closed { for_good: is_final });
        }
        peer.is_some()
    }

    fn channels(&self, order: &ListChannels) -> Page<wire::Channel> {
        let Some(app) = AppId::new(&order.app_id).ok().and_then(|id| self.apps.get(&id)) else {
            return Page::default();
        };
        let mut names: Vec<ChannelName> = if order.channel.is_empty() {
            let wanted = |name: &ChannelName| {
                let name = name.as_str();
                // Who is signed in is nobody's business, as in the HTTP API.
                !name.starts_with('#') && name.starts_with(&order.prefix) && name > order.after.as_str()
            };
            self.hub.occupied(&app.id).into_iter().filter(wanted).collect()
        } else {
            let name = ChannelName::new(&order.channel).ok();
            name.filter(|name| self.hub.subscriptions(&app.id, name) > 0).into_iter().collect()
        };
        let most = if order.channel.is_empty() { order.most as usize } else { 1 };
        names.sort_unstable();
        let more = names.len() > most;
        names.truncate(most);
        Page { items: names.iter().map(|name| self.shown_channel(&app, name)).collect(), more }
    }

    fn tail(&self, tap: Tap) {
        self.tails.add(tap);
    }
}

impl Shared {
    /// The connections that `order` asks for, and those behind them.
    fn peers(&self, app: &AppId, order: &ListConnections) -> Vec<Arc<Peer>> {
        if !order.connection.is_empty() {
            let id = ConnectionId::new(&order.connection).ok();
            return id.and_then(|id| self.connections.find(app, &id)).into_iter().collect();
        }
        let behind = |peer: &Peer| peer.id.as_str() > order.after.as_str();
        let mut peers = match ChannelName::new(&order.channel) {
            Ok(name) => self.hub.subscribed(app, &name),
            Err(_) if order.channel.is_empty() => self.connections.of(app),
            Err(_) => Vec::new(),
        };
        if !order.user_id.is_empty() {
            let present: HashSet<ConnectionId> = ClientId::new(&order.user_id)
                .map(|user| self.hub.present_as(app, &user))
                .unwrap_or_default()
                .into_iter()
                .collect();
            let is_user = |peer: &Peer| peer.user().is_some_and(|user| user.as_str() == order.user_id);
            peers.retain(|peer| is_user(peer) || present.contains(&peer.id));
        }
        peers.retain(|peer| behind(peer));
        peers
    }

    fn shown_channel(&self, app: &App, name: &ChannelName) -> wire::Channel {
        let counts = self.occupancy.counts(&app.id, name);
        let tier = match app.tier(name) {
            Tier::Ephemeral => wire::Tier::Ephemeral,
            Tier::Recoverable => wire::Tier::Recoverable,
            Tier::Persistent { .. } => wire::Tier::Persistent,
        };
        wire::Channel {
            name: name.as_str().to_owned(),
            subscriptions: counts.subscriptions,
            users: counts.users,
            tier: tier.into(),
            position: String::new(),
            namespace: app.namespaces.rule(name.as_str()).map(|rule| rule.prefix.clone()),
        }
    }
}

fn shown(peer: &Peer, channels: Vec<ChannelName>) -> wire::Connection {
    wire::Connection {
        id: peer.id.as_str().to_owned(),
        node: String::new(),
        protocol: peer.client.protocol.name().to_owned(),
        transport: peer.client.transport.name().to_owned(),
        key: peer.client.key.as_str().to_owned(),
        user_id: peer.user().map(|user| user.as_str().to_owned()).unwrap_or_default(),
        connected_ms: peer.client.connected_ms(),
        address: peer.client.address().to_string(),
        subscriptions: peer.subscriptions(),
        channels: channels.iter().take(MAX_CHANNELS).map(|name| name.as_str().to_owned()).collect(),
        queued_bytes: peer.queue.bytes() as u64,
    }
}
