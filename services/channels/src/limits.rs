//! What an app may do: sizes per item, and quotas over its whole use.

use std::time::Duration;

/// Per-item limits of an app. Every one is enforced where the item enters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest channel name in characters. Pusher documents 164, its libraries enforce 200.
    pub channel_name_chars: usize,
    /// Longest event name in characters.
    pub event_name_chars: usize,
    /// Longest event data, in bytes of the data string.
    pub event_data_bytes: usize,
    /// Largest publish by the Ably protocol, in bytes of its messages' names, data, client ids and extras together; also
    /// the most that a presence member may say.
    pub message_bytes: usize,
    /// Most channels in one publish.
    pub channels_per_publish: usize,
    /// Most events in one batch.
    pub events_per_batch: usize,
    /// Most client events one connection may send in a second.
    pub client_events_per_second: u32,
    /// Most channels one connection may be subscribed to at a time. Not a Pusher limit: it bounds what one client can
    /// make a node remember.
    pub channels_per_connection: usize,
    /// Most distinct users in one presence channel; further connections of a present user are always let in.
    pub presence_members: usize,
    /// Longest user id of a presence member, in characters.
    pub presence_user_id_chars: usize,
    /// Largest `user_info` of a presence member, in bytes of JSON.
    pub presence_user_info_bytes: usize,
    /// Longest id of a signed-in user, in characters.
    pub user_id_chars: usize,
    /// Most users whose presence one signed-in user may watch.
    pub watchlist_users: usize,
    /// How long a cache channel keeps its last event.
    pub cache_ttl: Duration,
    /// How far the time of a signed request may be from ours, in either direction.
    pub auth_timestamp_window: Duration,
}

impl Default for Limits {
    /// The limits hosted Pusher documents, so that an app that moves here behaves the same.
    fn default() -> Self {
        Self {
            channel_name_chars: 200,
            event_name_chars: 200,
            event_data_bytes: 10_240,
            message_bytes: 65_536,
            channels_per_publish: 100,
            events_per_batch: 10,
            client_events_per_second: 10,
            channels_per_connection: 1_000,
            presence_members: 100,
            presence_user_id_chars: 128,
            presence_user_info_bytes: 1_024,
            user_id_chars: 200,
            watchlist_users: 100,
            cache_ttl: Duration::from_secs(30 * 60),
            auth_timestamp_window: Duration::from_secs(600),
        }
    }
}

/// Quotas of an app, over the whole cluster. `None` is no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Connections at one time.
    pub connections: Option<u64>,
    /// Occupied channels at one time, each counted once wherever its subscribers are.
    pub channels: Option<u64>,
    /// Messages published in a second, by whatever way; a message to several channels counts for each.
    pub messages_in_per_second: Option<u64>,
    /// Messages delivered to subscribers in a second.
    pub messages_out_per_second: Option<u64>,
    /// Bytes stored in persistent channels.
    pub history_bytes: Option<u64>,
    /// Connections that are members of presence channels, over all channels.
    pub presence_members: Option<u64>,
    /// Webhook requests in a second; what is over waits.
    pub webhooks_per_second: Option<u64>,
}

/// What an app is limited in. A refusal names one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum QuotaKind {
    /// [`Quota::connections`].
    Connections,
    /// [`Quota::channels`].
    Channels,
    /// [`Quota::messages_in_per_second`].
    MessagesIn,
    /// [`Quota::messages_out_per_second`].
    MessagesOut,
    /// [`Limits::event_data_bytes`].
    MessageSize,
    /// [`Quota::history_bytes`].
    HistoryBytes,
    /// [`Quota::presence_members`].
    PresenceMembers,
    /// [`Quota::webhooks_per_second`].
    Webhooks,
}

impl QuotaKind {
    /// Every kind, in the order of their declaration.
    pub const ALL: [Self; 8] = [
        Self::Connections,
        Self::Channels,
        Self::MessagesIn,
        Self::MessagesOut,
        Self::MessageSize,
        Self::HistoryBytes,
        Self::PresenceMembers,
        Self::Webhooks,
    ];

    /// Its name in refusals, metrics and usage.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Channels => "channels",
            Self::MessagesIn => "messages_in",
            Self::MessagesOut => "messages_out",
            Self::MessageSize => "message_size",
            Self::HistoryBytes => "history_bytes",
            Self::PresenceMembers => "presence_members",
            Self::Webhooks => "webhooks",
        }
    }
}
