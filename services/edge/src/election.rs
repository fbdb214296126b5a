//! Asking the key-value store on a client's behalf while NATS elects a leader.

use std::time::Duration;

use backbone::KvError;
use clock::Backoff;
use tokio::time::{Instant, sleep};

/// How long it is asked: an election takes up to 9 s, and publishes are tried for as long.
const PATIENCE: Duration = Duration::from_secs(20);

/// Between two attempts, each of which takes two seconds while nobody answers.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_millis(500));

/// Makes `attempt` again while it is not answered. It must do no harm if the one before was done all the same.
///
/// # Errors
/// What the last attempt says.
pub(crate) async fn outlast<T, F>(mut attempt: impl FnMut() -> F) -> Result<T, KvError>
where
    F: Future<Output = Result<T, KvError>>,
{
    let (begun, mut backoff) = (Instant::now(), BACKOFF);
    loop {
        match attempt().await {
            Err(error @ KvError::Unavailable(_)) if begun.elapsed() < PATIENCE => {
                tracing::debug!(error = &error as &dyn std::error::Error, "asking the backbone once more");
                sleep(backoff.pause()).await;
            }
            answer => return answer,
        }
    }
}
