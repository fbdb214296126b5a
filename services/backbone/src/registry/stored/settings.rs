//! Pusher switches, quotas and limits in stored form. What is absent is the default.
//!
//! Only what differs from the default is stored where that can be told, so that a better default reaches every app that
//! chose nothing else.

use std::time::Duration;

use channels::{InvalidOriginPattern, Limits, OriginPattern, PusherSettings, Quota};
use clock::millis;
use proto::backbone::stored_app;

pub(super) fn pusher(pusher: &PusherSettings) -> stored_app::PusherSettings {
    let default = PusherSettings::default();
    let stored = |value: bool, default: bool| (value != default).then_some(value);
    stored_app::PusherSettings {
        client_events: pusher.client_events,
        user_authentication: stored(pusher.user_authentication, default.user_authentication),
        subscription_count: pusher.subscription_count,
        watchlist: pusher.watchlist,
        authorized_connections_ms: pusher.authorized_connections.map(millis),
        positions: stored(pusher.positions, default.positions),
        tls_only: pusher.tls_only,
        allowed_origins: pusher.allowed_origins.iter().map(|pattern| pattern.as_str().to_owned()).collect(),
    }
}

pub(super) fn read_pusher(stored: stored_app::PusherSettings) -> Result<PusherSettings, InvalidOriginPattern> {
    let default = PusherSettings::default();
    let origins = stored.allowed_origins.iter().map(|pattern| OriginPattern::new(pattern));
    Ok(PusherSettings {
        client_events: stored.client_events,
        user_authentication: stored.user_authentication.unwrap_or(default.user_authentication),
        subscription_count: stored.subscription_count,
        watchlist: stored.watchlist,
        authorized_connections: stored.authorized_connections_ms.map(Duration::from_millis),
        positions: stored.positions.unwrap_or(default.positions),
        tls_only: stored.tls_only,
        allowed_origins: origins.collect::<Result<_, _>>()?,
    })
}

pub(super) fn quota(quota: &Quota) -> stored_app::Quota {
    let Quota {
        connections,
        channels,
        messages_in_per_second,
        messages_out_per_second,
        history_bytes,
        presence_members,
        webhooks_per_second,
    } = *quota;
    stored_app::Quota {
        connections,
        channels,
        messages_in_per_second,
        messages_out_per_second,
        history_bytes,
        presence_members,
        webhooks_per_second,
    }
}

pub(super) fn read_quota(stored: stored_app::Quota) -> Quota {
    Quota {
        connections: stored.connections,
        channels: stored.channels,
        messages_in_per_second: stored.messages_in_per_second,
        messages_out_per_second: stored.messages_out_per_second,
        history_bytes: stored.history_bytes,
        presence_members: stored.presence_members,
        webhooks_per_second: stored.webhooks_per_second,
    }
}

pub(super) fn limits(limits: &Limits) -> stored_app::Limits {
    let default = Limits::default();
    let stored = |value: usize, default: usize| (value != default).then(|| u32::try_from(value).unwrap_or(u32::MAX));
    let seconds = |value: Duration, default: Duration| (value != default).then_some(value.as_secs());
    let rate = limits.client_events_per_second;
    stored_app::Limits {
        channel_name_chars: stored(limits.channel_name_chars, default.channel_name_chars),
        event_name_chars: stored(limits.event_name_chars, default.event_name_chars),
        event_data_bytes: stored(limits.event_data_bytes, default.event_data_bytes),
        message_bytes: stored(limits.message_bytes, default.message_bytes),
        channels_per_publish: stored(limits.channels_per_publish, default.channels_per_publish),
        events_per_batch: stored(limits.events_per_batch, default.events_per_batch),
        client_events_per_second: (rate != default.client_events_per_second).then_some(rate),
        channels_per_connection: stored(limits.channels_per_connection, default.channels_per_connection),
        presence_members: stored(limits.presence_members, default.presence_members),
        presence_user_id_chars: stored(limits.presence_user_id_chars, default.presence_user_id_chars),
        presence_user_info_bytes: stored(limits.presence_user_info_bytes, default.presence_user_info_bytes),
        user_id_chars: stored(limits.user_id_chars, default.user_id_chars),
        watchlist_users: stored(limits.watchlist_users, default.watchlist_users),
        cache_ttl_seconds: seconds(limits.cache_ttl, default.cache_ttl),
        auth_timestamp_window_seconds: seconds(limits.auth_timestamp_window, default.auth_timestamp_window),
    }
}

pub(super) fn read_limits(stored: stored_app::Limits) -> Limits {
    let default = Limits::default();
    let value = |value: Option<u32>, default: usize| {
        value.map_or(default, |value| usize::try_from(value).unwrap_or(usize::MAX))
    };
    let seconds = |value: Option<u64>, default: Duration| value.map_or(default, Duration::from_secs);
    Limits {
        channel_name_chars: value(stored.channel_name_chars, default.channel_name_chars),
        event_name_chars: value(stored.event_name_chars, default.event_name_chars),
        event_data_bytes: value(stored.event_data_bytes, default.event_data_bytes),
        message_bytes: value(stored.message_bytes, default.message_bytes),
        channels_per_publish: value(stored.channels_per_publish, default.channels_per_publish),
        events_per_batch: value(stored.events_per_batch, default.events_per_batch),
        client_events_per_second: stored.client_events_per_second.unwrap_or(default.client_events_per_second),
        channels_per_connection: value(stored.channels_per_connection, default.channels_per_connection),
        presence_members: value(stored.presence_members, default.presence_members),
        presence_user_id_chars: value(stored.presence_user_id_chars, default.presence_user_id_chars),
        presence_user_info_bytes: value(stored.presence_user_info_bytes, default.presence_user_info_bytes),
        user_id_chars: value(stored.user_id_chars, default.user_id_chars),
        watchlist_users: value(stored.watchlist_users, default.watchlist_users),
        cache_ttl: seconds(stored.cache_ttl_seconds, default.cache_ttl),
        auth_timestamp_window: seconds(stored.auth_timestamp_window_seconds, default.auth_timestamp_window),
    }
}
