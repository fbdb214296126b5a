//! How the runtime is doing that runs every task of the process: how much there is to do, and how late tasks come to it.

use std::pin::pin;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, sleep_until};

use crate::metrics::{RUNTIME_GLOBAL_QUEUE, RUNTIME_SCHEDULER_DELAY_SECONDS, RUNTIME_TASKS, RUNTIME_WORKERS};

/// How long the task sleeps whose wake-up is looked at. Short enough for a percentile of a minute to mean something, and
/// long enough to cost nothing.
const SLEEP: Duration = Duration::from_millis(250);

/// Looks at the runtime that this runs on, until `shutdown` resolves.
pub async fn watch_runtime(shutdown: impl Future<Output = ()>) {
    let (workers, tasks) = (RUNTIME_WORKERS.handle(), RUNTIME_TASKS.handle());
    let (queue, delay) = (RUNTIME_GLOBAL_QUEUE.handle(), RUNTIME_SCHEDULER_DELAY_SECONDS.handle());
    let runtime = Handle::current().metrics();
    let mut shutdown = pin!(shutdown);
    loop {
        #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
        {
            workers.set(runtime.num_workers() as f64);
            tasks.set(runtime.num_alive_tasks() as f64);
            queue.set(runtime.global_queue_depth() as f64);
        }
        let due = Instant::now() + SLEEP;
        tokio::select! {
            () = &mut shutdown => return,
            () = sleep_until(due) => delay.record(due.elapsed().as_secs_f64()),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;
    use tokio::task::yield_now;

    use super::*;
    use crate::Exporter;

    #[test]
    fn a_thread_that_is_held_up_shows() {
        let (recorder, exporter) = Exporter::build().unwrap();
        let _recording = metrics::set_default_local_recorder(&recorder);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (stop, stopped) = oneshot::channel::<()>();
            let watch = tokio::spawn(watch_runtime(async { drop(stopped.await) }));
            yield_now().await;
            // The one thread there is: nothing else runs meanwhile.
            std::thread::sleep(SLEEP + Duration::from_millis(60));
            while !exporter.render().contains("delay_seconds_count 1") {
                yield_now().await;
            }
            stop.send(()).unwrap();
            watch.await.unwrap();
        });
        let text = exporter.render();
        assert!(text.contains("fanfare_runtime_scheduler_delay_seconds_bucket{le=\"0.05\"} 0"), "{text}");
        assert!(text.contains("fanfare_runtime_workers 1\n"), "{text}");
        assert!(text.contains("fanfare_runtime_tasks 1\n"), "{text}");
        assert!(text.contains("fanfare_runtime_global_queue 0\n"), "{text}");
    }
}
