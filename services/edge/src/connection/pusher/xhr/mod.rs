//! A connection over the HTTP fallback of pusher-js: its task, which outlives the requests that make it up.
//!
//! One request at a time receives. Its answer takes what the queue holds, as lines, as fast as its client reads; a client
//! that does not is cut when the queue is full, like any other. Where an answer ends the client asks anew within the
//! grace. Whatever else ends an answer may have lost lines on their way, so it ends the connection: pusher-js never
//! goes on after that either, and a client that misses a message must know that it did.

mod answer;
mod sessions;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use backbone::{PublishError, Published};
use pusher::xhr::{Lines, SessionName};
use pusher::{CloseCode, Handshake, Input, Refused, Rejection};
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;

use self::answer::Progress;
pub(crate) use self::answer::{Answer, AnswerBody};
use self::sessions::{Place, Requests};
pub(crate) use self::sessions::{Sent, Sessions};
use super::{Connection, Ended, Opening, admit};
use crate::connection::{Visitor, measure};
use crate::metrics::Transport;
use crate::queue::{Frame, Notices, Written};
use crate::server::Shared;
use crate::websocket::frame;

/// Bytes after which lines are sent on rather than added to.
const CHUNK_BYTES: usize = 32 * 1024;

/// A receiving request.
pub(crate) struct Asked {
    /// Of which session.
    pub(crate) session: SessionName,
    /// What the path and query say.
    pub(crate) handshake: Result<Handshake, Refused>,
    /// How the client wants its answer.
    pub(crate) transport: Transport,
    /// Where it comes from.
    pub(crate) visitor: Visitor,
    /// When it came.
    pub(crate) begun: Instant,
    /// Cuts the socket it came over.
    pub(crate) cut: CancellationToken,
}

/// Has the session answer, or opens it. Gives the answer's body; if the client is refused, what it is told.
pub(crate) async fn receive(shared: &Arc<Shared>, asked: Asked) -> Result<AnswerBody, Rejection> {
    let Asked { session, handshake, transport, visitor, begun, cut } = asked;
    let (mut answer, body) = Answer::new(transport, cut);
    loop {
        if let Ok(handshake) = &handshake
            && let Some(found) = shared.sessions.find(&(handshake.key.clone(), session))
        {
            match found.asking.send(answer).await {
                Ok(()) => return Ok(body),
                // It ended between the two.
                Err(back) => answer = back.0,
            }
        }
        let opening = admit(shared, handshake.clone(), &visitor, begun)?;
        // Otherwise another request has just made it.
        if let Some((place, requests)) = shared.sessions.enter((opening.handshake.key.clone(), session)) {
            let task = XhrTask::open(Arc::clone(shared), opening, answer, place, requests);
            shared.tasks.spawn(shared.sessions.tasks.track_future(task.serve()));
            return Ok(body);
        }
    }
}

/// The whole answer to a client that is refused.
pub(crate) fn refusal(rejection: &Rejection) -> String {
    let mut lines = Lines::default();
    lines.reject(rejection);
    lines.take()
}

/// What the task woke up for.
#[derive(Debug)]
enum Event {
    Notices(Notices),
    Published(Result<Published, PublishError>),
    Asked(Answer),
    Sent(Sent),
    /// A frame of the client.
    Text(String),
    /// A heartbeat is due, or the grace is over.
    Timer,
    /// An answer broke off.
    Broken,
}

/// A connection and the requests that carry it.
struct XhrTask {
    /// First, so that nobody finds a session that is gone.
    _place: Place,
    requests: Requests,
    connection: Connection,
    /// The answer that is open.
    answer: Option<Answer>,
    /// The client was told that the session is open.
    opened: bool,
    /// It is to get a sign of life.
    heartbeat: bool,
    /// What it is to be told behind everything else.
    closing: Option<CloseCode>,
    /// What the queue has handed over.
    out: VecDeque<Frame>,
    /// The queue's bytes that were written since it was last told.
    written: usize,
    /// Frames of the client that wait for those before them.
    inbox: VecDeque<String>,
    timer: Pin<Box<Sleep>>,
}

impl XhrTask {
    fn open(shared: Arc<Shared>, opening: Opening, answer: Answer, place: Place, requests: Requests) -> Box<Self> {
        let timer = Box::pin(tokio::time::sleep(shared.config.xhr_heartbeat));
        Box::new(Self {
            _place: place,
            requests,
            connection: Connection::open(shared, answer.transport, opening),
            answer: Some(answer),
            opened: false,
            heartbeat: false,
            closing: None,
            out: VecDeque::new(),
            written: 0,
            inbox: VecDeque::new(),
            timer,
        })
    }

    /// Serves it until its end.
    async fn serve(mut self: Box<Self>) {
        let ended = self.run().await;
        self.finish(ended).await;
    }

