mod direct;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use super::*;

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn frame(len: usize) -> Frame {
    Frame { bytes: vec![b'x'; len].into(), messages: 1, ..Frame::default() }
}

/// An event of `len` bytes whose channel keeps the newest.
fn event(channel: &str, len: usize) -> Frame {
    let replaceable = Some(ChannelName::new(channel).unwrap());
    Frame { tag: Some(Arc::new(Tag { replaceable, ..Tag::default() })), ..frame(len) }
}

/// What waits: lengths, or what is missing.
fn drained(queue: &Queue) -> Vec<String> {
    let mut shown = Vec::new();
    let mut frames = VecDeque::new();
    loop {
        if frames.is_empty() {
            queue.refill(&mut frames);
        }
        let Some(frame) = frames.pop_front() else { return shown };
        queue.take(&Context::from_waker(Waker::noop()), frame.bytes.len(), &mut VecDeque::from([frame.clone()]));
        shown.push(if frame.missing() > 0 {
            let [text] = frame::payloads(&frame.bytes).collect::<Vec<_>>()[..] else { panic!("one event") };
            text.to_owned()
        } else {
            frame.bytes.len().to_string()
        });
    }
}

fn gap(channel: &str, dropped: u32) -> String {
    format!(r#"{{"event":"fanfare:gap","channel":"{channel}","data":"{{\"dropped\":{dropped}}}"}}"#)
}

#[test]
fn a_full_queue_keeps_the_newest_of_each_channel_that_wants_it() {
    let queue = Queue::new(1000);
    for len in [101, 102] {
        queue.push(event("a", len));
        queue.push(event("b", len + 10));
        queue.push(frame(len - 60));
    }
    queue.push(event("a", 103));
    queue.push(event("a", 250));
    assert_eq!(queue.bytes(), 862);
    queue.push(event("a", 400));
    let mut busy = VecDeque::from([Frame::default()]);
    let notices = queue.take(&Context::from_waker(Waker::noop()), 0, &mut busy);
    assert_eq!(notices, Notices { aside: true, ..Notices::default() });
    let replaced = |queue: &Queue| -> Vec<(String, u64)> {
        let aside = queue.take_aside();
        aside.replaced.iter().map(|(channel, count)| (channel.as_str().to_owned(), *count)).collect()
    };
    assert_eq!(replaced(&queue), [("a".to_owned(), 4), ("b".to_owned(), 1)]);
    // Full again: what the notes said is not forgotten, and not counted twice.
    queue.push(event("a", 301));
    assert_eq!(replaced(&queue), [("a".to_owned(), 1)]);
    let expected = ["41", &gap("b", 1), "112", "42", &gap("a", 5), "301"];
    assert_eq!(drained(&queue), expected);
    assert_eq!(queue.bytes(), 0);
}

#[test]
fn a_note_grows_with_what_is_missing() {
    let queue = Queue::new(1000);
    for _ in 0..50 {
        queue.push(event("a", 300));
    }
    let shown = drained(&queue);
    let dropped: u64 = queue.take_aside().replaced.values().sum();
    let kept = shown.iter().filter(|shown| *shown == "300").count() as u64;
    assert_eq!(dropped + kept, 50);
    assert_eq!(shown[0], gap("a", u32::try_from(dropped).unwrap()));
}

#[test]
fn what_must_stay_still_ends_the_connection() {
    let queue = Queue::new(1000);
    for _ in 0..10 {
        queue.push(frame(80));
        queue.push(event("a", 30));
    }
    assert_eq!(take(&queue, 0).0.ending, Some(Ending::TooSlow));
}

#[test]
fn a_slow_reader_of_one_channel_is_never_ended() {
    let queue = Queue::new(1000);
    let (mut out, mut read, mut written) = (VecDeque::<Frame>::new(), 0, 0);
    let cx = Context::from_waker(Waker::noop());
    for _ in 0..10_000 {
        queue.push(event("a", 20));
        // A fifth of what comes can be written.
        read += 4;
        let notices = queue.take(&cx, std::mem::take(&mut written), &mut out);
        assert_eq!(notices.ending, None);
        if out.front().is_some_and(|frame| frame.bytes.len() <= read) {
            written = out.pop_front().unwrap().bytes.len();
            read -= written;
        }
        assert!(queue.bytes() <= 1000);
    }
}

fn take(queue: &Queue, written: usize) -> (Notices, Vec<usize>) {
    let mut frames = VecDeque::new();
    let notices = queue.take(&Context::from_waker(Waker::noop()), written, &mut frames);
    (notices, frames.iter().map(|frame| frame.bytes.len()).collect())
}

#[test]
fn keeps_order_and_counts_until_written() {
    let queue = Queue::new(100);
    queue.push(frame(4));
    queue.push(frame(5));
    assert_eq!(take(&queue, 0), (Notices::default(), vec![4, 5]));
    assert_eq!(queue.bytes(), 9);
    assert_eq!(take(&queue, 4).1, [0; 0]);
    queue.push(frame(5));
    assert_eq!(take(&queue, 5), (Notices::default(), vec![5]));
}

#[test]
fn a_part_is_handed_over_at_a_time() {
    let queue = Queue::new(80);
    for len in [3, 4, 5, 30, 1, 1] {
        queue.push(frame(len));
    }
    assert_eq!(take(&queue, 0).1, [3, 4]);
    assert_eq!(take(&queue, 7).1, [5]);
    assert_eq!(take(&queue, 5).1, [30], "larger than a part, so alone");
    assert_eq!(take(&queue, 30).1, [1, 1]);
    assert_eq!(take(&queue, 2).1, [0; 0]);
    assert_eq!(queue.bytes(), 0);
}

#[test]
fn a_full_queue_ends_the_connection() {
    let queue = Queue::new(10);
    queue.push(frame(6));
    queue.push(frame(5));
    queue.push(frame(1));
    let ended = Notices { ending: Some(Ending::TooSlow), ..Notices::default() };
    assert_eq!(take(&queue, 0), (ended, vec![]));
    queue.end(Ending::Draining);
    assert_eq!(take(&queue, 0).0, ended, "the first reason stays");
    assert_eq!(queue.close().1, 3);
}

#[test]
fn one_frame_over_the_limit_passes_alone() {
    let queue = Queue::new(10);
    queue.push(frame(20));
    assert_eq!(take(&queue, 0).1, [20]);
    queue.push(frame(1));
    assert_eq!(take(&queue, 0).0.ending, Some(Ending::TooSlow), "it is not written yet");
}

#[test]
fn a_burst_wakes_once() {
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let queue = Queue::new(100);
    let mut frames = VecDeque::new();
    queue.take(&Context::from_waker(&waker), 0, &mut frames);
    for _ in 0..5 {
        queue.push(frame(1));
    }
    queue.tick();
    assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
    let notices = queue.take(&Context::from_waker(&waker), 0, &mut frames);
    assert_eq!((notices.tick, frames.len()), (true, 5));
    queue.recheck();
    assert_eq!(wakes.0.load(Ordering::Relaxed), 2);
}

#[test]
fn an_idle_queue_keeps_no_large_buffer() {
    let queue = Queue::new(10_000);
    for _ in 0..1000 {
        queue.push(frame(1));
    }
    let mut frames = VecDeque::new();
    let cx = Context::from_waker(Waker::noop());
    queue.take(&cx, 0, &mut frames);
    frames.clear();
    queue.take(&cx, 1000, &mut frames);
    assert!(frames.capacity() <= KEPT_CAPACITY);
    assert!(queue.state.lock().frames.capacity() <= KEPT_CAPACITY);
}

#[test]
fn a_closed_queue_takes_nothing() {
    let queue = Queue::new(10);
    queue.push(frame(3));
    let (rest, dropped) = queue.close();
    assert_eq!((rest.len(), dropped), (1, 0));
    queue.push(frame(3));
    assert_eq!(take(&queue, 0).1, [0; 0]);
    assert_eq!(queue.bytes(), 0);
}

/// A backlog leaves room for what is live, and is woken when there is room for more of it.
#[tokio::test]
async fn a_backlog_waits_for_room() {
    let queue = Arc::new(Queue::new(100));
    assert!(queue.fits(1000), "alone");
    queue.push(frame(50));
    assert!(queue.fits(25) && !queue.fits(26));
    let waiting = Arc::clone(&queue);
    let room = tokio::spawn(async move { waiting.room().await });
    tokio::task::yield_now().await;
    assert_eq!(take(&queue, 24).0, Notices::default());
    tokio::task::yield_now().await;
    assert!(!room.is_finished());
    take(&queue, 1);
    room.await.unwrap();
    queue.push(frame(60));
    let waiting = Arc::clone(&queue);
    let room = tokio::spawn(async move { waiting.room().await });
    tokio::task::yield_now().await;
    assert!(!room.is_finished() && !queue.is_over());
    queue.end(Ending::Draining);
    room.await.unwrap();
    assert!(queue.is_over());
}

#[test]
fn the_peak_is_the_most_that_ever_waited() {
    let queue = Queue::new(1000);
    let (cx, mut out) = (Context::from_waker(Waker::noop()), VecDeque::new());
    for length in [300, 400] {
        queue.push(frame(length));
    }
    queue.take(&cx, 0, &mut out);
    assert_eq!((queue.bytes(), queue.peak()), (700, 700), "what is being written counts");
    out.clear();
    queue.take(&cx, 700, &mut out);
    queue.push(frame(500));
    assert_eq!((queue.bytes(), queue.peak()), (500, 700));
    // Too much: that is what it came to.
    queue.push(frame(600));
    assert_eq!(queue.peak(), 1100);
    queue.close();
    assert_eq!((queue.bytes(), queue.peak()), (0, 1100), "known to the end");
}
