//! A connection over a WebSocket: its task.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use ably::session::{End, Input};
use ably::{Connect, ErrorInfo, Format, encode};
use tungstenite::Message;

use super::under_way::Done;
use super::{Connection, Ended, opening};
use crate::connection::Visitor;
use crate::connection::socket::{Lost, Parting, RefusedSocket, Socket};
use crate::queue::Notices;
use crate::server::Shared;
use crate::stream::Stream;
use crate::websocket::{ReadError, WebSocket, frame};

/// The number of the close frame behind our last word, which says everything.
const NORMAL: u16 = 1000;

/// What the task woke up for.
#[derive(Debug)]
enum Event {
    Message(Message),
    Notices(Notices),
    Done(Done),
    Ended(ReadError),
}

/// A connection and its socket.
pub(crate) struct Task {
    connection: Connection,
    socket: Socket,
}

/// The connection over `socket` of a client that connects since `begun`. Who is refused is told so, and never by HTTP: a
/// browser's page sees nothing of that.
pub(crate) async fn open(
    shared: &Arc<Shared>,
    socket: WebSocket<Stream>,
    (format, connect): (Format, Result<Connect, ErrorInfo>),
    visitor: &Visitor,
    begun: Instant,
) -> Result<Box<Task>, Box<RefusedSocket>> {
    match opening::admit(shared, format, connect, visitor, begun).await {
        Ok(opening) => {
            let connection = Connection::open(Arc::clone(shared), opening);
            let socket = Socket::new(socket, &connection.core);
            Ok(Box::new(Task { connection, socket }))
        }
        Err(error) => {
            // What passes is no reason to give up, and an ERROR would be one.
            let passes = error.status >= 500;
            let words = if passes { encode::disconnected } else { encode::connection_error }(format, &error);
            let words = Some(frame::ably(format, &words));
            Err(Box::new(RefusedSocket { socket, words, close: (NORMAL, String::new()) }))
        }
    }
}

impl Task {
    /// Serves it until its end.
    pub(crate) async fn serve(mut self: Box<Self>) {
        let ended = self.run().await;
        Box::pin(self.finish(ended)).await;
    }

    /// Runs until it is to end; then `outputs` holds what is still to be said.
    async fn run(&mut self) -> Ended {
        loop {
            if let Some(ended) = self.connection.obey(|| self.socket.web.ping()) {
                return ended;
            }
            self.connection.set_deadline();
            match poll_fn(|cx| self.poll_event(cx)).await {
                Event::Message(message) => {
                    if let Some(ended) = self.hear(&message) {
                        return ended;
                    }
                }
                Event::Notices(notices) => {
                    if let Some(ended) = self.connection.heed(notices) {
                        return ended;
                    }
                }
                Event::Done(done) => self.connection.done(done),
                Event::Ended(ReadError::Closed) => return Ended::ByClient(None),
                Event::Ended(ReadError::Lost) => return Ended::Lost,
                Event::Ended(ReadError::Violation(_)) => return self.connection.end(End::Protocol),
            }
        }
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        let Self { connection, socket } = self;
        match socket.poll_write(cx, &connection.core) {
            Poll::Ready(Ok(notices)) => return Poll::Ready(Event::Notices(notices)),
            Poll::Ready(Err(Lost)) => return Poll::Ready(Event::Ended(ReadError::Lost)),
            Poll::Pending => {}
        }
        if let Some(under_way) = &mut connection.under_way
            && let Poll::Ready(done) = under_way.poll_done(cx)
        {
            return Poll::Ready(Event::Done(done));
        }
        if !connection.reads() {
            return Poll::Pending;
        }
        socket.poll_read(cx, &connection.core).map(|heard| heard.map_or_else(Event::Ended, Event::Message))
    }

    /// Takes what the client sent.
    fn hear(&mut self, message: &Message) -> Option<Ended> {
        match message {
            Message::Text(text) => self.connection.handle(Input::Frame(text.as_bytes())),
            Message::Binary(bytes) => self.connection.handle(Input::Frame(bytes)),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => self.connection.handle(Input::Alive),
            Message::Close(close) => {
                return Some(Ended::ByClient(close.as_ref().map(|close| u16::from(close.code))));
            }
        }
        None
    }

    /// Says what is still to be said, within the close timeout.
    async fn finish(&mut self, ended: Ended) {
        if ended == Ended::CLOSED
            && let Some(under_way) = &mut self.connection.under_way
        {
            let patience = self.connection.core.shared.config.close_timeout;
            // What takes longer is lost, as with a client that does not wait for its answers.
            tokio::time::timeout(patience, under_way.settle()).await.ok();
        }
        let last = self.connection.leave(&ended);
        let Self { connection, socket } = self;
        let (close, readable) = match &ended {
            Ended::Said { readable, .. } => (Some((NORMAL, "")), *readable),
            Ended::ByClient(_) | Ended::Lost => (None, true),
        };
        let parting = Parting {
            last,
            flush: ended.flushes(),
            close,
            readable,
            lost: ended == Ended::Lost,
            discarded: connection.discarded(&ended),
        };
        socket.part(&connection.core, parting).await;
        connection.core.count_out(ended.code(), &ended.reason());
        connection.tell_end(&ended);
    }
}
