//! Waiting for events, with one bound on patience.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout, timeout_at};

/// How long a test waits for something that must happen. Long, since a loaded machine is slow; a test that passes
/// never waits for it.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Pause between two looks at a condition that nobody announces.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Awaits `future`, and panics with `what` if it takes longer than [`PATIENCE`].
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited {PATIENCE:?} in vain for: {what}"),
    }
}

/// Looks until `look` finds something. For conditions of other processes, which nobody announces.
pub async fn eventually<T, F, L>(what: &str, mut look: L) -> T
where
    F: Future<Output = Option<T>>,
    L: FnMut() -> F,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Ok(Some(found)) = timeout_at(deadline, look()).await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain for: {what}");
        sleep(LOOK_AGAIN).await;
    }
}
