//! What edges tell each other through buckets: that they are alive, how many subscribe to each channel, who is present,
//! whose connections are to end, and which connections have moved. Keys and values stand here; who writes and who believes them is the edge's and the
//! worker's matter.
//!
//! All parts of a key are ids or tokens that hold no dot.

use bytes::Bytes;
use channels::{AppId, ChannelName, ClientId, ConnectionId, EdgeId, Member, MemberData, RosterEntry};
use prost::Message as _;
use proto::backbone as wire;

use crate::Entry;

/// Format of every value here.
const VERSION: u32 = 1;

/// In front of an edge's id in its lease's key.
const EDGE_LEASE: &str = "edge/";

/// Key of the lease in [`Bucket::Leases`](crate::Bucket) that says `edge` is alive.
pub fn edge_lease_key(edge: &EdgeId) -> String {
    format!("{EDGE_LEASE}{edge}")
}

/// The edge whose lease `key` is, if it is an edge's.
pub fn edge_of_lease(key: &str) -> Option<EdgeId> {
    EdgeId::new(key.strip_prefix(EDGE_LEASE)?).ok()
}

/// Where an edge's count of one channel stands in [`Bucket::Occupancy`](crate::Bucket).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CountKey {
    /// The app.
    pub app: AppId,
    /// The channel's token.
    pub token: Box<str>,
    /// The edge.
    pub edge: EdgeId,
}

impl CountKey {
    /// The key of `edge`'s count of `channel`.
    pub fn new(app: &AppId, channel: &ChannelName, edge: &EdgeId) -> Self {
        Self { app: app.clone(), token: channel.token().as_str().into(), edge: edge.clone() }
    }

    /// Its text.
    pub fn to_key(&self) -> String {
        format!("{}.{}.{}", self.app, self.token, self.edge)
    }

    /// Reads [`Self::to_key`].
    pub fn parse(key: &str) -> Option<Self> {
        let mut parts = key.split('.');
        let app = AppId::new(parts.next()?).ok()?;
        let token = parts.next()?.into();
        let edge = EdgeId::new(parts.next()?).ok()?;
        parts.next().is_none().then_some(Self { app, token, edge })
    }
}

/// What an edge tells of one channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// The channel.
    pub channel: ChannelName,
    /// Connections of the edge that are subscribed; at least 1.
    pub subscriptions: u64,
    /// Distinct users in the whole cluster, if the edge knows them: that takes the channel's roster.
    pub users: Option<u64>,
    /// What they subscribe to and may do.
    pub parts: Parts,
}

/// How the connections of an edge take part in a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// Those that may publish.
    pub publishers: u64,
    /// Those that are sent messages.
    pub subscribers: u64,
    /// Those that are sent presence.
    pub presence_subscribers: u64,
    /// Members.
    pub presence_members: u64,
    /// Connections that are members.
    pub presence_connections: u64,
}

impl Count {
    /// The value to store.
    pub fn encode(&self) -> Bytes {
        let channel = self.channel.as_str().to_owned();
        let Parts { publishers, subscribers, presence_subscribers, presence_members, presence_connections } =
            self.parts;
        let value = wire::Occupancy {
            version: VERSION,
            channel,
            subscriptions: self.subscriptions,
            users: self.users,
            publishers,
            subscribers,
            presence_subscribers,
            presence_members,
            presence_connections,
        };
        value.encode_to_vec().into()
    }

    /// Reads [`Self::encode`]; `None` for what this process does not understand.
    pub fn decode(value: Bytes) -> Option<Self> {
        let value = wire::Occupancy::decode(value).ok().filter(|value| value.version == VERSION)?;
        let channel = ChannelName::new(&value.channel).ok()?;
        let parts = Parts {
            publishers: value.publishers,
            subscribers: value.subscribers,
            presence_subscribers: value.presence_subscribers,
            presence_members: value.presence_members,
            presence_connections: value.presence_connections,
        };
        Some(Self { channel, subscriptions: value.subscriptions, users: value.users, parts })
    }
}

/// Prefix of the keys of a channel's members in [`Bucket::Roster`](crate::Bucket).
pub fn roster_prefix(app: &AppId, channel: &ChannelName) -> String {
    format!("{app}.{}", channel.token())
}

