//! A lease that one of many competes for and keeps, with an end that the holder knows by its own clock.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::{Lease, LeaseError};
use crate::Backbone;
use crate::kv::{Bucket, KvError, WatchEvent};

/// Pause before the backbone is asked again for what it did not answer.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// How long the release of a lease may hold up the holder's end; after that it lapses by itself.
const FAREWELL: Duration = Duration::from_secs(2);

impl Backbone {
    /// Waits until the lease `key` is the caller's, however long another has it or the backbone is away. The `value` is
    /// the caller's alone, as for [`Backbone::lease`].
    pub async fn win_lease(&self, key: &str, value: Bytes, ttl: Duration) -> Tenure {
        loop {
            let asked = Instant::now();
            match self.lease(key, value.clone(), ttl).await {
                Ok(lease) => return Tenure::begin(lease, asked),
                // However the end of the other's lease is learned of, it cannot last for longer unnoticed than this.
                Err(LeaseError::Held | LeaseError::Lost) => match timeout(ttl, self.vacancy(key)).await {
                    Ok(Ok(())) | Err(_) => {}
                    Ok(Err(error)) => {
                        tracing::debug!(key, error = &error as &dyn std::error::Error, "cannot watch a lease");
                        sleep(RETRY_PAUSE).await;
                    }
                },
                Err(error @ LeaseError::Unavailable(_)) => {
                    tracing::debug!(key, error = &error as &dyn std::error::Error, "cannot ask for a lease");
                    sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    /// Waits until nobody holds the lease.
    async fn vacancy(&self, key: &str) -> Result<(), KvError> {
        let mut watch = self.kv(Bucket::Leases).watch().await?;
        let mut held = false;
        loop {
            match watch.next().await? {
                WatchEvent::Put(entry) => held |= entry.key == key,
                WatchEvent::Removed(removed) if removed == key => return Ok(()),
                WatchEvent::Current if !held => return Ok(()),
                WatchEvent::Removed(_) | WatchEvent::Current => {}
            }
        }
    }
}

/// One holder's time with a lease. It has to be kept ([`Self::keep`]); what acts under it looks at its [`Standing`].
#[derive(Debug)]
pub struct Tenure {
    lease: Lease,
    term: u64,
    until: watch::Sender<Instant>,
}

/// Whether a lease is certainly held at this moment. Cheap to clone, and outlives the tenure, which it then says is over.
#[derive(Clone, Debug)]
pub struct Standing {
    term: u64,
    until: watch::Receiver<Instant>,
}

impl Tenure {
    /// `asked` is when the request for the lease was sent: nobody can have it sooner than its lifetime after that.
    fn begin(lease: Lease, asked: Instant) -> Self {
        let until = watch::Sender::new(asked + lease.ttl - margin(lease.ttl));
        Self { term: lease.revision, lease, until }
    }

    /// A number greater than that of every tenure before it.
    pub fn term(&self) -> u64 {
        self.term
    }

    /// For those who act while the lease is held.
    pub fn standing(&self) -> Standing {
        Standing { term: self.term, until: self.until.subscribe() }
    }

    /// Renews the lease again and again. Returns when it is lost, or may be by the time that anybody hears of it: the
    /// tenure is over then.
    pub async fn keep(&mut self) {
        let ttl = self.lease.ttl;
        let pause = margin(ttl) / 4;
        loop {
            let until = *self.until.borrow();
            sleep_until((until + margin(ttl) - ttl * 3 / 4).max(Instant::now())).await;
            let asked = Instant::now();
            match timeout_at(until, self.lease.renew()).await {
                Ok(Ok(())) => drop(self.until.send_replace(asked + ttl - margin(ttl))),
                Ok(Err(LeaseError::Unavailable(_))) if Instant::now() < until => sleep(pause).await,
                Ok(Err(LeaseError::Unavailable(_) | LeaseError::Lost | LeaseError::Held)) | Err(_) => break,
            }
        }
        self.until.send_replace(Instant::now());
    }

    /// Ends the tenure, and the lease too if the backbone answers soon: then the next one need not wait for it to lapse.
    pub async fn release(self) {
        let Self { lease, until, .. } = self;
        drop(until);
        match timeout(FAREWELL, lease.release()).await {
            Ok(Ok(()) | Err(LeaseError::Lost | LeaseError::Held)) => {}
            Ok(Err(LeaseError::Unavailable(_))) | Err(_) => tracing::debug!("a lease will lapse by itself"),
        }
    }
}

impl Standing {
    /// The tenure's term, while it is certain that nobody else holds the lease. Reads only this process's clock: one that
    /// was suspended for longer than the lease lasts knows at once that it may have been replaced.
    pub fn term(&self) -> Option<u64> {
        // Without a sender the tenure is gone, however long its lease would have lasted.
        let is_over = self.until.has_changed().is_err();
        (!is_over && Instant::now() < *self.until.borrow()).then_some(self.term)
    }
}

/// How long before its end a lease counts as lost, for what is under way to end.
fn margin(ttl: Duration) -> Duration {
    ttl / 6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    const TTL: Duration = Duration::from_secs(6);

    #[tokio::test(start_paused = true)]
    async fn a_kept_lease_stays_and_a_released_one_goes_to_the_next_at_once() {
        let backbone = Backbone::memory(&Config::default());
        let mut first = backbone.win_lease("x", "a".into(), TTL).await;
        let standing = first.standing();
        assert!(timeout(TTL * 5, first.keep()).await.is_err(), "kept for as long as it is wanted");
        assert_eq!(standing.term(), Some(first.term()));
        let waiting = tokio::spawn({
            let backbone = backbone.clone();
            async move { backbone.win_lease("x", "b".into(), TTL).await }
        });
        tokio::task::yield_now().await;
        let (released, term) = (Instant::now(), first.term());
        first.release().await;
        assert_eq!(standing.term(), None);
        let second = waiting.await.unwrap();
        assert!(released.elapsed() < TTL / 2);
        assert!(second.term() > term);
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_renew_knows_by_its_own_clock() {
        let backbone = Backbone::memory(&Config::default());
        let tenure = backbone.win_lease("x", "a".into(), TTL).await;
        let standing = tenure.standing();
        tokio::time::advance(TTL - margin(TTL) - Duration::from_millis(1)).await;
        assert_eq!(standing.term(), Some(tenure.term()));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(standing.term(), None, "nobody else can have it yet");
        let next = backbone.win_lease("x", "b".into(), TTL).await;
        assert!(next.term() > tenure.term());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_another_took_ends_the_tenure() {
        let backbone = Backbone::memory(&Config::default());
        let mut tenure = backbone.win_lease("x", "a".into(), TTL).await;
        let standing = tenure.standing();
        backbone.kv(Bucket::Leases).remove("x", None).await.unwrap();
        let _other = backbone.win_lease("x", "b".into(), TTL).await;
        tenure.keep().await;
        assert_eq!(standing.term(), None);
    }
}
