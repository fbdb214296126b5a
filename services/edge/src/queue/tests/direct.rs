use tokio::io::AsyncReadExt as _;
use tokio::net::TcpSocket;

use super::*;

/// A queue whose socket takes some times `buffer` and never a whole [`PIECE`] until its client reads, what its connection does, and the client's end.
struct Shared {
    queue: Queue,
    socket: Arc<TcpStream>,
    wakes: Arc<Wakes>,
    client: TcpStream,
}

impl Shared {
    async fn new(limit: usize, buffer: u32) -> Self {
        let listener = TcpSocket::new_v4().unwrap();
        listener.set_recv_buffer_size(buffer).unwrap();
        listener.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = listener.listen(1).unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_send_buffer_size(buffer).unwrap();
        let socket = Arc::new(socket.connect(listener.local_addr().unwrap()).await.unwrap());
        socket.writable().await.unwrap();
        let queue = Queue::new(limit);
        queue.share(Arc::clone(&socket));
        let shared = Self { queue, socket, wakes: Arc::default(), client: listener.accept().await.unwrap().0 };
        // The connection waits.
        assert_eq!(shared.take(0, &mut VecDeque::new()), Notices::default());
        shared
    }

    fn take(&self, written: usize, out: &mut VecDeque<Frame>) -> Notices {
        let waker = Waker::from(Arc::clone(&self.wakes));
        self.queue.take(&Context::from_waker(&waker), written, out)
    }

    fn wakes(&self) -> usize {
        self.wakes.0.load(Ordering::Relaxed)
    }

    fn flush(&self) -> Written {
        self.queue.flush(Instant::now(), |_| {})
    }

    /// Fills the socket with a part of a frame.
    fn fill(&self) {
        assert!(self.queue.push_asleep(frame(PIECE)));
        let written = self.flush();
        assert!(written.bytes > 0 && written.messages == 0, "{written:?}");
    }

    /// Reads `length` bytes, and meanwhile writes `out`.
    async fn read(&mut self, length: usize, out: &mut VecDeque<Frame>) -> Vec<u8> {
        let mut seen = vec![0; length];
        let write = async {
            while let Some(first) = out.front() {
                self.socket.writable().await.unwrap();
                if let Ok(taken) = self.socket.try_write(&first.bytes) {
                    advance(out, taken, |_| {});
                }
            }
        };
        let (_, read) = tokio::join!(write, self.client.read_exact(&mut seen));
        read.unwrap();
        seen
    }
}

const PIECE: usize = 100_000;

#[tokio::test]
async fn a_ready_socket_gets_it_at_once_and_nobody_is_woken() {
    let mut shared = Shared::new(1000, 4096).await;
    let before = shared.queue.written_at();
    assert!(shared.queue.push_asleep(frame(3)), "it is for the caller to write");
    assert!(!shared.queue.push_asleep(frame(4)), "that is known already");
    assert_eq!(shared.queue.bytes(), 7);
    let mut done = Vec::new();
    let written = shared.queue.flush(Instant::now(), |frame| done.push(frame.messages));
    assert_eq!((written, done.len()), (Written { bytes: 7, messages: 2 }, 2));
    assert_eq!((shared.queue.bytes(), shared.wakes()), (0, 0));
    assert!(shared.queue.written_at() > before);
    assert_eq!(shared.flush(), Written::default());
    assert!(shared.queue.push_asleep(frame(1)));
    shared.flush();
    assert_eq!(shared.read(8, &mut VecDeque::new()).await, b"xxxxxxxx");
}

#[tokio::test]
async fn a_promise_that_is_not_kept_wakes() {
    let shared = Shared::new(1000, 4096).await;
    assert!(shared.queue.push_asleep(frame(3)));
    shared.queue.rouse();
    assert_eq!(shared.wakes(), 1);
    let mut out = VecDeque::new();
    shared.take(0, &mut out);
    assert_eq!(out.len(), 1);
    // While the connection writes nobody else does; it is woken, or finds what has come when it is done.
    assert!(!shared.queue.push_asleep(frame(4)));
    assert_eq!((shared.flush(), shared.wakes()), (Written::default(), 2));
    out.clear();
    shared.take(3, &mut out);
    out.clear();
    shared.take(4, &mut out);
    assert!(shared.queue.push_asleep(frame(5)));
    assert_eq!(shared.flush().messages, 1);
}

#[tokio::test]
async fn what_the_socket_does_not_take_wakes_and_goes_first() {
    let mut shared = Shared::new(usize::MAX, 4096).await;
    shared.fill();
    assert_eq!(shared.wakes(), 1);
    assert!(!shared.queue.push_asleep(frame(7)));
    assert_eq!(shared.flush(), Written::default(), "it has to wait");
    // A pong that was queued by reading, meanwhile.
    let pong = Frame { bytes: b"pong"[..].into(), ..Frame::default() };
    let mut out = VecDeque::from([pong]);
    shared.queue.claim(&mut out);
    assert!(out[0].begun && out[0].bytes.len() < PIECE && !out[1].begun);
    let rest = out[0].bytes.len();
    assert_eq!(shared.queue.bytes(), rest + 7);
    let seen = shared.read(PIECE + 4, &mut out).await;
    assert_eq!(seen[PIECE..], *b"pong");
    shared.take(rest, &mut out);
    assert_eq!(out.len(), 1, "what came behind it");
}

#[tokio::test]
async fn the_rest_of_a_frame_is_never_dropped() {
    for replaceable in [true, false] {
        let shared = Shared::new(3 * PIECE, 4096).await;
        shared.fill();
        let rest = shared.queue.bytes();
        for _ in 0..10 {
            let frame = if replaceable { event("a", PIECE) } else { frame(PIECE) };
            assert!(!shared.queue.push_asleep(frame));
        }
        let mut out = VecDeque::new();
        let ending = shared.take(0, &mut out).ending;
        assert_eq!(ending.is_some(), !replaceable);
        assert_eq!((out[0].begun, out[0].bytes.len()), (true, rest));
    }
    let shared = Shared::new(usize::MAX, 4096).await;
    shared.fill();
    assert!(!shared.queue.push_asleep(frame(1)));
    let (rest, _) = shared.queue.close();
    assert_eq!((rest[0].begun, rest[1].begun, rest.len()), (true, false, 2));
    assert_eq!(Arc::strong_count(&shared.socket), 1, "the queue has let go of the socket");
}

#[tokio::test]
async fn a_lost_socket_is_for_the_connection_to_find() {
    let Shared { queue, wakes, client, socket } = Shared::new(usize::MAX, 4096).await;
    queue.take(&Context::from_waker(&Waker::from(Arc::clone(&wakes))), 0, &mut VecDeque::new());
    drop(client);
    socket.readable().await.unwrap();
    // The first write tells the other side, which answers that nobody is there.
    while wakes.0.load(Ordering::Relaxed) == 0 {
        assert!(queue.push_asleep(frame(1)));
        queue.flush(Instant::now(), |_| {});
        tokio::task::yield_now().await;
    }
    assert_eq!(queue.bytes(), 1, "it waits for the connection");
}