/// Where a member stands in [`Bucket::Roster`](crate::Bucket).
pub fn roster_key(app: &AppId, channel: &ChannelName, edge: &EdgeId, member: &Member) -> String {
    let prefix = roster_prefix(app, channel);
    format!("{prefix}.{edge}.{}.{}", member.connection.token(), member.user.token())
}

/// The app, the channel's token and the edge of a member's key.
pub fn parse_roster_key(key: &str) -> Option<CountKey> {
    let (_, user) = key.rsplit_once('.')?;
    let (rest, connection) = key[..key.len() - user.len() - 1].rsplit_once('.')?;
    (!user.is_empty() && !connection.is_empty()).then(|| CountKey::parse(rest))?
}

/// The value to store for a member.
pub fn encode_member(channel: &ChannelName, member: &Member, data: &MemberData) -> Bytes {
    let MemberData { id, data, encoding, extras, timestamp_ms } = data.clone();
    let value = wire::RosterEntry {
        version: VERSION,
        channel: channel.as_str().to_owned(),
        connection_id: member.connection.as_str().to_owned(),
        client_id: member.user.as_str().to_owned(),
        data,
        encoding,
        extras,
        id,
        timestamp_ms,
    };
    value.encode_to_vec().into()
}

/// The channel and member that an entry of the bucket tells of; `None` for what this process does not understand.
pub fn decode_member(entry: Entry) -> Option<(ChannelName, RosterEntry)> {
    let key = parse_roster_key(&entry.key)?;
    let value = wire::RosterEntry::decode(entry.value).ok().filter(|value| value.version == VERSION)?;
    let channel = ChannelName::new(&value.channel).ok()?;
    let member = Member {
        connection: ConnectionId::new(&value.connection_id).ok()?,
        user: ClientId::new(&value.client_id).ok()?,
    };
    let wire::RosterEntry { id, data, encoding, extras, timestamp_ms, .. } = value;
    let data = MemberData { id, data, encoding, extras, timestamp_ms };
    Some((channel, RosterEntry { edge: key.edge, member, data, sequence: entry.revision }))
}

/// Where the order to end a user's connections stands in [`Bucket::Commands`](crate::Bucket).
pub fn terminate_key(app: &AppId, user: &ClientId) -> String {
    format!("terminate.{app}.{}", user.token())
}

/// The value of that order.
pub fn encode_terminate(app: &AppId, user: &ClientId) -> Bytes {
    let (app_id, client_id) = (app.as_str().to_owned(), user.as_str().to_owned());
    wire::Terminate { version: VERSION, app_id, client_id }.encode_to_vec().into()
}

/// Reads [`encode_terminate`]; `None` for what this process does not understand.
pub fn decode_terminate(value: Bytes) -> Option<(AppId, ClientId)> {
    let value = wire::Terminate::decode(value).ok().filter(|value| value.version == VERSION)?;
    Some((AppId::new(&value.app_id).ok()?, ClientId::new(&value.client_id).ok()?))
}

/// A connection that a client has resumed, and how often it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resumed {
    /// The app.
    pub app: AppId,
    /// The connection.
    pub connection: ConnectionId,
    /// Of its transports, this one counts: the greatest.
    pub generation: u32,
}

impl Resumed {
    /// Where the word on a connection stands in [`Bucket::Commands`](crate::Bucket).
    pub fn key(app: &AppId, connection: &ConnectionId) -> String {
        format!("resumed.{app}.{}", connection.token())
    }

    /// The value to store.
    pub fn encode(&self) -> Bytes {
        let (app_id, connection_id) = (self.app.as_str().to_owned(), self.connection.as_str().to_owned());
        let value = wire::Resumed { version: VERSION, app_id, connection_id, generation: self.generation };
        value.encode_to_vec().into()
    }

    /// Reads [`Self::encode`]; `None` for what this process does not understand.
    pub fn decode(value: Bytes) -> Option<Self> {
        let value = wire::Resumed::decode(value).ok().filter(|value| value.version == VERSION)?;
        let (app, connection) = (AppId::new(&value.app_id).ok()?, ConnectionId::new(&value.connection_id).ok()?);
        Some(Self { app, connection, generation: value.generation })
    }
}

