//! A future within a task, with a wake-up of its own.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// How often a future that wakes itself is polled before others get their turn.
const ROUNDS: u32 = 16;

/// Nobody called since the last poll.
const ASLEEP: u8 = 0;
/// It is being polled.
const POLLED: u8 = 1;
/// It is to be polled (again).
const WOKEN: u8 = 2;

/// Polls its future only if that one was woken, not if another part of the task was; and if it wakes itself while it is
/// polled, at once again. A task that wakes itself is put into its thread's queue instead, for which the scheduler wakes
/// a second thread: hyper does so twice for each request with a body.
#[derive(Debug)]
pub(super) struct Woken<F> {
    future: F,
    bell: Arc<Bell>,
    /// Made of `bell` once.
    waker: Waker,
}

/// What its future wakes.
#[derive(Debug)]
struct Bell {
    state: AtomicU8,
    /// The task that the future is part of.
    task: AtomicWaker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.swap(WOKEN, Ordering::AcqRel) == ASLEEP {
            self.task.wake();
        }
    }
}

impl<F: Future + Unpin> Woken<F> {
    pub(super) fn new(future: F) -> Self {
        let bell = Arc::new(Bell { state: AtomicU8::new(WOKEN), task: AtomicWaker::new() });
        let waker = Waker::from(Arc::clone(&bell));
        Self { future, bell, waker }
    }

    /// The future, which is polled next time in any case: it may be about to be changed.
    pub(super) fn get_mut(&mut self) -> &mut F {
        self.bell.state.store(WOKEN, Ordering::Release);
        &mut self.future
    }

    pub(super) fn into_inner(self) -> F {
        self.future
    }
}

impl<F: Future + Unpin> Future for Woken<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Self { future, bell, waker } = &mut *self;
        // Before the state is looked at, so that whoever changes it afterwards finds the task.
        bell.task.register(cx.waker());
        for _ in 0..ROUNDS {
            if bell.state.compare_exchange(WOKEN, POLLED, Ordering::AcqRel, Ordering::Acquire).is_err() {
                return Poll::Pending;
            }
            if let Poll::Ready(output) = Pin::new(&mut *future).poll(&mut Context::from_waker(waker)) {
                return Poll::Ready(output);
            }
            if bell.state.compare_exchange(POLLED, ASLEEP, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::ready;

    use futures_util::FutureExt as _;
    use tokio::sync::oneshot;

    use super::*;

    /// Counts what reaches the task.
    #[derive(Default)]
    struct Calls(AtomicUsize);

    impl Wake for Calls {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn calls() -> (Arc<Calls>, Waker) {
        let calls = Arc::<Calls>::default();
        (Arc::clone(&calls), Waker::from(calls))
    }

    /// Pending so often, each time waking itself.
    fn restless(mut times: u32) -> impl Future<Output = ()> + Unpin {
        std::future::poll_fn(move |cx| {
            if times == 0 {
                return Poll::Ready(());
            }
            times -= 1;
            cx.waker().wake_by_ref();
            Poll::Pending
        })
    }

    #[test]
    fn who_wakes_itself_is_polled_on_without_the_task() {
        let (calls, waker) = calls();
        let mut cx = Context::from_waker(&waker);
        let mut future = Woken::new(restless(3));
        assert!(future.poll_unpin(&mut cx).is_ready());
        assert_eq!(calls.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn who_never_rests_lets_others_have_their_turn() {
        let (calls, waker) = calls();
        let mut cx = Context::from_waker(&waker);
        let mut future = Woken::new(restless(ROUNDS));
        assert!(future.poll_unpin(&mut cx).is_pending());
        assert_eq!(calls.0.load(Ordering::Relaxed), 1);
        assert!(future.poll_unpin(&mut cx).is_ready());
    }

    #[test]
    fn polled_only_if_woken() {
        let (calls, waker) = calls();
        let mut cx = Context::from_waker(&waker);
        let (sender, mut receiver) = oneshot::channel();
        let polls = AtomicUsize::new(0);
        let mut future = Woken::new(std::future::poll_fn(|cx| {
            polls.fetch_add(1, Ordering::Relaxed);
            let answer: Result<u8, _> = ready!(receiver.poll_unpin(cx));
            Poll::Ready(answer.unwrap())
        }));
        for _ in 0..3 {
            assert!(future.poll_unpin(&mut cx).is_pending());
        }
        assert_eq!((polls.load(Ordering::Relaxed), calls.0.load(Ordering::Relaxed)), (1, 0));
        future.get_mut();
        assert!(future.poll_unpin(&mut cx).is_pending());
        assert_eq!(polls.load(Ordering::Relaxed), 2);
        sender.send(7).unwrap();
        assert_eq!(calls.0.load(Ordering::Relaxed), 1);
        assert_eq!(future.poll_unpin(&mut cx), Poll::Ready(7));
    }
}
