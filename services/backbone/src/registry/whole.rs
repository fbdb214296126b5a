//! The registry as entries that can be taken elsewhere and checked there.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use channels::AppId;

use super::{RegisteredApp, Registry, Unreadable, app_of, names, stored};
use crate::kv::Entry;
use crate::sealing::{ClusterKeyId, OpenError};

impl Registry {
    /// The app in this entry; `None` if the entry is of another kind.
    pub(crate) fn app_in(&self, entry: &Entry) -> Option<Result<RegisteredApp, Unreadable>> {
        let id = app_of(&entry.key)?;
        Some(stored::decode(&id, &entry.value, entry.revision, &self.keys))
    }

    /// The cluster keys that are needed to read the app in this entry; `None` if the entry is of another kind.
    pub(crate) fn keys_needed(&self, entry: &Entry) -> Option<Result<BTreeSet<ClusterKeyId>, Unreadable>> {
        let needed = || stored::kept(&entry.value).map(|kept| kept.sealed_by);
        match self.app_in(entry)? {
            // For want of a key it may be read elsewhere.
            Ok(_)
            | Err(
                Unreadable::Secret { source: OpenError::UnknownKey(_), .. }
                | Unreadable::Header { source: OpenError::UnknownKey(_), .. },
            ) => Some(needed()),
            Err(error) => Some(Err(error)),
        }
    }

    /// Whether the secrets that this cluster key seals can be opened here.
    pub(crate) fn knows_key(&self, id: ClusterKeyId) -> bool {
        self.keys.knows(id)
    }
}

/// Whether the entry with this key holds an app.
pub(crate) fn is_app(key: &str) -> bool {
    app_of(key).is_some()
}

/// Keys and values of the claims that these apps have on the names of their keys. A name that several have is that of who
/// had it first, as for edges.
pub(crate) fn claims(apps: &[RegisteredApp]) -> impl Iterator<Item = (String, Bytes)> {
    let mut owners: BTreeMap<String, (u64, &AppId)> = BTreeMap::new();
    for RegisteredApp { app, revoked, .. } in apps {
        let active = app.keys.iter().map(|key| (&key.name, key.created_ms));
        for (name, created_ms) in active.chain(revoked.iter().map(|key| (&key.name, key.created_ms))) {
            let rank = (created_ms, &app.id);
            owners.entry(names::claim_entry(name)).and_modify(|owner| *owner = rank.min(*owner)).or_insert(rank);
        }
    }
    owners.into_iter().map(|(key, (_, owner))| (key, names::encode(owner)))
}
