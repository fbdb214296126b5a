//! What becomes of live connections when tokens are revoked: they look at their own again.

use std::sync::Arc;
use std::time::Duration;

use backbone::revocations::Seen;
use channels::AppId;
use tokio_util::sync::CancellationToken;

use crate::metrics::Protocol;
use crate::server::Shared;

/// Has connections look at their tokens again whenever revocations come, or begin to apply, until `stop`.
pub(crate) async fn follow(shared: Arc<Shared>, stop: CancellationToken) {
    let mut changed = shared.revoked.changed();
    let mut seen = Seen::default();
    // Up to when those that were to come have been told.
    let mut told_ms = clock::unix_ms();
    loop {
        let next = shared.revoked.next(told_ms);
        let due = async {
            match &next {
                Some((at, _)) => tokio::time::sleep(Duration::from_millis(at.saturating_sub(clock::unix_ms()))).await,
                None => std::future::pending().await,
            }
        };
        let apps = tokio::select! {
            () = stop.cancelled() => return,
            result = changed.changed() => {
                if result.is_err() {
                    return;
                }
                shared.revoked.changes(&mut seen)
            }
            () = due => {
                // The clock may have been set back while it slept; then it sleeps once more.
                let (at, apps) = next.filter(|(at, _)| *at <= clock::unix_ms()).unwrap_or((told_ms, Vec::new()));
                told_ms = at;
                apps
            }
        };
        apps.iter().for_each(|app| recheck(&shared, app));
    }
}

fn recheck(shared: &Shared, app: &AppId) {
    // Pusher has no tokens.
    let peers = shared.connections.of(app).into_iter().filter(|peer| peer.client.protocol == Protocol::Ably);
    peers.for_each(|peer| peer.queue.recheck());
}
