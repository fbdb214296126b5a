//! Webhooks: who is told of what happens in an app's channels.

use std::time::Duration;

/// What a webhook may tell of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WebhookEvent {
    /// A channel has its first subscriber in the cluster.
    ChannelOccupied,
    /// A channel has lost its last subscriber.
    ChannelVacated,
    /// A user's first connection has joined a presence channel.
    MemberAdded,
    /// A user's last connection has left a presence channel.
    MemberRemoved,
    /// A client event was accepted.
    ClientEvent,
    /// Somebody subscribed to a cache channel that holds no event.
    CacheMiss,
    /// The number of a channel's subscribers has changed.
    SubscriptionCount,
}

impl WebhookEvent {
    /// Every event.
    pub const ALL: [Self; 7] = [
        Self::ChannelOccupied,
        Self::ChannelVacated,
        Self::MemberAdded,
        Self::MemberRemoved,
        Self::ClientEvent,
        Self::CacheMiss,
        Self::SubscriptionCount,
    ];

    /// Its name on the wire and in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::ChannelOccupied => "channel_occupied",
            Self::ChannelVacated => "channel_vacated",
            Self::MemberAdded => "member_added",
            Self::MemberRemoved => "member_removed",
            Self::ClientEvent => "client_event",
            Self::CacheMiss => "cache_miss",
            Self::SubscriptionCount => "subscription_count",
        }
    }

    /// The event called `name`.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.name() == name)
    }
}

/// Which events a webhook is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WebhookEvents(u8);

impl WebhookEvents {
    /// All of them.
    pub const ALL: Self = Self((1 << WebhookEvent::ALL.len()) - 1);

    /// Whether `event` is among them.
    pub fn contains(self, event: WebhookEvent) -> bool {
        self.0 & Self::bit(event) != 0
    }

    /// Those that are among them.
    pub fn iter(self) -> impl Iterator<Item = WebhookEvent> {
        WebhookEvent::ALL.into_iter().filter(move |event| self.contains(*event))
    }

    fn bit(event: WebhookEvent) -> u8 {
        1 << (event as u8)
    }
}

impl FromIterator<WebhookEvent> for WebhookEvents {
    fn from_iter<T: IntoIterator<Item = WebhookEvent>>(events: T) -> Self {
        Self(events.into_iter().fold(0, |bits, event| bits | Self::bit(event)))
    }
}

/// One receiver of an app's webhooks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// What tells it from the app's others, also in the dead letters that outlive it: 1 to 32 of `A-Z a-z 0-9 _ -`.
    pub id: String,
    /// Where events are posted: `http` or `https`.
    pub url: String,
    /// Which events.
    pub events: WebhookEvents,
    /// Of channels whose names start so; empty for all.
    pub prefix: String,
    /// How long events are gathered into one request; `None`: one event a request.
    pub batch: Option<Duration>,
    /// Headers sent with each request, beside the protocol's own.
    pub headers: Vec<(String, String)>,
}

/// Why a webhook was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidWebhook {
    /// An id with other characters, or of another length.
    #[error("webhook id must be 1 to 32 letters, digits, '-' or '_'")]
    Id,
    /// Something that is no absolute `http` or `https` URL without credentials and fragment.
    #[error("webhook url must be an absolute http or https URL without user, password or fragment")]
    Url,
    /// It would never be told anything.
    #[error("webhook events must not be an empty list; leave it out for all events")]
    NoEvents,
    /// Events are gathered for too long.
    #[error("webhook batch must be at most 5 seconds")]
    Batch,
    /// A header that cannot be sent, or that the protocol sends itself.
    #[error("webhook header {0:?} cannot be set")]
    Header(String),
}

impl Webhook {
    /// Longest time for gathering events.
    pub const MAX_BATCH: Duration = Duration::from_secs(5);

