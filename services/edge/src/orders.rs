//! What is said to all edges at once, in one bucket that every edge watches: whose connections are to end, and which
//! connections have moved.
//!
//! Owns the watch; what is done about it is the business of those who are told.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use backbone::facts::Command;
use backbone::{Bucket, KvError, WatchEvent};
use tokio_util::sync::CancellationToken;

use crate::connections::Peer;
use crate::metrics::Protocol;
use crate::queue::Ending;
use crate::server::Shared;

/// Pause before a failed watch is begun again.
const BACKOFF: Duration = Duration::from_secs(1);

/// Heeds what is said until `stop`.
pub(crate) async fn obey(shared: Arc<Shared>, stop: CancellationToken) {
    let mut seen = None;
    let obey = async {
        loop {
            let Err(error) = follow(&shared, &mut seen).await;
            tracing::warn!(error = &error as &dyn std::error::Error, "lost the watch of orders, beginning it again");
            tokio::time::sleep(BACKOFF).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = obey => {}
    }
}

/// Follows the bucket; `seen` is the newest revision whose order was carried out, once this node knows what was there before it.
async fn follow(shared: &Shared, seen: &mut Option<u64>) -> Result<Infallible, KvError> {
    let mut watch = shared.backbone.kv(Bucket::Commands).watch().await?;
    let mut old = 0;
    loop {
        let entry = match watch.next().await? {
            WatchEvent::Put(entry) => entry,
            WatchEvent::Removed(_) => continue,
            WatchEvent::Current => {
                seen.get_or_insert(old);
                continue;
            }
        };
        let command = Command::of(&entry);
        if let Some(Command::Resumed(resumed)) = &command {
            // True whenever it is heard, and any number of times.
            shared.resumes.heard(resumed);
        }
        // What was ordered before this node was there concerns nobody who is here now.
        let Some(seen) = seen else {
            old = entry.revision;
            continue;
        };
        // A watch that is begun again tells what it told before.
        if entry.revision <= *seen {
            continue;
        }
        *seen = entry.revision;
        if let Some(Command::Terminate(app, user)) = command {
            // In the Ably protocol, who says who it is when it connects is signed in.
            let is_user = |peer: &Peer| peer.client.protocol == Protocol::Ably && peer.user() == Some(&user);
            let peers = shared.connections.of(&app).into_iter().filter(|peer| is_user(peer));
            peers.for_each(|peer| peer.queue.end(Ending::Terminated));
            shared.users.end(app, user);
        }
    }
}
