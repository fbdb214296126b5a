//! The facts that edges share, as they are followed: leases, which say whose facts to believe, counts and rosters.

use backbone::facts::{Count, CountKey, decode_member, edge_of_lease, parse_roster_key};
use backbone::{Backbone, Bucket, Kv, KvError, Watch, WatchEvent};

use super::state::{Place, State};

/// Where the facts are.
#[derive(Debug)]
pub(super) struct Facts {
    leases: Kv,
    counts: Kv,
    roster: Kv,
}

impl Facts {
    pub(super) fn new(backbone: &Backbone) -> Self {
        let [leases, counts, roster] =
            [Bucket::Leases, Bucket::Occupancy, Bucket::Roster].map(|name| backbone.kv(name));
        Self { leases, counts, roster }
    }

    /// Has `state` know what is there now, and nothing else, and follows it from then on. After an error `state` knows a
    /// part of it only.
    pub(super) async fn follow(&self, state: &mut State) -> Result<Following, KvError> {
        state.forget_facts();
        let mut leases = self.leases.watch().await?;
        let mut counts = self.counts.watch().await?;
        let mut roster = self.roster.watch().await?;
        // Leases first: what an edge says is believed as soon as it is known to be alive.
        snapshot(&mut leases, |event| take_lease(state, event)).await?;
        snapshot(&mut counts, |event| take_count(state, event)).await?;
        snapshot(&mut roster, |event| take_member(state, event)).await?;
        Ok(Following { leases, counts, roster })
    }
}

/// The facts from a moment on.
pub(super) struct Following {
    leases: Watch,
    counts: Watch,
    roster: Watch,
}

impl Following {
    /// Waits for the next change and has `state` know it. After an error they have to be followed anew. Cancel-safe.
    pub(super) async fn next(&mut self, state: &mut State) -> Result<(), KvError> {
        tokio::select! {
            event = self.leases.next() => take_lease(state, event?),
            event = self.counts.next() => take_count(state, event?),
            event = self.roster.next() => take_member(state, event?),
        }
        Ok(())
    }
}

/// Takes everything that is there now.
async fn snapshot(watch: &mut Watch, mut take: impl FnMut(WatchEvent)) -> Result<(), KvError> {
    loop {
        match watch.next().await? {
            WatchEvent::Current => return Ok(()),
            event @ (WatchEvent::Put(_) | WatchEvent::Removed(_)) => take(event),
        }
    }
}

fn take_lease(state: &mut State, event: WatchEvent) {
    let (key, alive) = match event {
        WatchEvent::Put(entry) => (entry.key, true),
        WatchEvent::Removed(key) => (key, false),
        WatchEvent::Current => return,
    };
    if let Some(edge) = edge_of_lease(&key) {
        state.edge(edge, alive);
    }
}

fn take_count(state: &mut State, event: WatchEvent) {
    match event {
        WatchEvent::Put(entry) => {
            let Some(CountKey { app, token, edge }) = CountKey::parse(&entry.key) else { return };
            let Some(count) = Count::decode(entry.value) else { return };
            state.count(&Place { app, token }, Some(&count.channel), edge, count.subscriptions);
        }
        WatchEvent::Removed(key) => {
            let Some(CountKey { app, token, edge }) = CountKey::parse(&key) else { return };
            state.count(&Place { app, token }, None, edge, 0);
        }
        WatchEvent::Current => {}
    }
}

fn take_member(state: &mut State, event: WatchEvent) {
    match event {
        WatchEvent::Put(entry) => {
            let Some(CountKey { app, token, edge }) = parse_roster_key(&entry.key) else { return };
            let key = entry.key.clone();
            let Some((channel, member)) = decode_member(entry) else { return };
            state.enter(&Place { app, token }, &channel, &key, edge, member.member.user);
        }
        WatchEvent::Removed(key) => {
            let Some(CountKey { app, token, .. }) = parse_roster_key(&key) else { return };
            state.leave(&Place { app, token }, &key);
        }
        WatchEvent::Current => {}
    }
}
