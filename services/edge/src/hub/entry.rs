//! Writing members into the cluster's roster, and telling their channels.

use std::time::Duration;

use backbone::{IdempotencyId, KvError, Publish, facts};
use bytes::Bytes;
use channels::{MemberData, PresenceAction, PresenceChange, Record, RecordKind, Tier};
use clock::Backoff;
use tokio::time::Instant;

use super::keeper::{Change, Step};
use super::{Channel, Hub};

/// Pauses before a failed write is tried again.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));

impl Hub {
    /// Writes one step into the roster, and tells the channel. Gives the revision, or nothing if that did not succeed in
    /// time.
    pub(super) async fn take_step(&self, channel: &Channel, step: &Step) -> Option<u64> {
        let (edge, action, data, quiet) = match &step.change {
            Change::Put { edge, action, data, quiet, known: _ } => (edge, *action, data, *quiet),
            Change::Leave { written, data, quiet } => (&written.edge, PresenceAction::Leave, data, *quiet),
        };
        let key = facts::roster_key(&channel.app, &channel.name, edge, &step.member);
        let mut backoff = BACKOFF;
        let mut revision = None;
        let begun = Instant::now();
        loop {
            if revision.is_none() {
                let written = match &step.change {
                    Change::Put { data, known, .. } => {
                        let value = facts::encode_member(&channel.name, &step.member, data);
                        self.write_entry(&key, value, *known).await
                    }
                    Change::Leave { written, .. } => self.remove_entry(&key, written.revision).await,
                };
                match written {
                    Ok(written) => revision = Some(written),
                    Err(error) => {
                        let error = &error as &dyn std::error::Error;
                        tracing::debug!(error, app = %channel.app, channel_hash = %channel.hash(), "a member could not be written yet");
                    }
                }
            }
            if let Some(sequence) = revision {
                let change = PresenceChange { edge: edge.clone(), sequence, action, quiet };
                if self.tell_change(channel, step, change, data).await {
                    return revision;
                }
            }
            // Somebody waits for an entry; a departure has all the time there is.
            if action != PresenceAction::Leave && begun.elapsed() >= self.settings.attach_timeout {
                return None;
            }
            tokio::time::sleep(backoff.pause()).await;
        }
    }

    /// Writes an entry that must not be there yet, or only as it is `known`: should an attempt be delivered late, when its
    /// member has long left, it must not bring it back.
    async fn write_entry(&self, key: &str, value: Bytes, known: Option<u64>) -> Result<u64, KvError> {
        let written = match known {
            Some(known) => self.roster.update(key, value.clone(), known).await,
            None => self.roster.create(key, value.clone()).await,
        };
        match written {
            Err(KvError::Exists | KvError::Conflict) => match self.roster.get(key).await? {
                // An earlier attempt, whose answer was lost.
                Some(entry) if entry.value == value => Ok(entry.revision),
                Some(entry) => self.roster.update(key, value, entry.revision).await,
                // Somebody took this edge for dead, and buried it.
                None if known.is_some() => self.roster.create(key, value).await,
                None => Err(KvError::Conflict),
            },
            result => result,
        }
    }

    /// Removes the entry as it stands at `revision`, or as it is if that is not known. Nothing else: an attempt that is
    /// delivered late must not remove what was written since.
    async fn remove_entry(&self, key: &str, revision: Option<u64>) -> Result<u64, KvError> {
        let known = match revision {
            Some(revision) => self.roster.remove(key, Some(revision)).await,
            None => Err(KvError::Conflict),
        };
        match known {
            Err(KvError::Conflict | KvError::Exists) => match self.roster.get(key).await? {
                Some(entry) => self.roster.remove(key, Some(entry.revision)).await,
                // An earlier attempt, whose answer was lost, or nothing was ever written.
                None => match self.roster.revision(key).await? {
                    Some(revision) => Ok(revision),
                    None => self.roster.remove(key, None).await,
                },
            },
            result => result,
        }
    }

    /// Publishes the change on the channel.
    async fn tell_change(&self, channel: &Channel, step: &Step, change: PresenceChange, data: &MemberData) -> bool {
        let tier = self.tier(channel);
        let record = Record {
            id: None,
            kind: RecordKind::Presence(change.clone()),
            connection: Some(step.member.connection.clone()),
            client: Some(step.member.user.clone()),
            timestamp_ms: data.timestamp_ms,
            messages: vec![data.to_message()],
            traceparent: None,
        };
        let (app, name) = (channel.app.clone(), channel.name.clone());
        // Told once, however often it is tried.
        let idempotency = IdempotencyId::new(&format!("presence:{}", change.sequence)).ok();
        let publish = Publish { app, channel: name, tier, record, idempotency };
        let published = self.backbone.publish(publish).await;
        if published.is_ok() && tier == Tier::Ephemeral {
            // Nobody repairs what is lost on the way, so it does not have to come back to count here.
            let mut state = channel.state();
            channel.apply_presence(self, &mut state, None, &change, step.member.clone(), data.clone());
        }
        published.is_ok()
    }
}
