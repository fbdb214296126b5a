//! A WebSocket that carries JSON.

use std::collections::VecDeque;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderValue, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::MAX_MESSAGE_BYTES;
use crate::admin::canary::dial::{Stages, Stream, dial};
use crate::admin::canary::target::Target;
use crate::admin::canary::trouble::Trouble;

/// An open WebSocket.
pub(super) struct Socket {
    stream: WebSocketStream<Stream>,
    /// What came in one frame together with what was handed out.
    pub(super) waiting: VecDeque<String>,
}

/// How a WebSocket ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// The server's close code, if it has sent one.
    pub(super) code: Option<u16>,
    pub(super) text: String,
}

impl Ended {
    /// What that means to whoever had subscribed.
    pub(super) fn disconnected(self) -> Trouble {
        Trouble::Disconnected(self.text)
    }
}

impl Socket {
    /// Opens `url`, which leads to `target`.
    pub(super) async fn open(
        target: &Target,
        url: &str,
        bearer: Option<String>,
        stages: &mut Stages,
    ) -> Result<Self, Trouble> {
        let usage = |error: &dyn std::fmt::Display| Trouble::Refused(format!("{url} cannot be asked for: {error}"));
        let mut request = url.into_client_request().map_err(|error| usage(&error))?;
        if let Some(bearer) = bearer {
            let bearer = HeaderValue::try_from(bearer).map_err(|error| usage(&error))?;
            request.headers_mut().insert(header::AUTHORIZATION, bearer);
        }
        let stream = dial(target, stages).await?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(MAX_MESSAGE_BYTES))
            .max_frame_size(Some(MAX_MESSAGE_BYTES));
        match client_async_with_config(request, stream, Some(config)).await {
            Ok((stream, _)) => Ok(Self { stream, waiting: VecDeque::new() }),
            Err(tungstenite::Error::Http(answer)) => {
                let status = answer.status().as_u16();
                Err(Trouble::of_status(status, format!("the WebSocket was answered with {status}")))
            }
            Err(error) => Err(Trouble::Unreachable(format!("no WebSocket: {error}"))),
        }
    }

    /// The next frame; those of other protocols than ours are passed over.
    pub(super) async fn frame(&mut self) -> Result<Value, Ended> {
        loop {
            let ended = |text: String| Ended { code: None, text };
            match self.stream.next().await {
                Some(Ok(Message::Text(text))) => {
                    if let Ok(frame) = serde_json::from_str(&text) {
                        return Ok(frame);
                    }
                }
                Some(Ok(Message::Close(Some(close)))) => {
                    let code = u16::from(close.code);
                    let text = format!("the server closed the connection: {code} {}", close.reason);
                    return Err(Ended { code: Some(code), text });
                }
                Some(Ok(Message::Close(None))) => return Err(ended("the server closed the connection".to_owned())),
                // Pings are answered by the library.
                Some(Ok(Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Err(error)) => return Err(ended(format!("the connection broke: {error}"))),
                None => return Err(ended("the connection ended".to_owned())),
            }
        }
    }

    pub(super) async fn send(&mut self, frame: &Value) -> Result<(), Ended> {
        let sent = self.stream.send(Message::text(frame.to_string())).await;
        sent.map_err(|error| Ended { code: None, text: format!("the connection broke: {error}") })
    }
}
