//! Nonces of Ably's token requests, each of which is good for one token in the whole cluster.

use std::time::Duration;

use ably::credentials::REQUEST_WINDOW;
use ably::{Code, ErrorInfo};
use backbone::{Bucket, KvError};
use bytes::Bytes;
use channels::AppId;
use sha2::{Digest as _, Sha256};

use crate::election;
use crate::server::Shared;

/// A timestamp may be as far ahead of the clock as behind it.
const REMEMBERED: Duration = REQUEST_WINDOW.saturating_mul(2);

/// Takes note that a token request of `app` has used `nonce`. Once in the cluster, for as long as its timestamp can be
/// taken.
///
/// # Errors
/// 40105 if it was used before; 50003 if nobody can tell.
pub(crate) async fn spend(shared: &Shared, app: &AppId, nonce: &str) -> Result<(), ErrorInfo> {
    let hash: String = Sha256::digest(nonce).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let (nonces, key) = (shared.backbone.kv(Bucket::Cluster), format!("nonce.{app}.{hash}"));
    // What is there after an attempt without an answer may be its own.
    let mark = Bytes::copy_from_slice(&rand::random::<[u8; 16]>());
    let is_first = election::outlast(|| async {
        match nonces.create_expiring(&key, mark.clone(), REMEMBERED).await {
            Err(KvError::Exists) => Ok(nonces.get(&key).await?.is_some_and(|entry| entry.value == mark)),
            written => written.map(|_| true),
        }
    });
    match is_first.await {
        Ok(true) => Ok(()),
        Ok(false) => Err(Code::Nonce.info()),
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "a nonce cannot be noted");
            Err(Code::Timeout.info())
        }
    }
}
