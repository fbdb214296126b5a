//! Tasks with an owner: each has a name, is told to stop, and is waited for.

use std::collections::HashMap;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Tasks that are stopped together.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    set: JoinSet<()>,
    names: HashMap<Id, &'static str>,
    stop: CancellationToken,
}

/// How stopping went.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Every task ended by itself.
    InTime,
    /// These did not, and were cut.
    Cut(Vec<&'static str>),
}

impl Tasks {
    /// Starts a task, which gets the token that tells it to stop.
    pub(super) fn spawn<F>(&mut self, name: &'static str, task: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let handle = self.set.spawn(task(self.stop.clone()));
        self.names.insert(handle.id(), name);
    }

    /// Waits until a task ends that was not told to, and names it. Pends without tasks.
    pub(super) async fn first_end(&mut self) -> &'static str {
        match self.set.join_next_with_id().await {
            Some(result) => self.note(result),
            None => std::future::pending().await,
        }
    }

    /// Tells every task to stop and waits; cuts what has not ended by the deadline.
    pub(super) async fn stop(&mut self, deadline: Duration) -> Ended {
        self.stop.cancel();
        let all = async {
            while let Some(result) = self.set.join_next_with_id().await {
                self.note(result);
            }
        };
        if timeout(deadline, all).await.is_ok() {
            return Ended::InTime;
        }
        let mut left: Vec<_> = self.names.values().copied().collect();
        left.sort_unstable();
        self.abort().await;
        Ended::Cut(left)
    }

    /// Cuts every task.
    pub(super) async fn abort(&mut self) {
        self.set.shutdown().await;
        self.names.clear();
    }

    fn note(&mut self, result: Result<(Id, ()), JoinError>) -> &'static str {
        let (id, panic) = match result {
            Ok((id, ())) => (id, None),
            Err(error) => (error.id(), Some(error)),
        };
        let name = self.names.remove(&id).unwrap_or("a task");
        if let Some(error) = panic {
            tracing::error!(task = name, %error, "a task failed");
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tasks_end_when_told() {
        let mut tasks = Tasks::default();
        tasks.spawn("polite", |stop| async move { stop.cancelled().await });
        assert_eq!(tasks.stop(Duration::from_secs(60)).await, Ended::InTime);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deaf_task_is_cut_and_named() {
        let mut tasks = Tasks::default();
        tasks.spawn("polite", |stop| async move { stop.cancelled().await });
        tasks.spawn("deaf", |_| std::future::pending());
        assert_eq!(tasks.stop(Duration::from_secs(60)).await, Ended::Cut(vec!["deaf"]));
    }

    #[tokio::test]
    async fn a_task_that_fails_is_noticed() {
        let mut tasks = Tasks::default();
        tasks.spawn("steady", |stop| async move { stop.cancelled().await });
        tasks.spawn("broken", |_| async { panic!("as a test") });
        assert_eq!(tasks.first_end().await, "broken");
    }
}
