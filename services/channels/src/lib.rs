//! The domain of Fanfare: the nouns every other crate speaks, and the rules that make a bad one impossible to build.
//!
//! Owns names and their subject tokens, apps and keys, namespaces and tiers, messages and records, positions,
//! presence, capabilities, limits, webhooks. Deliberately knows nothing of tokio, JSON, NATS or any client protocol: a value that exists
//! here has been checked, and nothing further in re-validates a string.

mod app;
mod capability;
mod edge;
#[cfg(test)]
mod formats;
mod hash;
mod identity;
mod kind;
mod limits;
mod message;
mod name;
mod namespace;
mod origin;
mod position;
mod presence;
mod rate;
mod shard;
mod token;
mod webhook;

pub use app::{App, AppId, InvalidAppId, InvalidKeyName, Key, KeyName, PreviousSecret, PusherSettings, Secret};
pub use capability::{Capability, InvalidCapability, Operation};
pub use edge::{EdgeId, InvalidEdgeId};
pub use hash::ChannelHash;
pub use identity::{ClientId, ConnectionId, InvalidIdentity};
pub use kind::{Access, ChannelKind, SERVER_TO_USER};
pub use limits::{Limits, Quota, QuotaKind};
pub use message::{Message, Record, RecordKind};
pub use name::{ChannelName, InvalidChannelName, MAX_CHANNEL_NAME_BYTES};
pub use namespace::{DEFAULT_RETENTION, InvalidNamespaces, Namespace, Namespaces, SlowConsumers, Tier};
pub use origin::{InvalidOriginPattern, OriginPattern};
pub use position::{Epoch, EventPosition, InvalidPosition, Position};
pub use presence::{
    Member, MemberData, MemberEvent, PresenceAction, PresenceChange, Roster, RosterChange, RosterEntry, Transition,
};
pub use rate::Rate;
pub use shard::{InvalidShardCount, Shard, ShardCount};
pub use token::{MAX_TOKEN_BYTES, SubjectToken};
pub use webhook::{InvalidWebhook, Webhook, WebhookEvent, WebhookEvents};
