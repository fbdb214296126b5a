//! A connection over a WebSocket: its task.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use backbone::{PublishError, Published};
use pusher::{CloseCode, Input};
use tungstenite::Message;

use super::{Connection, Ended, Opening};
use crate::connection::socket::{Lost, Parting, Socket};
use crate::metrics::Transport;
use crate::queue::Notices;
use crate::server::Shared;
use crate::stream::Stream;
use crate::websocket::{ReadError, Violation, WebSocket};

/// What the task woke up for.
#[derive(Debug)]
enum Event {
    Message(Message),
    Notices(Notices),
    Published(Result<Published, PublishError>),
    Ended(ReadError),
}

/// A connection and its socket.
pub(crate) struct WebSocketTask {
    connection: Connection,
    socket: Socket,
}

impl WebSocketTask {
    /// The connection over `socket` that `opening` was admitted for.
    pub(crate) fn open(shared: Arc<Shared>, socket: WebSocket<Stream>, opening: Opening) -> Box<Self> {
        let connection = Connection::open(shared, Transport::WebSocket, opening);
        let socket = Socket::new(socket, &connection.core);
        Box::new(Self { connection, socket })
    }

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
                Event::Published(result) => self.connection.published(&result),
                Event::Ended(ReadError::Closed) => return Ended::ByClient(None),
                Event::Ended(ReadError::Lost) => return Ended::Lost,
                Event::Ended(ReadError::Violation(violation)) => {
                    return self.connection.close(match violation {
                        Violation::TooLarge => CloseCode::FrameTooLarge,
                        Violation::NotUtf8 => CloseCode::NotUtf8,
                        Violation::Rules => CloseCode::BrokenRules,
                    });
                }
            }
        }
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        let Self { connection: Connection { core, publishing, .. }, socket } = self;
        match socket.poll_write(cx, core) {
            Poll::Ready(Ok(notices)) => return Poll::Ready(Event::Notices(notices)),
            Poll::Ready(Err(Lost)) => return Poll::Ready(Event::Ended(ReadError::Lost)),
            Poll::Pending => {}
        }
        if let Some((_, publishing)) = publishing {
            return publishing.as_mut().poll(cx).map(Event::Published);
        }
        socket.poll_read(cx, core).map(|heard| heard.map_or_else(Event::Ended, Event::Message))
    }

    /// Takes what the client sent.
    fn hear(&mut self, message: &Message) -> Option<Ended> {
        match message {
            Message::Text(text) => self.connection.handle(Input::Text(text.as_str())),
            Message::Binary(_) => self.connection.handle(Input::Binary),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => self.connection.handle(Input::Alive),
            Message::Close(close) => {
                return Some(Ended::ByClient(close.as_ref().map(|close| u16::from(close.code))));
            }
        }
        None
    }

    /// Says what is still to be said, within the close timeout.
    async fn finish(&mut self, ended: Ended) {
        let last = self.connection.leave(ended);
        let Self { connection, socket } = self;
        let close = match ended {
            Ended::Close { code, .. } => Some(code),
            Ended::ByClient(_) | Ended::Lost => None,
        };
        let broken = [CloseCode::BrokenRules, CloseCode::NotUtf8, CloseCode::FrameTooLarge];
        let parting = Parting {
            last,
            flush: ended.flushes(),
            close: close.map(|code| (code.number(), code.reason())),
            readable: close.is_none_or(|code| !broken.contains(&code)),
            lost: ended == Ended::Lost,
            discarded: connection.discarded(ended),
        };
        socket.part(&connection.core, parting).await;
        connection.count_out(ended);
    }
}
