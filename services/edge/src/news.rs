//! What subscribers and watchers are told of the cluster's counts: subscription counts, and users who come and go.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

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
    loop {
        let next = later.values().min().copied();
        let due = async {
            match next {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = news.some() => tokio::time::sleep(GATHER).await,
            () = due => {}
        }
        let now = Instant::now();
        let mut changed = news.take();
        changed.extend(later.iter().filter(|(_, at)| **at <= now).map(|(counted, _)| counted.clone()));
        for counted in changed {
            later.remove(&counted);
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
    let tells = shared.apps.get(app).is_some_and(|app| app.pusher.subscription_count);
    if !tells || shared.hub.subscriptions(app, channel) == 0 {
        return None;
    }
    let count = shared.occupancy.counts(app, channel).subscriptions;
    shared.hub.tell_count(app, channel, count)
}
