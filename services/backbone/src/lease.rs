//! Leases: a key that one holder keeps alive and that vanishes when the holder does.

use std::time::Duration;

use bytes::Bytes;

use crate::kv::{Bucket, Kv, KvError, check};
use crate::{Backbone, jetstream};

mod tenure;

pub use tenure::{Standing, Tenure};

/// Shortest lease: the backbone counts lifetimes in whole seconds.
const MIN_TTL: Duration = Duration::from_secs(1);

/// Why a lease was not obtained or kept.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Somebody else holds it.
    #[error("the lease is held by another")]
    Held,
    /// It lapsed, or was taken, before it was renewed. The holder must stop acting on it.
    #[error("the lease was lost")]
    Lost,
    /// The backbone did not answer; the lease may or may not be held.
    #[error("the backbone did not answer")]
    Unavailable(#[source] KvError),
}

/// A held lease. Dropping it lets it lapse; [`Lease::release`] ends it at once. Watch [`Bucket::Leases`] to see leases
/// come ([`WatchEvent::Put`](crate::WatchEvent)) and go ([`WatchEvent::Removed`](crate::WatchEvent)).
#[derive(Debug)]
pub struct Lease {
    kv: Kv,
    key: String,
    value: Bytes,
    ttl: Duration,
    revision: u64,
}

impl Backbone {
    /// Takes the lease `key` for `ttl` (whole seconds, at least one), with a `value` others can read. No two holders may
    /// use the same value: it is how a holder knows its own lease again.
    pub async fn lease(&self, key: &str, value: Bytes, ttl: Duration) -> Result<Lease, LeaseError> {
        check(key).map_err(LeaseError::Unavailable)?;
        let kv = self.kv(Bucket::Leases);
        let ttl = ttl.max(MIN_TTL);
        let created = match &kv {
            Kv::JetStream(kv) => kv.create_expiring(key, value.clone(), ttl).await,
            Kv::Memory(kv) => kv.create_expiring(key, value.clone(), ttl).await,
        };
        match created {
            Ok(revision) => Ok(Lease { kv, key: key.to_owned(), value, ttl, revision }),
            Err(KvError::Exists | KvError::Conflict) => Err(LeaseError::Held),
            Err(error @ (KvError::InvalidKey | KvError::Unavailable(_))) => Err(LeaseError::Unavailable(error)),
        }
    }
}

impl Lease {
    /// Keeps the lease for another `ttl` from now.
    pub async fn renew(&mut self) -> Result<(), LeaseError> {
        let renewed = match &self.kv {
            Kv::JetStream(kv) => self.renew_jetstream(kv).await,
            Kv::Memory(kv) => kv.update_expiring(&self.key, self.value.clone(), self.revision, self.ttl).await,
        };
        match renewed {
            Ok(revision) => {
                self.revision = revision;
                Ok(())
            }
            Err(KvError::Exists | KvError::Conflict) => self.recognise().await,
            Err(error @ (KvError::InvalidKey | KvError::Unavailable(_))) => Err(LeaseError::Unavailable(error)),
        }
    }

    /// A renewal whose answer was lost has moved the revision on; the lease is held all the same.
    async fn recognise(&mut self) -> Result<(), LeaseError> {
        match self.kv.get(&self.key).await.map_err(LeaseError::Unavailable)? {
            Some(entry) if entry.value == self.value && entry.revision > self.revision => {
                self.revision = entry.revision;
                Ok(())
            }
            Some(_) | None => Err(LeaseError::Lost),
        }
    }

    async fn renew_jetstream(&self, kv: &jetstream::Kv) -> Result<u64, KvError> {
        kv.update_expiring(&self.key, self.value.clone(), self.revision, self.ttl).await
    }

    /// Ends the lease now, so that others need not wait for it to lapse.
    pub async fn release(self) -> Result<(), LeaseError> {
        match self.kv.remove(&self.key, Some(self.revision)).await {
            Ok(_) => Ok(()),
            Err(KvError::Exists | KvError::Conflict) => Err(LeaseError::Lost),
            Err(error @ (KvError::InvalidKey | KvError::Unavailable(_))) => Err(LeaseError::Unavailable(error)),
        }
    }
}
