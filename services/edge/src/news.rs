//! What subscribers and watchers are told of the cluster's counts: subscription counts, users who come and go, and
//! channels that open and close.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use ably::meta::Event;
use ably::occupancy::ChannelDetails;
use channels::{AppId, ChannelName};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::occupancy::{Changes, Counted};
use crate::server::Shared;

/// Changes within this time are told as one.
const GATHER: Duration = Duration::from_millis(50);

/// Tells what `news` brings until `stop`.
pub(crate) async fn tell(shared: Arc<Shared>, news: Arc<Changes>, stop: CancellationToken) {
    // What is to be looked at again later. Never more than there are channels with subscribers and users watched here.
    let mut later: HashMap<Counted, Instant> = HashMap::new();
    // Channels with subscribers here, so that their last one is told of as well as their first.
    let mut open: HashSet<Counted> = HashSet::new();
    loop {
        let next = later.values().min().copied();
        tokio::select! {
            () = stop.cancelled() => return,
            () = news.some() => tokio::time::sleep(GATHER).await,
            () = clock::sleep_until(next) => {}
        }
        let now = Instant::now();
        let mut changed = news.take();
        changed.extend(later.iter().filter(|(_, at)| **at <= now).map(|(counted, _)| counted.clone()));
        for counted in changed {
            later.remove(&counted);
            tell_life(&shared, &mut open, &counted);
            if let Some(at) = look(&shared, &counted) {
                later.insert(counted, at);
            }
        }
    }
}

fn look(shared: &Shared, (app, channel): &Counted) -> Option<Instant> {
    if let Some(at) = shared.users.look(&shared.occupancy, app, channel) {
        return Some(at);
    }
    let again = if shared.hub.wants_metrics(app, channel) {
        shared.hub.tell_metrics(app, channel, &shared.occupancy.metrics(app, channel))
    } else {
        None
    };
    again.into_iter().chain(tell_count(shared, app, channel)).min()
}

/// Tells the app's metachannel of a channel whose first subscriber in the cluster has come, or whose last has gone: the
/// node where that was does. What others count is known some moments late, so that of two nodes at one moment both tell
/// of an opening, and neither of an end.
fn tell_life(shared: &Shared, open: &mut HashSet<Counted>, counted: &Counted) {
    let (app, channel) = counted;
    let here = shared.hub.subscriptions(app, channel);
    let changed = if here > 0 { open.insert(counted.clone()) } else { open.remove(counted) };
    let is_elsewhere = || shared.occupancy.counts(app, channel).subscriptions > here;
    if !changed || channel.as_str().starts_with(['#', '[']) || is_elsewhere() {
        return;
    }
    if let Some(app) = shared.apps.get(app) {
        let details = ChannelDetails::new(channel.as_str(), here > 0, shared.occupancy.metrics(&app.id, channel));
        let event = if here > 0 { Event::ChannelOpened(details) } else { Event::ChannelClosed(details) };
        shared.meta.tell(shared, &app, &event);
    }
}

fn tell_count(shared: &Shared, app: &AppId, channel: &ChannelName) -> Option<Instant> {
    let tells = shared.apps.get(app).is_some_and(|app| app.pusher.subscription_count);
    if !tells || shared.hub.subscriptions(app, channel) == 0 {
        return None;
    }
    let count = shared.occupancy.counts(app, channel).subscriptions;
    shared.hub.tell_count(app, channel, count)
}
