//! A subscriber of the canary's channel over one protocol.

mod ably;
mod events;
mod pusher;
mod socket;

use tokio::time::Instant;

use self::events::Events;
use self::socket::Socket;
use super::dial::Stages;
use super::target::{TOKEN_LIFE, Target};
use super::trouble::Trouble;

/// The name of the canary's events.
pub(super) const EVENT: &str = "canary";

/// Largest message that is read. Those of others on the channel may be as large as their app allows.
const MAX_MESSAGE_BYTES: usize = 4 << 20;

/// Ways to receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Protocol {
    /// A WebSocket of the Pusher protocol
    Pusher,
    /// A WebSocket of the Ably protocol
    Ably,
    /// An event stream
    Sse,
}

impl Protocol {
    /// All of them.
    pub(super) const ALL: [Self; 3] = [Self::Pusher, Self::Ably, Self::Sse];

    /// The word in metrics and answers.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Pusher => "pusher",
            Self::Ably => "ably",
            Self::Sse => "sse",
        }
    }
}

/// A connection that is subscribed.
pub(super) struct Subscriber {
    link: Link,
    since: Instant,
}

enum Link {
    Pusher(Socket),
    Ably(Socket),
    Sse(Events),
}

impl Subscriber {
    /// Connects and subscribes.
    pub(super) async fn open(target: &Target, protocol: Protocol, stages: &mut Stages) -> Result<Self, Trouble> {
        let link = match protocol {
            Protocol::Pusher => Link::Pusher(pusher::open(target, stages).await?),
            Protocol::Ably => Link::Ably(ably::open(target, stages).await?),
            Protocol::Sse => Link::Sse(Events::open(target, stages).await?),
        };
        Ok(Self { link, since: Instant::now() })
    }

    /// The data of the next event of a canary. Answers what the server asks for in between. May be called off and on.
    ///
    /// # Errors
    /// The connection has ended.
    pub(super) async fn next(&mut self, channel: &str) -> Result<String, Trouble> {
        match &mut self.link {
            Link::Pusher(socket) => pusher::next(socket, channel).await,
            Link::Ably(socket) => ably::next(socket, channel).await,
            Link::Sse(events) => events.next().await,
        }
    }

    /// Whether its credentials are about to expire.
    pub(super) fn is_old(&self) -> bool {
        self.since.elapsed() > TOKEN_LIFE / 2
    }
}
