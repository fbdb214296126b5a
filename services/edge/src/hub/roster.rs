//! Reading rosters, and cleaning up after edges that are gone.

use std::collections::{BTreeMap, BTreeSet};

use backbone::{KvError, facts};
use channels::{App, ChannelName, ClientId, EdgeId, Member, MemberData, Roster, RosterEntry};
use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::{Channel, Hub};
use crate::membership::Gone;

/// Removals under way at one time.
const CONCURRENT_REMOVALS: usize = 32;

/// How often all rosters are looked through for edges that nobody remembers.
const SURVEY: std::time::Duration = std::time::Duration::from_secs(60 * 60);

impl Hub {
    /// The channel's members as the backbone has them, and up to when. Those of edges that are gone are none.
    pub(super) async fn read_roster(&self, channel: &Channel) -> Result<(u64, Vec<RosterEntry>), KvError> {
        self.read_members(&channel.app, &channel.name).await
    }

    /// The users present in `channel`.
    pub(crate) async fn users(&self, app: &App, channel: &ChannelName) -> Result<Vec<ClientId>, KvError> {
        if let Some(users) = self.find(&app.id, channel).and_then(|channel| channel.users()) {
            return Ok(users);
        }
        let (_, entries) = self.read_members(&app.id, channel).await?;
        let users: BTreeSet<_> = entries.into_iter().map(|entry| entry.member.user).collect();
        Ok(users.into_iter().collect())
    }

    /// The members present in `channel`, in no order.
    pub(crate) async fn members(&self, app: &App, channel: &ChannelName) -> Result<Vec<(Member, MemberData)>, KvError> {
        if let Some(members) = self.find(&app.id, channel).and_then(|channel| channel.members()) {
            return Ok(members);
        }
        let (as_of, entries) = self.read_members(&app.id, channel).await?;
        // While a connection moves, two edges have its members.
        let roster = Roster::new(as_of, entries);
        Ok(roster.members().map(|(member, data)| (member.clone(), data.clone())).collect())
    }

    async fn read_members(
        &self,
        app: &channels::AppId,
        channel: &ChannelName,
    ) -> Result<(u64, Vec<RosterEntry>), KvError> {
        let listing = self.roster.list(&facts::roster_prefix(app, channel)).await?;
        let mut lives: BTreeMap<EdgeId, bool> = BTreeMap::new();
        let mut entries = Vec::new();
        // A long name's token holds a hash: what is of another channel all the same is left out by its name.
        let members = listing.entries.into_iter().filter_map(facts::decode_member);
        for (_, entry) in members.filter(|(name, _)| name == channel) {
            let alive = match lives.get(&entry.edge) {
                Some(alive) => *alive,
                None => {
                    let alive = self.membership.find_out(&entry.edge).await?;
                    lives.insert(entry.edge.clone(), alive);
                    alive
                }
            };
            if alive {
                entries.push(entry);
            }
        }
        Ok((listing.as_of, entries))
    }

    /// Until `stop`: takes the members of edges that are gone out of all rosters here, and, while this edge is the one to
    /// do it, out of the backbone.
    pub(crate) async fn follow_edges(&self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.forget_the_gone() => {}
            () = self.look_for_the_gone() => {}
            () = self.bury_the_gone() => {}
        }
    }

    async fn forget_the_gone(&self) {
        let mut changed = self.membership.changed();
        let mut known = 0;
        loop {
            let gone = self.membership.gone_since(known);
            known += gone.len();
            for Gone { edge, last_sign } in &gone {
                let held = self.presence_channels().iter().filter(|channel| channel.edge_gone(self, edge)).count();
                // Whoever had no members here took nobody with it.
                if let Some(last_sign) = last_sign.filter(|_| held > 0) {
                    self.metrics.presence_sync.record(last_sign.elapsed().as_secs_f64());
                }
            }
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// An edge that came and went while the watch of leases was down was never seen.
    async fn look_for_the_gone(&self) {
        let mut ticks = tokio::time::interval(self.membership.ttl());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let channels = self.presence_channels();
            let edges: BTreeSet<_> = channels.iter().flat_map(|channel| channel.member_edges()).collect();
            for edge in edges {
                // If nobody answers, the next time.
                self.membership.find_out(&edge).await.ok();
            }
        }
    }

    /// Removes what edges that are gone have left in the backbone, while this edge is the one to do it. Every edge keeps
    /// account, since that may change at any time.
    async fn bury_the_gone(&self) {
        let ttl = self.membership.ttl();
        let mut ticks = tokio::time::interval(ttl / 3);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut known = 0;
        // Edges, and when they may be forgotten: what was under way from one when it died comes a little later.
        let mut unburied: BTreeMap<EdgeId, Option<Instant>> = BTreeMap::new();
        let mut survey = Instant::now() + ttl;
        loop {
            ticks.tick().await;
            let gone = self.membership.gone_since(known);
            known += gone.len();
            unburied.extend(gone.into_iter().map(|gone| (gone.edge, None)));
            if !self.membership.cleans_up() {
                continue;
            }
            if Instant::now() >= survey {
                survey = Instant::now() + SURVEY;
                let found = self.find_the_dead().await.unwrap_or_default();
                unburied.extend(found.into_iter().map(|edge| (edge, None)));
            }
            let edges: Vec<_> = unburied.keys().cloned().collect();
            for edge in edges {
                let done = self.bury(&edge).await;
                match (done, unburied.get(&edge).copied().flatten()) {
                    (Ok(()), None) => drop(unburied.insert(edge, Some(Instant::now() + ttl))),
                    (Ok(()), Some(until)) if Instant::now() >= until => drop(unburied.remove(&edge)),
                    (Ok(()), Some(_)) => {}
                    (Err(error), _) => {
                        tracing::debug!(error = &error as &dyn std::error::Error, %edge, "its members stay for now");
                    }
                }
            }
        }
    }

    /// Edges that have members in the backbone and no lease, from before this edge was there.
    async fn find_the_dead(&self) -> Result<BTreeSet<EdgeId>, KvError> {
        let entries = self.roster.entries().await?;
        let edges: BTreeSet<_> = entries.iter().filter_map(|entry| facts::parse_roster_key(&entry.key)).collect();
        let mut dead = BTreeSet::new();
        for edge in edges.into_iter().map(|key| key.edge).collect::<BTreeSet<_>>() {
            if !self.membership.find_out(&edge).await? {
                dead.insert(edge);
            }
        }
        Ok(dead)
    }

    /// Removes the members of `edge` from the backbone. Nobody believes in them any more.
    async fn bury(&self, edge: &EdgeId) -> Result<(), KvError> {
        let left = self.roster.list(&format!("*.*.{edge}")).await?.entries;
        if !left.is_empty() {
            tracing::info!(%edge, members = left.len(), "removing the presence members of an edge that is gone");
        }
        let mut removals = Vec::with_capacity(left.len());
        for entry in &left {
            removals.push(self.roster.remove(&entry.key, Some(entry.revision)));
        }
        let mut removals = stream::iter(removals).buffer_unordered(CONCURRENT_REMOVALS);
        while let Some(removed) = removals.next().await {
            match removed {
                Ok(_) => self.metrics.stale_members.increment(1),
                Err(KvError::Conflict | KvError::Exists) => {}
                Err(error @ (KvError::Unavailable(_) | KvError::InvalidKey)) => return Err(error),
            }
        }
        Ok(())
    }
}
