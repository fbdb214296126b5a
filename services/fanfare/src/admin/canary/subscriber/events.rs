//! An event stream.

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::{EVENT, MAX_MESSAGE_BYTES};
use crate::admin::canary::dial::{Http, Stages};
use crate::admin::canary::target::Target;
use crate::admin::canary::trouble::Trouble;

/// An open event stream.
pub(super) struct Events {
    body: Incoming,
    /// What came and is not a whole event.
    kept: Vec<u8>,
    /// Carries the body.
    _connection: AbortOnDropHandle<()>,
}

impl Events {
    /// Opens one. The server answers when the channel is attached, so that there is no subscribing apart.
    pub(super) async fn open(target: &Target, stages: &mut Stages) -> Result<Self, Trouble> {
        let begun = Instant::now();
        let (body, _connection) = Http::open(target, stages).await?.events().await?;
        stages.open = Some(begun.elapsed());
        Ok(Self { body, kept: Vec::new(), _connection })
    }

    /// The data of the next message of a canary.
    pub(super) async fn next(&mut self) -> Result<String, Trouble> {
        loop {
            while let Some(event) = self.whole() {
                match kind(&event) {
                    ("message", data) => {
                        let message: Value = serde_json::from_str(&data).unwrap_or_default();
                        if let (true, Some(data)) = (message["name"] == EVENT, message["data"].as_str()) {
                            return Ok(data.to_owned());
                        }
                    }
                    ("error", data) => {
                        return Err(Trouble::Disconnected(format!("the server ended the stream: {data}")));
                    }
                    _ => {}
                }
            }
            match self.body.frame().await {
                Some(Ok(frame)) => self.kept.extend(frame.into_data().unwrap_or_default()),
                Some(Err(error)) => return Err(Trouble::Disconnected(format!("the stream broke: {error}"))),
                None => return Err(Trouble::Disconnected("the stream ended".to_owned())),
            }
            if self.kept.len() > MAX_MESSAGE_BYTES {
                return Err(Trouble::Disconnected("an event is too long".to_owned()));
            }
        }
    }

    /// Takes the first whole event out of what came.
    fn whole(&mut self) -> Option<String> {
        let end = self.kept.windows(2).position(|pair| pair == b"\n\n")?;
        let event = String::from_utf8_lossy(&self.kept[..end]).into_owned();
        self.kept.drain(..end + 2);
        Some(event)
    }
}

/// An event's name, and its data.
fn kind(event: &str) -> (&str, String) {
    let field = |name: &'static str| event.lines().filter_map(move |line| line.strip_prefix(name));
    (field("event: ").next().unwrap_or_default(), field("data: ").collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_told_apart() {
        assert_eq!(kind("id: 1\nevent: message\ndata: {\ndata: }"), ("message", "{\n}".to_owned()));
        assert_eq!(kind(":keepalive"), ("", String::new()));
        assert_eq!(kind("retry: 1000\nid: x"), ("", String::new()));
    }
}