/// What an entry of [`Bucket::Commands`](crate::Bucket) tells all edges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// To end the connections of a user.
    Terminate(AppId, ClientId),
    /// That a connection has another transport.
    Resumed(Resumed),
}

impl Command {
    /// Reads an entry; `None` for what this process does not understand.
    pub fn of(entry: &Entry) -> Option<Self> {
        match entry.key.split_once('.')?.0 {
            "terminate" => decode_terminate(entry.value.clone()).map(|(app, user)| Self::Terminate(app, user)),
            "resumed" => Resumed::decode(entry.value.clone()).map(Self::Resumed),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel() -> ChannelName {
        ChannelName::new("presence-room.1").unwrap()
    }

    #[test]
    fn counts_round_trip() {
        let (app, edge) = (AppId::new("1001").unwrap(), EdgeId::from_random(5));
        let key = CountKey::new(&app, &channel(), &edge);
        assert_eq!(key.to_key(), "1001.presence-room=2E1.0000000000000005");
        assert_eq!(CountKey::parse(&key.to_key()), Some(key));
        for other in ["", "1001.a", "1001.a.b", "1001.a.0000000000000005.c"] {
            assert_eq!(CountKey::parse(other), None, "{other}");
        }
        let parts = Parts {
            publishers: 1,
            subscribers: 3,
            presence_subscribers: 2,
            presence_members: 5,
            presence_connections: 4,
        };
        let count = Count { channel: channel(), subscriptions: 3, users: Some(2), parts };
        assert_eq!(Count::decode(count.encode()), Some(count));
        assert_eq!(edge_of_lease(&edge_lease_key(&edge)), Some(edge));
        assert_eq!(edge_of_lease("worker"), None);
    }

    #[test]
    fn members_round_trip() {
        let (app, edge) = (AppId::new("1001").unwrap(), EdgeId::from_random(5));
        let member = Member { connection: ConnectionId::new("1.2").unwrap(), user: ClientId::new("a.b c").unwrap() };
        let key = roster_key(&app, &channel(), &edge, &member);
        assert_eq!(key, "1001.presence-room=2E1.0000000000000005.1=2E2.a=2Eb=20c");
        let data = MemberData {
            id: "1.2:0:0".to_owned(),
            data: Bytes::from_static(br#"{"name":"A"}"#),
            encoding: "json".to_owned(),
            extras: Bytes::from_static(b"{}"),
            timestamp_ms: 7,
        };
        let value = encode_member(&channel(), &member, &data);
        let entry = Entry { key, value, revision: 9 };
        let expected = RosterEntry { edge, member, data, sequence: 9 };
        assert_eq!(decode_member(entry), Some((channel(), expected)));
    }

    #[test]
    fn terminations_round_trip() {
        let (app, user) = (AppId::new("1001").unwrap(), ClientId::new("u.1").unwrap());
        assert_eq!(terminate_key(&app, &user), "terminate.1001.u=2E1");
        assert_eq!(decode_terminate(encode_terminate(&app, &user)), Some((app, user)));
    }

    #[test]
    fn commands_are_told_apart() {
        let (app, user) = (AppId::new("1001").unwrap(), ClientId::new("u.1").unwrap());
        let entry = |key: String, value| Entry { key, value, revision: 1 };
        let terminate = entry(terminate_key(&app, &user), encode_terminate(&app, &user));
        assert_eq!(Command::of(&terminate), Some(Command::Terminate(app.clone(), user)));
        let connection = ConnectionId::new("aB_-9").unwrap();
        let resumed = Resumed { app, connection, generation: 7 };
        let entry = entry(Resumed::key(&resumed.app, &resumed.connection), resumed.encode());
        assert_eq!(entry.key, "resumed.1001.aB_-9");
        assert_eq!(Command::of(&entry), Some(Command::Resumed(resumed)));
        assert_eq!(Command::of(&Entry { key: "other.1".to_owned(), ..terminate }), None);
    }
}