    /// An id for a webhook that was given none: the same for the same URL and prefix, whatever else changes.
    pub fn made_up_id(url: &str, prefix: &str) -> String {
        use base64::Engine as _;
        use sha2::Digest as _;
        let digest = sha2::Sha256::new().chain_update(url).chain_update([0]).chain_update(prefix).finalize();
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&digest[..9])
    }

    /// Whether it is told of `event` in `channel`.
    pub fn wants(&self, event: WebhookEvent, channel: &str) -> bool {
        self.events.contains(event) && channel.starts_with(&self.prefix)
    }

    /// Checks what can be checked without knowing the network.
    pub fn check(&self) -> Result<(), InvalidWebhook> {
        let id_byte = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        if self.id.is_empty() || self.id.len() > 32 || !self.id.bytes().all(id_byte) {
            return Err(InvalidWebhook::Id);
        }
        check_url(&self.url)?;
        if self.events.iter().next().is_none() {
            return Err(InvalidWebhook::NoEvents);
        }
        if self.batch.is_some_and(|batch| batch > Self::MAX_BATCH) {
            return Err(InvalidWebhook::Batch);
        }
        match self.headers.iter().find(|(name, value)| !header_allowed(name, value)) {
            Some((name, _)) => Err(InvalidWebhook::Header(name.clone())),
            None => Ok(()),
        }
    }
}

fn check_url(url: &str) -> Result<(), InvalidWebhook> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).ok_or(InvalidWebhook::Url)?;
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let printable = url.bytes().all(|b| b.is_ascii_graphic());
    let sound = !authority.is_empty() && !authority.contains('@') && !url.contains('#') && url.len() <= 2048;
    if printable && sound { Ok(()) } else { Err(InvalidWebhook::Url) }
}

fn header_allowed(name: &str, value: &str) -> bool {
    const OURS: [&str; 8] = [
        "content-type",
        "content-length",
        "host",
        "connection",
        "transfer-encoding",
        "x-pusher-key",
        "x-pusher-signature",
        "upgrade",
    ];
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let sendable = |b: u8| (b.is_ascii_graphic() || b == b' ' || b == b'\t') && b != 0x7f;
    !name.is_empty()
        && name.len() <= 128
        && value.len() <= 1024
        && name.bytes().all(token)
        && value.bytes().all(sendable)
        && !OURS.contains(&name.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhook() -> Webhook {
        Webhook {
            id: "w1".to_owned(),
            url: "https://example.com/hook?a=1".to_owned(),
            events: WebhookEvents::ALL,
            prefix: String::new(),
            batch: None,
            headers: Vec::new(),
        }
    }

    #[test]
    fn names_and_sets() {
        for event in WebhookEvent::ALL {
            assert_eq!(WebhookEvent::parse(event.name()), Some(event));
            assert!(WebhookEvents::ALL.contains(event));
            let one: WebhookEvents = [event].into_iter().collect();
            assert_eq!(one.iter().collect::<Vec<_>>(), [event]);
        }
        assert_eq!(WebhookEvent::parse("member"), None);
    }

    #[test]
    fn filters() {
        let events = [WebhookEvent::MemberAdded].into_iter().collect();
        let filtered = Webhook { prefix: "presence-".to_owned(), events, ..webhook() };
        assert!(filtered.wants(WebhookEvent::MemberAdded, "presence-a"));
        assert!(!filtered.wants(WebhookEvent::MemberAdded, "private-a"));
        assert!(!filtered.wants(WebhookEvent::MemberRemoved, "presence-a"));
    }

    #[test]
    fn checks() {
        assert_eq!(webhook().check(), Ok(()));
        assert_eq!(Webhook { id: "a.b".to_owned(), ..webhook() }.check(), Err(InvalidWebhook::Id));
        for url in ["", "ftp://a", "http://", "https:///x", "http://u:p@h/", "http://h/#a", "http://h/ä", "/hook"] {
            assert_eq!(Webhook { url: url.to_owned(), ..webhook() }.check(), Err(InvalidWebhook::Url), "{url}");
        }
        let none = std::iter::empty().collect();
        assert_eq!(Webhook { events: none, ..webhook() }.check(), Err(InvalidWebhook::NoEvents));
        let slow = Some(Duration::from_secs(6));
        assert_eq!(Webhook { batch: slow, ..webhook() }.check(), Err(InvalidWebhook::Batch));
        for (name, value) in [("X-Pusher-Key", "a"), ("Host", "a"), ("a b", "c"), ("", "c"), ("A", "b\r\nC: d")] {
            let headers = vec![(name.to_owned(), value.to_owned())];
            let refused = Webhook { headers, ..webhook() }.check();
            assert_eq!(refused, Err(InvalidWebhook::Header(name.to_owned())), "{name}: {value}");
        }
        let headers = vec![("X-Token".to_owned(), "s3cret value".to_owned())];
        assert_eq!(Webhook { headers, ..webhook() }.check(), Ok(()));
        assert_eq!(Webhook { id: Webhook::made_up_id("http://a/", ""), ..webhook() }.check(), Ok(()));
    }
}