    async fn run(&mut self) -> Ended {
        loop {
            if let Some(ended) = self.connection.obey(|| self.heartbeat = true) {
                return ended;
            }
            self.connection.set_deadline();
            match poll_fn(|cx| self.poll_event(cx)).await {
                Event::Notices(notices) => {
                    if let Some(ended) = self.connection.heed(notices) {
                        return ended;
                    }
                }
                Event::Published(result) => self.connection.published(&result),
                Event::Asked(answer) => {
                    if let Some(ended) = self.take_up(answer) {
                        return ended;
                    }
                }
                Event::Sent(Sent::Frames(frames)) => {
                    self.connection.handle(Input::Alive);
                    self.inbox.extend(frames);
                }
                Event::Sent(Sent::TooLarge) => return self.connection.close(CloseCode::FrameTooLarge),
                Event::Text(text) => self.connection.handle(Input::Text(&text)),
                Event::Timer if self.answer.is_none() => return Ended::Lost,
                Event::Timer => {
                    self.heartbeat = true;
                    self.set_timer(self.connection.core.shared.config.xhr_heartbeat);
                }
                Event::Broken => return Ended::Lost,
            }
        }
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if self.poll_answer(cx) == Progress::Broken {
            return Poll::Ready(Event::Broken);
        }
        loop {
            let written = std::mem::take(&mut self.written);
            let notices = self.connection.core.peer.queue.take(cx, written, &mut self.out);
            if notices != Notices::default() {
                return Poll::Ready(Event::Notices(notices));
            }
            if self.poll_write(cx).is_pending() {
                break;
            }
        }
        if let Poll::Ready(Some(answer)) = self.requests.asking.poll_recv(cx) {
            return Poll::Ready(Event::Asked(answer));
        }
        if let Some((_, publishing)) = &mut self.connection.publishing {
            if let Poll::Ready(result) = publishing.as_mut().poll(cx) {
                return Poll::Ready(Event::Published(result));
            }
        } else if let Some(text) = self.inbox.pop_front() {
            return Poll::Ready(Event::Text(text));
        } else if let Poll::Ready(Some(sent)) = self.requests.sending.poll_recv(cx) {
            return Poll::Ready(Event::Sent(sent));
        }
        self.timer.as_mut().poll(cx).map(|()| Event::Timer)
    }

    /// How the answer is getting on. If it is whole, there is none any more, and the grace begins.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Progress {
        let Some(answer) = &mut self.answer else { return Progress::Whole };
        let progress = answer.poll_progress(cx);
        if progress == Progress::Whole {
            self.answer = None;
            self.set_timer(self.connection.core.shared.config.xhr_grace);
        }
        progress
    }

    /// Writes some of what waits. Pending: there is nothing, or no room.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(answer) = &mut self.answer else { return Poll::Pending };
        let nothing = self.opened && self.out.is_empty() && !self.heartbeat && self.closing.is_none();
        if nothing || answer.poll_ready(cx).is_pending() {
            return Poll::Pending;
        }
        let shared = &self.connection.core.shared;
        if !self.opened {
            self.opened = true;
            answer.lines.open();
        }
        let mut messages = 0;
        while answer.lines.len() < CHUNK_BYTES && !answer.lines.is_full() {
            if self.out.is_empty() {
                self.connection.core.peer.queue.refill(&mut self.out);
            }
            let Some(frame) = self.out.pop_front() else { break };
            answer.lines.frames(frame::payloads(&frame.bytes));
            self.written += frame.bytes.len();
            messages += u64::from(frame.messages);
            measure(&shared.metrics, &frame);
        }
        // Any line is a sign of life.
        if std::mem::take(&mut self.heartbeat) && answer.lines.is_empty() {
            answer.lines.heartbeat();
        }
        let mut last = answer.transport == Transport::XhrPolling;
        if self.out.is_empty()
            && !answer.lines.is_full()
            && let Some(code) = self.closing.take()
        {
            answer.lines.close(code);
            last = true;
        }
        self.connection.core.count(Written { bytes: answer.send(last), messages });
        self.set_timer(self.connection.core.shared.config.xhr_heartbeat);
        Poll::Ready(())
    }

    fn set_timer(&mut self, duration: Duration) {
        self.timer.as_mut().reset(tokio::time::Instant::now() + duration);
    }

    /// Goes on in `answer`, unless another one is open.
    fn take_up(&mut self, answer: Answer) -> Option<Ended> {
        match self.answer.as_mut().map_or(Progress::Whole, Answer::progress) {
            Progress::Open => answer.refuse(),
            Progress::Whole => {
                self.answer = Some(answer);
                self.set_timer(self.connection.core.shared.config.xhr_heartbeat);
                self.connection.handle(Input::Alive);
            }
            Progress::Broken => return Some(Ended::Lost),
        }
        None
    }

    /// Says what is still to be said, within the close timeout.
    async fn finish(&mut self, ended: Ended) {
        self.requests.sending.close();
        let last = self.connection.leave(ended);
        if !ended.flushes() {
            self.discard(ended);
        }
        self.out.extend(last);
        let shared = Arc::clone(&self.connection.core.shared);
        if let Ended::Close { code, .. } = ended {
            self.closing = Some(code);
            let parted = poll_fn(|cx| self.poll_farewell(cx));
            if tokio::time::timeout(shared.config.close_timeout, parted).await.is_err() {
                self.connection.core.count_forced();
            }
        }
        // What the client did not take in time.
        self.discard(ended);
        if let Some(answer) = &self.answer {
            answer.cut();
        }
        self.connection.count_out(ended);
    }

    fn discard(&mut self, ended: Ended) {
        let messages = self.out.drain(..).map(|frame| u64::from(frame.messages)).sum();
        self.connection.discarded(ended).increment(messages);
    }

    /// Ready when the client was told the end, in this answer or the next, or is gone.
    fn poll_farewell(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.poll_answer(cx) {
                Progress::Broken => return Poll::Ready(()),
                Progress::Whole if self.closing.is_none() => return Poll::Ready(()),
                Progress::Whole => match ready!(self.requests.asking.poll_recv(cx)) {
                    Some(answer) => self.answer = Some(answer),
                    None => return Poll::Ready(()),
                },
                Progress::Open => ready!(self.poll_write(cx)),
            }
        }
    }
}
