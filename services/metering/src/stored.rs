//! What an app stores in persistent channels through this node.

use std::time::Duration;

use parking_lot::Mutex;

use crate::{Expiries, Portion};

/// Messages kept for longer than this are stored persistently and count for the history quota; what is kept for less
/// is the recovery window that every channel has.
pub const PERSISTENT_AFTER: Duration = Duration::from_secs(15 * 60);

/// The budget and what was stored. Taken only by publishes that are written to disk, which cost far more than its lock.
#[derive(Debug, Default)]
pub(crate) struct Stored(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// What may still be stored; `None` for no limit.
    budget: Option<Portion>,
    /// Since the last report, as seconds to keep and bytes. An app has few retentions, so that a search is short.
    recent: Vec<(u64, u64)>,
    /// Everything stored in this process and not yet expired.
    live: Expiries,
}

impl Stored {
    /// Counts `bytes` to be kept for `seconds`.
    ///
    /// # Errors
    /// That the budget is too small, and whether the cluster has none left, either.
    pub(crate) fn try_store(&self, bytes: u64, seconds: u64) -> Result<(), bool> {
        let mut state = self.0.lock();
        if let Some(budget) = &mut state.budget {
            budget.share = budget.share.checked_sub(bytes).ok_or(budget.free < bytes)?;
        }
        match state.recent.iter_mut().find(|(each, _)| *each == seconds) {
            Some((_, stored)) => *stored += bytes,
            None => state.recent.push((seconds, bytes)),
        }
        Ok(())
    }

    /// Undoes [`Self::try_store`].
    pub(crate) fn give_back(&self, bytes: u64, seconds: u64) {
        let mut state = self.0.lock();
        if let Some(budget) = &mut state.budget {
            budget.share += bytes;
        }
        if let Some((_, stored)) = state.recent.iter_mut().find(|(each, _)| *each == seconds) {
            *stored = stored.saturating_sub(bytes);
        }
    }

    /// Sets what may be stored beyond what the last report told; `None` for no limit.
    pub(crate) fn set_budget(&self, budget: Option<Portion>) {
        let mut state = self.0.lock();
        let since: u64 = state.recent.iter().map(|(_, bytes)| bytes).sum();
        state.budget = budget.map(|budget| Portion { share: budget.share.saturating_sub(since), ..budget });
    }

    /// What was stored since the last report, by the minute of its expiry.
    pub(crate) fn take_recent(&self, unix_ms: u64) -> Vec<(u64, u64)> {
        let mut state = self.0.lock();
        let State { recent, live, .. } = &mut *state;
        let told: Expiries = recent
            .drain(..)
            .filter(|(_, bytes)| *bytes > 0)
            .map(|(s, bytes)| (Expiries::minute(unix_ms, s), bytes))
            .collect();
        told.iter().for_each(|(minute, bytes)| live.add(minute, bytes));
        told.iter().collect()
    }

    /// Bytes stored in this process that have been told and are not expired at `unix_ms`.
    pub(crate) fn live(&self, unix_ms: u64) -> u64 {
        self.0.lock().live.live(unix_ms)
    }
}
