//! Nonces of Ably's token requests, each of which is good for one token in the whole cluster.

use std::time::Duration;

use ably::credentials::REQUEST_WINDOW;
use ably::{Code, ErrorInfo};
use backbone::{Bucket, Kv, KvError};
use bytes::Bytes;
use channels::AppId;
use clock::Backoff;
use sha2::{Digest as _, Sha256};
use tokio::time::{sleep, timeout};

use crate::server::Shared;

/// A timestamp may be as far ahead of the clock as behind it.
const REMEMBERED: Duration = REQUEST_WINDOW.saturating_mul(2);

/// How long it is tried to note one: an election of NATS takes up to 9 s.
const PATIENCE: Duration = Duration::from_secs(20);

/// Between two attempts, each of which takes two seconds while NATS does not answer.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_millis(500));

/// Takes note that a token request of `app` has used `nonce`. Once in the cluster, for as long as its timestamp can be
/// taken.
///
/// # Errors
/// 40105 if it was used before; 50003 if nobody can tell.
pub(crate) async fn spend(shared: &Shared, app: &AppId, nonce: &str) -> Result<(), ErrorInfo> {
    let hash: String = Sha256::digest(nonce).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let nonces = shared.backbone.kv(Bucket::Cluster);
    match timeout(PATIENCE, is_first(&nonces, &format!("nonce.{app}.{hash}"))).await {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(Code::Nonce.info()),
        Ok(Err(error)) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "a nonce cannot be noted");
            Err(Code::Timeout.info())
        }
        Err(_) => {
            tracing::warn!(patience = ?PATIENCE, "a nonce cannot be noted in time");
            Err(Code::Timeout.info())
        }
    }
}

/// Writes `key` unless somebody else has. However long it takes, while the backbone does not answer.
async fn is_first(nonces: &Kv, key: &str) -> Result<bool, KvError> {
    // What is there after an attempt without an answer may be its own.
    let mark = Bytes::copy_from_slice(&rand::random::<[u8; 16]>());
    let mut backoff = BACKOFF;
    loop {
        let attempt = match nonces.create_expiring(key, mark.clone(), REMEMBERED).await {
            Err(KvError::Exists) => nonces.get(key).await.map(|entry| entry.is_some_and(|entry| entry.value == mark)),
            written => written.map(|_| true),
        };
        match attempt {
            Err(error @ KvError::Unavailable(_)) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "a nonce cannot be noted yet");
                sleep(backoff.pause()).await;
            }
            answer => return answer,
        }
    }
}
